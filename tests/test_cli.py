"""The command line: does what Python does, says where a result comes from, fails in one line."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields, replace
from importlib import util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from conftest import (
    LAYOUTS,
    ROOT,
    export_checkpoint,
    full_disk,
    make_model,
    movielens_layouts,
)

import s3rec_mini
from s3rec_mini import (
    FinetuneConfig,
    ModelConfig,
    PretrainConfig,
    S3Rec,
    SequenceDataset,
    evaluate,
    finetune,
    movielens_interactions,
    planted_structure,
    pretrain,
    rank_targets,
    recommend,
    training,
)
from s3rec_mini.tools import cli, experiments, sources
from s3rec_mini.tools.readers import Reading
from s3rec_mini.tools.settings import Settings, setting

COMMANDS = ["data", "pretrain", "finetune", "evaluate", "recommend", "reproduce", "collect"]
SIZES = dict(hidden_size=16, num_layers=1, max_length=10)
SMALL = ["--hidden-size", "16", "--num-layers", "1", "--max-length", "10"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Leave torch's threads as they are: a user who has set OMP_NUM_THREADS has chosen."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def s3rec(monkeypatch, capsys):
    """Call the command line as a shell would; give its exit code, output and errors."""

    def call(*arguments, main=cli.main):
        monkeypatch.setattr(sys, "argv", ["s3rec", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
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
    model.save(folder / "model.safetensors", data=data)
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


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_command_explains_itself(s3rec, command):
    shown = s3rec(*filter(None, [command]), "--help")
    assert shown.code == 0 and "Usage" in shown.out
    if command:
        assert getattr(cli, command).__doc__.split(".")[0].split(",")[0][:50] in shown.out
    else:
        for name in COMMANDS:
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


def test_a_title_that_is_a_number_is_read_as_a_title(s3rec, files, monkeypatch, tmp_path):
    names = [*files.data.item_names[:3], "300", *files.data.item_names[4:]]  # there is no item 300
    data = replace(files.data, item_names=tuple(names))
    monkeypatch.setattr(cli, "open_dataset", lambda *_: data)
    files.model.save(tmp_path / "model", data=data)
    done = s3rec("recommend", "any", tmp_path / "model", "300", "--k", 1)
    assert recommend(files.model, data, [3], k=1)["name"][0] in done.out


def test_items_may_begin_with_a_dash_and_what_is_neither_item_nor_option_is_named(s3rec, tmp_path):
    frame = pd.DataFrame([(user, f"-{(user + step) % 20 + 1}", step)
                          for user in range(40) for step in range(6)],
                         columns=["user", "item", "timestamp"])
    frame.to_csv(tmp_path / "shop.csv", index=False)
    data = SequenceDataset.from_interactions(frame, time="timestamp")
    new_model(data, 0).save(tmp_path / "m", data=data)
    plain, behind = (s3rec("recommend", tmp_path / "shop.csv", tmp_path / "m", "--k", 2, *dashes,
                           "-7", "-12") for dashes in ([], ["--"]))
    assert plain.code == 0 and plain.out == behind.out
    refused = s3rec("recommend", tmp_path / "shop.csv", tmp_path / "m", "-7", "--kk", 3)
    assert refused.code == 1 and "no option --kk" in refused.err and "a lone --" in refused.err


def test_where_somebody_has_seen_nearly_all_the_full_ranking_is_printed_alone(s3rec, tmp_path):
    """The one who is named is named as the file does, and a smaller number of negatives helps."""
    rows = [(f"u{user}", f"i{(user + step) % 40}", step) for user in range(40) for step in range(8)]
    rows += [("giant", f"i{step}", step) for step in range(35)]
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    frame.to_csv(tmp_path / "shop.csv", index=False)
    data = SequenceDataset.from_interactions(frame, time="timestamp")
    new_model(data, 0).save(tmp_path / "m", data=data)
    place = ["evaluate", tmp_path / "shop.csv", tmp_path / "m"]
    done = s3rec(*place, "--negatives", 10)
    record = json.loads(done.out)
    assert record["full"]["metrics"] == evaluate(S3Rec.load(tmp_path / "m"), data)
    assert "sampled" not in record and done.code == 0
    assert re.search(r"all items only: user 'giant' has only 5 unseen items, 10 .*--negatives",
                     done.err)
    assert "sampled" in json.loads(s3rec(*place, "--negatives", 5).out)
    assert "sampled" not in json.loads(s3rec(*place).out)
    refused = s3rec("finetune", tmp_path / "shop.csv", "--output", tmp_path / "o")
    assert refused.code == 1 and "--validation-protocol full" in refused.err
    assert "'" not in refused.err.partition("--validation")[2]
    done = s3rec("finetune", tmp_path / "shop.csv", "--output", tmp_path / "o", "--epochs", 1,
                 "--negatives", 5)
    assert done.code == 0


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
    assert ("some with --attributes, or both the weight 0 (on the command line, "
            "--weight aap=0 --weight map=0)") in refused.err
    done = s3rec("pretrain", files.csv, *short, "--weight", "aap=0", "--weight", "map=0")
    assert done.code == 0, done.err
    assert S3Rec.load(tmp_path / "p").config.num_attributes == 0


def test_data_reports_the_attributes_that_came_in(s3rec, files):
    shown = s3rec("data", files.csv, *files.attributes)
    *_, genres, bare = shown.out.splitlines()
    counts = files.data.item_attributes.sum(0).tolist()
    assert genres.startswith("genre: 8 values, genre ") and f"({max(counts)})" in genres
    assert bare == f"0 of {files.data.num_items} items have no attribute" and not shown.err


@pytest.mark.parametrize("layout", LAYOUTS)
def test_five_commands_lead_from_a_public_file_to_recommendations(s3rec, tmp_path, layout):
    frame = movielens_interactions().query("userId <= 150")
    frame = frame[frame.groupby("userId")["movieId"].transform("size") < 100]
    (interactions, attributes), reading = movielens_layouts(tmp_path, frame)[layout]
    options = ["--attributes", attributes] if attributes else []
    for name, value in asdict(reading).items():
        if value != getattr(Reading(), name):
            options += [f"--{name.replace('_', '-')}", value]
    pretraining = [] if attributes else ["--weight", "aap=0", "--weight", "map=0"]
    short = [*options, "--epochs", 1, "--min-items", 2]
    model, tuned = tmp_path / "pretrained", tmp_path / "finetuned"
    shown = s3rec("data", interactions, *options)
    item = re.search(r"^user .*?: (\w+) ", shown.out, re.MULTILINE)[1]
    commands = [
        ("pretrain", interactions, *short, *SMALL, *pretraining, "--prefixes-per-user", 1,
         "--output", model),
        ("finetune", interactions, *short, "--weights", model, "--output", tuned),
        ("evaluate", interactions, tuned, *options, "--min-items", 2),
        ("recommend", interactions, tuned, *options, "--min-items", 2, "--k", 3, item)]
    for command in commands:
        done = s3rec(*command)
        assert done.code == 0, done.err
        assert all(line.startswith("s3rec: ") for line in done.err.splitlines()
                   if interactions in line or "field" in line)
    assert len(done.out.splitlines()) == 4
    known = {str(film) for film in frame["movieId"]} - {item}
    assert {line.split()[1] for line in done.out.splitlines()[1:]} < known


# Options

FILES = ("attributes user item time time-format separator encoding min-count fields list-separator "
         "min-items ")
OPTIONS = {  # whoever has typed one of these shall go on doing so
    "data": FILES,
    "pretrain": FILES + "output epochs batch-size learning-rate mask-probability "
                "prefixes-per-user weight form hidden-size num-layers num-heads max-length dropout "
                "seed checkpoint results",
    "finetune": FILES + "weights output epochs patience batch-size learning-rate loss "
                "validation-protocol negatives seed checkpoint results",
    "evaluate": FILES + "split negatives seed results",
    "recommend": FILES + "k",
    "reproduce": "seeds pretraining-seeds pretraining-epochs pretraining-batch-size "
                 "pretraining-learning-rate prefixes-per-user form weights epochs loss patience "
                 "negatives smoke folder runs",
}


def options_of(command, app=cli.app):
    """Give the options of a command by name, but for --help."""
    parameters = typer.main.get_command(app).commands[command].params
    return {name.removeprefix("--"): each for each in parameters for name in each.opts
            if name.startswith("--")}


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_of_the_first_edition_is_there(command):
    assert set(OPTIONS[command].split()) <= options_of(command).keys()


@pytest.mark.parametrize("command, configs", [
    ("pretrain", [PretrainConfig, ModelConfig]), ("finetune", [FinetuneConfig]),
    ("reproduce", [FinetuneConfig, PretrainConfig, ModelConfig])])
def test_every_field_of_a_config_is_an_option_but_those_that_leak(command, configs):
    options, set_by_the_experiment = options_of(command), {"seed", "weights", "forms"}
    for config in configs:
        for each in fields(config):
            name = (each.metadata["option"] or each.name).replace("_", "-")
            named = {name, f"pretraining-{name}"} & options.keys()
            if "held_out" in each.name or each.name in ("num_items", "num_attributes"):
                assert not named
            elif command in ("pretrain", "finetune") or each.name not in set_by_the_experiment:
                assert any(each.metadata["text"] in options[option].help for option in named)


@dataclass(frozen=True)
class Warmed(PretrainConfig):
    """Settings of pretraining, and a new one."""

    warm_steps: int = setting(7, "Steps until the learning rate is whole.", least=0, below=100)
    shape: str = setting("line", "How it grows.", choices=("line", "root"))


def test_a_field_that_is_added_is_documented_checked_and_an_option(
        s3rec, files, monkeypatch, tmp_path):
    assert "warm_steps : int = 7\n    Steps until the learning rate is whole." in Warmed.__doc__
    assert "At least 0 and below 100." in Warmed.__doc__
    # The very file of the command line, where training has the new config.
    monkeypatch.setattr(training, "PretrainConfig", Warmed)
    spec = util.spec_from_file_location("s3rec_mini.tools.cli_with_more", cli.__file__)
    more = util.module_from_spec(spec)
    spec.loader.exec_module(more)
    for command in ("pretrain", "reproduce"):
        assert options_of(command, more.app)["warm-steps"].default == 7
        assert options_of(command, more.app)["shape"].help == "How it grows."
    pretrained = ["pretrain", files.csv, *files.attributes, *SMALL, "--epochs", 1,
                  "--prefixes-per-user", 1, "--output", tmp_path / "p"]
    refused = s3rec(*pretrained, "--warm-steps", 100, main=more.main)
    assert refused.code == 1 and refused.err == (
        "s3rec: --warm-steps must be a whole number of at least 0 and below 100, not 100\n")
    done = s3rec(*pretrained, "--warm-steps", 3, "--shape", "root", main=more.main)
    assert done.code == 0, done.err
    made = json.loads(done.out)["pretraining"]
    assert (made["warm_steps"], made["shape"], made["batch_size"]) == (3, "root", 200)


def test_the_help_shows_what_a_setting_may_be_and_its_default(s3rec, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    shown = re.sub(r" +", " ", s3rec("pretrain", "--help").out)
    assert "--learning-rate float > 0 Of Adam" in shown and "[default: 0.001]" in shown
    assert "--weight NAME=VALUE" in shown and "aap=0.2 mip=1.0 map=1.0 sp=0.5" in shown
    assert "--dropout float ≥ 0 < 1 " in shown and "--prefixes-per-user int ≥ 1 " in shown
    shown = re.sub(r" +", " ", s3rec("finetune", "--help").out)
    assert "--loss pairwise|pointwise|softmax|sampled_softmax " in shown


def test_a_command_may_take_a_config_of_any_kind_of_setting(capsys):
    @dataclass(frozen=True)
    class Knobs(Settings):
        """Settings of a test."""

        depth: int = setting(text="Without a default.", least=2)
        bold: bool = setting(False, "Off unless it is named.")
        safe: bool = setting(True, "On unless it is denied.")
        hidden: bool = setting(False, "Not on the command line.", option="")
        ratio: float | None = setting(None, "None without it.", above=0)

    @dataclass(frozen=True)
    class Others(Settings):
        """More settings of a test."""

        ratio: float = setting(0.5, "The same name.", above=0)
        taps: dict[str, int] = setting({"a": 1}, "By name.", option="tap")

    app = typer.Typer(add_completion=False)

    @app.callback()
    def several():
        """Have commands with names."""

    @app.command()
    @cli.with_settings(first=("safe",))
    def show(first: Knobs, second: Others):
        print(first, second)

    @app.command()
    @cli.with_settings()
    def switch(first: Knobs):
        print(first.safe)

    def printed(*words):
        app(words, standalone_mode=False)
        return capsys.readouterr().out.strip()

    assert options_of("show", app).keys() == {"bold", "ratio", "second-ratio", "tap", "threads"}
    assert options_of("show", app)["bold"].secondary_opts == []  # no --no-bold
    assert printed("show") == (f"{Knobs(2)} {Others()}")
    assert printed("show", "--bold", "--ratio", "2", "--second-ratio", "3", "--tap", "b=4") == (
        f"{Knobs(2, bold=True, ratio=2.0)} {Others(3.0, {'a': 1, 'b': 4})}")
    assert printed("switch", "--no-safe") == "False"
    with pytest.raises(ValueError, match="--second-ratio must be a number above 0, not -1"):
        printed("show", "--second-ratio", "-1")


# Defaults


def test_the_defaults_are_the_papers_settings(s3rec, files, monkeypatch, tmp_path):
    called = []

    def note(model, data, config, *_):
        called.append((model.config, config))
        return []

    monkeypatch.setattr(training, "pretrain", note)
    monkeypatch.setattr(training, "finetune", note)
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


# Threads


@pytest.fixture
def threads(monkeypatch):
    """What torch was told."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    told = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    return told


