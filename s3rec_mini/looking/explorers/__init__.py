"""Pictures that answer the reader: attention, a map of embeddings, InfoNCE against the truth.

Each is one piece of HTML that shows itself in Jupyter, Colab and the book. It holds its numbers as
JSON, a short script from this folder, and, for where no script runs, the first
picture, the same in words, and a table. It asks no library and no network for anything.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

import numpy as np
import pandas as pd

from ...encoder import S3Rec
from ..inspection import attention_maps

__all__ = ["Explorer", "explore_attention", "explore_embeddings", "explore_info_nce"]

LIMIT = 120_000  # bytes of HTML: a page of the book has room for one large explorer and a small
HUES = 6  # that can be told apart, in explorer.css
BARS_END = 500  # thousandths of attention
CURVES = {"s3-mark s3-dashed": "truth I", "s3-line hue-4": "estimate",
          "s3-line s3-dotted hue-1": "ceiling log(K + 1)",
          "s3-line s3-dashdot hue-2 s3-off": "ceiling if σ is on"}


@dataclass(frozen=True, repr=False)
class Explorer:
    """A picture with controls, shown by a notebook when it is the value of a cell.

    Attributes
    ----------
    kind : str
        Names its script beside this file: "attention", "embeddings" or "info_nce".
    about : str
        A title and what to do, in a sentence or two.
    numbers : dict
        All that the script reads, ready for JSON.
    picture, words, table : str
        What is shown before the script runs: HTML, text, HTML.

    Raises
    ------
    ValueError
        If it weighs more than 120 kB.
    """

    kind: str
    about: str
    numbers: dict
    picture: str
    words: str
    table: str

    def __post_init__(self):
        if (weight := len(self._repr_html_().encode())) > LIMIT:
            raise ValueError(f"this explorer would weigh {weight / 1000:.0f} kB, more than the "
                             f"{LIMIT // 1000} kB that a page has room for: show fewer users, "
                             "items, epochs or values")

    def __repr__(self):
        return f"<Explorer of {self.kind}: a notebook shows it>"

    def _repr_html_(self) -> str:
        # No "<" in the JSON, so that no title can end the script that holds it.
        numbers = json.dumps(self.numbers, ensure_ascii=False, separators=(",", ":"))
        numbers = numbers.replace("<", "\\u003c")
        # The attribute keeps JupyterLab from taking the arrow keys for a move to another cell.
        title, _, use = self.about.partition(". ")
        title, use = escape(title), escape(use)
        return f"""<form class="s3-explorer" data-explorer="{self.kind}" aria-label="{title}"
  data-lm-suppress-shortcuts="true">
