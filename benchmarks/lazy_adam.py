"""Set a lazy Adam beside the dense one that defines training: CPU seconds an epoch, and test MRR.

    python benchmarks/lazy_adam.py LastFM --seeds 3

Dense Adam moves every row of the item table at every step: a row whose item is not in the batch
still drifts along its old gradients. The lazy one takes sparse gradients of the item table and
moves only the rows that a batch looked up. Everything else is the package's own finetuning, so a
softmax over all items, whose gradient is dense, cannot be lazy.
"""

import time
from pathlib import Path
from typing import Annotated

import torch
import typer

import s3rec_mini as s3
from s3rec_mini.tools import devices
from s3rec_mini.tools.experiments import measure
from s3rec_mini.tools.results import write_record

dense = devices.prepared


class LazyAdam:
    """Adam for all weights but the item table, which `torch.optim.SparseAdam` moves."""

    def __init__(self, stage, learning_rate: float):
        table = stage.model.item_embedding
        table.sparse = True  # its look-ups now give sparse gradients
        others = [weight for weight in stage.parameters() if weight is not table.weight]
        self.parts = (torch.optim.SparseAdam([table.weight], learning_rate),
                      torch.optim.Adam(others, learning_rate, fused=True))

    def zero_grad(self):
        """Forget the gradients of all weights."""
        for part in self.parts:
            part.zero_grad()

    def step(self):
        """Move the weights that have a gradient."""
        for part in self.parts:
            part.step()


def lazy(accelerator, model, config, loss):
    """Do what `devices.prepared` does, with the lazy optimizer."""
    stage = devices.Stage(model, loss).train()
    return accelerator.prepare(stage), LazyAdam(stage, config.learning_rate)


def finetuned(data, config, prepare, negatives) -> dict:
    """Finetune a new model with one of the optimizers; return seconds an epoch and the metrics."""
    devices.prepared = prepare  # the loop stays the package's own
    torch.manual_seed(config.seed)
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data))
    start = time.process_time()
    history = s3.finetune(model, data, config, negatives=negatives)
    seconds = (time.process_time() - start) / len(history)
    return {"epochs": len(history), "CPU seconds an epoch, validation included": round(seconds, 2),
            **measure(model, data, "test", negatives, seed=0)[0]}


def main(name: str, seeds: int = 3, loss: str = "pointwise", epochs: int = 200, patience: int = 20,
         results: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None):
    """Finetune from scratch with both optimizers, the same seeds and drawn negatives."""
    data = s3.load_dataset(name)
    runs = {}
    for seed in range(seeds):
        config = s3.FinetuneConfig(epochs, patience, loss=loss, seed=seed)
        for kind, prepare in (("dense", dense), ("lazy", lazy)):
            runs[f"{kind}, seed {seed}"] = run = finetuned(data, config, prepare, negatives=99)
            mrr = {protocol: run[protocol]["metrics"]["MRR"] for protocol in ("sampled", "full")}
            typer.echo(f"{kind}, seed {seed}: {run['epochs']} epochs, {mrr}", err=True)
    write_record({"dataset": name, "loss": loss, "runs": runs}, results)


if __name__ == "__main__":
    typer.run(main)
