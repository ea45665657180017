"""The command line, ``s3rec``: the same stages as in Python, each with ``--help``.

NAME is a dataset's name, or a CSV file with the columns user, item and timestamp. Results are JSON
that says with which command, settings, seed, commit and machine they were made.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from . import official
from .datasets import SequenceDataset, load_dataset
from .encoder import ModelConfig, S3Rec, replacing
from .evaluation import bootstrap_intervals, metrics_from_ranks, rank_targets
from .evaluation import recommend as recommend_items
from .training import FinetuneConfig, PretrainConfig
from .training import finetune as finetune_model
from .training import pretrain as pretrain_model

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
                  help="S3-Rec: pretrain, finetune, evaluate and recommend.")

Name = Annotated[str, typer.Argument(help="Dataset, or a CSV file: user, item, timestamp.")]
Attributes = Annotated[Path | None, typer.Option(
    help="For a CSV file: another with the column item and any number of attribute columns.")]
Weights = Annotated[Path, typer.Argument(help="A model file, as pretrain and finetune write it.")]
Output = Annotated[Path, typer.Option(help="Model file to write.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Folder to save to and resume from.")]
Results = Annotated[Path | None, typer.Option(help="JSON file to write; printed without it.")]
Seed = Annotated[int, typer.Option(min=0, help="Of weights, batches, dropout and negatives.")]
ObjectiveWeights = Annotated[list[str] | None, typer.Option(
    help="An objective's weight, such as aap=0.2; repeatable.")]
Forms = Annotated[list[str] | None, typer.Option(
    help="An objective's form, such as mip=infonce (released, paper, infonce); repeatable.")]
Loss = Annotated[str, typer.Option(help="pairwise, pointwise or softmax.")]
PerUser = Annotated[int | None, typer.Option(help="Prefixes a user an epoch; all without it.")]
Negatives = Annotated[Path | None, typer.Option(
    help="The authors' NAME_sample.txt; 99 are drawn for each user without it.")]


@app.command()
def data(name: Name, attributes: Attributes = None):
    """Print a dataset's counts and its first user's history."""
    dataset = _load(name, attributes)
    first = [dataset.item_names[item] for item in dataset.sequences[0][:10]]
    typer.echo(f"{dataset}\nuser {dataset.user_names[0]}: {' | '.join(first)} …")


@app.command()
def pretrain(
    name: Name,
    output: Output = Path("pretrained.safetensors"),
    attributes: Attributes = None,
    epochs: int = PretrainConfig.epochs,
    batch_size: int = PretrainConfig.batch_size,
    learning_rate: float = PretrainConfig.learning_rate,
    mask_probability: float = PretrainConfig.mask_probability,
    prefixes_per_user: PerUser = None,
    weight: ObjectiveWeights = None,
    form: Forms = None,
    hidden_size: int = ModelConfig.hidden_size,
    num_layers: int = ModelConfig.num_layers,
    num_heads: int = ModelConfig.num_heads,
    max_length: int = ModelConfig.max_length,
    dropout: float = ModelConfig.dropout,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    results: Results = None,
):
    """Pretrain a new model on the four objectives."""
    dataset = _load(name, attributes)
    weights = PretrainConfig().weights | {k: float(v) for k, v in _pairs(weight).items()}
    config = PretrainConfig(epochs, batch_size, learning_rate, weights, _pairs(form),
                            mask_probability, prefixes_per_user, seed=seed)
    model = _new_model(dataset, seed, hidden_size=hidden_size, num_layers=num_layers,
                       num_heads=num_heads, max_length=max_length, dropout=dropout)
    history = pretrain_model(model, dataset, config, checkpoint)
    model.save(output)
    _report({"model": asdict(model.config), "pretraining": asdict(config),
             "history": _columns(history)}, results)


@app.command()
def finetune(
    name: Name,
    weights: Annotated[Path | None, typer.Option(help="Pretrained model; a new one without it.")]
    = None,
    output: Output = Path("finetuned.safetensors"),
    attributes: Attributes = None,
    epochs: int = FinetuneConfig.epochs,
    patience: int = FinetuneConfig.patience,
    batch_size: int = FinetuneConfig.batch_size,
    learning_rate: float = FinetuneConfig.learning_rate,
    loss: Loss = FinetuneConfig.loss,
    negatives: Negatives = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    results: Results = None,
):
    """Finetune a pretrained or new model to predict the next item."""
    dataset = _load(name, attributes)
    config = FinetuneConfig(epochs, patience, batch_size, learning_rate, loss, seed=seed)
    model = S3Rec.load(weights) if weights else _new_model(dataset, seed)
    history = finetune_model(model, dataset, config, checkpoint, _negatives(negatives, dataset))
    model.save(output)
    _report({"model": asdict(model.config), "finetuning": asdict(config),
             "history": _columns(history)}, results)


@app.command()
def evaluate(
    name: Name,
    weights: Weights,
    attributes: Attributes = None,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    negatives: Negatives = None,
    seed: Seed = 0,
    results: Results = None,
):
    """Rank every user's held-out item among all items and among 99 negatives."""
    dataset = _load(name, attributes)
    _report(_measure(S3Rec.load(weights), dataset, split, _negatives(negatives, dataset), seed),
            results)


@app.command()
def recommend(
    name: Name,
    weights: Weights,
    history: Annotated[list[str], typer.Argument(help="Items seen, oldest first, by name or id.")],
    attributes: Attributes = None,
    k: Annotated[int, typer.Option(help="How many to recommend.")] = 10,
):
    """Recommend the next items to somebody with this history."""
    dataset = _load(name, attributes)
    seen = [int(item) if item not in dataset.item_names and item.isdigit() else item
            for item in history]
    typer.echo(recommend_items(S3Rec.load(weights), dataset, seen, k).to_string(index=False))


