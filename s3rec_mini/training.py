"""The two training stages: `pretrain` (section 4.2) and `finetune` (section 4.3).

Both are plain loops over epochs and batches. A run is a pure function of (data, config, seed):
before each epoch the random state is set from the seed and the epoch's number, so that a run that
was killed goes on from its last finished epoch and ends with the weights of an unbroken run.

`accelerate` finds the device (CUDA, MPS or CPU), casts to the precision it was launched with, and
averages gradients where there are several processes. Each process makes the whole batch, takes its
rows, and weighs its mean by their share: the sum over processes is then the loss of the whole
batch. (In SP's forms "paper" and "infonce" the other segments are those of a process's own rows.)
"""

import hashlib
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from torch import Tensor, nn
from tqdm import tqdm

from .batches import finetuning_batches, pretraining_batches
from .encoder import S3Rec, read_tensors, write_tensors
from .evaluation import check_fit, checked_negatives, evaluate
from .objectives import (
    FINETUNING_LOSSES,
    OBJECTIVES,
    checked_forms,
    finetuning_loss,
    pretraining_losses,
)

__all__ = ["FinetuneConfig", "PretrainConfig", "finetune", "pretrain"]


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of pretraining; by default the paper's (section 5.1.4), else the released code's.

    Parameters
    ----------
    epochs : int
        Passes over the users.
    batch_size : int
        Prefixes a step, over all processes.
    learning_rate : float
        Of Adam, β 0.9 and 0.999.
    weights : dict of str to float
        Weight of each objective's loss, by default aap 0.2, mip 1, map 1, sp 0.5; an objective that
        is left out or weighs 0 is not computed.
    forms : dict of str to str
        Form of each objective, "released", "paper" or "infonce" (see `objectives`); "released"
        where none is named.
    mask_probability : float
        Chance of an item to be masked; a sequence's last item always is.
    prefixes_per_user : int or None
        Prefixes drawn for each user an epoch; None takes every prefix.
    held_out_segments : bool
        Cut negative segments from whole sequences, held-out items included, as the released code
        does. For comparison only: it leaks.
    seed : int
        Of batches and dropout.
    """

    epochs: int = 100
    batch_size: int = 200
    learning_rate: float = 1e-3
    weights: dict[str, float] = field(
        default_factory=lambda: dict(aap=0.2, mip=1.0, map=1.0, sp=0.5)
    )
    forms: dict[str, str] = field(default_factory=dict)
    mask_probability: float = 0.2
    prefixes_per_user: int | None = None
    held_out_segments: bool = False
    seed: int = 0

    def __post_init__(self):
        _check_loop(self)
        checked_forms(self.forms)
        if not _is_number(self.mask_probability) or self.mask_probability > 1:
            raise ValueError(f"mask_probability must lie in [0, 1], not {self.mask_probability!r}")
        prefixes = self.prefixes_per_user
        if prefixes is not None and (not isinstance(prefixes, int) or prefixes < 1):
            raise ValueError(f"prefixes_per_user must be None or an integer of at least 1, "
                             f"not {prefixes!r}")
        unknown = sorted(self.weights.keys() - set(OBJECTIVES))
        values = self.weights.values()
        if unknown or not all(map(_is_number, values)) or not any(values):
            raise ValueError(f"weights must give some of {OBJECTIVES} a weight of at least 0, one "
                             f"of them more, not {self.weights}")


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of finetuning; by default the paper's (section 5.1.4), else the released code's.

    Parameters
    ----------
    epochs : int
        Most passes over the users; early stopping usually ends sooner.
    patience : int
        Epochs without a better validation MRR after which to stop. From scratch a model first
        learns popularity and stands still there for some tens of steps: where an epoch is a few
        steps only, 10 epochs can end in that plateau, and 20 are safer.
    batch_size : int
        Users a step, over all processes.
    learning_rate : float
        Of Adam, β 0.9 and 0.999.
    loss : {"pairwise", "pointwise", "softmax"}
        The paper's loss (equation 9), the released code's, or cross-entropy over all items.
    validation_protocol : {"sampled", "full"}
        How the validation MRR is measured.
    held_out_negatives : bool
        Never draw a user's held-out items as negatives, as the released code does. For comparison
        only: it leaks.
    seed : int
        Of batches, dropout and drawn validation negatives.
    """

    epochs: int = 200
    patience: int = 10
    batch_size: int = 256
    learning_rate: float = 1e-3
    loss: str = "pairwise"
    validation_protocol: str = "sampled"
    held_out_negatives: bool = False
    seed: int = 0

    def __post_init__(self):
        _check_loop(self)
        if not isinstance(self.patience, int) or self.patience < 1:
            raise ValueError(f"patience must be an integer of at least 1, not {self.patience!r}")
        if self.loss not in FINETUNING_LOSSES:
            raise ValueError(f"loss must be one of {FINETUNING_LOSSES}, not {self.loss!r}")
        if self.validation_protocol not in ("sampled", "full"):
            raise ValueError(f'validation_protocol must be "sampled" or "full", '
                             f"not {self.validation_protocol!r}")


