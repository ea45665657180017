"""The command line, ``s3rec``: the same stages as in Python, each with ``--help``.

NAME is a dataset's name, or a CSV file with the columns user, item and timestamp (numbers, or dates
as pandas reads them). Results are JSON that says with which command, settings, seed, commit and
machine they were made.
"""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from . import official
from .datasets import SequenceDataset, load_dataset
from .encoder import ModelConfig, S3Rec, replacing
from .evaluation import bootstrap_intervals, metrics_from_ranks, rank_targets
from .evaluation import recommend as recommend_items
from .inspection import probe_attributes
from .objectives import OBJECTIVES
from .training import FinetuneConfig, PretrainConfig
from .training import finetune as finetune_model
from .training import pretrain as pretrain_model

__all__ = ["app"]

RESULTS = Path("s3rec_mini/data/results")  # in a checkout, from its root

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
                  help="S3-Rec: pretrain, finetune, evaluate and recommend.")

def _option(kind: type, text: str, **limits):
    return Annotated[kind, typer.Option(help=text, **limits)]


Name = Annotated[str, typer.Argument(
    help="Dataset, or a CSV file with the columns user, item and timestamp.")]
Attributes = _option(
    Path | None, "A second CSV file: the column item and any number of attribute columns.")
Weights = Annotated[Path, typer.Argument(help="A model file, as pretrain and finetune write it.")]
Output = _option(Path, "Model file to write.")
Checkpoint = _option(Path | None, "Folder to save to and resume from.")
Results = _option(Path | None, "JSON file to write; printed without it.")
Seed = _option(int, "Of weights, batches, dropout and negatives.", min=0)
Epochs = _option(int, "Passes over the users, at most.")
BatchSize = _option(int, "Sequences a step.")
LearningRate = _option(float, "Of Adam.")
Masked = _option(float, "Chance of an item to be masked.")
PerUser = _option(int | None, "Prefixes a user an epoch; all without it.")
ObjectiveWeights = _option(list[str] | None, "An objective's weight, as aap=0.2; repeatable.")
Forms = _option(list[str] | None,
                "An objective's form, as mip=infonce: released, paper, infonce; repeatable.")
HiddenSize = _option(int, "Width of embeddings and states.")
Layers = _option(int, "Blocks of the encoder.")
Heads = _option(int, "Attention heads a block.")
MaxLength = _option(int, "Newest items that the model reads.")
DropoutRate = _option(float, "Probability of dropout.")
Loss = _option(str, "pairwise, pointwise or softmax.")
Validation = _option(str, "sampled (99 negatives) or full (all items): where the MRR is taken.")
Patience = _option(int, "Epochs without a better validation MRR after which to stop.")
Negatives = _option(
    Path | None, "The authors' NAME_sample.txt; 99 are drawn for each user without it.")


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
    epochs: Epochs = PretrainConfig.epochs,
    batch_size: BatchSize = PretrainConfig.batch_size,
    learning_rate: LearningRate = PretrainConfig.learning_rate,
    mask_probability: Masked = PretrainConfig.mask_probability,
    prefixes_per_user: PerUser = None,
    weight: ObjectiveWeights = None,
    form: Forms = None,
    hidden_size: HiddenSize = ModelConfig.hidden_size,
    num_layers: Layers = ModelConfig.num_layers,
    num_heads: Heads = ModelConfig.num_heads,
    max_length: MaxLength = ModelConfig.max_length,
    dropout: DropoutRate = ModelConfig.dropout,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    results: Results = None,
):
    """Pretrain a new model on the four objectives."""
    _check_writable(output, results)
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
    weights: _option(Path | None, "Pretrained model; a new one without it.") = None,
    output: Output = Path("finetuned.safetensors"),
    attributes: Attributes = None,
    epochs: Epochs = FinetuneConfig.epochs,
    patience: Patience = FinetuneConfig.patience,
    batch_size: BatchSize = FinetuneConfig.batch_size,
    learning_rate: LearningRate = FinetuneConfig.learning_rate,
    loss: Loss = FinetuneConfig.loss,
    validation_protocol: Validation = FinetuneConfig.validation_protocol,
    negatives: Negatives = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    results: Results = None,
):
    """Finetune a pretrained or new model to predict the next item."""
    _check_writable(output, results)
    dataset = _load(name, attributes)
    config = FinetuneConfig(epochs, patience, batch_size, learning_rate, loss,
                            validation_protocol, seed=seed)
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
    split: _option(str, "test or validation.") = "test",
    negatives: Negatives = None,
    seed: Seed = 0,
    results: Results = None,
):
    """Rank every user's held-out item among all items and among 99 negatives."""
    dataset, model = _load(name, attributes), S3Rec.load(weights)
    record = {"dataset": dataset.name, "weights": str(weights), "model": asdict(model.config),
              "negatives": str(negatives or "99 drawn"), "seed": seed}
    _report(record | _measure(model, dataset, split, _negatives(negatives, dataset), seed), results)


