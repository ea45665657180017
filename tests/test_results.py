"""The results files that the book and the README quote, and the weights that ship beside them."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import s3rec_mini as s3

DATA = Path(s3.__file__).parent / "data"
RESULTS = DATA / "results"
RUNS = {path: path.parent.relative_to(RESULTS).as_posix()
        for path in sorted(RESULTS.rglob("*.json")) if path.parent != RESULTS}
PROTOCOLS = ("full", "sampled")


def read(folder, **chosen):
    runs = [json.loads(path.read_text()) for path, where in RUNS.items() if where == folder]
    return [run for run in runs if all(run[key] == value for key, value in chosen.items())]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{RUNS[path]}/{path.stem}")
def test_a_results_file_says_where_it_comes_from_and_agrees_with_itself(path):
    run = json.loads(path.read_text())
    ablation = "variation" in run
    command = f"ablate {path.parts[-3]}" if ablation else f"reproduce {path.parts[-2]}"
    assert run["command"].startswith(f"s3rec {command} ")
    assert len(run["commit"]) == 40  # a commit, with nothing changed since
    assert "cores" in run["machine"]
    how = run["finetuning"]
    kind = run["variation"] if ablation else f"{run['start']}-{how['loss']}"
    assert path.stem == f"{kind}-seed{how['seed']}"
    for protocol in PROTOCOLS:
        metrics, intervals = run[protocol]["metrics"], run[protocol]["intervals"]
        assert all(intervals[name][0] <= value <= intervals[name][1]
                   for name, value in metrics.items())
    history = run["finetuning_history"]
    stopped = len(history["epoch"]) < run["finetuning"]["epochs"]
    best = max(range(len(history["epoch"])), key=history["validation.MRR"].__getitem__)
    assert not stopped or len(history["epoch"]) - 1 - best >= run["finetuning"]["patience"] - 1


@pytest.mark.parametrize("name", ["growth", "lazy_adam"])
def test_what_a_benchmark_wrote_says_where_it_comes_from(name):
    measured = json.loads((RESULTS / f"{name}.json").read_text())
    assert measured["command"].startswith(f"{name}.py ") and len(measured["commit"]) == 40
    assert "cores" in measured["machine"]


def test_the_growth_benchmark_measured_its_base():
    measured = json.loads((RESULTS / "growth.json").read_text())
    assert measured["growth"].keys() == measured["base"].keys()
    for name, growth in measured["growth"].items():  # the base is one of the sizes: ratio 1
        assert growth[str(measured["base"][name])] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("folder", sorted(set(RUNS.values())))
def test_three_seeds_stand_behind_every_comparison(folder):
    runs = read(folder)
    seeds = {}
    for run in runs:
        kind = run.get("variation") or (run["start"], run["finetuning"]["loss"])
        seeds.setdefault(kind, set()).add(run["finetuning"]["seed"])
    assert len(seeds) >= 2
    assert all(found == {0, 1, 2} for found in seeds.values())


@pytest.mark.parametrize("folder", sorted(set(RUNS.values())))
def test_the_runs_of_a_folder_come_by_kind_and_seed(folder):
    loaded = s3.load_results(folder)
    for kind, runs in loaded.items():
        for seed, run in enumerate(runs):
            assert run == json.loads((RESULTS / folder / f"{kind}-seed{seed}.json").read_text())
    assert sum(map(len, loaded.values())) == len(read(folder))


def test_the_tenth_seed_comes_last_and_an_unknown_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(s3.evaluation, "__file__", str(tmp_path / "evaluation.py"))
    (tmp_path / "data/results/mine").mkdir(parents=True)
    for seed in range(11):
        (tmp_path / f"data/results/mine/a-b-seed{seed}.json").write_text(str(seed))
    assert s3.load_results("mine") == {"a-b": list(range(11))}
    with pytest.raises(ValueError, match="no results ship in 'yours': choose from mine"):
        s3.load_results("yours")


def test_lastfm_lands_near_the_authors_own_rerun():
    """Pointwise loss, the authors' 99 negatives, 1,090 users: a standard error of about 0.01."""
    authors = pd.read_csv(RESULTS / "authors_rerun.csv").set_index("dataset").loc["LastFM"]
    for start, theirs in {"scratch": authors["SASRec"], "pretrained": authors["S3-Rec"],
                          "LastFM-epochs-150": authors["S3-Rec"]}.items():
        runs = [r for r in read("LastFM", start=start) if r["finetuning"]["loss"] == "pointwise"]
        assert all(run["negatives"] == "LastFM_sample.txt" for run in runs)
        mean = sum(run["sampled"]["metrics"]["MRR"] for run in runs) / len(runs)
        low, high = runs[0]["sampled"]["intervals"]["MRR"]
        assert abs(mean - theirs) < high - low  # two standard errors on each side, for both