def _is_number(value) -> bool:
    """Say whether a value is a finite number of at least 0."""
    return isinstance(value, (int, float)) and 0 <= value < math.inf


def _check_loop(config) -> None:
    for name in ("epochs", "batch_size"):
        if not isinstance(getattr(config, name), int) or getattr(config, name) < 1:
            raise ValueError(f"{name} must be an integer of at least 1, "
                             f"not {getattr(config, name)!r}")
    if not isinstance(config.seed, int) or config.seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, not {config.seed!r}")
    if not _is_number(config.learning_rate) or config.learning_rate == 0:
        raise ValueError(f"learning_rate must be a number above 0, not {config.learning_rate!r}")


class PretrainingStage(nn.Module):
    """The weighted objectives as one forward pass, which is what `accelerate` can distribute."""

    def __init__(self, model: S3Rec, item_attributes: Tensor, config: PretrainConfig):
        super().__init__()
        self.model = model
        self.forms = config.forms
        self.objectives = tuple(name for name in OBJECTIVES if config.weights.get(name, 0) > 0)
        weights = [config.weights[name] for name in self.objectives]
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32),
                             persistent=False)
        self.item_attributes = item_attributes  # no buffer: processes would exchange it every step

    def forward(self, batch) -> Tensor:
        """Return the losses (objectives,) of a batch, unweighted."""
        losses = pretraining_losses(
            self.model, batch, self.item_attributes, self.forms, self.objectives
        )
        return torch.stack(list(losses.values()))


class FinetuningStage(nn.Module):
    """The finetuning loss as one forward pass; the pretraining heads take no part in it."""

    objectives = ("loss",)

    def __init__(self, model: S3Rec, config: FinetuneConfig):
        super().__init__()
        self.model = model
        self.loss = config.loss
        self.register_buffer("weights", torch.ones(1), persistent=False)

    def forward(self, batch) -> Tensor:
        """Return the loss (1,) of a batch."""
        return finetuning_loss(self.model, batch, self.loss)[None]


def pretrain(model: S3Rec, data, config: PretrainConfig | None = None,
             checkpoint=None) -> list[dict]:
    """Pretrain `model` in place on the four objectives, reading in both directions.

    Parameters
    ----------
    model : S3Rec
        Made for `data`; moved to the device that is found, left in evaluation mode.
    data : SequenceDataset
        Only training items are read.
    config : PretrainConfig, optional
        Settings.
    checkpoint : path, optional
        A folder. The run is saved there after every epoch, and goes on from there when called
        again with the same arguments, the same starting weights included; only `epochs` may grow.

    Returns
    -------
    list of dict
        One an epoch: "epoch", the losses by name (means over sequences), their weighted sum
        "loss", "sequences" seen, "seconds" and "cpu_seconds" taken.

    Raises
    ------
    ValueError
        If model and data do not fit, the checkpoint is another run's, or the loss diverges.
    OSError
        If the checkpoint cannot be written.
    """
    config = config or PretrainConfig()
    _check_fit(model, data, config)
    accelerator = _accelerator(all_used=_trains_everything(config))
    run = _Checkpoint(checkpoint, config, model, data)
    stage = PretrainingStage(model, data.item_attributes.to(accelerator.device), config)
    stage, optimizer = _prepare(accelerator, stage, config.learning_rate)
    history, _ = run.resume(model, optimizer)
    for epoch, bar in _epochs(history, config, accelerator):
        batches = pretraining_batches(
            data, model.max_length, config.batch_size, config.mask_probability,
            config.prefixes_per_user, config.seed, epoch,
            pool=data.sequences if config.held_out_segments else None,
        )
        record, clock = {"epoch": epoch}, _clock()
        record |= _train_epoch(accelerator, stage, optimizer, batches, bar)
        history.append(record | _elapsed(clock))
        if accelerator.is_main_process:
            run.save(model, optimizer, history)
    model.eval()
    return history


