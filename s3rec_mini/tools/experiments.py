"""Runs that take longer than a chapter: `reproduce`, and what one run is.

A run starts a model, pretrains and finetunes it and ranks every user's test item. It writes
``FOLDER/RUN.json`` and beside it ``RUN.npz``, the ranks (see `results`).
"""

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import count, product
from pathlib import Path

import numpy as np
import torch

from ..datasets import SequenceDataset
from ..encoder import ModelConfig, S3Rec
from ..evaluation import metrics_from_ranks, rank_targets
from ..objectives import FORMS
from ..training import FinetuneConfig, PretrainConfig, finetune, pretrain
from . import official
from .files import check_writable, existing
from .results import columns, read_record, write_ranks, write_record
from .settings import Settings, setting
from .statistics import bootstrap_intervals

IN_FORM = {form: dict.fromkeys(PretrainConfig().weights, form) for form in FORMS} | {"released": {}}


# ---- experiments


@dataclass(frozen=True)
class Reproduction(Settings):
    """How often `reproduce` runs, what it starts from and measures against, where it writes."""

    seeds: int = setting(3, "How many finetuning seeds: 0, 1, …", least=1)
    folder: Path = setting(Path("runs/results"), "Where records and ranks of each run go.")
    runs: Path = setting(Path("runs"), "Where checkpoints go.")
    pretraining_seeds: int = setting(
        1, "Pretraining runs; finetuning seed s starts from run s modulo this.", least=1)
    form: str = setting("released", "Form of all four objectives.", choices=FORMS)
    weights: Path | None = setting(None, "The authors' pretrained checkpoint, in place of ours.")
    negatives: Path | None = setting(None, "NAME_sample.txt, or its folder; else 99 are drawn.")
    smoke: bool = setting(
        False, "Try everything in a minute: 200 users, a seed, an epoch a stage. Its files go to "
        "the folder smoke of --runs, or where that is there to smoke-2, and so on.")


def reproduce(datasets: Iterable[SequenceDataset], plan: Reproduction, sizes: ModelConfig,
              pretraining: PretrainConfig, finetuning: FinetuneConfig) -> None:
    """Train from scratch (SASRec) and from pretrained weights, and measure both on the test items.

    Each config holds for all runs, but for its seeds, its counts and its forms.

    Raises
    ------
    ValueError
        If a results file is there that is of a run with other settings.
    """
    if plan.smoke:
        return reproduce(*_in_a_minute(datasets, plan), sizes, replace(pretraining, epochs=1),
                         replace(finetuning, epochs=1))
    for data, seed in product(datasets, range(plan.seeds)):
        how = replace(pretraining, forms=IN_FORM[plan.form], seed=seed % plan.pretraining_seeds)
        for start, origin in _starts(plan, data, how).items():
            where = Path(data.name, f"{start}-{finetuning.loss}-seed{seed}")
            make(plan, where, {"dataset": data.name, "start": start}, data, data, sizes,
                 replace(finetuning, seed=seed),
                 negatives=_negatives_of(plan.negatives, data.name), **origin)


def _in_a_minute(datasets, plan: Reproduction):
    """Return a part of each dataset and a plan that tries all of `plan`, in a new folder."""
    free = (plan.runs / f"smoke{f'-{n}' * (n > 1)}" for n in count(1))
    runs = next(path for path in free if not (path.exists() or path.is_symlink()))
    return ([data.subset(np.arange(min(200, data.num_users))) for data in datasets],
            replace(plan, smoke=False, seeds=1, negatives=None, runs=runs, folder=runs / "results"))


def _starts(plan: Reproduction, data: SequenceDataset, pretraining: PretrainConfig):
    """Name the two starts of a reproduction, with what `make` must know of each."""
    if plan.weights:
        if plan.weights.stem == "scratch":
            raise ValueError(f"rename {plan.weights}: runs called scratch start without weights")
        # First, as it may not be readable.
        return {plan.weights.stem: {"weights": plan.weights}, "scratch": {}}
    form = "" if plan.form == "released" else f"-{plan.form}"
    folder = plan.runs / data.name / f"pretraining{form}-seed{pretraining.seed}"
    return {"scratch": {}, f"pretrained{form}": {"pretraining": pretraining, "pretrained": folder}}


def _negatives_of(path: Path | None, name: str) -> Path | None:
    """Find a dataset's file of negatives: the one named, or that of a folder if it holds one."""
    if path is None or not path.is_dir():
        return path
    file = path / f"{name}_sample.txt"
    return file if file.exists() else None


# ---- one run


