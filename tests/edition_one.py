"""Runs whose numbers the first edition (commit e576628) stored, and the program that stored them.

    git worktree add /tmp/one e576628 && cp tests/edition_one.py /tmp/one/tests/ && cd /tmp/one
    OMP_NUM_THREADS=1 python tests/edition_one.py FOLDER

writes into FOLDER what `tests/reference/edition_one` holds.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch

os.environ.setdefault("ACCELERATE_USE_CPU", "true")

import s3rec_mini as s3

FORMS = {form: dict.fromkeys(("aap", "mip", "map", "sp"), form)
         for form in ("released", "paper", "infonce")}
SIZES = dict(hidden_size=16, max_length=20, dropout=0.3)


def films():
    """Return 150 users of MovieLens, with all films."""
    return s3.load_dataset("movielens-small").subset(np.arange(150))


def new_model(data):
    torch.manual_seed(3)
    return s3.S3Rec(s3.ModelConfig.for_dataset(data, **SIZES))


def measured(model, data):
    """Return the metrics of both protocols on the test items."""
    return {protocol: s3.evaluate(model, data, "test", protocol, negatives=50, seed=1)
            for protocol in ("full", "sampled")}


def numbers(history):
    """Leave out what is another in every run: seconds."""
    return [{name: value for name, value in record.items() if "seconds" not in name}
            for record in history]


def pretrained(data, form="released", checkpoint=None, epochs=2):
    model = new_model(data)
    config = s3.PretrainConfig(epochs=epochs, batch_size=32, prefixes_per_user=2, seed=5,
                               forms=FORMS[form])
    return model, numbers(s3.pretrain(model, data, config, checkpoint))


def finetuned(model, data, loss="pairwise", checkpoint=None, epochs=2):
    config = s3.FinetuneConfig(epochs=epochs, batch_size=32, loss=loss, seed=6)
    return numbers(s3.finetune(model, data, config, checkpoint, negatives=50))


def all_numbers():
    """Return the histories and metrics of every form and loss."""
    data, found = films(), {}
    for form in FORMS:
        model, history = pretrained(data, form)
        found[f"pretrain {form}"] = {"history": history, **measured(model, data)}
    for loss in ("pairwise", "pointwise", "softmax"):
        model, _ = pretrained(data)
        history = finetuned(model, data, loss)
        found[f"finetune {loss}"] = {"history": history, **measured(model, data)}
    return found


def tiny():
    """Return a world so small that its checkpoints take a few kilobytes."""
    return s3.planted_structure(num_users=30, num_groups=3, items_per_group=5, lengths=(4, 9))[0]


TINY = dict(hidden_size=8, num_layers=1, max_length=8)


def tiny_runs(folder, epochs):
    """Pretrain and finetune in the tiny world, saving to (or going on from) `folder`."""
    data = tiny()
    torch.manual_seed(0)
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data, **TINY))
    first = s3.pretrain(model, data, s3.PretrainConfig(epochs=2, batch_size=40), folder)
    config = s3.FinetuneConfig(epochs=epochs, patience=9, batch_size=10,
                               validation_protocol="full")
    second = s3.finetune(model, data, config, folder)
    return model, {"pretrain": numbers(first), "finetune": numbers(second)}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    tiny_runs(folder, epochs=2)
    _, unbroken = tiny_runs(folder.parent / "unbroken", epochs=4)
    content = {"runs": all_numbers(), "tiny": unbroken}
    (folder / "numbers.json").write_text(json.dumps(content, indent=1) + "\n")
