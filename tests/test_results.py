"""The results that the book and the README quote, how they are kept, and the shipped weights."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, full_disk

import s3rec_mini as s3
from s3rec_mini.tools import results
from s3rec_mini.tools.results import collect, load_ranks

DATA = Path(s3.__file__).parent / "data"
RESULTS = DATA / "results"
FILES = sorted(RESULTS.glob("*.jsonl"))
LINES = [json.loads(line) for path in FILES for line in path.read_text().splitlines()]
RUNS = {(line.pop("folder"), line.pop("run")): line for line in LINES}
FOLDERS = sorted({folder for folder, _ in RUNS})
PROTOCOLS = ("full", "sampled")


def read(folder, **chosen):
    runs = [run for (where, _), run in RUNS.items() if where == folder]
    return [run for run in runs if all(run[key] == value for key, value in chosen.items())]


def test_no_run_was_lost():
    assert len(RUNS) == len(LINES) >= 174


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_holds_the_runs_of_its_dataset_in_order(path):
    records = [json.loads(line) for line in path.read_text().splitlines()]
    places = [(each["folder"], len(each["run"]), each["run"]) for each in records]
    assert places == sorted(places)
    assert all(list(each)[:2] == ["folder", "run"] for each in records)
    assert {each["dataset"] for each in records} == {path.stem}


@pytest.mark.parametrize("key", RUNS, ids="/".join)
def test_a_run_says_where_it_comes_from_and_agrees_with_itself(key):
    run, (folder, name) = RUNS[key], key
    ablation = "variation" in run
    assert (folder == f"{run['dataset']}/ablations") == ablation
    question, _, dataset = folder.rpartition("/")
    trial = (question in ("authors", "second-pretraining", "sampled", "search")
             and dataset == run["dataset"])
    assert run["split"] == ("validation" if question == "search" else "test")
    how = run["finetuning"]
    commands = (("s3rec ablate", "ablations.py") if ablation else
                (f"trials.py {question}",) if trial else
                ("s3rec reproduce", f"trials.py again-{how['loss']}"))
    assert run["command"].startswith(tuple(f"{each} {run['dataset']} " for each in commands))
    assert len(run["commit"]) == 40  # a commit, with nothing changed since
    assert "cores" in run["machine"]
    kind = run["variation"] if ablation else f"{run['start']}-{how['loss']}"
    assert trial or name == f"{kind}-seed{how['seed']}"
    for protocol in PROTOCOLS:
        metrics, intervals = run[protocol]["metrics"], run[protocol]["intervals"]
        assert all(intervals[name][0] <= value <= intervals[name][1]
                   for name, value in metrics.items())
    history = run["finetuning_history"]
    stopped = len(history["epoch"]) < run["finetuning"]["epochs"]
    best = max(range(len(history["epoch"])), key=history["validation.MRR"].__getitem__)
    assert not stopped or len(history["epoch"]) - 1 - best >= run["finetuning"]["patience"] - 1


@pytest.mark.parametrize("name", ["gains", "growth", "lazy_adam", "repeats"])
def test_what_a_benchmark_wrote_says_where_it_comes_from(name):
    measured = json.loads((RESULTS / f"{name}.json").read_text())
    assert measured["command"].startswith(f"{name}.py ") and len(measured["commit"]) == 40
    assert "cores" in measured["machine"]


def test_what_was_counted_in_several_ways_is_what_the_runs_measured():
    counted = pd.DataFrame(json.loads((RESULTS / "repeats.json").read_text())["measured"])
    everybody = counted[counted["users"] == "everybody"]
    for rule, protocol in (("among 99", "sampled"), ("seen left out", "full")):
        for row in everybody[everybody["rule"] == rule].to_dict("records"):
            run = RUNS["Yelp", f"{row['start']}-{row['loss']}-seed{row['seed']}"]
            for name in ("HR@5", "HR@10", "HR@20", "NDCG@10", "MRR"):
                assert row[name] == pytest.approx(run[protocol]["metrics"][name], abs=1e-5)


def test_the_gains_are_those_of_every_run_whose_ranks_are_kept():
    told = {}
    for row in json.loads((RESULTS / "gains.json").read_text())["gains"]:
        told[row["folder"], row["start"], row["loss"], row["protocol"], row["metric"]] = row
    kept = set()
    for path in (RESULTS / "ranks").rglob("*-seed0.npz"):
        folder = path.parent.relative_to(RESULTS / "ranks").as_posix()
        begun, _, loss = path.stem.removesuffix("-seed0").rpartition("-")
        whole = folder.split("/")[-1]
        if folder.startswith(("authors/", "sampled/", "search/")) or begun == "scratch":
            continue
        pair = (folder, begun), (whole, "scratch")
        runs = [s3.load_ranks(where)[f"{start}-{loss}"] for where, start in pair]
        for protocol in PROTOCOLS:
            row = told[folder, begun, loss, protocol, "MRR"]
            gains = np.array([1 / here[protocol] - 1 / there[protocol]
                              for here, there in zip(*runs, strict=True)])  # (S, U)
            assert row["gain"] == pytest.approx(gains.mean(), rel=1e-5)
            for axis, unit in ((0, "users"), (1, "seeds")):
                means = gains.mean(axis)
                error = means.std(ddof=1) / len(means) ** 0.5
                assert row[f"error over {unit}"] == pytest.approx(error, rel=1e-5)
                assert row[unit] == len(means)
            kept.add((folder, begun, loss, protocol))
            for metric in ("HR@5", "HR@10", "HR@20", "NDCG@10"):
                row, means = told[folder, begun, loss, protocol, metric], [
                    np.mean([RUNS[where, f"{start}-{loss}-seed{seed}"][protocol]["metrics"][metric]
                             for seed in range(3)]) for where, start in pair]
                assert row["gain"] == pytest.approx(means[0] - means[1], rel=1e-4, abs=1e-8)
    assert {key[:4] for key in told} == kept


def test_the_growth_benchmark_measured_its_base():
    measured = json.loads((RESULTS / "growth.json").read_text())
    assert measured["growth"].keys() == measured["base"].keys()
    for name, growth in measured["growth"].items():  # the base is one of the sizes: ratio 1
        assert growth[str(measured["base"][name])] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("folder", FOLDERS)
def test_three_seeds_stand_behind_every_comparison(folder):
    runs = read(folder)
    seeds = {}
    for run in runs:
        how = run["finetuning"]
        forms = run.get("pretraining", {}).get("forms")
        kind = run.get("variation") or json.dumps([run["start"], forms, run["model"],
                                                   how | {"seed": None}])
        seeds.setdefault(kind, set()).add(run["finetuning"]["seed"])
    assert len(seeds) >= (1 if folder.startswith("second-pretraining/") else 2)
    # A search looks at validation data alone, one seed each: it chooses, it decides nothing.
    wanted = {0} if folder.startswith("search/") else {0, 1, 2}
    assert all(found == wanted for found in seeds.values())


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_runs_of_a_folder_come_by_kind_and_seed(folder):
    loaded = s3.load_results(folder)
    for kind, runs in loaded.items():
        for seed, run in enumerate(runs):
            assert run == RUNS[folder, f"{kind}-seed{seed}"]
    assert sum(map(len, loaded.values())) == len(read(folder))


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder that stands for the results that travel with the package; empty."""
    monkeypatch.setattr(results, "RESULTS", tmp_path / "shipped")
    return tmp_path / "shipped"


