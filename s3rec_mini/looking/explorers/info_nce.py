"""What InfoNCE certifies of a Gaussian pair."""

import math

import numpy as np
import pandas as pd

from .explorer import Explorer


def explore_info_nce(estimates: pd.DataFrame) -> Explorer:
    """Show what InfoNCE certifies of a Gaussian pair, against the truth and the ceilings.

    Parameters
    ----------
    estimates : pandas.DataFrame
        A row for each combination of "rho" (correlation, in -1…1), "K" (number of negatives) and
        "critic" ("best" or "sigma", the same squeezed between 0 and 1), with the "value" of
        equation 2 in nats.

    Returns
    -------
    Explorer
        ``numbers["values"]`` holds for "best" and "sigma" a list [rho][K] of nats, rounded to four
        decimals; ``rhos`` and ``negatives`` say for which.

    Raises
    ------
    ValueError
        If a column or combination is missing, a value occurs twice or is out of range, or the HTML
        is too heavy.
    """
    grid, rhos, negatives = _checked_grid(estimates)
    # (+ 0.0: no minus nought)
    values = {critic: grid.loc[critic].loc[rhos, negatives].round(4).add(0.0).to_numpy().tolist()
              for critic in ("best", "sigma")}
    rho, k = len(rhos) * 3 // 4, len(negatives) // 2  # shown first
    numbers = {"rhos": [float(rho) for rho in rhos], "negatives": [int(K) for K in negatives],
               "values": values, "rho": rho, "k": k}
    rows = _rows(rhos[rho], negatives, values["best"][rho], values["sigma"][rho])
    _, best, _, truth, ceiling, squeezed = rows[k]
    return Explorer(
        "info_nce", "InfoNCE explorer",
        "Two Gaussians with correlation ρ, and K negatives: how much of the true information does "
        "the estimate reach, and what keeps it below?", numbers,
        f"ρ = {rhos[rho]:g}, K = {negatives[k]}, best critic: the estimate is {best} of the true "
        f"{truth} nat. The ceiling is {ceiling} for any critic, {squeezed} with σ.",
        [["K", "best critic", "critic with σ", "truth", "ceiling log(K + 1)", "ceiling with σ"],
         *rows])


def _checked_grid(estimates: pd.DataFrame) -> tuple[pd.DataFrame, list, list]:
    """Return the values by (critic, rho) and K, and the rhos and Ks in ascending order."""
    columns = ["rho", "K", "critic", "value"]
    if missing := [column for column in columns if column not in estimates]:
        raise ValueError(f"the estimates need columns {columns}: {missing} are missing")
    if estimates.duplicated(columns[:3]).any():
        raise ValueError("rho, K and critic occur twice with the same values: give a mean")
    grid = estimates.pivot(index=["critic", "rho"], columns="K", values="value")
    rhos, negatives = sorted(set(estimates["rho"])), sorted(set(estimates["K"]))
    wanted = pd.MultiIndex.from_product([["best", "sigma"], rhos])
    if set(grid.index) != set(wanted) or not np.isfinite(grid).all(axis=None) or grid.shape[1] < 2:
        raise ValueError('every rho needs a finite value for each of two or more K and the critics '
                         '"best" and "sigma"')
    if max(map(abs, rhos)) >= 1 or negatives[0] < 1:
        raise ValueError("rho must lie between -1 and 1, and K be 1 or more")
    return grid, rhos, negatives


def _rows(rho: float, negatives: list[int], best: list[float], sigma: list[float]) -> list[list]:
    """List, for each K, both estimates, the truth and the two ceilings in nats."""
    truth = -math.log(1 - rho * rho) / 2 + 0.0  # + 0.0: no minus nought
    return [[K, *(f"{nats:.3f}" for nats in (
        value, squeezed, truth, math.log(K + 1), math.log(math.e * (K + 1) / (math.e + K))))]
        for K, value, squeezed in zip(negatives, best, sigma, strict=True)]
