"""Runs that answer one question: what the authors' scripts set, and which settings go furthest.

    python benchmarks/trials.py authors Beauty       # their weights, their scripts' settings
    python benchmarks/trials.py sampled Beauty       # the softmax over all items and over some
    python benchmarks/trials.py search Beauty        # six candidates, measured on validation alone
    python benchmarks/trials.py second-pretraining Beauty # with another seed: is it luck?
    python benchmarks/trials.py again-softmax Beauty # the runs of `s3rec reproduce`, finetuned from
                                                     # the pretrained weights that ship

Results go to --folder, checkpoints to --runs; what is there is not run again. The candidates of the
search were written down before any test figure of theirs was seen, and it never measures one. What
runs again goes to the folder of the runs whose place it takes.
"""

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import typer

import s3rec_mini as s3
from s3rec_mini.tools import official
from s3rec_mini.tools.experiments import (
    measure,
    named,
    new_model,
    read_negatives,
    stage_record,
)
from s3rec_mini.tools.results import write_ranks, write_record

FILES = Path(os.environ["S3REC_DATA"])  # the authors' files
LARGE = s3.PretrainConfig(epochs=60, batch_size=100)
PRETRAINING = {"LastFM": s3.PretrainConfig(epochs=200, batch_size=100, prefixes_per_user=4)}
PATIENCE = {"LastFM": 20}  # few steps an epoch: see FinetuneConfig


@dataclass(frozen=True)
class Trial:
    """Where a model starts from, and how it is finetuned."""

    start: str = "shipped"  # our weights of the package; or scratch, authors, or pretrained here
    finetuning: dict = field(default_factory=dict)
    sizes: dict = field(default_factory=dict)  # of a model that starts from scratch
    dropout: float = 0.5  # of finetuning
    forms: dict = field(default_factory=dict)  # of pretraining
    pretraining_seed: int | None = None  # that of finetuning, if there is none


SOFTMAX = {"loss": "softmax", "validation_protocol": "full"}
POINTWISE = {"loss": "pointwise"}
BY_FULL = POINTWISE | {"validation_protocol": "full"}
AVOIDING = {"held_out_negatives": True}
QUESTIONS = {
    "authors": {
        "epoch-by-full-ranking": Trial("authors", BY_FULL),
        "held-out-avoided": Trial("authors", POINTWISE | AVOIDING),
        "both": Trial("authors", BY_FULL | AVOIDING),
        "scratch-epoch-by-full-ranking": Trial("scratch", BY_FULL),  # is it a gain of pretraining?
    },
    "sampled": {
        f"{start}-{items}-items": Trial(where, {"loss": "sampled_softmax", "sampled_items": items})
        for start, where in (("scratch", "scratch"), ("pretrained", "shipped"))
        for items in (256, 1024)
    },
    "search": {
        "pretrained": Trial(finetuning=SOFTMAX),
        "pretrained-dropout-0.3": Trial(finetuning=SOFTMAX, dropout=0.3),
        "pretrained-dropout-0.2": Trial(finetuning=SOFTMAX, dropout=0.2),
        "pretrained-mip-infonce": Trial("pretrained", SOFTMAX, forms={"mip": "infonce"}),
        "scratch-dropout-0.3": Trial("scratch", SOFTMAX, dropout=0.3),
        "scratch-width-128": Trial("scratch", SOFTMAX, {"hidden_size": 128}),
    },
    "second-pretraining": {
        "pretrained-pointwise": Trial("pretrained", POINTWISE, pretraining_seed=1),
    },
} | {
    f"again-{loss}": {f"scratch-{loss}": Trial("scratch", {"loss": loss}),
                      f"pretrained-{loss}": Trial("shipped", {"loss": loss})}
    for loss in ("pointwise", "pairwise", "softmax")
}
SEEDS = {"search": 1}


def started(trial: Trial, data, seed: int, runs: Path):
    """Return the model that is finetuned, and what is recorded of its pretraining."""
    if trial.start == "authors":
        return official.load_checkpoint(FILES / f"{data.name}-epochs-150.pt", data), {}
    if trial.pretraining_seed is not None:
        seed = trial.pretraining_seed
    config = replace(PRETRAINING.get(data.name, LARGE), forms=trial.forms, seed=seed)
    model, record = new_model(data, s3.ModelConfig.for_dataset(data, **trial.sizes), seed), {}
    if trial.start == "shipped":
        model = s3.load_model(f"{data.name}-pretrained")
        past = s3.load_results(data.name)["pretrained-pointwise"][0]
        record = {name: past[name] for name in past if name.startswith("pretraining")}
    if trial.start == "pretrained":
        form = "".join(f"-{name}-{form}" for name, form in trial.forms.items())
        where = runs / data.name / f"pretraining{form}-seed{seed}"
        history = s3.pretrain(model, data, config, where)
        record = stage_record("pretraining", config, history)
    tuned = s3.S3Rec(replace(model.config, dropout=trial.dropout))
    tuned.load_state_dict(model.state_dict())
    tuned.vocabulary = model.vocabulary
    return tuned, record


def run(question: str, name: str, trial: Trial, data, seed: int, folder: Path, runs: Path) -> None:
    """Finetune one trial and write down what it gives, if that is not there yet."""
    where = Path(data.name) if question.startswith("again") else Path(question, data.name)
    results = folder / where / f"{name}-seed{seed}.json"
    if results.exists():
        return
    model, record = started(trial, data, seed, runs)
    config = s3.FinetuneConfig(seed=seed, patience=PATIENCE.get(data.name, 10), **trial.finetuning)
    drawn = FILES / f"{data.name}_sample.txt"
    drawn = drawn if drawn.exists() else None
    negatives = read_negatives(drawn, data)
    history = s3.finetune(model, data, config, runs / where / f"{name}-seed{seed}", negatives)
    model.save(runs / where / f"{name}-seed{seed}" / "model.safetensors", torch.float16)
    split = "validation" if question == "search" else "test"
    measured, ranks = measure(model, data, split, negatives)
    write_ranks(ranks, data.num_items, results.with_suffix(".npz"))
    start = trial.start.replace("shipped", "pretrained")
    write_record({"dataset": data.name, "start": start, **record,
                  "model": asdict(model.config), **stage_record("finetuning", config, history),
                  "negatives": named(drawn), **measured}, results)


def main(question: Annotated[str, typer.Argument(help=f"One of {', '.join(QUESTIONS)}.")],
         dataset: Annotated[str, typer.Argument(help="One of the authors'.")],
         folder: Annotated[Path, typer.Option(help="Where results go.")] = Path("runs/results"),
         runs: Annotated[Path, typer.Option(help="Where checkpoints go.")] = Path("runs"),
         only: Annotated[list[int] | None, typer.Option(help="Seeds, in place of all.")] = None):
    """Run all trials of a question, three seeds each (the search one)."""
    data = s3.load_dataset(dataset)
    for seed in only or range(SEEDS.get(question, 3)):
        for name, trial in QUESTIONS[question].items():
            run(question, name, trial, data, seed, folder, runs)


if __name__ == "__main__":
    typer.run(main)