@pytest.fixture
def written(tmp_path):
    """Write the results file of a run, as an experiment does, with ranks or without."""

    def write(folder, run, ranks=None, dataset="mine", **content):
        path = tmp_path / "results" / folder / f"{run}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"dataset": dataset, **content}))
        if ranks is not None:
            np.savez_compressed(path.with_suffix(".npz"), **ranks)
        return path

    return write


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_tenth_seed_comes_last_and_an_unknown_folder_is_an_error(shipped, written, tmp_path):
    for seed in range(11):
        written("mine/deep", f"a-b-seed{seed}", seed=seed)
    collect(tmp_path / "results", shipped)
    (runs,) = [s3.load_results("mine/deep")["a-b"]]
    assert [run["seed"] for run in runs] == list(range(11))
    assert s3.load_results("mine/deep/")["a-b"] == runs
    with pytest.raises(ValueError, match=r"no results ship in 'yours': choose from mine/deep$"):
        s3.load_results("yours")


def test_collect_adds_the_runs_that_are_new_and_leaves_those_that_are_there(
        shipped, written, tmp_path):
    first = written("mine", "a-seed0", value=0.1 + 0.2)
    assert collect(tmp_path / "results", shipped) == [first]
    old = (shipped / "mine.jsonl").read_text()
    second = written("third/mine", "a-seed0", value=2)
    third = written("other", "b-seed0", dataset="other", value=3)
    assert collect(tmp_path / "results", shipped) == [third, second]
    assert sorted(path.name for path in shipped.iterdir()) == ["mine.jsonl", "other.jsonl"]
    assert (shipped / "mine.jsonl").read_text().startswith(old)
    assert s3.load_results("mine") == {"a": [{"dataset": "mine", "value": 0.1 + 0.2}]}
    before = everything(tmp_path)
    assert collect(tmp_path / "results", shipped) == [] and everything(tmp_path) == before


