"""Measure training and ranking against a bare matrix product on the same threads.

    python benchmarks/speed.py pretraining LastFM
    python benchmarks/speed.py finetuning Beauty
    python benchmarks/speed.py ranking Beauty

Each prints one line of JSON. A ratio sets useful FLOP a second against the best of 20 products of
5000×64 by 64×256 in float32, taken before and after on the same threads. Useful FLOP are counted by
one formula: 2mnk for each product that the losses need, three times that where there is a gradient
(backward is twice forward); real items only, attention over real lengths, predictions that are
made; nothing for look-ups, norms, dropout, element-wise functions or the optimizer. Of the segment
views the losses need the newest position alone; our last block computes no others, and "ratio"
counts no others. "ratio, all positions" counts them, as a program does that computes them.
"""

import json
import resource
import time

import numpy as np
import torch
import typer

import s3rec_mini as s3
from s3rec_mini.batches import finetuning_batches, pretraining_batches
from s3rec_mini.evaluation import last_states, users_by_length

app = typer.Typer(pretty_exceptions_enable=False)


def product_rate() -> float:
    """Return FLOP a second of the best of 20 matrix products."""
    left, right = torch.randn(5000, 64), torch.randn(64, 256)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - start)
    return 2 * 5000 * 64 * 256 / min(seconds)


def encoder_flop(lengths: torch.Tensor, config, causal=False, newest_only=False) -> float:
    """Count the products of one forward pass over sequences of these lengths (B,)."""
    size, lengths = config.hidden_size, lengths.double()
    pairs = lengths * (lengths + 1) / 2 if causal else lengths**2  # of query and key
    # Keys and values of each item; of each query itself, the output and the feed-forward net.
    block = 4 * size**2 * lengths + 20 * size**2 * lengths + 4 * size * pairs
    last = 4 * size**2 * lengths + 20 * size**2 + 4 * size * lengths if newest_only else block
    return float(((config.num_layers - 1) * block + last).sum())


def pretraining_flop(batch, config, all_positions=False) -> float:
    """Count the forward products of the four released objectives."""
    size, lengths = config.hidden_size, (batch.items != 0).sum(1)
    columns = config.num_attributes + 1
    masked, visible = len(batch.masked_positions), len(batch.unmasked_positions)
    pair = 2 * size**2 + 4 * size  # a head, and two products of a state with an embedding
    heads = ((masked + visible) * (2 * size**2 + 2 * size * columns)
             + (masked + len(batch)) * pair)
    segments = 3 * encoder_flop(lengths, config, newest_only=not all_positions)
    return encoder_flop(lengths, config) + segments + heads


def finetuning_flop(batch, config) -> float:
    """Count the forward products of the pointwise or the pairwise loss."""
    lengths = (batch.items != 0).sum(1)
    return encoder_flop(lengths, config, causal=True) + 4 * config.hidden_size * batch.num_terms


def load(name: str, users: int | None):
    """Return a dataset, or a random part of its users, with all of its items."""
    data = s3.load_dataset(name)
    if users and users < data.num_users:
        data = data.subset(np.sort(np.random.default_rng(0).permutation(data.num_users)[:users]))
    return data


def report(work: str, data, rate: float, **numbers) -> None:
    """Print a line of JSON."""
    rounded = {name: float(f"{value:.4g}") for name, value in numbers.items()}
    typer.echo(json.dumps({
        "work": work, "dataset": data.name, "users": data.num_users,
        "threads": torch.get_num_threads(), "product GFLOP/s": round(rate / 1e9, 1), **rounded,
        "peak memory MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }))


def report_training(work, data, record: dict, rate: float, **flop: float) -> None:
    """Print the speed of an epoch by each count of a forward pass's useful FLOP."""
    ratios = {name: 3 * count / record["seconds"] / rate for name, count in flop.items()}
    report(work, data, rate, **ratios, sequences=record["sequences"], **{
        "sequences/s": record["sequences"] / record["seconds"]})


@app.command()
def pretraining(name: str, users: int | None = 1500, batch_size: int = 100):
    """Train one epoch on every prefix, after one to warm up."""
    data, before = load(name, users), product_rate()
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data))
    config = s3.PretrainConfig(epochs=2, batch_size=batch_size)
    record = s3.pretrain(model, data, config)[-1]
    batches = list(pretraining_batches(data, batch_size=batch_size, epoch=1))
    needed, all_positions = (sum(pretraining_flop(batch, model.config, every) for batch in batches)
                             for every in (False, True))
    report_training("pretraining", data, record, max(before, product_rate()), ratio=needed,
                    **{"ratio, all positions": all_positions})


@app.command()
def finetuning(name: str, users: int | None = None, batch_size: int = 256):
    """Take the best of ten epochs, their validation left out."""
    data, before = load(name, users), product_rate()
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    records = []
    for epoch in range(10):
        flop = sequences = 0
        seconds = 0.0
        for batch in finetuning_batches(data, batch_size=batch_size, epoch=epoch):
            start = time.perf_counter()
            optimizer.zero_grad()
            s3.finetuning_loss(model, batch).backward()
            optimizer.step()
            seconds += time.perf_counter() - start
            flop, sequences = flop + finetuning_flop(batch, model.config), sequences + len(batch)
        records.append(({"seconds": seconds, "sequences": sequences}, flop))
    best, flop = min(records, key=lambda pair: pair[0]["seconds"])
    report_training("finetuning", data, best, max(before, product_rate()), ratio=flop)


@app.command()
@torch.no_grad()
def ranking(name: str, users: int | None = None):
    """Rank all users among all items; the encoding is timed alone and taken off."""
    data, rate = load(name, users), product_rate()
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data)).eval()
    histories, _ = data.held_out("test")
    groups = users_by_length(histories, batch_size=256)  # as `rank_targets` does
    seconds = {}

    def timed(what, function):
        tries = []
        for _ in range(3):
            start = time.perf_counter()
            result = function()
            tries.append(time.perf_counter() - start)
        seconds[what] = min(tries)
        return result

    timed("all", lambda: s3.rank_targets(model, data))
    states = timed("encoding", lambda: [last_states(model, [histories[u] for u in users])
                                        for users in groups])
    timed("products", lambda: [len(model.score(part)) for part in states])
    ranking = seconds["all"] - seconds["encoding"]
    report("ranking", data, max(rate, product_rate()),
           **{"ranking s": ranking, "bare products s": seconds["products"],
              "ranking / bare products": ranking / seconds["products"],
              "encoding s": seconds["encoding"]})


if __name__ == "__main__":
    app()
