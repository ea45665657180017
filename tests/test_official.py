"""The authors' files: read and written bit for bit, refused when damaged, never executed."""

import json
import os
import pickle
import random

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Bomb, export_checkpoint, make_data, make_model
from hypothesis import given
from hypothesis import strategies as st
from s3rec_mini.official import load_checkpoint, load_negatives

import s3rec_mini as s3

DATA = make_data([[1, 2, 3, 4], [5, 6, 7]], num_items=12)


def exported(path, legacy=False):
    """Write a small model under the authors' names; `legacy` as torch before 1.6, like theirs."""
    model = make_model(max_length=6).float()
    export_checkpoint(model, path)
    if legacy:
        weights = torch.load(path, weights_only=True)
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    return model


def equal(one, other):
    assert set(one) == set(other)
    return all(one[name].equal(other[name]) for name in one)


# --- checkpoints -------------------------------------------------------------------------------


def test_the_authors_checkpoint_comes_back_from_an_export_bit_for_bit(
        authors_model, authors_files, lastfm, tmp_path):
    config = authors_model.config
    assert (config.num_items, config.num_attributes) == (3646, 388)
    assert (config.hidden_size, config.num_layers, config.num_heads) == (64, 2, 2)
    assert (config.max_length, config.dropout) == (50, 0.5)
    assert not authors_model.training
    export_checkpoint(authors_model, tmp_path / "ours.pt")
    theirs, ours = (torch.load(path, map_location="cpu", weights_only=True)
                    for path in (authors_files / "LastFM-epochs-150.pt", tmp_path / "ours.pt"))
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in theirs.items()}
    assert equal(ours, theirs)
    again = load_checkpoint(tmp_path / "ours.pt", dataset=lastfm)
    assert equal(again.state_dict(), authors_model.state_dict())


@pytest.mark.parametrize("legacy", [False, True])
def test_any_sizes_are_exported_and_read_back(tmp_path, legacy):
    for sizes in [dict(), dict(hidden_size=12, num_layers=3, num_heads=4, max_length=7)]:
        model = make_model(dropout=0.25, **sizes).float()
        path = tmp_path / "folder" / "weights.pt"
        export_checkpoint(model, path)
        if legacy:
            weights = torch.load(path, weights_only=True)
            torch.save(weights, path, _use_new_zipfile_serialization=False)
        loaded = load_checkpoint(path, DATA, num_heads=model.config.num_heads, dropout=0.25)
        assert loaded.config == model.config
        assert equal(loaded.state_dict(), model.state_dict())
        assert os.listdir(path.parent) == ["weights.pt"]


def test_the_names_exported_are_those_in_the_authors_table(reference, tmp_path):
    exported(tmp_path / "weights.pt")
    table = json.loads((reference / "official_lastfm_grad_norms.json").read_text())
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert {f"grad_norm.{name}" for name in weights} == set(table)


def test_query_key_and_value_are_stacked_in_that_order(tmp_path):
    model = exported(tmp_path / "weights.pt")
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    for number, block in enumerate(model.blocks):
        stacked = block.attention.query_key_value
        for place, name in enumerate(("query", "key", "value")):
            theirs = f"item_encoder.layer.{number}.attention.{name}"
            rows = slice(8 * place, 8 * place + 8)
            assert weights[f"{theirs}.weight"].equal(stacked.weight[rows])
            assert weights[f"{theirs}.bias"].equal(stacked.bias[rows])
    for name, value in weights.items():  # a slice would carry all three into the file, three times
        assert value.untyped_storage().nbytes() == 4 * value.numel(), name


@pytest.mark.parametrize("sizes", [dict(num_items=13), dict(num_items=12, num_attributes=5)])
def test_weights_of_another_dataset_are_refused(tmp_path, sizes):
    exported(tmp_path / "weights.pt")
    other = make_data([[1, 2, 3]], **sizes, name="Elsewhere")
    with pytest.raises(ValueError, match=r"was trained on 12 items and 4 attributes, Elsewhere has "
                                         rf"{other.num_items} and {other.num_attributes}: load"):
        load_checkpoint(tmp_path / "weights.pt", dataset=other)


