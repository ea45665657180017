"""What the first edition computed, the second computes: stored numbers of commit e576628."""

import json
import shutil

import edition_one
import pytest
import torch
from conftest import ROOT, with_names

import s3rec_mini as s3
from s3rec_mini.encoder import ModelConfig

FOLDER = ROOT / "tests" / "reference" / "edition_one"
STORED = json.loads((FOLDER / "numbers.json").read_text(encoding="utf8"))


def flat(numbers, name=""):
    """Name every number of nested dicts and lists by the way to it."""
    if isinstance(numbers, (dict, list)):
        pairs = numbers.items() if isinstance(numbers, dict) else enumerate(numbers)
        return {k: v for key, value in pairs for k, v in flat(value, f"{name}/{key}").items()}
    return {name: numbers}


def assert_near(found, stored):
    """Another order of additions and another processor round otherwise, and no more than that."""
    assert flat(found) == pytest.approx(flat(stored), rel=1e-5, abs=1e-5)


def test_every_form_and_loss_trains_to_the_numbers_of_the_first_edition():
    assert_near(edition_one.all_numbers(), STORED["runs"])


def test_a_run_that_the_first_edition_began_goes_on_to_its_own_end(tmp_path):
    """Its checkpoints hold two epochs of pretraining and two of four of finetuning."""
    for name in ("pretrain", "finetune"):
        shutil.copy(FOLDER / f"{name}.safetensors", tmp_path)
    _, resumed = edition_one.tiny_runs(tmp_path, epochs=4)
    assert_near(resumed, STORED["tiny"])
    _, unbroken = edition_one.tiny_runs(tmp_path / "new", epochs=4)
    assert_near(unbroken, STORED["tiny"])


def test_a_file_without_a_setting_that_was_added_still_loads(tmp_path, monkeypatch):
    model = with_names(s3.S3Rec(ModelConfig(5, 2, hidden_size=4)))
    model.save(tmp_path / "model.safetensors")
    tensors, metadata = s3.tools.files.read_tensors(tmp_path / "model.safetensors")
    del metadata["config"]["dropout"]  # as if it had come later
    s3.tools.files.write_tensors(tmp_path / "older.safetensors", tensors, metadata)
    older = s3.S3Rec.load(tmp_path / "older.safetensors")
    assert older.config.dropout == ModelConfig(5, 2).dropout

    metadata["config"]["speed"] = 1.0
    s3.tools.files.write_tensors(tmp_path / "newer.safetensors", tensors, metadata)
    with pytest.raises(ValueError, match="this version has no setting speed"):
        s3.S3Rec.load(tmp_path / "newer.safetensors")
    monkeypatch.setattr(ModelConfig, "retired", {"speed": 1.0})
    assert s3.S3Rec.load(tmp_path / "newer.safetensors").config == older.config


@pytest.mark.parametrize("saved, asked, different", [
    ({}, {}, []),
    ({"epochs": 100}, {}, []),  # at the default, said or not
    ({"epochs": 3}, {}, ["epochs"]),
    ({"loss": "softmax"}, {"loss": "softmax"}, []),
    ({"gone": 1}, {}, ["gone"]),
])
def test_runs_differ_in_what_is_not_the_same_on_both_sides(saved, asked, different):
    assert s3.PretrainConfig.differing(saved, asked) == different


def test_a_model_with_a_head_more_reads_weights_that_were_made_without_it(tmp_path):
    class More(s3.S3Rec):
        def __init__(self, config):
            super().__init__(config)
            self.fifth_head = torch.nn.Linear(config.hidden_size, config.hidden_size)

    plain = with_names(s3.S3Rec(ModelConfig(5, 2, hidden_size=4)))
    plain.save(tmp_path / "plain.safetensors")
    more = More.load(tmp_path / "plain.safetensors")
    assert more.item_embedding.weight.equal(plain.item_embedding.weight)
    more.save(tmp_path / "more.safetensors")
    with torch.no_grad():
        more.fifth_head.weight.zero_()
    assert More.load(tmp_path / "more.safetensors").fifth_head.weight.any()
    with pytest.raises(ValueError, match="fifth_head"):
        s3.S3Rec.load(tmp_path / "more.safetensors")


def test_a_file_without_one_of_the_four_heads_is_refused(tmp_path):
    with_names(s3.S3Rec(ModelConfig(5, 2, hidden_size=4))).save(tmp_path / "model.safetensors")
    tensors, metadata = s3.tools.files.read_tensors(tmp_path / "model.safetensors")
    tensors = {name: value for name, value in tensors.items() if not name.startswith("mip_head")}
    s3.tools.files.write_tensors(tmp_path / "less.safetensors", tensors, metadata)
    with pytest.raises(ValueError, match=r"the first is mip_head\.bias, missing there"):
        s3.S3Rec.load(tmp_path / "less.safetensors")