<style>{_part("explorer.css")}</style>
<p><strong>{title}.</strong> {use}</p>
<p class="s3-hint">Scripts do not run here: you see the first state only, perhaps without its
picture. In Jupyter, trust the notebook or run the cell.</p>
<div class="s3-controls"></div>
<div class="s3-picture">{self.picture}</div>
<p role="status">{escape(self.words)}</p>
<details><summary>The numbers as a table</summary>
<div class="s3-scroll" tabindex="0" role="group" aria-label="Table">{self.table}</div></details>
<script type="application/json">{numbers}</script>
<script>(() => {{ "use strict";
{_part("explorer.js")}{_part(self.kind + ".js")}}})();</script>
</form>"""


def explore_attention(model: S3Rec, data, users: Sequence[int], length: int = 12) -> Explorer:
    """Show where each of a user's items looks, by layer and head, causal or bidirectional.

    Parameters
    ----------
    model : S3Rec
        Made for `data`; read without dropout.
    data : SequenceDataset
        Names the items; training items alone are shown.
    users : sequence of int
        Rows of ``data.sequences``, the one shown first in front.
    length : int
        How many of a user's newest training items are read; never more than `max_length`.

    Returns
    -------
    Explorer
        ``numbers["users"]`` holds for each user "name", "items" (oldest first) and, by "causal" and
        "bidirectional", weights in thousandths as lists [layer][head][query][key].

    Raises
    ------
    ValueError
        If there are no users, a user is unknown, `length` is below 2 or the HTML too heavy.
    """
    if not len(users):
        raise ValueError("name one or more users, such as users=[0, 5]")
    if unknown := [user for user in users if not 0 <= user < data.num_users]:
        raise ValueError(f"there is no user {unknown[0]}: rows are 0…{data.num_users - 1}")
    if length < 2:
        raise ValueError(f"length must be 2 or more, not {length}: a single item sees only itself")
    length = min(length, model.max_length)
    shown = [_attention_of(model, data, user, length) for user in users]
    numbers = {"end": BARS_END, "layers": len(shown[0]["causal"]),
               "heads": len(shown[0]["causal"][0]), "users": shown}
    return Explorer(
        "attention",
        "Attention explorer. Choose an item, or point at one: the bars are the weights that it "
        "gives. The tick in a bar is where equal weights would end; a full bar is 50 % or more.",
        numbers, *_first_bars(numbers))


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
    _check_map(frames, names, labels, shown)
    item = 0 if shown is None else list(names).index(shown)
    places = np.stack([np.asarray(points, float) for points in frames.values()])  # (F, N, 2)
    low, high = places.min((0, 1)), places.max((0, 1))
    step = max((high - low).max() / 1000, 1e-12)  # the longer side has a thousand steps
    origin, unit = np.array([low[0], high[1]]), np.array([step, -step])  # y grows downwards
    drawn = np.rint((places - origin) / unit).astype(int)  # (F, N, 2)
    numbers = {
        "epochs": [int(epoch) for epoch in frames], "frames": drawn.tolist(),
        "size": np.rint((high - low) / step).astype(int).tolist(),
        "origin": origin.round(5).tolist(), "unit": unit.round(8).tolist(),
        "names": [str(name) for name in names], "item": item,
        "labels": {kind: _grouped(kind, each, len(names)) for kind, each in labels.items()},
    }
    return Explorer(
        "embeddings",
        "Map of embeddings. Move the slider and see the items part. Find one by its name, or click "
        "near a dot: a line shows its way since the first epoch.",
        numbers, *_first_map(numbers))


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
    numbers = {"rhos": [float(rho) for rho in rhos], "negatives": [int(K) for K in negatives],
               "values": values, "rho": len(rhos) * 3 // 4, "k": len(negatives) // 2}
    return Explorer(
        "info_nce",
        "InfoNCE explorer. Two Gaussians with correlation ρ, and K negatives: how much of the true "
        "information does the estimate reach, and what keeps it below?",
        numbers, *_first_curves(numbers))


def _check_map(frames, names, labels, shown) -> None:
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


# ---- What is shown before a script runs. The scripts draw the same first picture and sentence.


def _part(name: str) -> str:
    """Read a file of this folder."""
    folder = resources.files(__package__)
    return (folder / name).read_text(encoding="utf8")


def _table(header: Sequence, rows: Sequence[Sequence]) -> str:
    """Write a table with headers above and, in the first column, beside."""
    head = "".join(f'<th scope="col">{escape(str(cell))}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(str(first))}</th>'
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in others) + "</tr>"
        for first, *others in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _percent(thousandths: float) -> str:
    return f"{thousandths / 10:.1f}\N{NO-BREAK SPACE}%"


def _attention_of(model: S3Rec, data, user: int, length: int) -> dict:
    """Name the items of a user and weigh them in thousandths."""
    items = data.training_sequences[user][-length:]
    weights = {name: np.rint(1000 * attention_maps(model, items, causal).numpy()).astype(int)
               for name, causal in (("causal", True), ("bidirectional", False))}
    return {"name": f"row {user} (named {data.user_names[user]})",
            "items": [data.item_names[i] for i in items],
            **{name: maps.tolist() for name, maps in weights.items()}}  # (layers, heads, L, L)


def _first_bars(numbers: dict) -> tuple[str, str, str]:
    """Draw, describe and tabulate the causal weights of the first user, layer and head."""
    items, weights = numbers["users"][0]["items"], numbers["users"][0]["causal"][0][0]  # (L, L)
    newest, equal = weights[-1], 1000 / len(items)
    best = newest.index(max(newest))
    most = "itself" if best == len(items) - 1 else items[best]
    picture = "".join(_bar(item, each, equal) for item, each in zip(items, newest, strict=True))
    words = (f"Layer 1, head 1, causal: {items[-1]} looks most at {most}, "
             f"{_percent(newest[best])}. Equal weights would be {_percent(equal)}.")
    rows = [[item, *map(_percent, row[:i + 1]), *["hidden"] * (len(items) - i - 1)]
            for i, (item, row) in enumerate(zip(items, weights, strict=True))]
    return picture, words, _table(["looks ↓ at →", *items], rows)


def _bar(item: str, weight: int, equal: float) -> str:
    """Draw one item's weight as a row, with a tick at the equal one."""
    width, tick = (min(100, each * 100 / BARS_END) for each in (weight, equal))
    return (f'<div class="s3-row"><span class="s3-name">{escape(item)}</span>'
            '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect class="s3-bar" width="{width:.1f}" height="10"/>'
            f'<line class="s3-mark" x1="{tick:.1f}" x2="{tick:.1f}" y2="10" '
            'vector-effect="non-scaling-stroke"/></svg> '
            f'<span class="s3-value">{_percent(weight)}</span></div>')


def _grouped(kind: str, labels: Sequence[str], count: int) -> dict:
    """Return the kinds of labels in order, and the place of each item's label among them."""
    if not isinstance(getattr(labels, "dtype", None), pd.CategoricalDtype):
        labels = [str(label) for label in labels]
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


