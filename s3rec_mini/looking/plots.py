"""Pictures of what `inspection` and the training histories hold. Each draws on one Axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_attention", "plot_embeddings", "plot_history"]


def plot_attention(weights, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw the attention of one head as a square: a row for each query, a column for each key.

    Parameters
    ----------
    weights : array or Tensor
        (L, L), rows summing to 1, such as ``attention_maps(model, items)[layer, head]``.
    names : sequence of str
        L names, oldest first.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    ValueError
        If there are not as many names as positions.
    """
    weights = np.asarray(weights)
    if weights.shape != (len(names), len(names)):
        raise ValueError(f"weights must be (L, L) for L = {len(names)} names, not {weights.shape}")
    import seaborn as sns  # when something is drawn: training loads no plotting library

    ax = ax or _new_axes()
    sns.heatmap(weights, vmin=0, cmap="viridis", square=True, xticklabels=names, yticklabels=names,
                cbar_kws={"label": "attention weight"}, ax=ax)
    ax.set(xlabel="looks at (key)", ylabel="position (query)")
    return ax


def plot_embeddings(points, labels: Sequence[str], names: dict[int, str] | None = None,
                    ax: Axes | None = None) -> Axes:
    """Draw embeddings in the plane, coloured by label.

    Parameters
    ----------
    points : float array
        (N, 2), such as `inspection.project_embeddings` returns.
    labels : sequence of str
        N labels; a colour each, in the order of first appearance.
    names : dict of int to str, optional
        Text to write beside some of the N points.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    ValueError
        If there are not as many labels as points.
    """
    points = np.asarray(points)
    if points.shape != (len(labels), 2):
        raise ValueError(f"points must be (N, 2) for N = {len(labels)} labels, not {points.shape}")
    import seaborn as sns  # when something is drawn: training loads no plotting library

    ax = ax or _new_axes()
    sns.scatterplot(x=points[:, 0], y=points[:, 1], hue=list(labels), s=14, linewidth=0,
                    palette="colorblind", ax=ax)
    for row, name in (names or {}).items():
        ax.annotate(name, points[row], xytext=(4, 2), textcoords="offset points", fontsize=8)
    ax.set(xlabel="first direction", ylabel="second direction", xticks=[], yticks=[])
    return ax


def plot_history(history: list[dict], columns: Sequence[str] = ("loss",),
                 ax: Axes | None = None) -> Axes:
    """Draw columns of a training history against the epoch.

    Parameters
    ----------
    history : list of dict
        From `pretrain` or `finetune`.
    columns : sequence of str
        Which numbers; "validation.MRR" reads the MRR of the validation metrics.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    ValueError
        If the history is empty or lacks a column.
    """
    frame = pd.json_normalize(history)
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(f"the history has no {missing}, only {list(frame)}")
    ax = ax or _new_axes()
    for column in columns:
        ax.plot(frame["epoch"] + 1, frame[column], marker=".", label=column)
    ax.set(xlabel="epoch", ylabel=columns[0] if len(columns) == 1 else "loss")
    if len(columns) > 1:
        ax.legend()
    return ax


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.figure(layout="constrained").add_subplot()