def finetune(model: S3Rec, data, config: FinetuneConfig | None = None, checkpoint=None,
             negatives=99) -> list[dict]:
    """Finetune `model` in place to predict the next item, reading from left to right.

    Training stops when the validation MRR has not risen for `patience` epochs, and the weights of
    the best epoch are kept.

    Parameters
    ----------
    model : S3Rec
        Made for `data`, fresh or pretrained; moved to the device that is found, left in
        evaluation mode.
    data : SequenceDataset
        Training items are learned from, validation items decide when to stop.
    config : FinetuneConfig, optional
        Settings.
    checkpoint : path, optional
        A folder, as for `pretrain`.
    negatives : int or int array
        Of the sampled validation, as for `evaluate`.

    Returns
    -------
    list of dict
        One an epoch: "epoch", "loss" (mean over places), "sequences" seen, "validation" (a dict
        of metrics), "seconds" and "cpu_seconds" taken.

    Raises
    ------
    ValueError
        If model and data do not fit, the checkpoint is another run's, or the loss diverges.
    OSError
        If the checkpoint cannot be written.
    """
    config = config or FinetuneConfig()
    _check_fit(model, data, config)
    asked = negatives
    if config.validation_protocol == "sampled":  # drawn once, and found wrong before any training
        negatives = checked_negatives(asked, *data.held_out("validation"), data.num_items,
                                      config.seed)
    accelerator = _accelerator(all_used=False)  # the heads and the attributes take no part
    run = _Checkpoint(checkpoint, config, model, data)
    run.identity["negatives"] = _digest([torch.as_tensor(asked)])
    stage, optimizer = _prepare(accelerator, FinetuningStage(model, config), config.learning_rate)
    history, best = run.resume(model, optimizer)
    for epoch, bar in _epochs(history, config, accelerator):
        if _epochs_since_best(history) >= config.patience:
            break
        batches = finetuning_batches(
            data, model.max_length, config.batch_size, config.seed, epoch,
            avoid=data.sequences if config.held_out_negatives else None,
        )
        record, clock = {"epoch": epoch}, _clock()
        record |= _train_epoch(accelerator, stage, optimizer, batches, bar)
        record["validation"] = _validation(model, data, config, negatives)
        history.append(record | _elapsed(clock))
        if _epochs_since_best(history) == 0:
            best = {name: value.clone() for name, value in model.state_dict().items()}
        if accelerator.is_main_process:
            run.save(model, optimizer, history, best)
    model.load_state_dict(best)
    model.eval()
    return history


def _check_fit(model: S3Rec, data, config) -> None:
    check_fit(model, data)
    weights = getattr(config, "weights", {})
    if not data.num_attributes and (weights.get("aap", 0) or weights.get("map", 0)):
        raise ValueError(f"{data.name} has no attributes, which aap and map learn from: give some "
                         f"to from_interactions, or set weights=dict(mip=1.0, sp=0.5)")


def _trains_everything(config: PretrainConfig) -> bool:
    """Say whether pretraining gives every parameter a gradient.

    An objective left out leaves its head unused, and the other forms leave out the heads' biases.
    """
    return (all(config.weights.get(name, 0) for name in OBJECTIVES)
            and set(checked_forms(config.forms).values()) == {"released"})


def _accelerator(all_used: bool) -> Accelerator:
    """Find the device; several processes look for parameters without gradient where some are."""
    handler = DistributedDataParallelKwargs(find_unused_parameters=not all_used)
    return Accelerator(kwargs_handlers=[handler])


def _prepare(accelerator: Accelerator, stage: nn.Module, learning_rate: float):
    """Move a stage to the device that was found, with an optimizer for its weights."""
    fused = accelerator.device.type in ("cpu", "cuda")  # one kernel for all parameters
    optimizer = torch.optim.Adam(stage.parameters(), learning_rate, fused=fused)
    return accelerator.prepare(stage, optimizer)


def _epochs(history: list[dict], config, accelerator) -> Iterator[tuple[int, tqdm]]:
    """Count the epochs that `history` lacks, each with its own random state, and show a bar.

    The bar is text in a notebook too: the one of tqdm.auto takes no notice of TQDM_DISABLE there,
    and leaves a widget in the file, which most viewers cannot draw.
    """
    hidden = {} if accelerator.is_main_process else {"disable": True}  # {}: as TQDM_DISABLE says
    with tqdm(total=config.epochs, initial=len(history), unit="epoch", miniters=0, **hidden) as bar:
        for epoch in range(len(history), config.epochs):
            entropy = [config.seed, epoch, accelerator.process_index, 5]
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
            yield epoch, bar
            shown = {name: f"{value:.4g}" for name, value in history[-1].items()
                     if isinstance(value, float) and "seconds" not in name}
            bar.set_postfix(shown, refresh=False)
            bar.update()


def _validation(model: S3Rec, data, config: FinetuneConfig, negatives) -> dict[str, float]:
    """Measure a model on the validation items, the same numbers in every process.

    Every process must stop at the same epoch, so all go by the first one's numbers.
    """
    metrics = evaluate(model, data, "validation", config.validation_protocol, negatives,
                       config.seed)
    return broadcast_object_list([metrics])[0]