@pytest.mark.parametrize("command", ["pretrain", "finetune", "reproduce"])
def test_a_command_that_trains_takes_as_many_threads_as_it_is_told(
        s3rec, monkeypatch, tmp_path, threads, command):
    monkeypatch.setattr(training, "pretrain", lambda *_: [])
    monkeypatch.setattr(training, "finetune", lambda *_: [])
    monkeypatch.setattr(experiments, "reproduce", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    assert s3rec(command, "movielens-small").code == 0 and threads == [3]
    assert s3rec(command, "movielens-small", "--threads", 5).code == 0 and threads == [3, 5]


@pytest.mark.parametrize(("asked", "given"), [(None, "1"), ("2", "2"), ("2,1", "2")])
def test_the_command_takes_one_thread_unless_the_environment_says_otherwise(asked, given):
    environment = {name: each for name, each in os.environ.items() if name != "OMP_NUM_THREADS"}
    code = ("import atexit, sys, s3rec_command; sys.argv[1:] = ['collect', '--folder', 'none'];"
            "atexit.register(lambda: print(sys.modules['torch'].get_num_threads()));"
            "s3rec_command.main()")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
        env=environment | ({"OMP_NUM_THREADS": asked} if asked else {}))
    assert done.returncode == 1 and done.stdout == f"{given}\n"


