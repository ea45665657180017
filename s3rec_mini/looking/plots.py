"""Pictures of what `inspection`, training and evaluation return, in the book's style.

A thing has the same colour in every picture (`COLOURS`). Each function draws on one Axes, given or
new, and returns it, so that all of matplotlib remains at hand. Matplotlib and seaborn are imported
when something is drawn: importing this module costs a training job nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "KINDS", "plot_attention", "plot_attention_bars",
           "plot_attention_by_distance", "plot_attention_grid", "plot_embeddings", "plot_history",
           "plot_intervals", "plot_lists", "plot_neighbours", "plot_ranks", "plot_recommendations",
           "plot_views", "style"]

#: What a thing is drawn in, by its name. Any two can be told apart without full colour vision.
COLOURS = {
    "item": "#3b7dd8", "positive": "#2f855a", "negative": "#cf5a0a", "mask": "#cccccc",
    "pretrained": "#3b7dd8", "shipped": "#3b7dd8", "S3-Rec": "#3b7dd8",
    "scratch": "#8a8a8a", "SASRec": "#8a8a8a",
    "released": "#c0921e", "paper": "#9e0346", "infonce": "#5e229a",
    "train": "#a3e3f2", "validation": "#57b5cb", "test": "#1c5a67"}
#: The colours of what has no name above, genres say, in this order; the explorers' six.
KINDS = ("#2b9085", "#c8473a", "#9163d4", "#b07d10", "#3f80da", "#808080")
GREY = "#6b6b6b"  # of reference lines
BOXES = {kind: dict(facecolor=COLOURS[kind]) for kind in ("item", "positive", "negative")} | {
    "mask": dict(facecolor=COLOURS["mask"], edgecolor="white", hatch="////", linewidth=0),
    "padding": dict(facecolor="none", edgecolor=GREY, linestyle=":"),
    "plain": dict(facecolor="none", edgecolor=GREY)}


@contextmanager
def style():
    """Draw in the book's style: ``with plots.style(): fig, ax = plt.subplots()``."""
    import matplotlib.pyplot as plt

    # Load the backend outside the context, which would undo that a notebook shows what is drawn.
    plt.draw_if_interactive()
    with plt.style.context(Path(__file__).with_name("book.mplstyle")):
        yield


def _new_axes(height: float = 3.4) -> Axes:
    """Open a figure as wide as a phone and `height` inches high."""
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(5, height), layout="compressed").add_subplot()


def _legend_above(ax: Axes, **settings) -> None:
    """Write what the colours mean above the picture, where nothing is drawn."""
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), columnspacing=1, **settings)


def _colours(names: Iterable[Hashable]) -> dict[Hashable, str]:
    """Give each name its colour, or the next one that means nothing else."""
    free = cycle(KINDS)
    return {name: COLOURS.get(name) or next(free) for name in dict.fromkeys(names)}


# ---- attention


@style()
def plot_attention(weights, names: Sequence[str], ax: Axes | None = None,
                   end: float | None = None, bar: bool = True) -> Axes:
    """Draw the attention of one head as a square: a row for each query, a column for each key.

    Columns are the rows' names by number. What gets no weight at all, the future under a causal
    mask, stays empty.

    Parameters
    ----------
    weights : array or Tensor
        (L, L), rows summing to 1, such as ``attention_maps(model, items)[layer, head]``.
    names : sequence of str
        L names, oldest first.
    ax : Axes, optional
        Where to draw; a new figure by default.
    end : float, optional
        The weight at which the scale of colours ends; by default the largest.
    bar : bool
        Whether the scale is drawn beside.

    Raises
    ------
    ValueError
        If there are not as many names as positions.
    """
    weights = np.asarray(weights)
    if weights.shape != (len(names), len(names)):
        raise ValueError(f"weights must be (L, L) for L = {len(names)} names, not {weights.shape}")
    ax = ax or _new_axes()
    end = weights.max() if end is None else end
    square = ax.imshow(np.ma.masked_equal(weights, 0), vmin=0, vmax=end, cmap="viridis")
    ax.set_xticks(range(len(names)), range(1, len(names) + 1))
    ax.set_yticks(range(len(names)), [f"{name} ({t})" for t, name in enumerate(names, start=1)])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="is looked at (key)", ylabel="looks (query)")
    if bar:
        _scale_of_colours(square, ax, weights.max() > end)
    return ax


