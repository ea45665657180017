"""The benchmark's count of useful FLOP, against what torch counts where nothing is wasted."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import s3rec_mini as s3
from s3rec_mini.batches import FinetuneBatch
from s3rec_mini.objectives import finetuning_loss

PATH = Path(__file__).parents[1] / "benchmarks" / "speed.py"
SPEC = importlib.util.spec_from_file_location("speed", PATH)
speed = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(speed)


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
