"""Measure how the cost of a pretraining step grows with each size, the others held fixed.

    python benchmarks/growth.py --results s3rec_mini/data/results/growth.json

Data are random (`planted_structure`), so that every size can be chosen alone. A step is timed as an
epoch of `s3.pretrain`, its batches drawn included, divided by its steps, the best of several
epochs; and set against a step of the base sizes timed right before and after, as the speed of a
machine drifts. "length" is the longest prefix; prefixes are half as long on average.
"""

from pathlib import Path
from typing import Annotated

import typer

import s3rec_mini as s3
from s3rec_mini.tools.results import write_record

BASE = {"sequences": 100, "length": 20, "items": 4000, "attributes": 400, "hidden size": 64}
GRID = {
    "sequences": (10, 25, 50, 100, 200, 400, 800),
    "length": (2, 5, 10, 20, 30, 40, 50),
    "items": (1000, 4000, 16000, 64000, 256000),
    "attributes": (20, 100, 400, 1600, 6400),
    "hidden size": (16, 32, 64, 128, 256),
}
GROUPS, STEPS, EPOCHS = 20, 8, 5


def seconds_a_step(sizes: dict[str, int]) -> float:
    """Return the seconds of a pretraining step with these sizes."""
    length = sizes["length"]
    data, _ = s3.planted_structure(
        STEPS * sizes["sequences"], GROUPS, sizes["items"] // GROUPS,
        sizes["attributes"] // GROUPS, lengths=(length + 2, length + 2))
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data, hidden_size=sizes["hidden size"]))
    config = s3.PretrainConfig(EPOCHS, batch_size=sizes["sequences"], prefixes_per_user=1)
    records = s3.pretrain(model, data, config)
    return min(record["seconds"] for record in records[1:]) / STEPS


def main(results: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None):
    """Vary one size after the other."""
    base = [seconds_a_step(BASE) for _ in range(2)][1:]  # the first steps of a process are slow
    growth: dict[str, dict[int, float]] = {}
    for name, values in GRID.items():
        for value in values:
            seconds = seconds_a_step(BASE | {name: value})
            base.append(seconds_a_step(BASE))
            growth.setdefault(name, {})[value] = round(seconds / min(base[-2:]), 3)
    write_record({"base": BASE, "seconds of a base step": [min(base), max(base)],
                  "growth": growth}, results)


if __name__ == "__main__":
    typer.run(main)
