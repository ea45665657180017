"""Benchmarks: what they count, what they say is missing, what they take for a pass."""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode

import s3rec_mini as s3
from s3rec_mini.batches import FinetuneBatch
from s3rec_mini.objectives import finetuning_loss


def loaded(name):
    """Load a file of `benchmarks`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


speed, gpu = loaded("speed"), loaded("gpu")


def make(**sizes):
    """Make a model whose attention is the plain one, of products that torch counts."""
    return s3.S3Rec(s3.ModelConfig(30, 9, dropout=0.0, **sizes)).train()


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("length", [1, 7])
def test_an_encoder_pass_without_padding_is_counted_as_torch_does(length, layers):
    model = make(hidden_size=8, num_layers=layers)
    items = torch.randint(1, 31, (5, length))
    with FlopCounterMode(display=False) as counter:
        model(items)
    assert speed.encoder_flop((items != 0).sum(1), model.config) == counter.get_total_flops()


def test_padding_and_the_future_are_not_counted():
    config = make(hidden_size=8).config
    alone = [speed.encoder_flop(torch.tensor([n]), config, causal=True) for n in (2, 5)]
    together = speed.encoder_flop(torch.tensor([2, 5]), config, causal=True)
    assert together == sum(alone)
    both_ways = speed.encoder_flop(torch.tensor([5]), config)
    assert both_ways - alone[1] == config.num_layers * 4 * 8 * (25 - 15)  # 25 pairs, 15 causal


def test_the_newest_position_alone_costs_what_its_last_block_does():
    config = make(hidden_size=8, num_layers=1).config
    # Keys and values of six items; one query, its output, its net, its six pairs.
    by_hand = 6 * 2 * 8 * 16 + 2 * 8 * 8 + 2 * 8 * 8 + 2 * 2 * 8 * 32 + 2 * 2 * 6 * 8
    assert speed.encoder_flop(torch.tensor([6]), config, newest_only=True) == by_hand


def test_the_heads_and_the_backward_pass_are_counted_as_torch_does():
    model = make(hidden_size=8, num_layers=1)
    items = torch.randint(1, 31, (4, 1))  # one item: causal or not, every pair is a real one
    batch = FinetuneBatch(items, items, items)
    with FlopCounterMode(display=False) as counter:
        finetuning_loss(model, batch).backward()
    # The two scores of an item are products too, but written element by element: torch counts none.
    scores = 2 * 2 * len(items) * model.config.hidden_size
    assert 3 * (speed.finetuning_flop(batch, model.config) - scores) == counter.get_total_flops()


def benchmark(name, *arguments):
    return subprocess.run([sys.executable, ROOT / "benchmarks" / name, *arguments],
                          capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_the_check_for_a_gpu_passes_where_it_only_tries_its_steps(tmp_path):
    done = benchmark("gpu.py", "--device", "cpu", "--small", "--results", tmp_path / "found.json")
    assert done.returncode == 0, done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert all(found[section.__name__]["passed"] for section in gpu.SECTIONS)
    assert found["kill_and_resume"]["the same bits"]
    for variant in ("float32", "bfloat16"):
        assert 0 < found["throughput"][variant]["share of waiting for batches"] < 1


def test_the_check_for_a_gpu_fails_where_a_loss_is_another_one(monkeypatch, capsys):
    """Every second call, the one for the CPU, gives a hundredth more."""
    right, calls = s3.finetuning_loss, []

    def wrong(*arguments):
        calls.append(arguments)
        return right(*arguments) * (1.0 if len(calls) % 2 else 1.01)

    monkeypatch.setattr(gpu.s3, "finetuning_loss", wrong)
    monkeypatch.setattr(gpu, "SECTIONS", (gpu.losses_and_gradients,))
    with pytest.raises(SystemExit) as end:
        gpu.main(device="cpu", small=True, results=None, work=None)
    assert end.value.code == 1
    assert "FAIL losses_and_gradients" in capsys.readouterr().out


def test_a_section_that_breaks_leaves_the_others_to_go_on(monkeypatch, capsys):
    def breaks(device, small):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu, "SECTIONS", (breaks, gpu.losses_and_gradients))
    with pytest.raises(SystemExit) as end:
        gpu.main(device="cpu", small=True, results=None, work=None)
    said = capsys.readouterr().out
    assert end.value.code == 1 and "no such kernel" in said
    assert "PASS losses_and_gradients" in said and "1 of 2 sections passed" in said


@pytest.mark.parametrize("arguments, said", [
    (["released", "no/such/folder"], "no/such/folder holds no trainers.py: give a checkout"),
    (["rectools", "Beauty"], "has no RecTools: python -m venv rectools"),
])
def test_a_comparison_says_what_it_needs(arguments, said):
    done = benchmark("versus.py", *arguments)
    assert done.returncode == 1 and said in done.stderr
    assert "Traceback" not in done.stderr