def make(plan, where: Path, labels: dict, data: SequenceDataset,
         part: SequenceDataset, sizes: ModelConfig, finetuning: FinetuneConfig,
         pretraining: PretrainConfig | None = None, pretrained: Path | None = None,
         weights: Path | None = None, negatives: Path | None = None, probe=None) -> None:
    """Start a model, pretrain and finetune it, measure it and write that down, if not yet done.

    Parameters
    ----------
    plan, where : Reproduction, Path
        Whose `folder` and `runs` hold results and checkpoints, and the name of the run below them.
    labels : dict
        What its record says first.
    data, part : SequenceDataset
        Measured on all users of the one, trained on those of the other.
    sizes, finetuning, pretraining : ModelConfig, FinetuneConfig, PretrainConfig
        Without the last one it is not pretrained.
    pretrained, weights : Path
        Checkpoints of pretraining, which several runs may share; the authors' checkpoint, at its
        own sizes.
    negatives : Path
        The authors' file; 99 are drawn without it.
    probe : callable
        What the record says of the model, before finetuning and after it.
    """
    results, sizes = plan.folder / f"{where}.json", _fitted(sizes, data)
    asked = {"pretraining": pretraining, "finetuning": finetuning}
    files = {"negatives": named(negatives)} | ({"weights": named(weights)} if weights else {})
    if _is_made(results, files, asked if weights else asked | {"model": sizes}):
        return
    check_writable(results)
    model = (official.load_checkpoint(weights, data) if weights
             else new_model(part, sizes, (pretraining or finetuning).seed))
    record = {}
    if pretraining:
        history = pretrain(model, part, pretraining, pretrained)
        _kept(model, pretrained)
        record = stage_record("pretraining", pretraining, history)
    if probe:
        record["probes"] = {"pretrained": probe(model)}
    candidates = read_negatives(negatives, data)
    history = finetune(model, part, finetuning, plan.runs / where, candidates)
    model = _kept(model, plan.runs / where)  # what is measured is what can be shipped
    if probe:
        record["probes"]["finetuned"] = probe(model)
    measured, ranks = measure(model, data, "test", candidates)
    write_ranks(ranks, data.num_items, results.with_suffix(".npz"))
    record |= {"model": asdict(model.config), **stage_record("finetuning", finetuning, history)}
    write_record({**labels, **record, **files, **measured}, results)


def _is_made(results: Path, files: dict[str, str], asked: dict) -> bool:
    """Say whether a run was made already; a file of a run with other settings is an error."""
    if not results.exists():
        return False
    saved = {"weights": files.get("weights")} | read_record(results)  # older ones say less
    different = [f"went with the {name} {saved.get(name)}, not {own}"
                 for name, own in files.items() if not own.startswith(str(saved.get(name)))]
    for stage, config in asked.items():
        made, wanted = saved.get(stage) or {}, asdict(config) if config else {}
        names = type(config).differing(made, wanted) if made and wanted else sorted(made | wanted)
        different += [f"in {stage} differs in {name} ({made.get(name)}, not {wanted.get(name)})"
                      for name in names]
    if different:
        raise ValueError(f"{results} holds a run that {different[0]}: choose another --folder and "
                         "--runs, or delete it")
    print(f"{results} is there: not run again", file=sys.stderr)
    return True


def new_model(data: SequenceDataset, sizes: ModelConfig, seed: int) -> S3Rec:
    """Return an untrained model of these sizes, its counts being the dataset's."""
    torch.manual_seed(seed)
    return S3Rec(_fitted(sizes, data))


def _fitted(sizes: ModelConfig, data: SequenceDataset) -> ModelConfig:
    return replace(sizes, num_items=data.num_items, num_attributes=data.num_attributes)


def _kept(model: S3Rec, folder: Path) -> S3Rec:
    """Save a model in float16, small enough to ship, and return what is read from there."""
    model.save(folder / "model.safetensors", torch.float16)
    return S3Rec.load(folder / "model.safetensors")


def named(path: Path | None) -> str:
    """Name a file and what is in it."""
    return "99 drawn, seed 0" if path is None else (
        f"{path.name}, sha256 {hashlib.sha256(existing(path).read_bytes()).hexdigest()[:12]}")


def read_negatives(asked: str | Path | None, data: SequenceDataset):
    """Return the authors' negatives, (num_users, 99), or how many to draw, if no file is asked."""
    drawn = str(asked or 99).isdecimal()
    return int(asked or 99) if drawn else official.load_negatives(asked, data)


def measure(model, data: SequenceDataset, split: str, negatives, seed: int = 0):
    """Rank a split by both protocols; return what a record holds of that, and the ranks.

    Both are dicts by protocol, "full" and, if there are negatives, "sampled": metrics and their
    intervals over users, and (num_users,) ranks.
    """
    measured, ranks = {"split": split}, {}
    for protocol in ("full",) if negatives is None else ("full", "sampled"):
        ranks[protocol] = rank_targets(model, data, split, protocol, negatives, seed)
        measured[protocol] = {"metrics": metrics_from_ranks(ranks[protocol]),
                              "intervals": bootstrap_intervals(ranks[protocol])}
    return measured, ranks


def stage_record(name: str, config: Settings, history: list[dict]) -> dict:
    """Return what a record holds of a stage; its cost is that of all epochs, validation too."""
    cost = {part: round(sum(epoch[part] for epoch in history), 1)
            for part in ("sequences", "seconds", "cpu_seconds")}
    return {name: asdict(config), f"{name}_cost": cost, f"{name}_history": columns(history)}