@app.command()
def recommend(
    name: Name,
    weights: Weights,
    history: Annotated[list[str], typer.Argument(help="Items seen, oldest first, by name or id.")],
    attributes: Attributes = None,
    k: _option(int, "How many to recommend.") = 10,
):
    """Recommend the next items to somebody with this history."""
    dataset = _load(name, attributes)
    seen = [int(item) if item not in dataset.item_names and item.isdigit() else item
            for item in history]
    typer.echo(recommend_items(S3Rec.load(weights), dataset, seen, k).to_string(index=False))


@app.command()
def reproduce(
    names: Annotated[list[str], typer.Argument(help="Datasets by name.")],
    seeds: _option(int, "How many finetuning seeds: 0, 1, …", min=1) = 3,
    pretraining_seeds: _option(
        int, "Pretraining runs; finetuning seed s starts from run s modulo this.", min=1) = 1,
    pretraining_epochs: Epochs = PretrainConfig.epochs,
    pretraining_batch_size: BatchSize = PretrainConfig.batch_size,
    pretraining_learning_rate: LearningRate = PretrainConfig.learning_rate,
    prefixes_per_user: PerUser = None,
    form: _option(str, "Form of all four objectives: released, paper or infonce.") = "released",
    weights: _option(
        Path | None, "The authors' pretrained checkpoint, finetuned instead of ours.") = None,
    epochs: Epochs = FinetuneConfig.epochs,
    loss: Loss = FinetuneConfig.loss,
    patience: Patience = FinetuneConfig.patience,
    negatives: _option(Path | None, "The authors' NAME_sample.txt, or a folder that may hold one; "
                       "99 are drawn for each user without it.") = None,
    smoke: Annotated[bool, typer.Option(
        "--smoke", help="Try everything in a minute: 200 users, a seed, an epoch a stage. "
                        "Its files go to the folder smoke of --runs.")] = False,
    folder: _option(Path, "Where the results go, one JSON file a run.") = RESULTS,
    runs: _option(Path, "Where checkpoints go.") = Path("runs"),
):
    """Train from scratch (SASRec) and from pretrained weights, and evaluate both on the test items.

    Runs whose results file exists are not run again, and one that was interrupted goes on.
    """
    if smoke:
        seeds = epochs = pretraining_epochs = 1
        negatives, runs = None, runs / "smoke"
        folder = runs / "results"
        shutil.rmtree(runs, ignore_errors=True)
    suffix, forms = f"-{form}", dict.fromkeys(OBJECTIVES, form)
    if form == "released":
        suffix, forms = "", {}
    pretraining = PretrainConfig(pretraining_epochs, pretraining_batch_size,
                                 pretraining_learning_rate, forms=forms,
                                 prefixes_per_user=prefixes_per_user)
    starts = ("scratch", weights.stem if weights else f"pretrained{suffix}")
    for name in names:
        dataset = load_dataset(name)
        if smoke:
            dataset = dataset.subset(np.arange(min(200, dataset.num_users)))
        file = _sample_file(negatives, name)
        for seed in range(seeds):
            finetuning = FinetuneConfig(epochs, patience, loss=loss, seed=seed)
            how = replace(pretraining, seed=seed % pretraining_seeds)
            run = runs / name / f"pretraining{suffix}-seed{how.seed}"
            for start, config in zip(starts, (None, None if weights else how), strict=True):
                path = folder / name / f"{start}-{loss}-seed{seed}.json"
                if _done(path, config, finetuning):
                    continue
                if weights and start != "scratch":
                    model, origin = official.load_checkpoint(weights, dataset), {}
                else:
                    model, origin = _started(dataset, config, seed, run)
                _, result = _finetuned(model, dataset, dataset, finetuning,
                                       runs / name / path.stem, file)
                _report({"dataset": name, "start": start, **origin, **result}, path)


