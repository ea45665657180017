"""Embeddings in the plane, as they move from epoch to epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .explorer import Explorer

HUES = 6  # that can be told apart, in explorer.css


def explore_embeddings(frames: Mapping[int, np.ndarray], names: Sequence[str],
                       labels: Mapping[str, Sequence[str]], shown: str | None = None) -> Explorer:
    """Show embeddings in the plane as they move from epoch to epoch.

    Parameters
    ----------
    frames : mapping of int to float array
        The epoch, and (N, 2) places after it, the last shown first. All are drawn on one scale, so
        give them the same two directions.
    names : sequence of str
        N names, one of an item.
    labels : mapping of str to sequence of str
        What the items may be coloured by: "genre", say, and N labels, of at most six kinds. The
        kinds have their colours in the order of the categories of a ``pandas.Categorical``, other
        labels in that of the alphabet.
    shown : str, optional
        The name singled out at first; by default the first.

    Returns
    -------
    Explorer
        ``numbers["frames"]`` holds a list [epoch][item][axis] of whole numbers n, for the places
        ``origin + unit * n``.

    Raises
    ------
    ValueError
        If frames, names and labels do not fit one another, a place is not finite, a name is
        unknown, the kinds of labels are too many or the HTML is too heavy.
    """
    if not frames or not labels:
        raise ValueError("a map needs one or more frames, {epoch: (N, 2) places}, and one or more "
                         'sets of labels, {"genre": N labels}')
    for epoch, points in frames.items():
        if np.shape(points) != (len(names), 2) or not len(names):
            raise ValueError(f"the frame of epoch {epoch} must be (N, 2) for N = {len(names)} "
                             f"names, not {np.shape(points)}")
        if not np.isfinite(points).all():
            raise ValueError(f"the frame of epoch {epoch} holds NaN or an infinite number")
    if shown is not None and shown not in names:
        raise ValueError(f"{shown!r} is none of the {len(names)} names")
    groups = {kind: _grouped(kind, each, len(names)) for kind, each in labels.items()}
    numbers = {"epochs": [int(epoch) for epoch in frames], **_on_a_grid(frames),
               "names": [str(name) for name in names], "labels": groups,
               "item": 0 if shown is None else list(names).index(shown)}
    by_kind = ([each["groups"][i] for i in each["of"]] for each in groups.values())
    own = [*zip(*by_kind, strict=True)]  # the labels of each item
    return Explorer(
        "embeddings", "Map of embeddings",
        "Move the slider and see the items part. Point at a dot for its name. Find one in the "
        "list, or click near its dot: a line shows its way since the first epoch.",
        numbers, _words(numbers, own), _table(numbers, own))


def _on_a_grid(frames: Mapping[int, np.ndarray]) -> dict:
    """Write places as whole numbers: the longer side of the map has a thousand steps."""
    places = np.stack([np.asarray(points, float) for points in frames.values()])  # (F, N, 2)
    low, high = places.min((0, 1)), places.max((0, 1))
    step = max((high - low).max() / 1000, 1e-12)
    origin, unit = np.array([low[0], high[1]]), np.array([step, -step])  # y grows downwards
    return {"frames": np.rint((places - origin) / unit).astype(int).tolist(),
            "size": np.rint((high - low) / step).astype(int).tolist(),
            "origin": origin.round(5).tolist(), "unit": unit.round(8).tolist()}


def _grouped(kind: str, labels: Sequence[str], count: int) -> dict:
    """Return the kinds of labels in order, and the place of each item's label among them."""
    labels = pd.Categorical(labels)
    groups = [str(group) for group in labels.categories]
    if len(labels) != count:
        raise ValueError(f"{kind} must hold a label for each of {count} names, not {len(labels)}")
    if len(groups) > HUES:
        raise ValueError(f"{kind} has {len(groups)} kinds of labels, but only {HUES} colours can "
                         'be told apart: call the rarer kinds "other"')
    if (labels.codes < 0).any():
        raise ValueError(f"{kind} lacks the label of some items: give each one of {groups}")
    return {"groups": groups, "of": labels.codes.tolist()}


def _words(numbers: dict, own: list[tuple[str, ...]]) -> str:
    """Name the three items nearest to the one singled out, after the last epoch."""
    names, item, points = numbers["names"], numbers["item"], np.array(numbers["frames"][-1])
    # Whole numbers, and a stable order: the script finds the same three.
    order = ((points - points[item]) ** 2).sum(1).argsort(kind="stable")
    near = [names[i] for i in order if i != item][:3]
    return (f"After epoch {numbers['epochs'][-1]}, {names[item]} ({', '.join(own[item])}) is "
            f"nearest on the map, among all items, to {'; '.join(near)}.")


def _table(numbers: dict, own: list[tuple[str, ...]]) -> list[list[str]]:
    """List the labels and the place of each item after the last epoch."""
    places = np.array(numbers["origin"]) + np.array(numbers["unit"]) * numbers["frames"][-1]
    rows = [[name, *kinds, f"{x:.3f}", f"{y:.3f}"]
            for name, kinds, (x, y) in zip(numbers["names"], own, places, strict=True)]
    return [["item", *numbers["labels"], "first direction", "second direction"], *rows]