def test_collect_refuses_another_run_of_a_name_unless_it_is_to_replace_it(
        shipped, written, tmp_path):
    ranks = {"full": np.array([1], np.uint16), "sampled": np.array([2], np.uint8)}
    written("mine", "a-seed0", ranks, value=1)
    collect(tmp_path / "results", shipped)
    path = written("mine", "a-seed0", {"full": ranks["sampled"], "sampled": ranks["full"]}, value=2)
    before = everything(shipped)
    with pytest.raises(ValueError, match=r"another run a-seed0 of mine than .*/a-seed0\.json"):
        collect(tmp_path / "results", shipped)
    assert everything(shipped) == before
    assert collect(tmp_path / "results", shipped, overwrite=True) == [path]
    assert s3.load_results("mine") == {"a": [{"dataset": "mine", "value": 2}]}
    assert load_ranks("mine")["a"][0]["full"] == [2]


def test_collect_leaves_what_is_no_results_file_and_a_full_disk_harms_nothing(
        shipped, written, tmp_path):
    written("mine", "a-seed0", value=list(range(100)))
    collect(tmp_path / "results", shipped)
    before = everything(shipped)
    path = written("mine", "b-seed0", value=list(range(100)))
    with full_disk(room=500), pytest.raises(OSError, match=r"cannot write .*mine\.jsonl"):
        collect(tmp_path / "results", shipped)
    assert everything(shipped) == before
    for text in (b"{", b"[]", b'{"growth": 1}', b"", b"null", b"7", b'"dataset"', b"\xff",
                 b'{"dataset": 5}'):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=r"b-seed0\.json is no results file: move it away"):
            collect(tmp_path / "results", shipped)
    with pytest.raises(ValueError, match="no results file below"):
        collect(tmp_path / "nowhere", shipped)
    assert everything(shipped) == before


@pytest.mark.parametrize("line", [
    "{", "[]", "null", '{"dataset": "mine"}', "<<<<<<< HEAD", "\x00"])
def test_a_file_of_results_with_a_line_that_is_no_run_is_named(shipped, written, tmp_path, line):
    written("mine", "a-seed0", value=1)
    collect(tmp_path / "results", shipped)
    with (shipped / "mine.jsonl").open("a") as file:
        file.write(f"{line}\n")
    before = everything(shipped)
    for read in (lambda: collect(tmp_path / "results", shipped), lambda: s3.load_results("mine")):
        with pytest.raises(ValueError, match=r"mine\.jsonl is no file of results, or it is dam"):
            read()
    assert everything(shipped) == before


def test_the_runs_that_ship_collected_once_more_are_the_same_files(tmp_path):
    for (folder, name), run in RUNS.items():
        path = tmp_path / "results" / folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run))
    for dataset in ("LastFM", "movielens-small"):  # the others from nothing
        (tmp_path / "shipped").mkdir(exist_ok=True)
        shutil.copy(RESULTS / f"{dataset}.jsonl", tmp_path / "shipped")
    collect(tmp_path / "results", tmp_path / "shipped")
    for path in FILES:
        assert (tmp_path / "shipped" / path.name).read_bytes() == path.read_bytes()


def test_ranks_come_by_kind_and_seed_as_they_were_measured(shipped, written, tmp_path):
    small, large = np.array([1, 100, 255]), np.array([1, 65535, 70000])
    stored = {"full": large.astype(np.uint32), "sampled": small.astype(np.uint8)}
    for seed in (10, 2):
        written("mine", f"a-seed{seed}", stored, seed=seed)
    written("mine", "b-seed0", value=2)  # a run of an older edition has none
    collect(tmp_path / "results", shipped)
    loaded = load_ranks("mine")
    assert loaded.keys() == {"a"} and len(loaded["a"]) == 2
    for protocol, ranks in (("full", large), ("sampled", small)):
        assert (loaded["a"][0][protocol] == ranks).all()
        # In so few bits NumPy would take logarithms of half their digits.
        assert s3.metrics_from_ranks(loaded["a"][1][protocol]) == s3.metrics_from_ranks(ranks)
    with pytest.raises(ValueError, match="no ranks are kept in 'yours'"):
        load_ranks("yours")


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_ranks_that_are_kept_give_the_metrics_of_their_run(folder):
    kept = sorted((RESULTS / "ranks" / folder).glob("*.npz"))
    if not kept:
        with pytest.raises(ValueError, match="no ranks are kept"):
            load_ranks(folder)
    for kind, runs in (load_ranks(folder) if kept else {}).items():
        names = [path.stem for path in kept if path.stem.rpartition("-seed")[0] == kind]
        for name, ranks in zip(names, runs, strict=True):
            for protocol in PROTOCOLS:
                metrics = RUNS[folder, name][protocol]["metrics"]
                assert s3.metrics_from_ranks(ranks[protocol]) == pytest.approx(metrics, rel=1e-12)


