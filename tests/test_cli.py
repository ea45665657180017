"""The command line: does what Python does, says where a result comes from, fails in one line."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tomllib
import torch
from conftest import full_disk

import s3rec_mini
from s3rec_mini import (
    FinetuneConfig,
    ModelConfig,
    PretrainConfig,
    S3Rec,
    SequenceDataset,
    cli,
    evaluate,
    finetune,
    official,
    planted_structure,
    pretrain,
    rank_targets,
    recommend,
    training,
)

SIZES = dict(hidden_size=16, num_layers=1, max_length=10)
SMALL = ["--hidden-size", "16", "--num-layers", "1", "--max-length", "10"]


@pytest.fixture
def s3rec(monkeypatch, capsys):
    """Call the command line as a shell would; give its exit code, output and errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["s3rec", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        if isinstance(code, str):  # which the interpreter prints on its way out
            code, err = 1, err + code + "\n"
        return SimpleNamespace(code=code or 0, out=out, err=err)

    return call


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A user's own CSV files: 60 users, films of 8 genres; the dataset they hold; a model."""
    folder = tmp_path_factory.mktemp("own")
    planted, _ = planted_structure(num_users=60, lengths=(18, 20))  # 20 items a group
    frame = pd.DataFrame([(f"u{user:02}", f"film {item}", time)
                          for user, sequence in enumerate(planted.sequences)
                          for time, item in enumerate(sequence)],
                         columns=["user", "item", "timestamp"])
    genres = pd.DataFrame([(f"film {item}", f"genre {(item - 1) // 20}")
                           for item in range(1, 161)], columns=["item", "genre"])
    genres = genres[genres["item"].isin(frame["item"])]
    frame.to_csv(folder / "films.csv", index=False)
    genres.to_csv(folder / "genres.csv", index=False)
    data = SequenceDataset.from_interactions(frame, time="timestamp", attributes=genres)
    model = S3Rec(ModelConfig.for_dataset(data, **SIZES))
    model.save(folder / "model.safetensors")
    return SimpleNamespace(
        csv=folder / "films.csv", attributes=["--attributes", folder / "genres.csv"], data=data,
        weights=folder / "model.safetensors", model=model.eval())


def same(path, model):
    state = S3Rec.load(path).state_dict()
    return all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def new_model(data, seed, **sizes):
    torch.manual_seed(seed)
    return S3Rec(ModelConfig.for_dataset(data, **sizes))


def check_origin(record, command):
    """Whoever reads a result must be able to make it again."""
    assert record["command"].startswith(f"s3rec {command} ")
    assert len(record["commit"].split()[0]) == 40 or "not a checkout" in record["commit"]
    assert torch.__version__ in record["machine"] and "cores" in record["machine"]


# What each command does


@pytest.mark.parametrize("command", [None, "data", "pretrain", "finetune", "evaluate", "recommend",
                                     "reproduce", "ablate"])
def test_every_command_explains_itself(s3rec, command):
    shown = s3rec(*filter(None, [command]), "--help")
    assert shown.code == 0 and "Usage" in shown.out
    if command:
        assert getattr(cli, command).__doc__.split(".")[0].split(",")[0][:50] in shown.out
    else:
        for name in ("data", "pretrain", "finetune", "evaluate", "recommend", "reproduce",
                     "ablate"):
            assert f" {name} " in shown.out


def test_data_prints_the_counts_and_a_history(s3rec, files):
    shown = s3rec("data", files.csv, *files.attributes)
    assert shown.code == 0
    assert f"60 users, {files.data.num_items} items" in shown.out and "8 attributes" in shown.out
    first = [files.data.item_names[i] for i in files.data.sequences[0][:10]]
    assert " | ".join(first) in shown.out
    assert "671 users, 3,496 items, 90,072 interactions" in s3rec("data", "movielens-small").out


def test_pretrain_writes_the_model_that_python_trains(s3rec, files, tmp_path):
    output, results = tmp_path / "new" / "p.safetensors", tmp_path / "p.json"
    done = s3rec("pretrain", files.csv, *files.attributes, "--epochs", 2, "--batch-size", 40,
                 *SMALL, "--prefixes-per-user", 1, "--weight", "sp=0", "--weight", "aap=0.7",
                 "--form", "mip=infonce", "--dropout", 0.25, "--learning-rate", 0.01,
                 "--mask-probability", 0.4, "--seed", 5, "--checkpoint", tmp_path / "runs",
                 "--output", output, "--results", results)
    assert done.code == 0, done.err
    config = PretrainConfig(2, 40, 0.01, dict(aap=0.7, mip=1.0, map=1.0, sp=0), {"mip": "infonce"},
                            0.4, 1, seed=5)
    model = new_model(files.data, 5, dropout=0.25, **SIZES)
    pretrain(model, files.data, config)
    assert same(output, model)
    assert (tmp_path / "runs" / "pretrain.safetensors").exists()
    record = json.loads(results.read_text())
    check_origin(record, "pretrain")
    assert record["pretraining"]["seed"] == 5 and PretrainConfig(**record["pretraining"]) == config
    assert ModelConfig(**record["model"]) == model.config
    assert done.out == ""


def test_finetune_writes_the_model_that_python_trains(s3rec, files, tmp_path):
    output, results = tmp_path / "f.safetensors", tmp_path / "f.json"
    done = s3rec("finetune", files.csv, *files.attributes, "--weights", files.weights,
                 "--epochs", 2, "--batch-size", 20, "--loss", "softmax", "--patience", 1,
                 "--seed", 3, "--learning-rate", 0.01, "--output", output, "--results", results)
    assert done.code == 0, done.err
    config = FinetuneConfig(2, 1, 20, 0.01, "softmax", seed=3)
    model = S3Rec.load(files.weights)
    finetune(model, files.data, config)
    assert same(output, model)
    record = json.loads(results.read_text())
    check_origin(record, "finetune")
    assert FinetuneConfig(**record["finetuning"]) == config
    assert str(files.weights) in record["command"]


def test_finetune_without_weights_starts_from_a_new_model(s3rec, files, tmp_path):
    done = s3rec("finetune", files.csv, *files.attributes, "--epochs", 1, "--seed", 3,
                 "--output", tmp_path / "f.safetensors")
    assert done.code == 0, done.err
    model = new_model(files.data, 3)
    finetune(model, files.data, FinetuneConfig(1, seed=3))
    assert same(tmp_path / "f.safetensors", model)
    check_origin(json.loads(done.out), "finetune")  # printed, where no file is named


@pytest.mark.parametrize("split", ["test", "validation"])
def test_evaluate_reports_what_python_measures_by_both_protocols(s3rec, files, split):
    done = s3rec("evaluate", files.csv, files.weights, *files.attributes, "--split", split,
                 "--seed", 2)
    record = json.loads(done.out)
    check_origin(record, "evaluate")
    assert record["split"] == split
    for protocol in ("full", "sampled"):
        expected = evaluate(files.model, files.data, split, protocol, seed=2)
        assert record[protocol]["metrics"] == pytest.approx(expected)
        for name, (low, high) in record[protocol]["intervals"].items():
            assert low <= expected[name] <= high


def test_the_record_of_evaluate_names_its_seed_and_its_data(s3rec, files):
    record = json.loads(s3rec("evaluate", files.csv, files.weights, *files.attributes).out)
    assert record["seed"] == 0 and str(files.csv) in str(record["dataset"])


def test_evaluate_takes_the_authors_file_of_negatives(s3rec, files, tmp_path):
    histories, targets = files.data.held_out("test")
    negatives = s3rec_mini.sample_negatives(histories, targets, files.data.num_items, 9, seed=8)
    rows = np.column_stack([np.arange(1, 61), negatives])
    np.savetxt(tmp_path / "sample.txt", rows, fmt="%d")
    done = s3rec("evaluate", files.csv, files.weights, *files.attributes, "--negatives",
                 tmp_path / "sample.txt")
    expected = (1 / rank_targets(files.model, files.data, "test", "sampled", negatives)).mean()
    assert json.loads(done.out)["sampled"]["metrics"]["MRR"] == pytest.approx(expected)


def test_recommend_prints_the_titles_that_python_recommends(s3rec, files):
    item = files.data.item_id("film 7")
    expected = recommend(files.model, files.data, ["film 3", item], k=4)
    done = s3rec("recommend", files.csv, files.weights, "film 3", item, *files.attributes, "--k", 4)
    lines = done.out.splitlines()[1:]
    assert len(lines) == 4
    for line, row in zip(lines, expected.itertuples(), strict=True):
        assert row.name in line and line.split()[0] == str(row.item)


def test_a_title_that_is_a_number_is_read_as_a_title(s3rec, files, monkeypatch):
    names = [*files.data.item_names[:3], "300", *files.data.item_names[4:]]  # there is no item 300
    data = replace(files.data, item_names=tuple(names))
    monkeypatch.setattr(cli, "load_dataset", lambda name: data)
    done = s3rec("recommend", "any", files.weights, "300", "--k", 1)
    assert recommend(files.model, data, [3], k=1)["name"][0] in done.out


def test_a_csv_may_hold_dates_and_what_is_no_date_is_named(s3rec, files, tmp_path):
    frame = pd.read_csv(files.csv)
    start = pd.Timestamp("2024-02-27T23:59")
    dates = start + pd.to_timedelta(frame["timestamp"], unit="h")
    frame.assign(timestamp=dates.astype(str)).to_csv(tmp_path / "dates.csv", index=False)
    shown, expected = s3rec("data", tmp_path / "dates.csv"), s3rec("data", files.csv)
    assert shown.code == 0 and shown.out.splitlines()[1] == expected.out.splitlines()[1]
    frame.assign(timestamp="yesterday or so").to_csv(tmp_path / "dates.csv", index=False)
    refused = s3rec("data", tmp_path / "dates.csv")
    assert refused.code == 1 and "yesterday or so" in refused.err


def test_finetuning_stops_by_the_protocol_it_is_told(s3rec, files, tmp_path):
    for protocol in ("sampled", "full"):
        done = s3rec("finetune", files.csv, *files.attributes, "--weights", files.weights,
                     "--epochs", 1, "--output", tmp_path / "model", "--validation-protocol",
                     protocol, "--results", tmp_path / "results.json")
        assert done.code == 0, done.err
        record = json.loads((tmp_path / "results.json").read_text())
        model = S3Rec.load(tmp_path / "model")
        measured = evaluate(model, files.data, "validation", protocol)
        assert record["finetuning"]["validation_protocol"] == protocol
        assert record["history"]["validation.MRR"] == [pytest.approx(measured["MRR"], abs=1e-4)]


def test_a_csv_without_attributes_trains_once_their_objectives_are_off(s3rec, files, tmp_path):
    short = ["--epochs", 1, "--prefixes-per-user", 1, *SMALL, "--output", tmp_path / "p"]
    refused = s3rec("pretrain", files.csv, *short)
    assert refused.code == 1 and "no attributes" in refused.err
    done = s3rec("pretrain", files.csv, *short, "--weight", "aap=0", "--weight", "map=0")
    assert done.code == 0, done.err
    assert S3Rec.load(tmp_path / "p").config.num_attributes == 0


# Defaults


def test_the_defaults_are_the_papers_settings(s3rec, files, monkeypatch, tmp_path):
    called = []

    def note(model, data, config, *_):
        called.append((model.config, config))
        return []

    monkeypatch.setattr(cli, "pretrain_model", note)
    monkeypatch.setattr(cli, "finetune_model", note)
    for command in ("pretrain", "finetune"):
        done = s3rec(command, files.csv, *files.attributes, "--output", tmp_path / "model")
        assert done.code == 0, done.err
    for sizes, _ in called:
        assert (sizes.hidden_size, sizes.num_layers, sizes.num_heads) == (64, 2, 2)
        assert (sizes.max_length, sizes.dropout) == (50, 0.5)
    pretraining, finetuning = called[0][1], called[1][1]
    assert (pretraining.batch_size, pretraining.epochs, pretraining.learning_rate) == (
        200, 100, 1e-3)
    assert pretraining.weights == dict(aap=0.2, mip=1.0, map=1.0, sp=0.5)
    assert pretraining.mask_probability == 0.2 and pretraining.prefixes_per_user is None
    assert (finetuning.batch_size, finetuning.patience, finetuning.learning_rate) == (256, 10, 1e-3)
    assert finetuning.loss == "pairwise" and finetuning.validation_protocol == "sampled"
    # Nothing that leaks unless it is asked for, in Python.
    assert not pretraining.held_out_segments and not finetuning.held_out_negatives


# Reproduction


@pytest.fixture
def reproduce(s3rec, files, monkeypatch, tmp_path):
    """`s3rec reproduce` of a small dataset, two finetuning epochs a run, into tmp_path."""
    monkeypatch.setattr(cli, "load_dataset", {"small": files.data}.__getitem__)

    def call(*options):
        done = s3rec("reproduce", "small", "--pretraining-epochs", 1, "--prefixes-per-user", 1,
                     "--epochs", 2, "--folder", tmp_path / "results",
                     "--runs", tmp_path / "runs", *options)
        assert done.code == 0, done.err
        return {p.stem: p for p in (tmp_path / "results" / "small").iterdir()}

    return call


def test_reproduce_measures_both_starts_and_runs_nothing_twice(reproduce, files, monkeypatch,
                                                               tmp_path):
    written = reproduce("--seeds", 2)
    assert sorted(written) == ["pretrained-pairwise-seed0", "pretrained-pairwise-seed1",
                               "scratch-pairwise-seed0", "scratch-pairwise-seed1"]
    records = {name: json.loads(path.read_text()) for name, path in written.items()}
    for name, record in records.items():
        check_origin(record, "reproduce")
        assert record["dataset"] == "small" and name.startswith(record["start"])
        assert record["finetuning"]["seed"] == int(name[-1])
        assert ("pretraining" in record) == name.startswith("pretrained")
        assert record["full"]["metrics"].keys() == record["sampled"]["intervals"].keys()
        for stage in {"pretraining", "finetuning"} & record.keys():
            history, cost = record[f"{stage}_history"], record[f"{stage}_cost"]
            assert cost["sequences"] == sum(history["sequences"]) == 60 * len(history["epoch"])
            assert cost["cpu_seconds"] == pytest.approx(sum(history["cpu_seconds"]), abs=0.1)
    # One pretraining run serves both seeds. What is measured is what Python trains.
    model, config = new_model(files.data, 0), PretrainConfig(epochs=1, prefixes_per_user=1)
    assert PretrainConfig(**records["pretrained-pairwise-seed1"]["pretraining"]) == config
    pretrain(model, files.data, config)
    kept = S3Rec.load(tmp_path / "runs/small/pretraining-seed0/model.safetensors").state_dict()
    for name, value in model.state_dict().items():
        assert kept[name].equal(value.half().float())
    finetune(model, files.data, FinetuneConfig(epochs=2, seed=1))
    expected = evaluate(model, files.data)  # in float32; the model is kept in float16
    assert records["pretrained-pairwise-seed1"]["full"]["metrics"]["MRR"] == pytest.approx(
        expected["MRR"], abs=0.02)
    full = {name: record["full"] for name, record in records.items()}
    assert full["scratch-pairwise-seed0"] != full["pretrained-pairwise-seed0"]

    before = {name: path.read_bytes() for name, path in written.items()}
    with monkeypatch.context() as patch:
        patch.setattr(cli, "pretrain_model", None)
        patch.setattr(cli, "finetune_model", None)
        assert reproduce("--seeds", 2).keys() == written.keys()
    # A lost results file is measured again, from its checkpoint: whoever trains fails.
    written["pretrained-pairwise-seed1"].unlink()
    monkeypatch.setattr(training, "pretraining_batches", None)
    monkeypatch.setattr(training, "finetuning_batches", None)
    reproduce("--seeds", 2)
    after = {name: path.read_bytes() for name, path in written.items()}
    assert after == before


KILLED = """
import os, signal, sys
from s3rec_mini import cli, planted_structure, training

cli.load_dataset = lambda name: planted_structure(num_users=60, lengths=(18, 20))[0]
left, save = int(sys.argv.pop(1)), training._Checkpoint.save

def save_and_die(*arguments):
    global left
    save(*arguments)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

training._Checkpoint.save = save_and_die
cli.main()
"""


@pytest.mark.slow
def test_a_reproduction_killed_again_and_again_ends_with_the_numbers_of_an_unbroken_one(tmp_path):
    def run(name, saves):
        folder = str(tmp_path / name)
        return in_a_process(KILLED, str(saves), "reproduce", "planted", "--seeds", "1",
                            "--pretraining-epochs", "2", "--epochs", "2",
                            "--folder", folder, "--runs", f"{folder}/runs")

    def numbers(name):
        records = {path.stem: json.loads(path.read_text())
                   for path in (tmp_path / name / "planted").iterdir()}
        for record in records.values():
            for stage in ("pretraining", "finetuning"):
                for taken in ("seconds", "cpu_seconds"):
                    record.get(f"{stage}_cost", {}).pop(taken, None)
                    record.get(f"{stage}_history", {}).pop(taken, None)
            del record["command"]
        return records

    assert run("whole", 0).returncode == 0
    for _ in range(3):  # within and at the end of scratch's finetuning, and within pretraining
        assert run("broken", 1).returncode == -signal.SIGKILL
    assert run("broken", 0).returncode == 0
    assert len(numbers("whole")) == 2 and numbers("broken") == numbers("whole")


def test_reproduce_finetunes_the_authors_weights_if_it_is_given_them(reproduce, files, tmp_path):
    official.export_checkpoint(new_model(files.data, 4), tmp_path / "theirs.pt")
    written = reproduce("--seeds", 1, "--weights", tmp_path / "theirs.pt", "--loss", "pointwise")
    assert sorted(written) == ["scratch-pointwise-seed0", "theirs-pointwise-seed0"]
    record = json.loads(written["theirs-pointwise-seed0"].read_text())
    assert record["start"] == "theirs" and record["finetuning"]["loss"] == "pointwise"
    assert "pretraining" not in record


def test_reproduce_pretrains_in_another_form_beside_the_released_one(reproduce, files, tmp_path):
    reproduce("--seeds", 1)
    written = reproduce("--seeds", 1, "--form", "infonce")
    assert sorted(written) == ["pretrained-infonce-pairwise-seed0", "pretrained-pairwise-seed0",
                               "scratch-pairwise-seed0"]
    record = json.loads(written["pretrained-infonce-pairwise-seed0"].read_text())
    assert record["start"] == "pretrained-infonce"
    assert set(record["pretraining"]["forms"].values()) == {"infonce"}
    runs = tmp_path / "runs" / "small"
    for folder, forms in (("pretraining-seed0", {}),
                          ("pretraining-infonce-seed0", record["pretraining"]["forms"])):
        model = new_model(files.data, 0)
        pretrain(model, files.data, PretrainConfig(epochs=1, prefixes_per_user=1, forms=forms))
        kept = S3Rec.load(runs / folder / "model.safetensors").state_dict()
        assert all(kept[name].equal(value.half().float())
                   for name, value in model.state_dict().items())


def test_reproduce_refuses_an_unknown_form_before_it_trains(s3rec, tmp_path):
    refused = s3rec("reproduce", "small", "--form", "printed", "--folder", tmp_path / "results")
    assert refused.code == 1 and "'printed'" in refused.err
    assert not list(tmp_path.iterdir())


def test_reproduce_takes_the_authors_negatives_from_a_folder(reproduce, files, tmp_path):
    negatives = s3rec_mini.sample_negatives(*files.data.held_out("test"), files.data.num_items, 9)
    rows = np.column_stack([np.arange(1, 61), negatives])
    np.savetxt(tmp_path / "small_sample.txt", rows, fmt="%d")
    written = reproduce("--seeds", 1, "--negatives", tmp_path)
    record = json.loads(written["scratch-pairwise-seed0"].read_text())
    assert record["negatives"] == "small_sample.txt"
    assert record["sampled"]["metrics"]["HR@10"] == 1  # one of ten candidates
    again = reproduce("--seeds", 1, "--loss", "softmax", "--negatives",
                      tmp_path / "small_sample.txt")
    assert json.loads(again["scratch-softmax-seed0"].read_text())["negatives"] == "small_sample.txt"
    drawn = reproduce("--seeds", 2, "--negatives", tmp_path / "results")  # no such file there
    record = json.loads(drawn["scratch-pairwise-seed1"].read_text())
    assert record["negatives"] == "99 drawn, seed 0" and record["sampled"]["metrics"]["HR@10"] < 1


def test_a_smoke_run_tries_everything_apart_from_the_results(reproduce, monkeypatch, tmp_path):
    large, _ = planted_structure(250, lengths=(5, 12))
    monkeypatch.setattr(cli, "load_dataset", {"small": large}.__getitem__)
    (tmp_path / "results" / "small").mkdir(parents=True)
    for _ in range(2):  # the second begins anew
        assert not reproduce("--smoke", "--seeds", 3, "--pretraining-seeds", 3)
        written = {path.stem: json.loads(path.read_text())
                   for path in (tmp_path / "runs" / "smoke" / "results" / "small").iterdir()}
        assert written.keys() == {"pretrained-pairwise-seed0", "scratch-pairwise-seed0"}
    for record in written.values():
        assert record["finetuning_cost"]["sequences"] == 200
        assert record["full"]["metrics"].keys() == record["sampled"]["intervals"].keys()
    assert written["pretrained-pairwise-seed0"]["pretraining"]["epochs"] == 1


def ablation(s3rec, tmp_path, *variations):
    options = [text for name in variations for text in ("--variation", name)]
    done = s3rec("ablate", "small", *options, "--seeds", 1, "--pretraining-epochs", 2,
                 "--pretraining-batch-size", 30, "--folder", tmp_path / "results",
                 "--runs", tmp_path / "runs")
    assert done.code == 0, done.err
    return {p.stem.removesuffix("-seed0"): json.loads(p.read_text())
            for p in (tmp_path / "results" / "small" / "ablations").iterdir()}


def test_ablate_changes_what_the_variation_says_and_nothing_else(
        s3rec, monkeypatch, tmp_path):
    small, _ = planted_structure(60, num_groups=6, items_per_group=25, lengths=(5, 12))
    monkeypatch.setattr(cli, "load_dataset", {"small": small}.__getitem__)
    monkeypatch.setattr(cli, "FinetuneConfig", partial(FinetuneConfig, epochs=2, batch_size=20))
    changed = {
        "all-released": {}, "without-sp": {"weights": dict(aap=0.2, mip=1.0, map=1.0, sp=0.0)},
        "only-sp": {"weights": dict(sp=0.5)}, "epochs-10": {"epochs": 10},
        "all-infonce": {"forms": dict.fromkeys(("aap", "mip", "map", "sp"), "infonce")},
        "data-40": {"batch_size": 12}, "scratch-data-40": None, "scratch": None,
    }
    records = ablation(s3rec, tmp_path, *changed)
    assert records.keys() == changed.keys()
    whole = PretrainConfig(epochs=2, batch_size=30)
    for name, record in records.items():
        check_origin(record, "ablate")
        part = "data-40" in name
        assert record["variation"] == name
        assert record["users"] == (24 if part else 60)
        assert record["finetuning"]["batch_size"] == (8 if part else 20)
        assert record["full"]["metrics"].keys() == record["sampled"]["intervals"].keys()
        assert record["probes"].keys() == {"pretrained", "finetuned"}
        if changed[name] is None:
            assert "pretraining" not in record
        else:
            assert PretrainConfig(**record["pretraining"]) == replace(whole, **changed[name])
    assert len({record["sampled"]["metrics"]["MRR"] for record in records.values()}) > 4

    # What is measured is what Python trains, on the first 24 users of an order drawn by the seed.
    order = np.random.default_rng([0, 7]).permutation(60)
    part, model = small.subset(np.sort(order[:24])), new_model(small, 0)
    finetune(model, part, FinetuneConfig(epochs=2, batch_size=8))
    expected = evaluate(model, small)
    assert records["scratch-data-40"]["full"]["metrics"]["MRR"] == pytest.approx(
        expected["MRR"], abs=0.02)

    monkeypatch.setattr(cli, "finetune_model", None)  # nothing is run twice
    assert ablation(s3rec, tmp_path, *changed) == records


def test_a_results_file_of_other_settings_is_refused_and_kept(reproduce, s3rec, tmp_path):
    path = reproduce("--seeds", 1)["scratch-pairwise-seed0"]
    before = path.read_bytes()
    again = ["reproduce", "small", "--folder", tmp_path / "results", "--runs", tmp_path / "runs",
             "--pretraining-epochs", 1, "--epochs", 2, "--seeds", 1]
    refused = s3rec(*again, "--prefixes-per-user", 1, "--patience", 3)
    assert refused.code == 1 and "finetuning differs in patience (10, not 3)" in refused.err
    refused = s3rec(*again)
    assert refused.code == 1 and "pretraining differs in prefixes_per_user (1, not" in refused.err
    path.write_text("{")
    refused = s3rec(*again)
    assert refused.code == 1 and "is no results file" in refused.err
    assert path.read_text() == "{"
    path.write_bytes(before)
    assert "not run again" in s3rec(*again, "--prefixes-per-user", 1).err


def test_a_results_file_is_the_old_one_or_a_whole_new_one(s3rec, files, tmp_path):
    path = tmp_path / "r.json"
    evaluated = ["evaluate", files.csv, files.weights, *files.attributes, "--results", path]
    with full_disk(room=300):
        failed = s3rec(*evaluated)
    assert failed.code == 1 and "cannot write" in failed.err and not list(tmp_path.iterdir())
    path.write_text("old")
    with full_disk(room=300):
        assert s3rec(*evaluated).code == 1
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    assert s3rec(*evaluated).code == 0
    assert json.loads(path.read_text())["full"]


def test_an_output_that_cannot_be_written_is_found_out_before_training(s3rec, files, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for option in ("--output", "--results"):
        failed = s3rec("pretrain", files.csv, *files.attributes, "--epochs", 10**9,
                       option, tmp_path / "file" / "x")
        assert failed.code == 1 and "file" in failed.err and "Traceback" not in failed.err


# Bad input


@pytest.mark.parametrize("command, complaint", [
    ("data Beautee", "no dataset 'Beautee'.*Did you mean 'Beauty'"),
    ("data none.csv", "none.csv"),
    ("data empty.csv", "No columns"),
    ("data noitem.csv", "no column 'item'"),
    ("data text.csv", "timestamp.*neither numbers nor dates.*yesterday"),
    ("data CSV --attributes none.csv", "none.csv"),
    ("data CSV --attributes noitem.csv", "attributes have no column 'item'"),
    ("pretrain CSV --weight aap", "NAME=VALUE"),
    ("pretrain CSV --weight aap=much", "much"),
    ("pretrain CSV --weight nsp=1", "nsp"),
    ("pretrain CSV --form mip=printed", "printed"),
    ("pretrain CSV --epochs 0", "epochs"),
    ("pretrain CSV --hidden-size 15", "hidden_size 15 must be a multiple"),
    ("pretrain CSV --dropout 1", "dropout"),
    ("finetune CSV --weights none.safetensors", "none.safetensors"),
    ("finetune CSV --weights noitem.csv", "noitem.csv is not a safetensors file"),
    ("finetune CSV --weights MODEL --loss listwise", "listwise"),
    ("finetune CSV --weights MODEL --negatives none.txt", "no file none.txt"),
    ("finetune movielens-small --weights MODEL --epochs 1", "num_items.*movielens-small has 3496"),
    ("evaluate CSV none.safetensors", "none.safetensors"),
    ("evaluate CSV MODEL --split train", '"validation" or "test"'),
    ("evaluate CSV MODEL --results noitem.csv/r.json", "cannot write noitem.csv/r.json"),
    ("recommend CSV MODEL Titanic", "no item of .* is called 'Titanic'"),
    ("recommend CSV MODEL 99999", "99999"),
    ("recommend CSV MODEL film-3 --k 0", "film-3.*did you mean 'film 3'"),
    ("reproduce Beautee", "no dataset 'Beautee'"),
    ("ablate movielens-small --variation without-sleep", "no variation without-sleep: choose from"),
])
def test_bad_input_is_one_line_that_says_what_is_wrong(
        s3rec, files, tmp_path, monkeypatch, command, complaint):
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").write_text("")
    Path("noitem.csv").write_text("user,film,timestamp\n1,2,3\n")
    Path("text.csv").write_text("user,item,timestamp\n1,2,yesterday\n")
    before = sorted(tmp_path.iterdir())
    named = {"CSV": [files.csv] if "--attributes" in command else [files.csv, *files.attributes],
             "MODEL": [files.weights]}
    failed = s3rec(*(part for word in command.split() for part in named.get(word, [word])))
    assert failed.code == 1 and failed.out == ""
    assert failed.err.startswith("s3rec: ") and failed.err.count("\n") == 1
    assert re.search(complaint, failed.err)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [["fly"], ["pretrain"], ["data", "LastFM", "--speed", "9"],
                                       ["pretrain", "LastFM", "--epochs", "many"],
                                       ["finetune", "LastFM", "--seed", "-1"]])
def test_words_that_are_no_command_or_option_are_refused_with_the_usage(s3rec, arguments):
    refused = s3rec(*arguments)
    assert refused.code == 2 and refused.out == "" and "Usage" in refused.err


def in_a_process(code, *arguments):
    root = str(Path(s3rec_mini.__file__).parents[1])
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"})


def test_a_process_ends_with_one_line_on_stderr_and_no_traceback():
    failed = in_a_process("from s3rec_mini.cli import main; main()", "data", "none.csv")
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr.startswith("s3rec: ") and failed.stderr.count("\n") == 1


def test_the_command_that_is_installed_ends_that_way_too():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    module, function = project["project"]["scripts"]["s3rec"].split(":")
    failed = in_a_process(f"from {module} import {function}; {function}()", "data", "none.csv")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
