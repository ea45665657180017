"""Device, optimizer, random state, several processes: one loop for all, by `accelerate`."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from torch import nn

from ..encoder import S3Rec
from . import streams


class Stage(nn.Module):
    """A model and its loss as one forward pass, which is what `accelerate` can distribute."""

    def __init__(self, model: S3Rec, loss: Callable):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch):
        """Return ``loss(model, batch)``."""
        return self.loss(self.model, batch)


def find_device() -> Accelerator:
    """Find the device.

    Not every head is used by every objective and form, nor in finetuning, but each step uses the
    same ones: several processes note in the first step which get no gradient.
    """
    return Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(static_graph=True)])


def prepared(accelerator: Accelerator, model: S3Rec, config, loss: Callable):
    """Move a model with its loss to the device, in training mode, with an optimizer."""
    stage = Stage(model, loss).train()
    fused = accelerator.device.type in ("cpu", "cuda")  # one kernel for all parameters
    optimizer = torch.optim.Adam(stage.parameters(), config.learning_rate, fused=fused)
    optimizer.zero_grad()  # the caller may have left gradients behind
    return accelerator.prepare(stage, optimizer)


def set_random_state(seed: int, epoch: int, accelerator: Accelerator) -> None:
    """Let dropout be a pure function of seed and epoch, another one in each process."""
    torch.manual_seed(streams.torch_seed("dropout", seed, epoch, accelerator.process_index))


def of_this_process(batch, accelerator: Accelerator):
    """Return this process's rows of a batch, on its device, and by what to multiply their loss.

    Each of several processes makes the whole batch and takes its rows. Processes average their
    gradients; what is wanted is the mean over all terms of the batch. (In SP's forms "paper" and
    "infonce" the other segments are those of a process's own rows.)
    """
    count = accelerator.num_processes
    part = batch if count == 1 else batch.shard(accelerator.process_index, count)
    if not len(part):
        raise ValueError(f"a batch of {len(batch)} sequences cannot be shared by {count} processes")
    return part.to(accelerator.device), count * part.num_terms / batch.num_terms


def of_first_process(metrics: dict[str, float]) -> dict[str, float]:
    """Let every process go by the first one's numbers, so that all stop at the same epoch."""
    return broadcast_object_list([metrics])[0]