@app.command()
def reproduce(
    names: Annotated[list[str], typer.Argument(help="Datasets by name.")],
    seeds: Annotated[int, typer.Option(min=1, help="Finetuning seeds, 0, 1, …")] = 3,
    pretraining_seeds: Annotated[int, typer.Option(
        min=1, help="Pretraining runs; finetuning seed s starts from run s modulo this.")] = 1,
    pretraining_epochs: int = PretrainConfig.epochs,
    pretraining_batch_size: int = PretrainConfig.batch_size,
    prefixes_per_user: PerUser = None,
    weights: Annotated[Path | None, typer.Option(
        help="The authors' pretrained checkpoint, to be finetuned instead of ours.")] = None,
    loss: Loss = FinetuneConfig.loss,
    patience: int = FinetuneConfig.patience,
    negatives: Negatives = None,
    folder: Annotated[Path, typer.Option(help="Where the results go, one JSON file a run.")]
    = Path("s3rec_mini/data/results"),
    runs: Annotated[Path, typer.Option(help="Where checkpoints go.")] = Path("runs"),
):
    """Train from scratch (SASRec) and from pretrained weights, and evaluate both on the test items.

    Runs whose results file exists are not run again, and one that was interrupted goes on.
    """
    for name in names:
        dataset = load_dataset(name)
        candidates = _negatives(negatives, dataset)
        for seed in range(seeds):
            pretraining = PretrainConfig(
                epochs=pretraining_epochs, batch_size=pretraining_batch_size,
                prefixes_per_user=prefixes_per_user, seed=seed % pretraining_seeds)
            finetuning = FinetuneConfig(loss=loss, patience=patience, seed=seed)
            for start in ("scratch", weights.stem if weights else "pretrained"):
                path = folder / name / f"{start}-{loss}-seed{seed}.json"
                if path.exists():
                    continue
                model, before = _new_model(dataset, seed), {}
                if weights and start != "scratch":
                    model, before = official.load_checkpoint(weights, dataset), {"weights": start}
                elif start == "pretrained":
                    where = runs / name / f"pretraining-seed{pretraining.seed}"
                    model = _new_model(dataset, pretraining.seed)
                    history = pretrain_model(model, dataset, pretraining, where)
                    before = {"pretraining": asdict(pretraining),
                              "pretraining_history": _columns(history)}
                where = runs / name / path.stem
                history = finetune_model(model, dataset, finetuning, where, candidates)
                model.save(where / "model.safetensors", torch.float16)
                model = S3Rec.load(where / "model.safetensors")  # what is measured can be shipped
                record = {
                    "dataset": name, "start": start, "model": asdict(model.config), **before,
                    "finetuning": asdict(finetuning), "finetuning_history": _columns(history),
                    "negatives": negatives.name if negatives else "99 drawn, seed 0",
                    **_measure(model, dataset, "test", candidates, seed=0)}
                _report(record, path)


def _load(name: str, attributes: Path | None) -> SequenceDataset:
    if not name.endswith((".csv", ".csv.gz")):
        return load_dataset(name)
    extra = pd.read_csv(attributes) if attributes else None
    return SequenceDataset.from_interactions(pd.read_csv(name), attributes=extra, name=name)


def _new_model(dataset, seed: int, **sizes) -> S3Rec:
    torch.manual_seed(seed)
    return S3Rec(ModelConfig.for_dataset(dataset, **sizes))


def _negatives(path: Path | None, dataset):
    return official.load_negatives(path, dataset) if path else 99


def _pairs(options: list[str] | None) -> dict[str, str]:
    try:
        return dict(option.split("=") for option in options or [])
    except ValueError:
        raise ValueError(f"write NAME=VALUE, such as aap=0.2, not {options}") from None


def _measure(model, dataset, split, negatives, seed) -> dict:
    measured = {"split": split}
    for protocol in ("full", "sampled"):
        ranks = rank_targets(model, dataset, split, protocol, negatives, seed)
        measured[protocol] = {"metrics": metrics_from_ranks(ranks),
                              "intervals": bootstrap_intervals(ranks)}
    return measured


def _columns(history: list[dict]) -> dict[str, list]:
    """Turn a history into one list of numbers, of five digits, a column."""
    frame = pd.json_normalize(history)
    return {name: [float(f"{value:.5g}") for value in frame[name]] for name in frame}


def _report(record: dict, path: Path | None) -> None:
    """Write a result with where it comes from, or print it."""
    origin = {"command": shlex.join(["s3rec", *sys.argv[1:]]), "commit": _commit(),
              "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
                         f"{torch.get_num_threads()} threads, Python {platform.python_version()}, "
                         f"torch {torch.__version__}"}
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in (origin | record).items())
    text = "{\n" + ",\n".join(lines) + "\n}"
    if path is None:
        typer.echo(text)
        return
    with replacing(path) as unfinished:
        unfinished.write_text(text + "\n")


def _commit() -> str:
    """Name the commit of a checkout, marked if its files differ, or the installed version."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True,
                              check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "--", "*.py"],
                                 capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        from . import __version__

        return f"s3rec-mini {__version__}, not a checkout"
    return head + (" with changes" if changed else "")


def main():
    """Run the command line; an error the user can mend is one line, not a traceback."""
    try:
        app()
    except (ValueError, OSError) as error:
        sys.exit(f"s3rec: {error}")