# What `ablate` changes of the whole pretraining: fields of PretrainConfig, or the share of users.
ALL = PretrainConfig().weights
VARIATIONS: dict[str, dict] = {
    "all-released": {},
    **{f"without-{name}": {"weights": ALL | {name: 0.0}} for name in OBJECTIVES},
    **{f"only-{name}": {"weights": {name: ALL[name]}} for name in OBJECTIVES},
    **{f"all-{form}": {"forms": dict.fromkeys(OBJECTIVES, form)} for form in ("paper", "infonce")},
    **{f"epochs-{epochs}": {"epochs": epochs} for epochs in (10, 25, 50)},
    **{f"data-{percent}": {"share": percent / 100} for percent in (20, 40, 60, 80)},
    **{f"data-20-{form}": {"share": 0.2, "forms": dict.fromkeys(OBJECTIVES, form)}
       for form in ("paper", "infonce")},
    "scratch": {"epochs": 0},
    **{f"scratch-data-{percent}": {"epochs": 0, "share": percent / 100}
       for percent in (20, 40, 60, 80)},
}


@app.command()
def ablate(
    name: Name,
    variation: _option(
        list[str] | None, f"Repeatable; all without it: {', '.join(VARIATIONS)}.") = None,
    seeds: _option(int, "How many seeds: 0, 1, …", min=1) = 3,
    pretraining_epochs: Epochs = PretrainConfig.epochs,
    pretraining_batch_size: BatchSize = PretrainConfig.batch_size,
    prefixes_per_user: PerUser = None,
    loss: Loss = FinetuneConfig.loss,
    patience: Patience = FinetuneConfig.patience,
    folder: _option(Path, "Where the results go, one JSON file a run.") = RESULTS,
    runs: _option(Path, "Where checkpoints go.") = Path("runs"),
):
    """Pretrain with something left out or changed, finetune, and evaluate on all users.

    In data-P, on P % of the users, batches shrink by the same share: an epoch has as many steps.
    Runs whose results file exists are not run again, and one that was interrupted goes on.
    """
    unknown = sorted(set(variation or []) - VARIATIONS.keys())
    if unknown:
        raise ValueError(f"there is no variation {unknown[0]}: choose from {', '.join(VARIATIONS)}")
    dataset = load_dataset(name)
    for seed in range(seeds):
        pretraining = PretrainConfig(epochs=pretraining_epochs, batch_size=pretraining_batch_size,
                                     prefixes_per_user=prefixes_per_user, seed=seed)
        finetuning = FinetuneConfig(loss=loss, patience=patience, seed=seed)
        for label in variation or VARIATIONS:
            path = folder / name / "ablations" / f"{label}-seed{seed}.json"
            share, *configs = _varied(VARIATIONS[label], pretraining, finetuning)
            if not _done(path, *configs):
                run = runs / name / "ablations" / path.stem
                result = _ablated(dataset, share, *configs, run)
                _report({"dataset": name, "variation": label, **result}, path)


def _varied(change: dict, pretraining, finetuning):
    """Return the share of users and both configs of a variation; without pretraining, None."""
    share = change.get("share", 1.0)
    finetuning = replace(finetuning, batch_size=round(share * finetuning.batch_size))
    if change.get("epochs") == 0:
        return share, None, finetuning
    changed = {name: value for name, value in change.items() if name != "share"}
    batch_size = round(share * pretraining.batch_size)
    return share, replace(pretraining, **changed, batch_size=batch_size), finetuning


def _ablated(dataset, share: float, pretraining, finetuning, run: Path) -> dict:
    """Make one run of an ablation, or finish it; return what is to be recorded."""
    order = np.random.default_rng([finetuning.seed, 7]).permutation(dataset.num_users)
    users = np.sort(order[: round(share * dataset.num_users)])
    part = dataset.subset(users) if share < 1 else dataset
    model, origin = _started(part, pretraining, finetuning.seed,
                             run / f"pretraining-seed{finetuning.seed}")
    pretrained = _probe(model, dataset)
    model, result = _finetuned(model, part, dataset, finetuning, run, None)
    probes = {"pretrained": pretrained, "finetuned": _probe(model, dataset)}
    return {"users": len(users), **origin, "probes": probes, **result}