def test_the_authors_weights_are_refused_for_other_data(authors_files):
    with pytest.raises(ValueError, match="was trained on 3646 items and 388 attributes, small has"):
        load_checkpoint(authors_files / "LastFM-epochs-150.pt", dataset=DATA)


def test_a_missing_file_is_named(tmp_path):
    for load in (load_checkpoint, load_negatives):
        with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere"):
            load(tmp_path / "nowhere", DATA)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_truncated_checkpoint_is_refused(tmp_path, legacy):
    path = tmp_path / "weights.pt"
    exported(path, legacy)
    whole = path.read_bytes()
    for size in [0, 1, 2, 3, 10, *range(20, len(whole), len(whole) // 150), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="not a file of plain torch tensors, or it is damaged"):
            load_checkpoint(path, DATA)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_corrupt_checkpoint_gives_a_model_or_a_value_error_and_nothing_else(tmp_path, legacy):
    path = tmp_path / "weights.pt"
    exported(path, legacy)
    whole = path.read_bytes()
    dice = random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 3, 30])):  # near the start, where names and shapes are
            damaged[dice.randrange(2000)] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            load_checkpoint(path, DATA)  # a changed number in a tensor cannot be told
        except ValueError as error:
            assert str(path) in str(error)


def test_noise_is_refused(tmp_path):
    path, dice = tmp_path / "weights.pt", random.Random(0)
    for start in (b"", b"\x80\x02"):  # the latter is how a pickle starts
        for _ in range(100):
            path.write_bytes(start + dice.randbytes(dice.randrange(60)))
            with pytest.raises(ValueError, match="not a file of plain torch tensors"):
                load_checkpoint(path, DATA)


@pytest.mark.parametrize("content, message", [
    ([torch.ones(2)], "holds no dict of tensors"),
    ({"epoch": 3, "weights": torch.ones(2)}, "holds no dict of tensors"),
    (torch.ones(2), "holds no dict of tensors"),
    ({}, "not a checkpoint of the authors' S3-Rec"),
    ({"weight": torch.ones(2)}, "not a checkpoint of the authors' S3-Rec"),
    (dict.fromkeys(["item_embeddings.weight", "attribute_embeddings.weight",
                    "position_embeddings.weight"], torch.ones(14, 8)),
     "not a checkpoint of the authors' S3-Rec"),
    pytest.param(dict.fromkeys(["item_embeddings.weight", "attribute_embeddings.weight",
                                "position_embeddings.weight"], torch.tensor(3.0)),
                 "not a checkpoint of the authors' S3-Rec"),
])
def test_somebody_elses_torch_file_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "weights.pt", DATA)


def test_a_checkpoint_with_a_tensor_missing_added_or_misshapen_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    exported(path)
    weights = torch.load(path, weights_only=True)
    bias = "item_encoder.layer.1.attention.key.bias"
    for changed in [{name: value for name, value in weights.items() if name != bias},
                    weights | {bias: torch.ones(9)}]:
        torch.save(changed, path)
        with pytest.raises(ValueError, match=r"not a checkpoint|does not fit the model"):
            load_checkpoint(path, DATA)


def test_our_own_files_are_refused_with_a_reason(tmp_path):
    make_model().save(tmp_path / "model.safetensors")
    # Some versions of torch.load read safetensors, too.
    with pytest.raises(ValueError, match=r"is not a (file of plain torch tensors|checkpoint of)"):
        load_checkpoint(tmp_path / "model.safetensors", DATA)


def test_the_authors_files_are_refused_as_our_own_with_a_hint(tmp_path):
    exported(tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"are read by s3rec_mini\.official\.load_checkpoint"):
        s3.S3Rec.load(tmp_path / "weights.pt")