def _key(meanings: Mapping[str, str], mark: str) -> str:
    """Write what each style of a mark, the path of an SVG, means."""
    return '<ul class="s3-key">' + "".join(
        f'<li><svg class="s3-sample" viewBox="0 0 28 16" aria-hidden="true"><path class="{style}" '
        f'd="{mark}"/></svg>{escape(text)}</li>' for style, text in meanings.items()) + "</ul>"


def _first_map(numbers: dict) -> tuple[str, str, str]:
    """Draw, describe and tabulate the map after the last epoch, in the first kind of colours."""
    names, labels, item = numbers["names"], numbers["labels"], numbers["item"]
    points, epoch = np.array(numbers["frames"][-1]), numbers["epochs"][-1]
    kind, (groups, of) = next((kind, each.values()) for kind, each in labels.items())
    dots = "".join(
        f'<path class="s3-dots hue-{group}" d="'
        + "".join(f"M{x} {y}h0" for x, y in points[np.equal(of, group)]) + '"/>'
        for group in range(len(groups)))
    width, height = np.array(numbers["size"]) + 40
    about = f"Map of {len(names)} items after epoch {epoch}, coloured by {kind}: "
    picture = (_key({f"s3-dots hue-{i}": group for i, group in enumerate(groups)}, "M14 8h0")
               + f'<svg class="s3-map" viewBox="-20 -20 {width} {height}" role="img" '
               f'aria-label="{escape(about + ", ".join(groups))}.">{dots}</svg>')
    # Whole numbers, and a stable order: the script finds the same three.
    near = ((points - points[item]) ** 2).sum(1).argsort(kind="stable")
    near = [names[i] for i in near if i != item][:3]
    own = [[each["groups"][each["of"][i]] for each in labels.values()] for i in range(len(names))]
    words = (f"After epoch {epoch}, {names[item]} ({', '.join(own[item])}) is nearest on the map, "
             f"among all items, to {'; '.join(near)}.")
    places = np.array(numbers["origin"]) + np.array(numbers["unit"]) * points  # (N, 2)
    rows = [[name, *kinds, f"{x:.3f}", f"{y:.3f}"]
            for name, kinds, (x, y) in zip(names, own, places, strict=True)]
    return picture, words, _table(["item", *labels, "first direction", "second direction"], rows)


def _first_curves(numbers: dict) -> tuple[str, str, str]:
    """Draw, describe and tabulate the best critic's estimates at one correlation."""
    rho, negatives = numbers["rhos"][numbers["rho"]], numbers["negatives"]
    best, sigma = (numbers["values"][critic][numbers["rho"]] for critic in ("best", "sigma"))
    truth = -math.log(1 - rho * rho) / 2 + 0.0  # + 0.0: no minus nought
    ceiling = [math.log(K + 1) for K in negatives]
    squeezed = [math.log(math.e * (K + 1) / (math.e + K)) for K in negatives]

    top = max(1.05, 1.15 * truth)
    x = np.interp(ceiling, [ceiling[0], ceiling[-1]], [34, 346])

    def line(heights, style):
        points = [f"{a:.1f},{200 - 188 * b / top:.1f}"
                  for a, b in zip(x, heights, strict=True) if b <= top]
        return f'<path class="{style}" d="M{"L".join(points)}"/>'

    ticks = "".join(f'<text x="{a:.1f}" y="216" text-anchor="middle">{K}</text>'
                    for a, K in zip(x, negatives, strict=True))
    ticks += "".join(f'<text x="28" y="{204 - 188 * v / top:.1f}" text-anchor="end">{v:.1f}</text>'
                     for v in np.arange(0, top, 0.5))
    about = f"Estimates against the number of negatives, truth {truth:.3f} nat."
    picture = (
        _key(CURVES, "M0 8h28")
        + f'<svg viewBox="0 0 360 230" role="img" aria-label="{about}">{ticks}'
        + '<text x="197" y="229" text-anchor="middle">negatives K</text>'
        + "".join(reversed([line(heights, style) for heights, style in zip(
            ([truth] * len(x), best, ceiling, squeezed), CURVES, strict=True)])) + "</svg>")
    k = numbers["k"]
    words = (f"ρ = {rho:g}, K = {negatives[k]}, best critic: the estimate is {best[k]:.3f} of the "
             f"true {truth:.3f} nat. The ceiling is {ceiling[k]:.3f} for any critic, "
             f"{squeezed[k]:.3f} with σ.")
    rows = [[K, *(f"{value:.3f}" for value in values)] for K, *values in zip(
        negatives, best, sigma, [truth] * len(x), ceiling, squeezed, strict=True)]
    return picture, words, _table(
        ["K", "best critic", "critic with σ", "truth", "ceiling log(K + 1)", "ceiling with σ"],
        rows)
