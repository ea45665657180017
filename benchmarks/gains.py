"""Say what pretraining adds and how sure that is, from the ranks of the results that ship.

    python benchmarks/gains.py --results s3rec_mini/data/results/gains.json

The ranks are too large for what pip installs. This file holds what the book needs of them: for each
dataset, loss, protocol and metric the mean gain over runs from scratch, from our pretraining
and from the authors' weights, and the standard errors over users and over seeds, as
`s3rec_mini.paired_difference` finds them.
"""

from pathlib import Path
from typing import Annotated

import typer

import s3rec_mini as s3
from s3rec_mini.tools.results import write_record

DATASETS = ("LastFM", "Beauty", "Toys_and_Games", "Sports_and_Outdoors", "Yelp", "movielens-small")
METRICS = ("HR@5", "HR@10", "HR@20", "NDCG@10", "MRR")


def gain(pretrained, scratch, metric: str) -> dict[str, float]:
    """Return the difference of two kinds of run by the ranks of their seeds, and its two errors."""
    found = s3.paired_difference(pretrained, scratch, metric)
    numbers = {"gain": found.mean, "error over users": found.users,
               "error over seeds": found.seeds}
    return {name: float(f"{value:.6g}") for name, value in numbers.items()} | {
        "users": len(scratch[0]), "seeds": len(scratch)}


def ranks_of(folder: str) -> dict[str, list]:
    """Return those that are kept; {} if there are none."""
    try:
        return s3.load_ranks(folder)
    except ValueError:
        return {}


def gains(data: str, folder: str) -> list[dict]:
    """Compare the runs of `folder` that begin with pretrained weights with those from scratch."""
    scratch, rows = ranks_of(data), []
    for kind, runs in ranks_of(folder).items():
        start, loss = kind.rsplit("-", 1)
        if start == "scratch" or f"scratch-{loss}" not in scratch:
            continue
        for protocol in ("sampled", "full"):
            ranks = [[run[protocol] for run in each] for each in (runs, scratch[f"scratch-{loss}"])]
            rows += [{"folder": folder, "start": start, "loss": loss, "protocol": protocol,
                      "metric": metric, **gain(*ranks, metric)} for metric in METRICS]
    return rows


def main(results: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None):
    """Compare what is kept of every dataset and of every pretraining."""
    write_record({"gains": [row for data in DATASETS
                            for folder in (data, f"second-pretraining/{data}")
                            for row in gains(data, folder)]}, results)


if __name__ == "__main__":
    typer.run(main)