def test_importing_the_package_leaves_the_threads_alone():
    code = ("import torch; torch.set_num_threads(3); import s3rec_mini, s3rec_mini.tools.cli; "
            "print(torch.get_num_threads())")
    assert in_a_process(code).stdout == "3\n"


# Reproduction


@pytest.fixture
def reproduce(s3rec, files, monkeypatch, tmp_path):
    """`s3rec reproduce` of a small dataset, two finetuning epochs a run, into tmp_path."""
    data = replace(files.data, name="small")
    monkeypatch.setattr(cli, "load_dataset", {"small": data}.__getitem__)

    def call(*options):
        done = s3rec("reproduce", "small", "--pretraining-epochs", 1, "--prefixes-per-user", 1,
                     "--epochs", 2, "--folder", tmp_path / "results",
                     "--runs", tmp_path / "runs", *options)
        assert done.code == 0, done.err
        return {p.stem: p for p in (tmp_path / "results" / "small").glob("*.json")}

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
        patch.setattr(experiments, "pretrain", None)
        patch.setattr(experiments, "finetune", None)
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
from dataclasses import replace
from s3rec_mini import planted_structure, training
from s3rec_mini.tools import cli

planted, _ = planted_structure(num_users=60, lengths=(18, 20))
cli.load_dataset = lambda name: replace(planted, name=name)
left, save = int(sys.argv.pop(1)), training.Checkpoint.save