def _probe(model, dataset) -> dict[str, float]:
    """Ask how well a linear probe reads the attributes off the item embeddings."""
    frame = probe_attributes(model.item_embedding.weight[1:-1], dataset.item_attributes)
    return frame[["auc", "control_auc"]].mean().to_dict()


def _done(path: Path, pretraining: PretrainConfig | None, finetuning: FinetuneConfig) -> bool:
    """Say whether a run was made already; a file of a run with other settings is an error."""
    if not path.exists():
        return False
    try:
        saved = json.loads(path.read_text())
    except ValueError:
        raise ValueError(f"{path} is no results file: move it away") from None
    for stage, config in (("pretraining", pretraining), ("finetuning", finetuning)):
        asked, made = (asdict(config) if config else {}), saved.get(stage, {})
        different = sorted(name for name in asked.keys() | made.keys()
                           if asked.get(name) != made.get(name))
        if different:
            raise ValueError(f"{path} holds a run whose {stage} differs in {different[0]} "
                             f"({made.get(different[0])}, not {asked.get(different[0])}): choose "
                             f"another --folder and --runs, or delete it")
    typer.echo(f"{path} is there: not run again", err=True)
    return True


def _started(dataset, config: PretrainConfig | None, seed: int, run: Path) -> tuple[S3Rec, dict]:
    """Make a new model, pretrain it (or find it pretrained in `run`) if `config` says how.

    Returns the model and what is to be recorded of its pretraining.
    """
    if config is None:
        return _new_model(dataset, seed), {}
    model = _new_model(dataset, config.seed)
    history = pretrain_model(model, dataset, config, run)
    model.save(run / "model.safetensors", torch.float16)  # small enough to ship
    return model, {"pretraining": asdict(config), "pretraining_cost": _cost(history),
                   "pretraining_history": _columns(history)}


def _finetuned(model, part, dataset, config: FinetuneConfig, run: Path, negatives: Path | None,
               ) -> tuple[S3Rec, dict]:
    """Finetune a model on a part of the users (or on all) and measure it on all of them.

    Returns the model that was measured and what is to be recorded.
    """
    candidates = _negatives(negatives, dataset)
    history = finetune_model(model, part, config, run, candidates)
    model.save(run / "model.safetensors", torch.float16)
    model = S3Rec.load(run / "model.safetensors")  # what is measured is what can be shipped
    record = {"model": asdict(model.config), "finetuning": asdict(config),
              "finetuning_cost": _cost(history), "finetuning_history": _columns(history),
              "negatives": negatives.name if negatives else "99 drawn, seed 0"}
    return model, record | _measure(model, dataset, "test", candidates, seed=0)


def _load(name: str, attributes: Path | None) -> SequenceDataset:
    if not name.endswith((".csv", ".csv.gz")):
        return load_dataset(name)
    frame, extra = pd.read_csv(name), pd.read_csv(attributes) if attributes else None
    if "timestamp" in frame and not pd.api.types.is_numeric_dtype(frame["timestamp"]):
        try:
            frame["timestamp"] = pd.to_datetime(frame["timestamp"])
        except ValueError as error:
            raise ValueError(f"column timestamp of {name} holds neither numbers nor dates: {error}"
                             ) from error
    return SequenceDataset.from_interactions(frame, attributes=extra, name=name)


def _check_writable(*paths: Path | None) -> None:
    """Find out before hours of training, not after them."""
    for path in filter(None, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise OSError(f"{path} cannot be written: choose another file")


def _new_model(dataset, seed: int, **sizes) -> S3Rec:
    torch.manual_seed(seed)
    return S3Rec(ModelConfig.for_dataset(dataset, **sizes))


def _negatives(path: Path | None, dataset):
    return official.load_negatives(path, dataset) if path else 99


def _sample_file(negatives: Path | None, name: str) -> Path | None:
    """Find a dataset's file of negatives: the one named, or that of a folder if it holds one."""
    if negatives is None or not negatives.is_dir():
        return negatives
    file = negatives / f"{name}_sample.txt"
    return file if file.exists() else None


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


def _cost(history: list[dict]) -> dict[str, float]:
    """Add up what all epochs took, validation included."""
    return {name: round(sum(record[name] for record in history), 1)
            for name in ("sequences", "seconds", "cpu_seconds")}


def _report(record: dict, path: Path | None) -> None:
    """Write a result with where it comes from, or print it."""
    origin = {"command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), "commit": _commit(),
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