@pytest.mark.parametrize("write", [
    pytest.param(lambda content, path: path.write_bytes(pickle.dumps(content, 2)), id="pickle"),
    pytest.param(lambda content, path: path.write_bytes(pickle.dumps(content)), id="new-pickle"),
    pytest.param(torch.save, id="zip"),
    pytest.param(lambda content, path: torch.save(
        content, path, _use_new_zipfile_serialization=False), id="legacy"),
])
def test_loading_a_pickle_never_executes_it(tmp_path, write):
    sign, path = tmp_path / "executed", tmp_path / "weights.pt"
    for content in (Bomb(sign), {"item_embeddings.weight": Bomb(sign)}):
        write(content, path)
        with pytest.raises(ValueError, match="it was not executed"):
            load_checkpoint(path, DATA)
        assert not sign.exists()
    pickle.loads(pickle.dumps(Bomb(sign)))
    assert sign.exists()  # it would have gone off


# --- negatives ---------------------------------------------------------------------------------


def test_the_authors_negatives_are_99_a_user_and_none_is_in_the_users_sequence(
        authors_files, lastfm):
    negatives = load_negatives(authors_files / "LastFM_sample.txt", lastfm)
    assert negatives.shape == (1090, 99)
    assert negatives.dtype == np.int64
    assert negatives.min() >= 1
    assert negatives.max() <= 3646
    for row, sequence in zip(negatives, lastfm.sequences, strict=True):
        assert len(set(row.tolist())) == 99
        assert not set(row.tolist()) & set(sequence.tolist())


def test_negatives_come_in_the_order_of_the_file(tmp_path):
    (tmp_path / "sample.txt").write_text("1 12 7 5\n2 1 2 3\n")
    assert load_negatives(tmp_path / "sample.txt", DATA).tolist() == [[12, 7, 5], [1, 2, 3]]


def test_negatives_are_called_as_the_data_call_their_items_and_users(tmp_path):
    frame = pd.DataFrame([(user, 100 + item, time) for user in (7, 42)
                          for time, item in enumerate((user, 5, 6, 8, 9))],
                         columns=["user", "item", "timestamp"])
    data = s3.SequenceDataset.from_interactions(pd.concat([frame] * 2), min_count=3)
    assert data.item_names[1:-1] == ("105", "106", "108", "109")
    (tmp_path / "sample.txt").write_text("7 105 109\n42 108 106\n")
    assert load_negatives(tmp_path / "sample.txt", data).tolist() == [[1, 4], [3, 2]]
    (tmp_path / "sample.txt").write_text("1 105 109\n2 1 106\n")  # 1 is the number of 105
    with pytest.raises(ValueError, match="some that interactions has not"):
        load_negatives(tmp_path / "sample.txt", data)


@pytest.mark.parametrize("text, message", [
    ("1 12 7 5\n", r"users of .*sample.txt are not those of small, nor 1…2, in its"),
    ("2 12 7 5\n1 1 2 3\n", "users of .* are not those of small"),
    ("1 12 7 5\n2 1 2 3\n3 1 2 3\n", "users of .* are not those of small"),
    ("5 12 7 5\n6 1 2 3\n", "users of .* are not those of small"),
    ("1 13 7 5\n2 1 2 3\n", r"holds no items, or some that small has not \(KeyError.*13"),
    ("1 12 7 5\n2 0 2 3\n", "some that small has not"),
    ("1 12 7 5\n2 -4 2 3\n", "some that small has not"),
    ("1\n2\n", "holds no items"),
    ("1 12 7 5\n2 1 2\n", "is not a table of item ids"),
    ("1 12 7 5\n2 1 2 Alien\n", "is not a table of item ids"),
    ("1 12 7 5\n2 1 2 1.5\n", "is not a table of item ids"),
    ("", "sample.txt"),
])
def test_negatives_of_other_users_or_items_are_refused(tmp_path, text, message):
    path = tmp_path / "sample.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_negatives(path, DATA)


@given(st.binary(min_size=1, max_size=60))
def test_a_file_of_noise_is_no_table(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "sample.txt"
    path.write_bytes(b"\xff\xfe" + noise)
    with pytest.raises(ValueError, match=r"sample\.txt"):
        load_negatives(path, DATA)
