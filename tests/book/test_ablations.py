"""The command of the ablations: what a variation changes, on whom, and what is measured."""

import importlib.util
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT

import s3rec_mini as s3
from s3rec_mini.tools import experiments

PATH = ROOT / "benchmarks" / "ablations.py"
SPEC = importlib.util.spec_from_file_location("ablations", PATH)
ablations = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ablations)


@pytest.fixture
def small(monkeypatch):
    """A dataset of 60 users, which the command finds by its name."""
    planted, _ = s3.planted_structure(60, num_groups=6, items_per_group=25, lengths=(5, 12))
    planted = replace(planted, name="small")
    monkeypatch.setattr(s3, "load_dataset", {"small": planted}.__getitem__)
    return planted


@pytest.fixture
def ablation(monkeypatch, tmp_path):
    """Run variations, two epochs a stage, and give the record of each."""

    def run(*variations):
        options = [text for name in variations for text in ("--variation", name)]
        arguments = ["small", *options, "--seeds", "1", "--pretraining-epochs", "2",
                     "--pretraining-batch-size", "30", "--epochs", "2", "--batch-size", "20",
                     "--folder", str(tmp_path / "results"), "--runs", str(tmp_path / "runs")]
        monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
        monkeypatch.setattr(sys, "argv", [str(PATH), *arguments])
        ablations.app(arguments, standalone_mode=False)
        return {path.stem.removesuffix("-seed0"): json.loads(path.read_text())
                for path in (tmp_path / "results" / "small" / "ablations").glob("*.json")}

    return run


def test_a_variation_changes_what_it_says_and_nothing_else(small, ablation, monkeypatch):
    changed = {
        "all-released": {}, "without-sp": {"weights": dict(aap=0.2, mip=1.0, map=1.0, sp=0.0)},
        "only-sp": {"weights": dict(sp=0.5)}, "epochs-10": {"epochs": 10},
        "all-infonce": {"forms": dict.fromkeys(("aap", "mip", "map", "sp"), "infonce")},
        "data-40": {"batch_size": 12}, "scratch-data-40": None, "scratch": None,
    }
    records = ablation(*changed)
    assert records.keys() == changed.keys()
    whole = s3.PretrainConfig(epochs=2, batch_size=30)
    for name, record in records.items():
        assert record["command"].startswith("ablations.py small --variation ")
        part = "data-40" in name
        assert record["variation"] == name
        assert record["users"] == (24 if part else 60)
        assert record["finetuning"]["batch_size"] == (8 if part else 20)
        assert record["full"]["metrics"].keys() == record["sampled"]["intervals"].keys()
        assert record["probes"].keys() == {"pretrained", "finetuned"}
        assert {*record["probes"]["finetuned"]} == {"auc", "control_auc"}
        if changed[name] is None:
            assert "pretraining" not in record
        else:
            assert s3.PretrainConfig(**record["pretraining"]) == replace(whole, **changed[name])
    assert len({record["sampled"]["metrics"]["MRR"] for record in records.values()}) > 4

    # What is measured is what Python trains, on the first 24 users of an order drawn by the seed.
    order = np.random.default_rng([0, 7]).permutation(60)
    part = small.subset(np.sort(order[:24]))
    torch.manual_seed(0)
    model = s3.S3Rec(s3.ModelConfig.for_dataset(small))
    history = s3.finetune(model, part, s3.FinetuneConfig(epochs=2, batch_size=8))
    record, expected = records["scratch-data-40"], s3.evaluate(model, small)
    assert record["finetuning_history"]["loss"] == pytest.approx(
        [epoch["loss"] for epoch in history], rel=1e-4)
    assert record["full"]["metrics"]["MRR"] == pytest.approx(expected["MRR"], abs=0.02)

    monkeypatch.setattr(experiments, "finetune", None)  # nothing is run twice
    assert ablation(*changed) == records


def test_an_unknown_variation_is_refused_before_anything_is_trained(small, ablation, tmp_path):
    with pytest.raises(ValueError, match="no variation without-sleep: choose from all-released"):
        ablation("only-sp", "without-sleep")
    assert not (tmp_path / "results").exists()