def save_and_die(*arguments):
    global left
    save(*arguments)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

training.Checkpoint.save = save_and_die
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
                   for path in (tmp_path / name / "planted").glob("*.json")}
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
    export_checkpoint(new_model(files.data, 4), tmp_path / "theirs.pt")
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


def test_reproduce_tells_weights_by_what_is_in_them(reproduce, files, tmp_path):
    sizes = files.data.num_items, files.data.num_attributes
    for name in ("theirs.pt", "scratch.pt"):
        export_checkpoint(make_model(*sizes), tmp_path / name)
    path = reproduce("--seeds", 1, "--weights", tmp_path / "theirs.pt")["theirs-pairwise-seed0"]
    assert json.loads(path.read_text())["weights"].startswith("theirs.pt, sha256 ")
    export_checkpoint(make_model(*sizes, seed=1), tmp_path / "theirs.pt")
    with pytest.raises(AssertionError, match=r"with the weights theirs.pt, sha256 .*, not"):
        reproduce("--seeds", 1, "--weights", tmp_path / "theirs.pt")
    with pytest.raises(AssertionError, match=r"rename .*scratch.pt"):
        reproduce("--seeds", 1, "--weights", tmp_path / "scratch.pt")


def test_names_are_printed_where_the_output_takes_fewer_letters(files):
    rows = [(f"u{user}", f"東京{(user + step) % 9}", step)
            for user in range(12) for step in range(8)]
    path = files.csv.parent / "tokyo.csv"
    pd.DataFrame(rows, columns=["user", "item", "timestamp"]).to_csv(path, index=False)
    done = subprocess.run(
        [sys.executable, "-c", "from s3rec_mini.tools.cli import main; main()", "data", path],
        capture_output=True, cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 0 and rb"\u6771\u4eac1" in done.stdout


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to …")])
def test_a_lack_of_memory_is_one_line(s3rec, files, monkeypatch, error):
    def new_model(*_):
        raise error

    monkeypatch.setattr(experiments, "new_model", new_model)
    failed = s3rec("pretrain", files.csv)
    assert failed.code == 1 and failed.err.splitlines()[-1].startswith("s3rec: this takes more mem")
    monkeypatch.setattr(experiments, "new_model", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):  # nor is a fault of ours hidden
        s3rec("pretrain", files.csv)


@pytest.mark.parametrize("options, complaint", [
    (["--folder", "/dev/null/x"], "cannot write"),
    (["--weights", "no.pt"], "there is no file no.pt"),
    (["--weights", ROOT / "README.md"], "README.md is not a file of plain torch tensors")])
def test_reproduce_says_before_it_trains_what_it_cannot_write_or_read(
        s3rec, files, monkeypatch, tmp_path, options, complaint):
    monkeypatch.setattr(cli, "load_dataset", lambda name: files.data)
    monkeypatch.setattr(experiments, "finetune", None)
    refused = s3rec("reproduce", "small", "--folder", tmp_path / "results", "--runs",
                    tmp_path / "runs", *options)
    assert refused.code == 1 and complaint in refused.err
    assert not list(tmp_path.iterdir())


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
    assert record["negatives"].startswith("small_sample.txt, sha256 ")
    assert record["sampled"]["metrics"]["HR@10"] == 1  # one of ten candidates
    again = reproduce("--seeds", 1, "--loss", "softmax", "--negatives",
                      tmp_path / "small_sample.txt")
    named = json.loads(again["scratch-softmax-seed0"].read_text())["negatives"]
    assert named.startswith("small_sample.txt, sha256 ")
    with pytest.raises(AssertionError, match="with the negatives small_sample"):
        reproduce("--seeds", 1)  # another question than the file there answers
    record["negatives"] = "small_sample.txt"  # as older runs wrote it
    written["scratch-pairwise-seed0"].write_text(json.dumps(record))
    assert reproduce("--seeds", 1, "--negatives", tmp_path)
    np.savetxt(tmp_path / "small_sample.txt", rows[:, :9], fmt="%d")
    with pytest.raises(AssertionError, match=r"with the negatives small_sample.txt, .*, not"):
        reproduce("--seeds", 1, "--loss", "softmax", "--negatives", tmp_path)  # of the same name
    drawn = reproduce("--seeds", 1, "--loss", "pointwise",
                      "--negatives", tmp_path / "results")  # no such file there
    record = json.loads(drawn["scratch-pointwise-seed0"].read_text())
    assert record["negatives"] == "99 drawn, seed 0" and record["sampled"]["metrics"]["HR@10"] < 1


def test_a_smoke_run_tries_everything_apart_from_the_results(reproduce, monkeypatch, tmp_path):
    large = replace(planted_structure(250, lengths=(5, 12))[0], name="small")
    monkeypatch.setattr(cli, "load_dataset", {"small": large}.__getitem__)
    (tmp_path / "results" / "small").mkdir(parents=True)
    for _ in range(2):  # the second begins anew
        assert not reproduce("--smoke", "--seeds", 3, "--pretraining-seeds", 3)
        written = {path.stem: json.loads(path.read_text())
                   for path in (tmp_path / "runs" / "smoke" / "results" / "small").glob("*.json")}
        assert written.keys() == {"pretrained-pairwise-seed0", "scratch-pairwise-seed0"}
    for record in written.values():
        assert record["finetuning_cost"]["sequences"] == 200
        assert record["full"]["metrics"].keys() == record["sampled"]["intervals"].keys()
    assert written["pretrained-pairwise-seed0"]["pretraining"]["epochs"] == 1


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


def test_a_results_file_from_before_a_setting_came_or_went_is_not_refused(
        reproduce, s3rec, tmp_path, monkeypatch):
    path = reproduce("--seeds", 1)["scratch-pairwise-seed0"]
    again = ["reproduce", "small", "--folder", tmp_path / "results", "--runs", tmp_path / "runs",
             "--pretraining-epochs", 1, "--prefixes-per-user", 1, "--epochs", 2, "--seeds", 1]
    record = json.loads(path.read_text())
    del record["finetuning"]["validation_protocol"], record["model"]["dropout"]
    record["finetuning"]["temperature"] = 1.0
    path.write_text(json.dumps(record))
    refused = s3rec(*again)
    assert refused.code == 1 and "finetuning differs in temperature (1.0, not" in refused.err
    monkeypatch.setattr(FinetuneConfig, "retired", {"temperature": 1.0})
    assert s3rec(*again).err.count("not run again") == 2
    refused = s3rec(*again, "--validation-protocol", "full")
    assert refused.code == 1 and "differs in validation_protocol" in refused.err
    refused = s3rec(*again, "--dropout", 0.1)
    assert refused.code == 1 and "model differs in dropout" in refused.err


def test_a_run_keeps_every_users_rank_beside_its_record(reproduce, files):
    path = reproduce("--seeds", 1)["pretrained-pairwise-seed0"]
    model = S3Rec.load(path.parents[2] / "runs/small" / path.stem / "model.safetensors")
    with np.load(path.with_suffix(".npz")) as ranks:
        assert ranks["full"].dtype == np.uint16 and ranks["sampled"].dtype == np.uint8
        for protocol in ("full", "sampled"):
            assert (ranks[protocol] == rank_targets(model, files.data, "test", protocol)).all()


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


def test_an_output_that_cannot_be_written_is_found_out_before_training(
        s3rec, files, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "pretrain", None)  # whoever trains fails
    (tmp_path / "file").write_text("in the way")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    for option in ("--output", "--results", "--checkpoint"):
        for path in (tmp_path / "file" / "x", tmp_path / "pipe", tmp_path / "link", tmp_path):
            if option == "--checkpoint" and path == tmp_path:
                continue  # a folder is what it takes
            failed = s3rec("pretrain", files.csv, *files.attributes, option, path)
            assert failed.code == 1 and "cannot write" in failed.err and failed.err.count("\n") == 1
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()


# What a command spares


@pytest.fixture
def own(files, tmp_path, monkeypatch):
    """A folder with copies of a user's files, from where commands are called."""
    monkeypatch.chdir(tmp_path)
    for path in (files.csv, files.attributes[1], files.weights):
        shutil.copy(path, tmp_path)
    histories, targets = files.data.held_out("test")
    negatives = s3rec_mini.sample_negatives(histories, targets, files.data.num_items, 9)
    np.savetxt("sample.txt", np.column_stack([np.arange(1, 61), negatives]), fmt="%d")
    (tmp_path / "here").symlink_to(tmp_path)
    (tmp_path / "old").mkdir()
    pretrain(new_model(files.data, 0, **SIZES), files.data,
             PretrainConfig(epochs=1, prefixes_per_user=1), "old")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("command, complaint", [
    ("pretrain films.csv --attributes genres.csv --output films.csv", "--output .* films.csv"),
    ("pretrain films.csv --attributes genres.csv --output ./films.csv", "--output .* films.csv"),
    ("pretrain here/films.csv --attributes genres.csv --output films.csv", "--output"),
    ("pretrain films.csv --attributes genres.csv --output here/here/films.csv", "--output"),
    ("pretrain films.csv --attributes genres.csv --output genres.csv", "--output .* genres.csv"),
    ("pretrain films.csv --attributes genres.csv --results films.csv", "--results .* films.csv"),
    ("pretrain films.csv --attributes genres.csv --results genres.csv", "--results"),
    ("pretrain films.csv --attributes genres.csv --output a --results a", "--output .* over a,"),
    ("pretrain films.csv --attributes genres.csv --output a --results here/a", "--output"),
    ("pretrain films.csv --attributes genres.csv --output a --results a/b.json", "--output"),
    ("pretrain films.csv --attributes genres.csv --output a/b --results a", "--results"),
    ("pretrain films.csv --attributes genres.csv --output ck --checkpoint ck", "--output"),
    ("pretrain films.csv --attributes genres.csv --output ck/pretrain.safetensors --checkpoint ck",
     "--output .*ck/pretrain.safetensors"),
    ("pretrain films.csv --attributes genres.csv --results ck/pretrain.safetensors --checkpoint ck",
     "--results"),
    ("pretrain films.csv --attributes genres.csv --output old/pretrain.safetensors", "--output"),
    ("finetune films.csv --attributes genres.csv --output old/pretrain.safetensors", "--output"),
    ("finetune films.csv --attributes genres.csv --results old/pretrain.safetensors", "--results"),
    ("finetune films.csv --attributes genres.csv --weights model.safetensors --output "
     "model.safetensors", "--output .*model.safetensors"),
    ("finetune films.csv --attributes genres.csv --negatives sample.txt --output sample.txt",
     "--output"),
    ("finetune films.csv --attributes genres.csv --negatives sample.txt --results sample.txt",
     "--results"),
    ("evaluate films.csv model.safetensors --attributes genres.csv --results films.csv",
     "--results"),
    ("evaluate films.csv model.safetensors --attributes genres.csv --results model.safetensors",
     "--results"),
    ("evaluate films.csv model.safetensors --attributes genres.csv --results genres.csv",
     "--results"),
    ("evaluate films.csv model.safetensors --negatives sample.txt --results sample.txt",
     "--results"),
    ("evaluate films.csv model.safetensors --results old/pretrain.safetensors", "--results"),
])
def test_no_command_writes_over_what_it_reads_or_writes_otherwise(
        s3rec, own, monkeypatch, command, complaint):
    for reading in ("open_dataset", "new_model"):  # whoever begins fails
        monkeypatch.setattr(cli, reading, None, raising=False)
    before = contents(own)
    refused = s3rec(*command.split())
    assert refused.code == 1 and re.match(f"s3rec: {complaint}.*: choose another\n", refused.err)
    assert contents(own) == before


@pytest.mark.parametrize("command", [
    "pretrain nosuch --output deep/er/x", "pretrain nosuch --results deep/er/x",
    "pretrain nosuch --checkpoint deep", "finetune films.csv --weights nosuch --output deep/x",
    "evaluate nosuch.csv model.safetensors --results deep/x",
    "pretrain films.csv --output deep/x", "finetune films.csv --negatives nosuch --output deep/x"])
def test_a_command_that_fails_before_it_writes_has_made_no_folder(s3rec, own, command):
    before = sorted(own.rglob("*"))
    assert s3rec(*command.split()).code == 1
    assert sorted(own.rglob("*")) == before


def test_an_old_model_old_results_and_the_runs_own_checkpoint_are_written_over(s3rec, files, own):
    (own / "r.json").write_text("old")
    shutil.copy("model.safetensors", "old.safetensors")
    for epochs in (1, 2):
        done = s3rec("finetune", "films.csv", *files.attributes, "--weights", "model.safetensors",
                     "--epochs", epochs, "--output", "old.safetensors", "--results", "r.json",
                     "--checkpoint", "old")  # that of the other stage lies there too
        assert done.code == 0, done.err
        assert json.loads((own / "r.json").read_text())["finetuning"]["epochs"] == epochs
    assert sorted(path.name for path in (own / "old").iterdir()) == [
        "finetune.safetensors", "pretrain.safetensors"]


def test_an_error_after_the_model_was_written_says_nothing_of_the_model(s3rec, files, tmp_path):
    done = s3rec("evaluate", files.csv, files.weights, *files.attributes, "--results",
                 "/proc/self/r.json" if os.path.isdir("/proc/self") else tmp_path)
    assert done.code == 1 and "cannot write" in done.err and "nothing was changed" not in done.err


def test_a_smoke_run_deletes_nothing(s3rec, files, own, monkeypatch):
    small = replace(files.data, name="small")
    monkeypatch.setattr(cli, "load_dataset", lambda name: (
        small if name == "small" else sources.load_dataset(name)))
    smoke = ["reproduce", "small", "--smoke", "--runs", ".", "--prefixes-per-user", 1, *SMALL]
    (own / "smoke").mkdir()
    (own / "smoke" / "thesis.txt").write_text("precious")
    before = contents(own)
    (own / "smoke-2").symlink_to("nowhere")
    assert s3rec("reproduce", "nosuch", *smoke[2:]).code != 0 and contents(own) == before
    for folder in ("smoke-3", "smoke-4"):
        assert s3rec(*smoke).code == 0
        assert len(list((own / folder / "results" / "small").glob("*.json"))) == 2
    after = contents(own)
    assert {path: after[path] for path in before} == before
    assert (own / "smoke-2").is_symlink() and not (own / "nowhere").exists()


def test_reproduce_with_negatives_after_a_run_without_them_is_refused(reproduce, s3rec, files,
                                                                      tmp_path):
    path = reproduce("--seeds", 1)["scratch-pairwise-seed0"]
    before = path.read_bytes()
    negatives = s3rec_mini.sample_negatives(*files.data.held_out("test"), files.data.num_items, 9)
    np.savetxt(tmp_path / "sample.txt", np.column_stack([np.arange(1, 61), negatives]), fmt="%d")
    again = ["reproduce", "small", "--pretraining-epochs", 1, "--prefixes-per-user", 1, "--epochs",
             2, "--folder", tmp_path / "results", "--runs", tmp_path / "runs", "--seeds", 1]
    refused = s3rec(*again, "--negatives", tmp_path / "sample.txt")
    assert refused.code == 1 and "not run again" not in refused.err
    assert "with the negatives 99 drawn, seed 0, not sample.txt, sha256" in refused.err
    assert path.read_bytes() == before
    for mangled in ({"dataset": "small"}, json.loads(before) | {"negatives": None}):
        path.write_text(json.dumps(mangled))
        refused = s3rec(*again)
        assert refused.code == 1 and refused.err.count("\n") == 1 and str(path) in refused.err


# Ctrl-C

COMMAND = "import sys, s3rec_command; sys.argv[0] = 's3rec'; s3rec_command.main()"


def started(*arguments, path=()):
    """Start the command that is installed in a process of its own."""
    root = str(Path(s3rec_mini.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, arguments)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, path), root])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # under nohup too


def test_ctrl_c_while_torch_is_imported_is_one_line(tmp_path):
    (tmp_path / "torch.py").write_text("import time\nprint('importing', flush=True)\n"
                                       "time.sleep(600)\n")
    process = started("--help", path=[tmp_path])
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "s3rec: interrupted\n") and process.returncode == 130


def test_ctrl_c_while_it_trains_is_one_line_and_the_run_goes_on(files, tmp_path):
    train = ["pretrain", files.csv, *files.attributes, *SMALL, "--prefixes-per-user", 1,
             "--output", tmp_path / "p", "--checkpoint", tmp_path / "ck", "--epochs"]
    process = started(*train, 10**6)
    while not (tmp_path / "ck" / "pretrain.safetensors").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert err.splitlines()[-1] == "s3rec: interrupted"
    assert [path.name for path in tmp_path.rglob("*")] == ["ck", "pretrain.safetensors"]


def test_a_process_that_is_to_ignore_ctrl_c_goes_on_doing_so():
    code = (f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntry:\n    {COMMAND}\n"
            "finally:\n    print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)")
    assert in_a_process(code, "--help").stdout.endswith("True\n")


# Bad input


@pytest.mark.parametrize("command, complaint", [
    ("data Beautee", "no dataset 'Beautee'.*Did you mean 'Beauty'"),
    ("data none.csv", "none.csv"),
    ("data empty.csv", "empty.csv is empty"),
    ("data noitem.csv", r"is the item\? none could be: .* --item, or number it, --item 1,"),
    ("data text.csv", "line 2, has the time 'yesterday'.*such as --time-format '%d"),
    ("data CSV --min-count 99", "nothing is left if each needs --min-count 99"),
    ("data CSV --min-count 2", "--min-count must be a whole number of at least 3, not 2"),
    ("data CSV --time user", "--user, --item and --time need a column each"),
    ("data CSV --time-format today", "--time-format today is none of"),
    ("data latin.csv", "no text in utf-8.*name its --encoding, such as --encoding cp1252"),
    ("data days.csv", r"1 February \(--time-format day-first\) or 2 January \(--time-format m"),
    ("data short.csv.gz", "short.csv.gz cannot be read, or is damaged"),
    ("data long.csv", "long.csv, line 3, has 4 cells, the first 3: .* Or say --separator"),
    ("data LastFM --separator ;", "LastFM is no file.*: leave out --separator"),
    ("data CSV --attributes none.csv", "none.csv"),
    ("data CSV --attributes noitem.csv", "noitem.csv: which of .* is the item.*--item"),
    ("data CSV --attributes price.csv", r"'price' has .* column out \(of --fields.*--min-items 2"),
    ("data CSV --attributes price.csv --fields cost", "'cost' among .* with --fields"),
    ("data CSV --attributes other.csv", "none of the 1 items with attributes"),
    ("pretrain CSV --weight aap", "NAME=VALUE"),
    ("pretrain CSV --weight aap=much", "much"),
    ("pretrain CSV --weight nsp=1", "--weight must give.*nsp"),
    ("pretrain CSV --form mip=printed", "--form may hold.*printed"),
    ("pretrain CSV --epochs 0", "--epochs must be a whole number of at least 1, not 0"),
    ("pretrain CSV --hidden-size 15", "--hidden-size 15 must be a multiple of --num-heads 2"),
    ("pretrain CSV --dropout 1", "--dropout must be a number of at least 0 and below 1, not 1"),
    ("pretrain CSV --prefixes-per-user 0", "--prefixes-per-user must be a whole number"),
    ("finetune CSV --seed -1", "--seed must be a whole number of at least 0 and at most"),
    ("pretrain CSV --seed 4294967296", "--seed must be a whole number of .* at most 4294967295"),
    ("finetune CSV --weights none.safetensors", "none.safetensors"),
    ("finetune CSV --weights noitem.csv", "noitem.csv is not a safetensors file"),
    ("finetune CSV --weights MODEL --loss listwise", "--loss must be one of 'pairwise'.*listwise"),
    ("finetune CSV --weights MODEL --negatives none.txt", "no file none.txt"),
    ("finetune movielens-small --weights MODEL --epochs 1", "does not know 3496 of the"),
    ("evaluate CSV none.safetensors", "none.safetensors"),
    ("evaluate CSV MODEL --split train", 's3rec: --split must be "validation" or "test"'),
    ("recommend CSV MODEL FILM --k 0", "s3rec: --k must lie in"),
    ("evaluate CSV MODEL --results noitem.csv/r.json", "cannot write noitem.csv/r.json"),
    ("recommend CSV MODEL Titanic", "no item of .* is called 'Titanic'"),
    ("recommend CSV MODEL 99999", "99999"),
    ("recommend CSV MODEL film-3 --k 0", "film-3.*did you mean 'film 3'"),
    ("reproduce Beautee", "no dataset 'Beautee'"),
    ("reproduce movielens-small --seeds 0", "--seeds must be a whole number of at least 1, not 0"),
    ("reproduce movielens-small --pretraining-learning-rate 0", "--pretraining-learning-rate must"),
    ("collect --folder none", "no results file below none"),
])
def test_bad_input_is_one_line_that_says_what_is_wrong(
        s3rec, files, tmp_path, monkeypatch, command, complaint):
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").write_text("")
    Path("noitem.csv").write_text("user,film,timestamp\n1,2,3\n")
    Path("text.csv").write_text("user,item,timestamp\n1,2,yesterday\n")
    Path("latin.csv").write_bytes(b"user,item,timestamp\n\xe9,2,3\n")
    Path("days.csv").write_text("user,item,timestamp\n1,2,01/02/2024\n")
    Path("long.csv").write_text("user,item,timestamp\n1,2,3\n1,2,3,4\n")
    Path("short.csv.gz").write_bytes(gzip.compress(b"user,item,timestamp\n1,2,3\n")[:-9])
    prices = [f"{name},{price}.99" for price, name in enumerate(files.data.item_names[1:-1])]
    Path("price.csv").write_text("\n".join(["item,price", *prices]))
    Path("other.csv").write_text("item,kind\nnowhere,x\n")
    before = sorted(tmp_path.iterdir())
    named = {"CSV": [files.csv] if "--attributes" in command else [files.csv, *files.attributes],
             "MODEL": [files.weights], "FILM": ["film 3"]}
    failed = s3rec(*(part for word in command.split() for part in named.get(word, [word])))
    assert failed.code == 1 and failed.out == ""
    assert failed.err.startswith("s3rec: ") and failed.err.count("\n") == 1
    assert re.search(complaint, failed.err)
    if command.startswith("data"):  # options, no arguments of Python's
        assert not re.search(r"\b[a-z_]+=", failed.err)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [["fly"], ["pretrain"], ["data", "LastFM", "--speed", "9"],
                                       ["pretrain", "LastFM", "--epochs", "many"],
                                       ["evaluate", "LastFM", "model", "--seed", "-1"]])