def _scale_of_colours(square, axes, beyond: bool, **place) -> None:
    """Draw the scale; it has a tip if weights lie beyond its end."""
    square.figure.colorbar(square, ax=axes, label="attention weight", shrink=0.8,
                           extend="max" if beyond else "neither", **place)


@style()
def plot_attention_grid(maps: Mapping[str, np.ndarray], names: Sequence[str], columns: int = 2,
                        end: float | None = None) -> Figure:
    """Draw several heads beside one another, on one scale of colours.

    Parameters
    ----------
    maps : mapping of str to array or Tensor
        Titles, and (L, L) weights for each.
    names : sequence of str
        L names, oldest first.
    columns : int
        How many squares stand side by side.
    end : float, optional
        The weight at which the scale of colours ends; by default the largest of all.

    Raises
    ------
    ValueError
        If there are not as many names as positions.
    """
    import matplotlib.pyplot as plt

    drawn = np.stack([np.asarray(weights) for weights in maps.values()])  # (maps, L, L)
    if drawn.shape[1:] != (len(names), len(names)):
        raise ValueError(f"maps must be (L, L) for L = {len(names)} names, not {drawn.shape[1:]}")
    end = drawn.max() if end is None else end
    rows = -(-len(maps) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(5, 1.2 + 3.2 * rows / columns), sharex=True,
                             sharey=True, squeeze=False, layout="compressed")
    for ax, title, weights in zip(axes.flat, maps, drawn, strict=False):
        plot_attention(weights, names, ax, end, bar=False)
        ax.set(title=title, xlabel="", ylabel="")
    for ax in axes.flat[len(maps):]:
        ax.axis("off")
    fig.supxlabel("is looked at (key)")
    fig.supylabel("looks (query)")
    _scale_of_colours(axes[0, 0].images[0], axes, drawn.max() > end, location="top", aspect=30)
    return fig


