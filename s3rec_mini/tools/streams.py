"""The streams of random numbers that a run draws from, each by its name.

Negatives of validation and of test come from one stream: with one seed for both, most are the same.
"""

import numpy as np

STREAMS = {"pretraining batches": 1, "finetuning batches": 2, "test negatives": 3, "bootstrap": 4,
           "dropout": 5, "users left out": 7}


def generator(stream: str, *seeds: int) -> np.random.Generator:
    """Return the generator of a stream: a pure function of its name, the run's seed and epoch."""
    return np.random.default_rng([*seeds, STREAMS[stream]])


def torch_seed(stream: str, *seeds: int) -> int:
    """Return a seed for `torch.manual_seed`, by the same rule."""
    return int(np.random.SeedSequence([*seeds, STREAMS[stream]]).generate_state(1)[0])