@pytest.mark.parametrize("dataset", ["Beauty", "Toys_and_Games"])
def test_beauty_and_toys_land_within_three_percent_of_the_authors_own_rerun_or_above(dataset):
    authors = pd.read_csv(RESULTS / "authors_rerun.csv").set_index("dataset").loc[dataset]
    for start, theirs in {"scratch": authors["SASRec"], "pretrained": authors["S3-Rec"]}.items():
        runs = [r for r in read(dataset, start=start) if r["finetuning"]["loss"] == "pointwise"]
        mean = sum(run["sampled"]["metrics"]["MRR"] for run in runs) / len(runs)
        assert mean > 0.97 * theirs


def follows(history, dataset, start):
    """Say whether these epochs repeat the first ones of the recorded run with seed 0.

    Another machine rounds otherwise, and training amplifies it: near, not equal.
    """
    recorded = json.loads((RESULTS / dataset / f"{start}-pointwise-seed0.json").read_text())
    losses = recorded["finetuning_history"]["loss"][:len(history)]
    mrrs = recorded["finetuning_history"]["validation.MRR"][:len(history)]
    return ([epoch["loss"] for epoch in history] == pytest.approx(losses, rel=0.02)
            and [epoch["validation"]["MRR"] for epoch in history] == pytest.approx(mrrs, abs=0.01))


def test_a_short_run_from_the_authors_weights_goes_where_the_results_files_go(
        authors_files, lastfm, authors_model):
    negatives = s3.official.load_negatives(authors_files / "LastFM_sample.txt", lastfm)
    config = s3.FinetuneConfig(epochs=3, loss="pointwise", patience=20, seed=0)
    history = s3.finetune(authors_model, lastfm, config, negatives=negatives)
    assert follows(history, "LastFM", "LastFM-epochs-150")


@pytest.mark.parametrize("dataset", ["Beauty", "Toys_and_Games"])
def test_a_short_run_from_the_shipped_weights_goes_where_the_results_files_go(
        authors_files, dataset):
    model = s3.load_model(f"{dataset}-pretrained")  # in float16, the recorded run in float32
    config = s3.FinetuneConfig(epochs=2, loss="pointwise", seed=0)
    assert follows(s3.finetune(model, s3.load_dataset(dataset), config), dataset, "pretrained")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_shipped_weights_give_the_metrics_of_their_results_file(protocol):
    data, model = s3.load_dataset("movielens-small"), s3.load_model("movielens-small")
    path = RESULTS / "movielens-small" / "pretrained-pairwise-seed0.json"
    recorded = json.loads(path.read_text())[protocol]["metrics"]
    measured = s3.evaluate(model, data, "test", protocol)
    assert measured == pytest.approx(recorded, abs=2e-3)  # a rank or two may round otherwise


def test_every_shipped_weight_is_small_finite_and_has_a_model_card():
    files = sorted(DATA.glob("*.safetensors"))
    assert files
    for path in files:
        assert path.stat().st_size < 3e6
        card = path.with_suffix(".md").read_text()
        assert "s3rec reproduce" in card and "**Licence.**" in card
        model = s3.load_model(path.stem)
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    with pytest.raises(ValueError, match="movielens-small"):
        s3.load_model("no such weights")


NAMES = {"Beauty": "Beauty", "Toys_and_Games": "Toys", "LastFM": "LastFM",
         "movielens-small": "MovieLens"}
STARTS = {"scratch": "from scratch (SASRec)", "pretrained": "pretrained",
          "LastFM-epochs-150": "the authors' weights"}
ROWS = [(protocol, dataset, start) for protocol in PROTOCOLS for dataset in NAMES
        for start in STARTS if any((RESULTS / dataset).glob(f"{start}-*"))]


def row_of_the_readme(protocol, dataset, start):
    """Give the mean MRR of each finetuning loss, and the lowest and the highest seed."""
    runs, cells = read(dataset, start=start), [f"{NAMES[dataset]}, {STARTS[start]}"]
    for loss in ("pointwise", "pairwise", "softmax"):
        values = pd.Series([run[protocol]["metrics"]["MRR"] for run in runs
                            if run["finetuning"]["loss"] == loss])
        cells.append("not run" if values.empty else
                     f"{values.mean():.4f} ({values.min():.4f} to {values.max():.4f})")
    return "| " + " | ".join(cells) + " |"


@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_the_readme_quotes_the_results_files(row):
    readme = (Path(s3.__file__).parents[1] / "README.md").read_text()
    assert row_of_the_readme(*row) in readme