@style()
def plot_attention_bars(rows: Mapping[str, Sequence[float]], names: Sequence[str],
                        ax: Axes | None = None) -> Axes:
    """Draw what one item looks at: a bar for each item that it can see.

    A dotted line marks equal weights, which is what an item gets that nobody prefers.

    Parameters
    ----------
    rows : mapping of str to sequence of float
        By title, (L,) weights that sum to 1: of the newest item
        ``attention_maps(model, items, causal=True)[layer, head, -1]``. Each has its colour.
    names : sequence of str
        L names, oldest first, drawn from top to bottom.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    ValueError
        If a row has not as many weights as there are names.
    """
    rows = {title: np.asarray(weights) for title, weights in rows.items()}
    for title, weights in rows.items():
        if weights.shape != (len(names),):
            raise ValueError(f"{title!r} must have a weight for each of {len(names)} names, "
                             f"not the shape {weights.shape}")
    ax = ax or _new_axes(height=0.9 + 0.32 * len(names))
    pd.DataFrame(rows).plot.barh(ax=ax, color=_colours(rows), width=0.8, legend=False)
    ax.axvline(1 / len(names), color=GREY, linestyle=":")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="attention weight", ylim=(len(names) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    if len(rows) > 1:
        _legend_above(ax, ncols=3)
    return ax


@style()
def plot_attention_by_distance(frames: pd.DataFrame | Mapping[str, pd.DataFrame],
                               ax: Axes | None = None) -> Axes:
    """Draw how attention falls with the distance, a line for each layer and model.

    A line is the mean over the heads and queries of the frame; dotted is what equal weights would
    give.

    Parameters
    ----------
    frames : DataFrame or mapping of str to DataFrame
        From `inspection.attention_by_distance`, of one model or of several by name; all keys of
        some queries, such as ``frame[frame["query"] == 20]``, may be chosen.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    named = frames if isinstance(frames, Mapping) else {"": frames}
    frame = pd.concat(named, names=["model"]).reset_index("model")
    keys = frame.groupby(["model", "layer", "head", "query"])["weight"].transform("size")
    weight, equal = (each.pivot_table("weight", "distance", ["model", "layer"])
                     for each in (frame, frame.assign(weight=1 / keys)))
    colours = _colours(named) if len(named) > 1 else {name: COLOURS["item"] for name in named}
    ax = ax or _new_axes()
    for model, colour in colours.items():
        dashed = cycle(("-", "--", "-."))
        for (layer, line), dashes in zip(weight[model].items(), dashed, strict=False):
            label = f"{model}, layer {layer}" if model else f"layer {layer}"
            ax.plot(line.dropna(), dashes, color=colour, label=label)
        even = equal[model].iloc[:, 0].dropna()  # the same in every layer
        ax.plot(even, ":", color=GREY, label="_" if model != [*named][-1] else "equal weights")
    ax.set(ylim=(0, None), xlabel="steps back from the item that looks",
           ylabel="mean attention weight")
    ax.locator_params(axis="x", integer=True)
    _legend_above(ax, ncols=min(len(named) + 1, 3))
    return ax


# ---- embeddings


@style()
def plot_embeddings(points, labels: Sequence, names: Mapping[int, str] | None = None,
                    ax: Axes | None = None, title: str | None = None, log: bool = False) -> Axes:
    """Draw embeddings in the plane, coloured by a label or a number.

    Parameters
    ----------
    points : float array
        (N, 2), such as `inspection.project_embeddings` returns.
    labels : sequence of str or of numbers
        N labels of at most six kinds, or N numbers. Kinds have their colours in the order of first
        appearance, or of the categories of a ``pandas.Categorical``.
    names : mapping of int to str, optional
        Text to write beside some of the N points.
    ax : Axes, optional
        Where to draw; a new figure by default.
    title : str, optional
        What the labels are, written above them.
    log : bool
        Whether the colours of numbers follow their logarithm.

    Raises
    ------
    ValueError
        If there are not as many labels as points, or too many kinds.
    """
    import seaborn as sns

    points, labels = np.asarray(points), pd.Series([*labels], dtype=getattr(labels, "dtype", None))
    if points.shape != (len(labels), 2):
        raise ValueError(f"points must be (N, 2) for N = {len(labels)} labels, not {points.shape}")
    numeric = pd.api.types.is_numeric_dtype(labels)
    kinds = labels.cat.categories if labels.dtype == "category" else labels.unique()
    if not numeric and len(kinds) > len(KINDS):
        raise ValueError(f"there are {len(kinds)} kinds of labels, but only {len(KINDS)} colours "
                         'can be told apart: call the rarer kinds "other"')
    ax = ax or _new_axes()
    if numeric:
        dots = ax.scatter(*points.T, c=labels, norm="log" if log else None, s=6, linewidth=0)
        ax.figure.colorbar(dots, ax=ax, label=title, shrink=0.8, format="%g")
    else:
        sns.scatterplot(x=points[:, 0], y=points[:, 1], hue=labels, hue_order=list(kinds), ax=ax,
                        s=14, linewidth=0, palette=KINDS[:len(kinds)])
        _legend_above(ax, ncols=3, title=title, handletextpad=0.1)
    for row, name in (names or {}).items():
        _write_beside(ax, points, row, name, points[list(names)])
    ax.set(xlabel="first direction", ylabel="second direction", xticks=[], yticks=[])
    return ax


@style()
def plot_neighbours(found: Mapping[str, Sequence[str]], right: Collection[str] = (),
                    ax: Axes | None = None) -> Axes:
    """Draw what is nearest to an item, nearest first: a row of boxes for each item asked about.

    Parameters
    ----------
    found : mapping of str to sequence of str
        For each item, whose box is filled, the names that `nearest_items` returned; longer names
        than a box can hold end with "…".
    right : collection of str, optional
        Names that are right answers: their boxes have the colour of a positive.
    ax : Axes, optional
        Where to draw; a new figure by default. Row r stands at the height -r.

    Raises
    ------
    ValueError
        If nothing was found.
    """
    longest = max(map(len, found.values()), default=0)
    if not longest:
        raise ValueError("found must hold an item with a neighbour or more")
    width = round(60 / (1.15 + longest))  # letters of a box
    views = {asked: [(_wrapped(asked, width, 2), "item"),
                     *((_wrapped(name, width, 2), "positive" if name in right else "plain")
                       for name in names)] for asked, names in found.items()}
    ax = plot_views(views, ax or _new_axes(height=0.1 + 0.5 * len(found)))
    for text in ax.texts:
        text.set(fontsize=9, linespacing=1.05)
    ax.axis("off")
    return ax


def _wrapped(text: str, width: int, lines: int) -> str:
    """Break a text into so many lines of `width` letters; a longer one ends with "…"."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder="…"))


def _write_beside(ax: Axes, points: np.ndarray, row: int, name: str, named: np.ndarray) -> None:
    """Ring a point and write its name beside it, legible over other dots.

    It stands left of its point at the right edge, and before another one of those that are `named`.
    """
    from matplotlib.patheffects import withStroke

    point, (width, height) = points[row], np.ptp(points, axis=0)
    right, up = (named - point).T
    taken = (right > 0) & (right < 0.3 * width) & (np.abs(up) < 0.05 * height)
    leftwards = taken.any() or point[0] > points[:, 0].max() - 0.2 * width
    ax.plot(*point, "o", markersize=7, markerfacecolor="none", color=GREY)
    ax.annotate(name, point, xytext=(-6 if leftwards else 6, 4), textcoords="offset points",
                ha="right" if leftwards else "left", fontsize=9, weight="bold",
                path_effects=[withStroke(linewidth=3, foreground="white")])


# ---- training and evaluation


@style()
def plot_history(runs, columns: Sequence[str] = ("loss",), ax: Axes | None = None) -> Axes:
    """Draw columns of training histories against the epoch, a line for each run.

    Parameters
    ----------
    runs : history, or mapping of str to one history or a list of them
        A history is what `pretrain` or `finetune` returns, or the columns of a results file
        (``load_results(…)["scratch-pairwise"][0]["finetuning_history"]``). Runs of one name, its
        seeds, have one colour.
    columns : sequence of str
        Which numbers; "validation.MRR" reads the MRR of the validation metrics.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    ValueError
        If a history is empty or lacks a column.
    """
    import seaborn as sns

    frame = pd.concat(_records(runs, list(columns)), ignore_index=True)
    one_name, one_column = frame["name"].nunique() == 1, len(columns) == 1
    hue = "column" if one_name and not one_column else "name"
    ax = ax or _new_axes()
    sns.lineplot(frame, x="epoch", y="value", units="run", estimator=None, ax=ax, hue=hue,
                 palette=_colours(frame[hue]), style=None if one_name or one_column else "column",
                 marker="." if frame["epoch"].max() <= 40 else None, markeredgewidth=0,
                 legend=not (one_name and one_column))
    ax.set(xlabel="epoch", ylabel=columns[0].replace(".", " ") if one_column else "loss")
    ax.locator_params(axis="x", integer=True)
    if legend := ax.get_legend():
        legend.set_title(None)
    return ax


def _records(runs, columns: list[str]) -> list[pd.DataFrame]:
    """Return the columns of each run in the long form: name, run, epoch (from 1), column, value."""
    named = {"": runs} if _is_history(runs) else runs
    found = []
    for name, one_or_more in named.items():
        for history in [one_or_more] if _is_history(one_or_more) else one_or_more:
            frame = pd.json_normalize(pd.DataFrame(history).to_dict("records"))
            if missing := [column for column in columns if column not in frame]:
                raise ValueError(f"the history has no {missing}, only {list(frame)}")
            frame = frame.assign(name=name, run=len(found), epoch=frame["epoch"] + 1)
            found.append(frame.melt(["name", "run", "epoch"], columns, "column"))
    return found


def _is_history(runs) -> bool:
    """Tell the records or the columns of a history from histories by name or in a list."""
    if isinstance(runs, Mapping):
        return np.ndim(runs.get("epoch", 0)) == 1
    return all(isinstance(record, Mapping) and np.ndim(record["epoch"]) == 0 for record in runs)


@style()
def plot_intervals(frame: pd.DataFrame, value: str, rows: str, group: str | None = None,
                   reference: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw values with their intervals, a row for each run or model: a forest plot.

    What shares a row and a group, such as the seeds of a run, stands one below the other, and a
    tick marks its mean.

    Parameters
    ----------
    frame : DataFrame
        A line for each value, with the columns named here and, where there are intervals, "low" and
        "high".
    value : str
        The column of the values; it names the axis.
    rows : str
        The column that names the rows, drawn from top to bottom in order of appearance.
    group : str, optional
        A column whose values have a colour each; by default each row has one.
    reference : float, optional
        Where a dotted line stands: no difference, or the value of another model.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    hue = group or rows
    if missing := [column for column in (value, rows, hue) if column not in frame]:
        raise ValueError(f"the frame has no {missing}, only {list(frame)}")
    names = frame[rows].unique()
    ax = ax or _new_axes(height=0.7 + 0.55 * len(names))
    if reference is not None:
        ax.axvline(reference, color=GREY, linestyle=":")
    frame = frame.assign(height=_heights(frame, rows, hue))
    for name, colour in _colours(frame[hue]).items():
        part = frame[frame[hue] == name]
        if {"low", "high"} <= set(part):
            ax.hlines(part["height"], part["low"], part["high"], color=colour, linewidth=1.2)
        ax.plot(part[value], part["height"], "o", color=colour, markersize=5, label=name)
        for _, seeds in part.groupby(rows, sort=False):
            if len(seeds) > 1:
                ax.plot(*seeds[[value, "height"]].mean(), "|", color=colour, markersize=22, mew=2)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel=value, ylim=(len(names) - 0.5, -0.5))
    ax.locator_params(axis="x", nbins=6)
    if group:
        _legend_above(ax, ncols=3)
    return ax


def _heights(frame: pd.DataFrame, rows: str, hue: str) -> pd.Series:
    """Spread the values of a row over six tenths of its height, those of a group side by side."""
    ordered = frame.sort_values(hue, key=lambda names: pd.factorize(names)[0], kind="stable")
    nth = ordered.groupby(rows).cumcount()
    count = frame.groupby(rows)[rows].transform("size")
    row = pd.Series(pd.factorize(frame[rows])[0], frame.index)
    return row + 0.6 * ((nth + 0.5) / count - 0.5)


@style()
def plot_ranks(ranks: Mapping[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """Draw the share of users whose item a model ranks among its first k, against k.

    Parameters
    ----------
    ranks : mapping of str to int array
        For each model (num_users,) ranks that start at 1, such as `rank_targets` returns.
    ax : Axes, optional
        Where to draw; a new figure by default.
    """
    import seaborn as sns

    ax = ax or _new_axes()
    sns.ecdfplot(dict(ranks), palette=_colours(ranks), log_scale=True, ax=ax)
    last = max(map(max, ranks.values()))
    ticks = [k for power in range(6) for k in (10**power, 3 * 10**power) if k <= last]
    ax.set_xticks(ticks, [f"{k:,}" for k in ticks])
    ax.minorticks_off()
    ax.set(xlabel="item is among the first k (logarithmic)", ylabel="share of users",
           xlim=(1, last))
    ax.get_legend().set_title(None)
    return ax


@style()
def plot_recommendations(history: Sequence[str], found: pd.DataFrame,
                         chosen: str | Collection[str] = ()) -> Figure:
    """Draw what somebody has seen, oldest first, above what a model recommends.

    Parameters
    ----------
    history : sequence of str
        Names; the newest five are drawn.
    found : DataFrame
        From `recommend`: a bar for each row, as long as its score.
    chosen : str or collection of str
        What was really chosen next, or all that is right, in the colour of a positive if it is
        there.
    """
    fig, below = _under_history(history, None, 0.7 + 0.3 * len(found))
    hit = found["name"].isin([chosen] if isinstance(chosen, str) else [*chosen])
    colours = np.where(hit, COLOURS["positive"], COLOURS["item"])
    names = [f"{name}  {place}" for place, name in enumerate(found["name"], start=1)]
    below.barh(names, found["score"], color=colours, height=0.7)
    below.invert_yaxis()
    below.set(xlabel="score", xlim=(0, None))
    below.tick_params(axis="y", length=0)
    below.spines["left"].set_visible(False)
    return fig


@style()
def plot_lists(history: Sequence[str], lists: Mapping[str, Sequence[str]],
               chosen: str | None = None) -> Figure:
    """Draw what somebody has seen, oldest first, above the lists of several recommenders.

    Parameters
    ----------
    history : sequence of str
        Names; the newest five are drawn.
    lists : mapping of str to sequence of str
        For each recommender, one column, its names, best first. An empty list is drawn hatched:
        that recommender has not been asked yet.
    chosen : str, optional
        What was really chosen next, in the colour of a positive wherever it stands.

    Raises
    ------
    ValueError
        If all lists are empty.
    """
    places = range(max((len(names) for names in lists.values()), default=0))
    if not places:
        raise ValueError("lists must hold a name or more, but all are empty")
    fig, below = _under_history(history, chosen, 0.35 + 0.28 * len(places))
    width = 51 // len(lists)  # letters of a box
    plot_views({str(place + 1): [_card(names, place, width, chosen) for names in lists.values()]
                for place in places}, below)
    below.xaxis.tick_top()
    below.set_xticks(range(len(lists)), list(lists))
    for text in below.texts:
        text.set_fontsize(9.5)
    return fig


def _card(names: Sequence[str], place: int, width: int, chosen: str | None) -> tuple[str, str]:
    """Return the text and the kind of one place of a list."""
    if place >= len(names):
        return ("", "padding") if names else ("?", "mask")
    name = names[place]
    return textwrap.shorten(name, width, placeholder="…"), "item" if name != chosen else "positive"


def _under_history(history: Sequence[str], chosen: str | None, height: float):
    """Open a figure, draw in it the newest five of a history and, if told, what was chosen next.

    Returns the figure, and Axes below that are `height` inches high.
    """
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(5, 0.9 + height), layout="constrained")
    top, bottom = fig.subfigures(2, 1, height_ratios=[0.9, height])
    cards = [(_wrapped(name, 10, 3), "item") for name in list(history)[-5:]]
    cards.append((_wrapped(chosen, 10, 3), "positive") if chosen else ("?", "mask"))
    plt.setp(plot_views({"": cards}, top.add_subplot()).texts, fontsize=9)
    return fig, bottom.add_subplot()


@style()
def plot_views(views: Mapping[str, Sequence[tuple[str, str]]], ax: Axes | None = None) -> Axes:
    """Draw sequences as rows of boxes, each box in the colour of what it is.

    Parameters
    ----------
    views : mapping of str to sequence of (str, str)
        For each row a text and a kind for every place: "item", "positive", "negative", "mask"
        (hatched), "padding" (dotted) or "plain" (empty).
    ax : Axes, optional
        Where to draw; a new figure by default. Row r stands at the height -r, place t at t.

    Raises
    ------
    ValueError
        If a kind is unknown.
    """
    from matplotlib.patches import Rectangle

    if unknown := {kind for row in views.values() for _, kind in row} - BOXES.keys():
        raise ValueError(f"a box is no {unknown.pop()!r}: choose {', '.join(BOXES)}")
    ax = ax or _new_axes(height=0.2 + 0.55 * len(views))
    for r, row in enumerate(views.values()):
        for t, (text, kind) in enumerate(row):
            ax.add_patch(Rectangle((t - 0.475, -r - 0.32), 0.95, 0.64, **BOXES[kind]))
            ax.text(t, -r, text, ha="center", va="center",
                    color="black" if kind in ("mask", "padding", "plain") else "white")
    longest = max(map(len, views.values()))
    ax.set(xlim=(-0.55, longest - 0.45), ylim=(0.5 - len(views), 0.5), xticks=[])
    ax.set_yticks(range(0, -len(views), -1), list(views))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax
