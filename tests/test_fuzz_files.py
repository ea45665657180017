"""Files and settings that nobody meant: refused in this package's words, or exactly as they say.

Never an error from within a library. `make test` tries a few hundred, `make fuzz` ten thousand.
"""

import json
import math
import traceback
import warnings
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import export_checkpoint, make_model
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from training_runs import fresh_model, planted, run

import s3rec_mini
from s3rec_mini import FinetuneConfig, ModelConfig, PretrainConfig, S3Rec, official, recommend
from s3rec_mini.tools import experiments, files, results
from s3rec_mini.tools.vocabulary import Vocabulary

PACKAGE = Path(s3rec_mini.__file__).parent


def tried(call, *arguments):
    """Return what a call gives, or the error with which this package itself has refused it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*arguments)
    except (ValueError, OSError, TypeError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        assert PACKAGE in Path(last).parents, f"{error!r} comes from {last}"
        assert "\n" not in str(error)
        return error


def same(one, other):
    theirs = other.state_dict()
    return one.config == other.config and one.state_dict().keys() == theirs.keys() and all(
        value.equal(theirs[name]) for name, value in one.state_dict().items())


# What is odd

NUMBERS = st.one_of(
    st.integers(), st.integers(-2, 9), st.floats(), st.sampled_from([-10**30, 2**63]),
    st.sampled_from([np.int64(3), np.int8(-1), np.uint8(2), np.float32(0.5), np.float64(0.25),
                     np.float16(np.inf), np.float32(np.nan), np.bool_(True), np.longdouble(2)]))
WORDS = st.sampled_from(["", "False", "no", "true", "None", "1", "0.5", "nan", "released", "paper",
                         "pairwise", "sampled", "mip", "\x00", "é", "data/../x"])
ODD = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=4),
                st.sampled_from([b"", (), [], {}, set(), object(), 1j, math.inf, range(3), int,
                                 np.zeros(2), np.array(3), Path("x")]),
                st.dictionaries(WORDS, NUMBERS | WORDS, max_size=3))
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        WORDS, inner, max_size=3), max_leaves=6)


@st.composite
def damaged(draw, content):
    """Do to the bytes of a file what bad disks and half copies do."""
    content = bytearray(content)
    # The front, where names, sizes and settings stand, as often as all the rest.
    place = draw(st.integers(0, min(900, len(content))) | st.integers(0, len(content)))
    length = draw(st.integers(0, 99))
    content[place:place + length] = draw(st.one_of(
        st.just(bytes(length)), st.binary(min_size=length, max_size=length), st.just(b""),
        st.just(content[place:place + length] * 2)))
    return bytes(content[:draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@st.composite
def mangled(draw, value):
    """Put something else in the place of one part of a JSON value, or leave that part out."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        fate = draw(st.integers(0, 9))
        if fate == 0:
            return {name: each for name, each in value.items() if name != key}
        if fate == 1:
            return {draw(WORDS) if name == key else name: each for name, each in value.items()}
        return value | {key: draw(mangled(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        place = draw(st.integers(0, len(value) - 1))
        kept = value[:place], value[place + 1:]
        return [*kept[0], *([draw(mangled(value[place]))] * draw(st.integers(0, 2))), *kept[1]]
    return draw(JSON)


@st.composite
def other_tensors(draw, tensors):
    """Change, rename, drop or add some tensors."""
    tensors = dict(tensors)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(tensors)))
        value, fate = tensors[name].clone(), draw(st.integers(0, 6))
        if fate == 0:
            del tensors[name]
        elif fate == 1:
            tensors[draw(st.sampled_from(["speed", "x/y", "optimizer.0/step", "model/speed", "x",
                                          "mip_head.bias", "fifth_head.bias"]))] = value
        elif fate == 2:
            value = value.real if value.is_complex() else value
            tensors[name] = value.to(draw(st.sampled_from(
                [torch.int8, torch.bool, torch.int64, torch.complex64, torch.float8_e4m3fn,
                 torch.float16, torch.bfloat16, torch.float64])))
        elif fate == 3:
            tensors[name] = value.flatten()
        elif fate == 4:
            tensors[name] = value.new_zeros(draw(st.lists(st.integers(0, 3), max_size=3)))
        elif fate == 5:
            tensors[name] = value[:1] if value.dim() else value[None]
        else:
            tensors[name] = value[None]
        if not tensors:
            tensors["left"] = value
    return {name: value.clone() for name, value in tensors.items()}


# Settings

CONFIGS = [ModelConfig, PretrainConfig, FinetuneConfig, experiments.Reproduction]
NEEDED = {ModelConfig: {"num_items": 5, "num_attributes": 2}}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
@given(data=st.data())
def test_a_config_of_odd_settings_is_refused_or_holds_pythons_own_values(config, data):
    named = data.draw(st.lists(st.sampled_from([each.name for each in fields(config)]),
                               min_size=1, max_size=3))
    odd = {name: data.draw(ODD, label=name) for name in named}
    made = tried(lambda: config(**NEEDED.get(config, {}) | odd))
    if isinstance(made, config):
        kinds = (bool, int, float, str, dict, type(None), Path)
        assert all(type(value) in kinds or isinstance(value, Path) for value in vars(made).values())
        told = {name: str(value) if isinstance(value, Path) else value
                for name, value in asdict(made).items()}
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        assert config.from_saved(asdict(made)) == made
    else:
        assert isinstance(made, ValueError)


# Model files


@cache
def model_file():
    """Write a model once; give its folder, its bytes and the model that they are."""
    import tempfile

    folder = Path(tempfile.mkdtemp())
    model = make_model(num_items=3, num_attributes=2, hidden_size=2, num_layers=1, max_length=3)
    model.vocabulary = Vocabulary(("a", "b", "c"), ("red", "large"))
    model.float().save(folder / "whole")
    return folder, (folder / "whole").read_bytes(), S3Rec.load(folder / "whole")


def loaded_from(write):
    """Write a model file and load it: refused, or the very model (returned)."""
    folder, _, whole = model_file()
    write(folder / "changed")
    loaded = tried(S3Rec.load, folder / "changed")
    if isinstance(loaded, S3Rec):
        return loaded
    assert isinstance(loaded, ValueError) and str(folder / "changed") in str(loaded)
    return whole


@given(data=st.data())
def test_a_damaged_model_file_is_refused_or_a_model(data):
    _, whole, model = model_file()
    content = data.draw(damaged(whole))
    loaded = loaded_from(lambda path: path.write_bytes(content))
    assert loaded.state_dict().keys() == model.state_dict().keys()


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_part_of_a_model_file_is_refused(share):
    _, whole, model = model_file()
    content = whole[:int(share * len(whole))]
    assert loaded_from(lambda path: path.write_bytes(content)) is model


@given(data=st.data())
def test_a_model_file_with_other_metadata_is_refused_or_what_it_says(data):
    folder, _, model = model_file()
    tensors, metadata = files.read_tensors(folder / "whole")
    other = data.draw(mangled(metadata))
    loaded = loaded_from(
        lambda path: save_file(tensors, path, {"s3rec_mini": json.dumps(other)}))
    assert all(value.equal(model.state_dict()[name]) for name, value in loaded.state_dict().items())
    if loaded is not model:
        assert loaded.config == ModelConfig.from_saved(other["config"])
        names = other.get("vocabulary")
        assert loaded.vocabulary == (names and tuple(tuple(map("".join, each)) for each in names))


@given(data=st.data())
def test_a_model_file_with_other_tensors_is_refused_or_holds_these(data):
    folder, _, model = model_file()
    tensors, metadata = files.read_tensors(folder / "whole")
    other = data.draw(other_tensors(tensors))
    loaded = loaded_from(
        lambda path: save_file(other, path, {"s3rec_mini": json.dumps(metadata)}))
    if loaded is not model:
        assert all(torch.equal(value, other[name].float())
                   for name, value in loaded.state_dict().items())


@cache
def authors_file():
    folder, _, model = model_file()
    export_checkpoint(model, folder / "theirs.pt")
    return (folder / "theirs.pt").read_bytes()


@given(data=st.data())
def test_a_file_of_the_authors_with_other_bytes_is_refused_or_read(data):
    (folder, _, model), content = model_file(), data.draw(damaged(authors_file()))
    (folder / "other.pt").write_bytes(content)
    world = type("World", (), dict(num_items=3, num_attributes=2, name="a world",
                                    vocabulary=None))
    loaded = tried(official.load_checkpoint, folder / "other.pt", world, 1)
    # torch.load asks no checksum: of other numbers in such a file nothing can be known.
    assert not isinstance(loaded, S3Rec) or loaded.config.num_items == model.config.num_items


# Checkpoints


@cache
def checkpoint(stage):
    """Train two epochs with a checkpoint; give its folder and bytes, and the model of three."""
    import tempfile

    folder = Path(tempfile.mkdtemp())
    small = planted(num_users=5, items_per_group=3, lengths=(4, 5))
    sizes = dict(hidden_size=2, num_layers=1, num_heads=1, max_length=3)
    run(stage, folder, data=small, model=fresh_model(small, **sizes), epochs=2)
    unbroken, _ = run(stage, data=small, model=fresh_model(small, **sizes), epochs=3)
    return folder, (folder / f"{stage}.safetensors").read_bytes(), small, sizes, unbroken


def resumed_from(stage, write):
    """Write a checkpoint and go on: refused, the model being as it was, or trained (returned)."""
    folder, whole, small, sizes, _ = checkpoint(stage)
    file = folder / f"{stage}.safetensors"
    write(file)
    model, start = fresh_model(small, **sizes), fresh_model(small, **sizes)
    try:
        done = tried(lambda: run(stage, folder, data=small, model=model, epochs=3))
    finally:
        file.write_bytes(whole)
    if isinstance(done, tuple):
        return done[0]
    if "lower the learning rate" in str(done):  # from weights that fit, and are anything
        return None
    assert isinstance(done, ValueError) and str(file) in str(done)
    assert same(model, start), str(done)
    return None


STAGES = pytest.mark.parametrize("stage", ["pretrain", "finetune"])


@STAGES
@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_or_goes_on(stage, data):
    _, whole, *_ = checkpoint(stage)
    content = data.draw(damaged(whole))
    resumed_from(stage, lambda file: file.write_bytes(content))


@STAGES
@given(data=st.data())
def test_a_checkpoint_with_other_metadata_is_refused_or_goes_on(stage, data):
    folder, _, _, _, unbroken = checkpoint(stage)
    tensors, metadata = files.read_tensors(folder / f"{stage}.safetensors")
    other = data.draw(mangled(metadata).filter(lambda other: isinstance(other, dict)))
    resumed = resumed_from(stage, lambda file: files.write_tensors(file, tensors, other))
    # The weights are those of the file; finetuning chooses the best by what it is told of epochs.
    assert resumed is None or stage == "finetune" or len(other["history"]) != 2 or same(
        resumed, unbroken)


# Results files

RECORD = {"command": "s3rec", "dataset": "mine", "start": "scratch",
          "model": asdict(ModelConfig(5, 2)), "finetuning": asdict(FinetuneConfig()),
          "negatives": "99 drawn, seed 0", "full": {"metrics": {"MRR": 0.1}}}


@given(data=st.data())
def test_a_results_file_of_anything_is_refused_or_merged_as_it_is(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("results")
    path, into = folder / "runs" / "mine" / "a-seed0.json", folder / "shipped"
    path.parent.mkdir(parents=True)
    record = data.draw(mangled(RECORD), label="record")
    if isinstance(record, dict) and "dataset" in record:
        record["dataset"] = "mine"  # it names a file
    text = json.dumps(record).encode()
    path.write_bytes(data.draw(damaged(text) | st.just(text), label="bytes"))
    record = tried(results.read_record, path)
    taken = tried(results.collect, folder / "runs", into)
    if isinstance(record, Exception):
        assert isinstance(record, ValueError) and str(path) in str(record)
        assert isinstance(taken, ValueError) and not into.exists()
        return
    assert taken == [path]
    lines = into / f"{record['dataset']}.jsonl"
    stored = json.loads(lines.read_text())
    assert json.dumps({**stored}) == json.dumps({"folder": "mine", "run": "a-seed0"} | record)
    lines.write_bytes(data.draw(damaged(lines.read_bytes()), label="lines"))
    before = lines.read_bytes()
    again = tried(results.collect, folder / "runs", into)
    assert isinstance(again, list) or lines.read_bytes() == before


# Ids, counts and flags


@given(ids=st.lists(st.integers(-1, 6), min_size=1, max_size=4) | ODD, flag=ODD, k=ODD)
def test_odd_ids_counts_and_flags_are_refused_or_read_as_they_are(ids, flag, k):
    _, _, model = model_file()
    small = planted(num_groups=2, items_per_group=2, attributes_per_group=1)
    for call in (lambda: model(ids, causal=flag), lambda: model([ids], causal=flag)):
        tried(call)
    other = fresh_model(small, hidden_size=2, max_length=3).eval()
    top = tried(recommend, other, small, ids, k)
    if not isinstance(top, Exception):
        assert len(top) == k and type(k) is not bool
