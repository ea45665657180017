"""What a run shows and writes down: the bar, and of each epoch the mean losses and the time."""

import math
import time
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm


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
        self.sums: dict[str, Tensor] = {}  # by loss, over all terms
        self.batches = self.sequences = self.terms = 0
        self.clock = time.perf_counter(), time.process_time()

    def add(self, losses: dict[str, Tensor], part, batch) -> None:
        """Add the losses () of a batch, each a mean over this process's `part` of it."""
        self.sums = {name: self.sums.get(name, 0) + loss.detach() * part.num_terms
                     for name, loss in losses.items()}
        self.batches, self.sequences = self.batches + 1, self.sequences + len(batch)
        self.terms += batch.num_terms
        self.bar.set_postfix_str(f"batch {self.batches}", refresh=False)
        self.bar.update(0)

    def means(self, trained: nn.Module) -> dict[str, float]:
        """Return the mean losses of the whole epoch, over all processes.

        Raises
        ------
        ValueError
            If "loss", the one that was minimised, or a weight of `trained` is not finite.
        """
        sums = self.accelerator.reduce(self.sums)
        means = {name: (value / self.terms).item() for name, value in sums.items()}
        finite = torch.stack([weight.isfinite().all() for weight in trained.parameters()]).all()
        if not math.isfinite(means["loss"]) or not finite:
            raise ValueError(f"the loss became {means['loss']} or a weight infinite: lower the "
                             "learning rate; a checkpoint, if any, still holds the epoch before")
        self.bar.set_postfix({name: f"{mean:.4g}" for name, mean in means.items()}, refresh=False)
        return means

    def record(self, means: dict[str, float], **more) -> dict:
        """Return what a history holds of this epoch, and move the bar on."""
        self.bar.update()
        wall, cpu = self.clock
        return {"epoch": self.number, **means, "sequences": self.sequences, **more,
                "seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