def test_words_that_are_no_command_or_option_are_refused_with_the_usage(s3rec, arguments):
    refused = s3rec(*arguments)
    assert refused.code == 2 and refused.out == "" and "Usage" in refused.err


def in_a_process(code, *arguments):
    root = str(Path(s3rec_mini.__file__).parents[1])
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"})


def test_a_process_ends_with_one_line_on_stderr_and_no_traceback():
    failed = in_a_process("from s3rec_mini.tools.cli import main; main()", "data", "none.csv")
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr.startswith("s3rec: ") and failed.stderr.count("\n") == 1


def test_the_command_that_is_installed_ends_that_way_too():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    module, function = re.search(r'^s3rec = "(.+):(.+)"', project, re.MULTILINE).groups()
    failed = in_a_process(f"from {module} import {function}; {function}()", "data", "none.csv")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr


def test_an_item_that_was_dropped_gets_no_answer_of_another(s3rec, tmp_path):
    rows = [(f"u{user}", f"film {(user + step) % 10}", step) for user in range(15)
            for step in range(8)] + [("u0", "7", 9), ("u1", "0108775015", 9)]
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    frame.to_csv(tmp_path / "f.csv", index=False)
    data = SequenceDataset.from_interactions(frame, time="timestamp")
    new_model(data, 0, **SIZES).save(tmp_path / "m", data=data)
    for item in ("7", "0108775015"):
        refused = s3rec("recommend", tmp_path / "f.csv", tmp_path / "m", item, "--k", 2)
        assert refused.code == 1 and item in refused.err and "dropped" in refused.err
    assert s3rec("recommend", tmp_path / "f.csv", tmp_path / "m", 5, "--k", 2).code == 0


def test_a_name_of_248_letters_can_be_written(tmp_path, files):
    path = tmp_path / f"{'m' * 245}.st"
    files.model.save(path, data=files.data)
    assert same(path, files.model) and len(list(tmp_path.iterdir())) == 1
