"""How sure one can be of a mean over users, and of a difference between two kinds of run."""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from ..evaluation import per_user_metrics
from . import streams


def bootstrap_intervals(ranks: np.ndarray, level: float = 0.95, samples: int = 1000,
                        seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return for each metric the ends of a percentile bootstrap interval over users.

    They say how far a metric of `ranks` (num_users,) would move with other users, the model being
    as it is; the spread over training seeds is another matter. `level` is the coverage.
    """
    values = per_user_metrics(ranks)
    generator = streams.generator("bootstrap", seed)
    # How often each user is drawn is all a mean needs: (samples, users) @ (users, metrics).
    draws = [generator.multinomial(len(values), np.full(len(values), 1 / len(values)))
             @ values.to_numpy() for _ in range(samples)]
    tail = (1 - level) / 2
    low, high = np.quantile(np.array(draws) / len(values), [tail, 1 - tail], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(values, low, high, strict=True)}


class Difference(NamedTuple):
    """A difference of two means, half of its interval, and the standard error of each part."""

    mean: float
    half_width: float
    users: float
    seeds: float

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.half_width


def paired_difference(ranks, others, metric: str = "MRR", level: float = 0.95,
                      comparisons: int = 1) -> Difference:
    """Compare two kinds of run, user by user and seed by seed.

    Let d(u, s) be the difference for user u under seed s. Its mean varies with the users and with
    the seeds, and both are few: the squares of both standard errors add up (what users and seeds
    make of each other is in both, so the sum is on the safe side), and Welch's and Satterthwaite's
    formula gives the degrees of freedom of Student's t.

    Parameters
    ----------
    ranks, others : sequence of int array
        For each of two or more seeds the ranks of all users, (num_users,), the same users in both.
    metric, level : str, float
        A column of `per_user_metrics`; the coverage.
    comparisons : int
        How many comparisons answer one question together: the interval is widened so that all of
        them hold at once with the probability `level` (Bonferroni).

    Returns
    -------
    Difference
        Of `ranks` less `others`.

    Raises
    ------
    ValueError
        If there are not two seeds or more, the seeds or users of both are not as many, or there is
        no such metric.
    """
    shapes = {np.shape(users) for users in (*ranks, *others)}
    if len(ranks) != len(others) or len(ranks) < 2 or len(shapes) > 1 or shapes == {()}:
        raise ValueError("give ranks of the same users for two or more seeds, as many of both")
    tables = [[per_user_metrics(users) for users in runs] for runs in (ranks, others)]
    if metric not in tables[0][0]:
        raise ValueError(f"metric must be one of {', '.join(tables[0][0])}, not {metric!r}")
    here, there = (np.array([table[metric] for table in runs]) for runs in tables)
    per_user = here - there  # (seeds, users)
    means = per_user.mean(0), per_user.mean(1)  # of users, of seeds
    variances = np.array([each.var(ddof=1) / len(each) for each in means])
    freedom = np.array([len(each) - 1 for each in means])
    total = variances.sum()
    if not total:  # the same runs twice
        return Difference(0.0, 0.0, 0.0, 0.0)
    quantile = stdtrit(total**2 / (variances**2 / freedom).sum(),  # of Student's t
                       1 - (1 - level) / 2 / comparisons)
    return Difference(*map(float, (per_user.mean(), quantile * total**0.5, *variances**0.5)))