def _step(accelerator, stage, optimizer, batch, weights: Tensor) -> Tensor:
    """Take one optimizer step; return this process's share of the batch's losses (objectives,)."""
    count = accelerator.num_processes
    part = batch.shard(accelerator.process_index, count)
    if not len(part):
        raise ValueError(f"a batch of {len(batch)} sequences cannot be shared by {count} "
                         f"processes: use fewer")
    losses = stage(part.to(accelerator.device)) * (part.num_terms / batch.num_terms)
    # Processes average their gradients, and what is wanted is the sum of their shares.
    optimizer.zero_grad()  # before, as the caller may have left gradients behind
    accelerator.backward(losses @ weights * count)
    optimizer.step()
    return losses.detach()


def _train_epoch(accelerator, stage, optimizer, batches, bar: tqdm) -> dict:
    """Take one optimizer step a batch; return the epoch's mean losses and number of sequences."""
    unwrapped = accelerator.unwrap_model(stage)
    weights, objectives = unwrapped.weights, unwrapped.objectives
    sums = torch.zeros_like(weights)
    sequences = terms = 0
    stage.train()
    for number, batch in enumerate(batches, 1):
        sums += _step(accelerator, stage, optimizer, batch, weights) * batch.num_terms
        sequences, terms = sequences + len(batch), terms + batch.num_terms
        bar.set_postfix_str(f"batch {number}", refresh=False)
        bar.update(0)
    optimizer.zero_grad()
    means = accelerator.reduce(sums) / terms
    loss = float(means @ weights)
    if not math.isfinite(loss):
        raise ValueError(f"the loss became {loss}: lower learning_rate; a checkpoint, if there is "
                         f"one, still holds the epoch before")
    return {**dict(zip(objectives, means.tolist(), strict=True)), "loss": loss,
            "sequences": sequences}


def _clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _elapsed(clock: tuple[float, float]) -> dict[str, float]:
    wall, cpu = (now - then for now, then in zip(_clock(), clock, strict=True))
    return {"seconds": wall, "cpu_seconds": cpu}


def _epochs_since_best(history: list[dict]) -> int:
    values = [record["validation"]["MRR"] for record in history]
    return len(values) - 1 - int(np.argmax(values)) if values else 0


def _digest(tensors: Iterable[Tensor]) -> str:
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


class _Checkpoint:
    """The file a run is saved to and resumed from: weights, optimizer, history, in safetensors.

    The random state needs no saving, each epoch sets its own.
    """

    def __init__(self, folder, config, model: S3Rec, data):
        stage = type(config).__name__.removesuffix("Config").lower()
        self.path = Path(folder) / f"{stage}.safetensors" if folder else None
        settings = {name: value for name, value in asdict(config).items() if name != "epochs"}
        self.identity = {"stage": stage, "settings": settings, "model": asdict(model.config),
                         "data": data.fingerprint,
                         "starting weights": _digest(model.state_dict().values())}
        self.epochs = config.epochs

    def save(self, model, optimizer, history, best=None) -> None:
        """Replace the file by the state of this moment."""
        if self.path is None:
            return
        groups = {"model": model.state_dict(), "best": best or {}}
        for index, state in optimizer.state_dict()["state"].items():
            groups[f"optimizer.{index}"] = state
        tensors = {f"{group}/{name}": value for group, values in groups.items()
                   for name, value in values.items()}
        write_tensors(self.path, tensors, {"run": self.identity, "history": history})

    def resume(self, model, optimizer) -> tuple[list[dict], dict[str, Tensor]]:
        """Return the history and best weights saved so far, and set model and optimizer to them."""
        if self.path is None or not self.path.exists():
            return [], {}
        tensors, metadata = read_tensors(self.path)
        saved = metadata.get("run", {})
        different = [name for name in self.identity if saved.get(name) != self.identity[name]]
        if different:
            raise ValueError(f"{self.path} holds another run, whose {' and '.join(different)} "
                             f"differ: choose another checkpoint folder, or delete this one; a "
                             f"killed run goes on only from a model made after the same "
                             f"torch.manual_seed")
        if len(metadata["history"]) > self.epochs:
            raise ValueError(f"{self.path} holds {len(metadata['history'])} epochs, more than the "
                             f"{self.epochs} asked for: choose another checkpoint folder")
        groups: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            group, name = key.split("/")
            groups.setdefault(group, {})[name] = value
        model.load_weights(groups.pop("model"), self.path)
        best = groups.pop("best", {})
        states = {int(group.split(".")[1]): state for group, state in groups.items()}
        optimizer.load_state_dict({"state": states,
                                   "param_groups": optimizer.state_dict()["param_groups"]})
        return metadata["history"], best
