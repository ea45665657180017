"""What a run shows and writes down: the bar, and of each epoch the mean losses and the time."""

import math
import time
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

__all__ = ["Epoch", "epochs_left"]


def epochs_left(history: list[dict], epochs: int, accelerator: Accelerator) -> Iterator["Epoch"]:
    """Give the epochs that `history` lacks, one after another, and show a bar.

    The bar is text in a notebook too: the one of tqdm.auto takes no notice of TQDM_DISABLE there,
    and leaves a widget in the file, which most viewers cannot draw.
    """
    hidden = {} if accelerator.is_main_process else {"disable": True}  # {}: as TQDM_DISABLE says
    with tqdm(total=epochs, initial=len(history), unit="epoch", miniters=0, **hidden) as bar:
        for number in range(len(history), epochs):
            yield Epoch(number, bar, accelerator)


class Epoch:
    """One epoch: add its batches, then ask for the record of it."""

    def __init__(self, number: int, bar: tqdm, accelerator: Accelerator):
        self.number, self.bar, self.accelerator = number, bar, accelerator
        self.names: tuple[str, ...] = ()
        self.sums = torch.zeros((), device=accelerator.device)
        self.batches = self.sequences = self.terms = 0
        self.clock = time.perf_counter(), time.process_time()

    def add(self, losses: dict[str, Tensor], part, batch) -> None:
        """Add the losses () of a batch, each a mean over this process's `part` of it."""
        self.names = tuple(losses)
        self.sums = self.sums + torch.stack(list(losses.values())).detach() * part.num_terms
        self.batches, self.sequences = self.batches + 1, self.sequences + len(batch)
        self.terms += batch.num_terms
        self.bar.set_postfix_str(f"batch {self.batches}", refresh=False)
        self.bar.update(0)

    def means(self, trained: nn.Module) -> dict[str, float]:
        """Return the mean losses of the whole epoch, over all processes.

        Raises
        ------
        ValueError
            If the last of them, the one that was minimised, or a weight of `trained` is not finite.
        """
        means = (self.accelerator.reduce(self.sums) / self.terms).tolist()
        finite = torch.stack([weight.isfinite().all() for weight in trained.parameters()]).all()
        if not math.isfinite(means[-1]) or not finite:
            raise ValueError(f"the loss became {means[-1]} or a weight infinite: lower the learning"
                             f" rate; a checkpoint, if there is one, still holds the epoch before")
        named = dict(zip(self.names, means, strict=True))
        self.bar.set_postfix({name: f"{mean:.4g}" for name, mean in named.items()}, refresh=False)
        return named

    def record(self, means: dict[str, float], **more) -> dict:
        """Return what a history holds of this epoch, and move the bar on."""
        self.bar.update()
        wall, cpu = self.clock
        return {"epoch": self.number, **means, "sequences": self.sequences, **more,
                "seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
