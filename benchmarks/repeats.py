"""Measure what a test item that its user had before does to both protocols.

    python benchmarks/repeats.py Yelp --results s3rec_mini/data/results/repeats.json

Of the paper's datasets only Yelp has such users. The sampled protocol draws negatives among items
that a user has not seen. Over all items there are three ways: leave out what was seen, but for the
target (ours), leave out nothing, or give all that was seen the score 0, the target too (the
authors'). Ranks are those of the finetuned models of ``s3rec reproduce``, which --runs holds.
"""

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from gains import METRICS, gain

import s3rec_mini as s3
from s3rec_mini.evaluation import evaluating, last_states, users_by_length
from s3rec_mini.tools.results import write_record


@torch.no_grad()
def ranks_by_rule(model, data) -> dict[str, np.ndarray]:
    """Rank every user's test item in each way, (num_users,) int64 each."""
    ranks = {"among 99": s3.rank_targets(model, data, protocol="sampled"),
             "seen left out": s3.rank_targets(model, data)}
    histories, targets = data.held_out("test")
    with evaluating(model):
        for users in users_by_length(histories, 256):
            seen, wanted = [histories[user] for user in users], torch.from_numpy(targets[users])
            kept = model.score(last_states(model, seen))  # (B, num_items + 2)
            zero = kept.clone()  # the authors rank padding and mask, too
            kept[:, [0, -1]] = -torch.inf
            for row, history in enumerate(seen):
                zero[row, history.tolist()] = 0
            for rule, scores in (("seen kept", kept), ("seen score 0", zero)):
                whole = ranks.setdefault(rule, np.empty(len(targets), dtype=np.int64))
                own = scores.gather(1, wanted[:, None])  # (B, 1)
                whole[users] = (scores >= own).sum(1).numpy()  # itself counts: from 1
    return ranks


def main(dataset: Annotated[str, typer.Argument(help="One of the authors'.")] = "Yelp",
         runs: Annotated[Path, typer.Option(help="Where checkpoints are.")] = Path("runs"),
         results: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None):
    """Rank with every finetuned model, and average over those whose test item is old or new."""
    data = s3.load_dataset(dataset)
    histories, targets = data.held_out("test")
    old = np.array([target in history for history, target in zip(histories, targets, strict=True)])
    newest = sum(history[-1] == target for history, target in zip(histories, targets, strict=True))
    groups = {"everybody": np.full(len(old), True), "had it before": old, "new to them": ~old}
    rows, ranks = [], defaultdict(list)
    for path in sorted((runs / data.name).glob("*-*-seed*/model.safetensors")):
        start, loss, seed = path.parent.name.split("-")
        model = s3.S3Rec.load(path)
        for rule, found in ranks_by_rule(model, data).items():
            for group, users in groups.items():
                metrics = s3.metrics_from_ranks(found[users])
                ranks[loss, rule, group, start].append(found[users])
                rows.append({"start": start, "loss": loss, "seed": int(seed[4:]), "rule": rule,
                             "users": group, **{name: round(metrics[name], 5) for name in METRICS}})
    gains = [{"loss": loss, "rule": rule, "group": group, "metric": metric,
              **gain(pretrained, ranks[loss, rule, group, "scratch"], metric)}
             for (loss, rule, group, start), pretrained in ranks.items() if start == "pretrained"
             for metric in METRICS]
    write_record({"dataset": data.name, "num_users": len(old), "had it before": int(old.sum()),
                  "had it last": int(newest), "measured": rows, "gains": gains}, results)


if __name__ == "__main__":
    typer.run(main)