def test_lastfm_lands_near_the_authors_own_rerun():
    """Pointwise loss, the authors' 99 negatives, 1,090 users: a standard error of about 0.01."""
    authors = pd.read_csv(RESULTS / "authors_rerun.csv").set_index("dataset").loc["LastFM"]
    for start, theirs in {"scratch": authors["SASRec"], "pretrained": authors["S3-Rec"],
                          "LastFM-epochs-150": authors["S3-Rec"]}.items():
        runs = [r for r in read("LastFM", start=start) if r["finetuning"]["loss"] == "pointwise"]
        assert {run["negatives"] for run in runs} == {"LastFM_sample.txt, sha256 60194cc2e4fd"}
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
    recorded = RUNS[dataset, f"{start}-pointwise-seed0"]
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
    recorded = RUNS["movielens-small", "pretrained-pairwise-seed0"][protocol]["metrics"]
    measured = s3.evaluate(model, data, "test", protocol)
    assert measured == pytest.approx(recorded, abs=2e-3)  # a rank or two may round otherwise


def test_every_shipped_weight_is_small_finite_and_has_a_model_card():
    files = sorted(DATA.glob("*.safetensors"))
    assert files
    for path in files:
        assert path.stat().st_size < 4e6
        card = path.with_suffix(".md").read_text()
        assert "s3rec reproduce" in card and "**Licence.**" in card
        model = s3.load_model(path.stem)
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    with pytest.raises(ValueError, match="movielens-small"):
        s3.load_model("no such weights")


NAMES = {"Beauty": "Beauty", "Sports_and_Outdoors": "Sports", "Toys_and_Games": "Toys",
         "Yelp": "Yelp", "LastFM": "LastFM", "movielens-small": "MovieLens"}
STARTS = {"scratch": "from scratch (SASRec)", "pretrained": "pretrained",
          **{f"{dataset}-epochs-150": "the authors' weights" for dataset in NAMES}}
ROWS = [(protocol, dataset, start) for protocol in PROTOCOLS for dataset in NAMES
        for start in STARTS if read(dataset, start=start)]


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


def test_the_first_pages_picture_and_claims_are_what_the_model_and_the_files_give():
    drawn = (ROOT / "book" / "_tools" / "hero.svg").read_text(encoding="utf8")
    data, model = s3.load_dataset("movielens-small"), s3.load_model("movielens-small")
    films = data.sequences[582]
    top = s3.recommend(model, data, films[:-1].tolist(), k=5)
    names = [name.rsplit(" (", 1)[0].removesuffix(", The") for name in top["name"]]
    assert re.findall(r'class="name"[^>]*>([^<]*)<', drawn) == names
    widths = np.array([float(w) for w in re.findall(r'x="122" y="\d+" width="(\d+)"', drawn)])
    assert np.allclose(widths / widths[0], top["score"] / top["score"][0], atol=0.01)
    assert data.item_names[films[-1]] == top["name"][0]

    def ndcg(kind):
        return np.mean([run["full"]["metrics"]["NDCG@10"]
                        for run in s3.load_results("Beauty")[kind]])

    by_loss = ndcg("pretrained-softmax") - ndcg("pretrained-pointwise")
    by_pretraining = max(abs(ndcg(f"pretrained-{loss}") - ndcg(f"scratch-{loss}"))
                         for loss in ("pointwise", "softmax"))
    assert by_pretraining < by_loss / 5


def test_runs_on_a_file_are_collected_below_the_folder_that_was_asked(tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    record = {"dataset": str(tmp_path / "shop.csv")}
    (tmp_path / "runs" / "a" / "x-seed0.json").write_text(json.dumps(record))
    collect(tmp_path / "runs", tmp_path / "into")
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["shop.csv.jsonl"]
    assert not (tmp_path / "shop.csv.jsonl").exists()
