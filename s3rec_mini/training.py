"""The two training stages and their settings: `pretrain` (section 4.2), `finetune` (4.3).

Both are plain loops over epochs and batches. A run is a pure function of data, config, starting
weights and number of processes: each epoch sets the random state from the seed and its own number.

`accelerate` finds the device (CUDA, MPS or CPU), casts to the precision it was launched with, and
averages gradients where there are several processes.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from .batches import finetuning_batches, pretraining_batches
from .encoder import S3Rec
from .evaluation import metrics_from_ranks, ranks_among
from .objectives import FINETUNING_LOSSES, OBJECTIVES, finetuning_loss, forms_of, pretraining_losses
from .tools import devices
from .tools.checkpoints import Checkpoint, digest
from .tools.checks import check_attributes
from .tools.negatives import negatives_for
from .tools.progress import epochs_left
from .tools.settings import Settings, is_a, setting
from .tools.vocabulary import check_fit


@dataclass(frozen=True)
class PretrainConfig(Settings):
    """Settings of pretraining; by default the paper's (section 5.1.4), else the released code's."""

    epochs: int = setting(100, "Passes over the users.", least=1)
    batch_size: int = setting(200, "Prefixes a step, over all processes.", least=1)
    learning_rate: float = setting(1e-3, "Of Adam, β 0.9 and 0.999.", above=0)
    weights: dict[str, float] = setting(
        dict(aap=0.2, mip=1.0, map=1.0, sp=0.5), "Weight of each objective's loss; one that is "
        "left out or weighs 0 is not computed.", option="weight")
    forms: dict[str, str] = setting(
        {}, "Form of each objective: released, the default, paper or infonce.", option="form")
    mask_probability: float = setting(
        0.2, "Chance of an item to be masked; a sequence's last item always is.", least=0, most=1)
    prefixes_per_user: int | None = setting(
        None, "Prefixes drawn for each user an epoch; every prefix without it.", least=1)
    held_out_segments: bool = setting(
        False, "Cut negative segments from whole sequences, held-out items included, as the "
        "released code does. For comparison only: it leaks.", option="")
    seed: int = setting(0, "Of batches and dropout.", least=0, most=2**32 - 1)

    def __post_init__(self):
        super().__post_init__()
        forms_of(self.forms)
        numbers = [is_a(float, value) and value >= 0 for value in self.weights.values()]
        if self.weights.keys() - OBJECTIVES or not all(numbers) or not any(self.weights.values()):
            raise ValueError(f"weights must give some of {tuple(OBJECTIVES)} a weight of at least "
                             f"0, one of them more, not {self.weights}")


@dataclass(frozen=True)
class FinetuneConfig(Settings):
    """Settings of finetuning; by default the paper's (section 5.1.4), else the released code's.

    From scratch a model first learns popularity and stands still there for some tens of steps:
    where an epoch is a few steps only, a patience of 10 can end in that plateau, and 20 is safer.
    """

    epochs: int = setting(200, "Most passes over the users; it usually stops sooner.", least=1)
    patience: int = setting(10, "Epochs without a better validation MRR until it stops.", least=1)
    batch_size: int = setting(256, "Users a step, over all processes.", least=1)
    learning_rate: float = setting(1e-3, "Of Adam, β 0.9 and 0.999.", above=0)
    loss: str = setting("pairwise", "The paper's loss (equation 9), the released code's, or "
                        "cross-entropy over all items or some.", choices=FINETUNING_LOSSES)
    sampled_items: int = setting(1024, "Items drawn for each step of the sampled softmax.", least=1)
    validation_protocol: str = setting("sampled", "How the validation MRR is measured.",
                                       choices=("sampled", "full"))
    held_out_negatives: bool = setting(
        False, "Never draw a user's held-out items as negatives, as the released code does. For "
        "comparison only: it leaks.", option="")
    seed: int = setting(0, "Of batches, dropout and validation negatives.", least=0, most=2**32 - 1)


def pretrain(model: S3Rec, data, config: PretrainConfig | None = None,
             checkpoint=None) -> list[dict]:
    """Pretrain `model` in place on the four objectives, reading in both directions.

    Parameters
    ----------
    model, data : S3Rec, SequenceDataset
        The model, made for the data, is moved to the device that is found and left in evaluation
        mode. Of the data only training items are read, but for `held_out_segments`.
    config : PretrainConfig, optional
        Settings.
    checkpoint : path, optional
        A folder. The run is saved there after every epoch (OSError if it cannot be), and goes on
        from there when called again with the same arguments, the same starting weights included
        (ValueError if another run's); only `epochs` may grow.

    Returns
    -------
    list of dict
        One an epoch: "epoch", the losses by name (means over sequences), their weighted sum "loss",
        "sequences" seen, "seconds" and "cpu_seconds" taken. A loss that diverges is a ValueError.
    """
    config = config or PretrainConfig()
    check_fit(model, data)
    check_fit(model, data, "attributes")
    check_attributes(data, config.weights)
    model.vocabulary = data.vocabulary
    accelerator = devices.find_device()
    run = Checkpoint(checkpoint, config, model, data)
    stage, optimizer = devices.prepared(accelerator, model, config, partial(
        pretraining_losses, item_attributes=data.item_attributes.to(accelerator.device),
        forms=config.forms, objectives=[n for n in OBJECTIVES if config.weights.get(n, 0) > 0]))
    history, _ = run.resume(model, optimizer)
    for epoch in epochs_left(history, config.epochs, accelerator):
        devices.set_random_state(config.seed, epoch.number, accelerator)
        for batch in pretraining_batches(
                data, model.max_length, config.batch_size, config.mask_probability,
                config.prefixes_per_user, config.seed, epoch.number,
                pool=data.sequences if config.held_out_segments else None):
            part, share = devices.of_this_process(batch, accelerator)
            losses = stage(part)  # by objective, each () a mean over sequences
            total = sum(config.weights[name] * losses[name] for name in losses)
            accelerator.backward(share * total)
            optimizer.step()
            optimizer.zero_grad()
            epoch.add(losses | {"loss": total}, part, batch)
        history.append(epoch.record(epoch.means(stage)))
        run.save(model, optimizer, history)
    model.eval()
    return history


def finetune(model: S3Rec, data, config: FinetuneConfig | None = None, checkpoint=None,
             negatives=99) -> list[dict]:
    """Finetune `model` in place to predict the next item, reading from left to right.

    Training stops when the validation MRR has not risen for `patience` epochs, and the weights of
    the best epoch are kept. Other parameters and errors are those of `pretrain`.

    Parameters
    ----------
    negatives : int or int array
        Of the sampled validation, as for `evaluate`.

    Returns
    -------
    list of dict
        As `pretrain`, with the "loss" a mean over places and the "validation" metrics, a dict.
    """
    config = config or FinetuneConfig()
    check_fit(model, data)
    model.vocabulary = model.vocabulary or data.vocabulary
    sampled = config.validation_protocol == "sampled"
    # Drawn once, and found wrong before any training.
    candidates = negatives_for(negatives, data, "validation", config.seed) if sampled else None
    asked = np.asarray(negatives if sampled else 99, dtype=np.int64)
    accelerator = devices.find_device()
    run = Checkpoint(checkpoint, config, model, data, negatives=digest([torch.from_numpy(asked)]))
    stage, optimizer = devices.prepared(accelerator, model, config, partial(
        finetuning_loss, loss=config.loss, sampled_items=config.sampled_items))
    history, best = run.resume(model, optimizer)
    for epoch in epochs_left(history, config.epochs, accelerator):
        if _epochs_since_best(history) >= config.patience:
            break
        devices.set_random_state(config.seed, epoch.number, accelerator)
        for batch in finetuning_batches(
                data, model.max_length, config.batch_size, config.seed, epoch.number,
                avoid=data.sequences if config.held_out_negatives else None):
            part, share = devices.of_this_process(batch, accelerator)
            loss = stage(part)  # () mean over positions
            accelerator.backward(share * loss)
            optimizer.step()
            optimizer.zero_grad()
            epoch.add({"loss": loss}, part, batch)
        means = epoch.means(stage)
        metrics = metrics_from_ranks(ranks_among(model, *data.held_out("validation"), candidates))
        history.append(epoch.record(means, validation=devices.of_first_process(metrics)))
        if _epochs_since_best(history) == 0:
            best = {name: value.clone() for name, value in model.state_dict().items()}
        run.save(model, optimizer, history, best)
    model.load_state_dict(best)
    model.eval()
    return history


def _epochs_since_best(history: list[dict]) -> int:
    values = [record["validation"]["MRR"] for record in history]
    return len(values) - 1 - int(np.argmax(values)) if values else 0
