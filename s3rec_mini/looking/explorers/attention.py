"""Where each of a user's items looks."""

from collections.abc import Sequence

from ...encoder import S3Rec
from ..inspection import attention_maps
from .explorer import Explorer


def explore_attention(model: S3Rec, data, users: Sequence[int], length: int = 12) -> Explorer:
    """Show where each of a user's items looks, by layer and head, causal or bidirectional.

    Parameters
    ----------
    model : S3Rec
        Made for `data`; read without dropout.
    data : SequenceDataset
        Names the items; training items alone are shown.
    users : sequence of int
        Rows of ``data.sequences``, by which they are called; the one shown first in front.
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
    items, maps = shown[0]["items"], shown[0]["causal"]  # maps (layers, heads, L, L)
    return Explorer(
        "attention", "Attention explorer",
        "Choose an item, or point at one: the bars are the weights that it gives. The tick in a "
        "bar is where equal weights would end; a full bar is 50 % or more.",
        {"layers": len(maps), "heads": len(maps[0]), "users": shown},
        _words(items, maps[0][0]), _table(items, maps[0][0]))


def _attention_of(model: S3Rec, data, user: int, length: int) -> dict:
    """Name the items of a user and weigh them in thousandths."""
    items = data.training_sequences[user][-length:]
    both = attention_maps(model, items, causal=True), attention_maps(model, items)
    causal, bidirectional = ((1000 * maps).round().int().tolist() for maps in both)
    return {"name": f"{user}", "items": [data.item_names[item] for item in items],
            "causal": causal, "bidirectional": bidirectional}  # (layers, heads, L, L)


def _words(items: list[str], weights: list[list[int]]) -> str:
    """Say where the newest item looks most, of (L, L) causal weights."""
    newest = weights[-1]
    best = newest.index(max(newest))
    most = "itself" if best == len(items) - 1 else items[best]
    return (f"Layer 1, head 1, causal: {items[-1]} looks most at {most}, {_percent(newest[best])}. "
            f"Equal weights would be {_percent(1000 / len(items))}.")


def _table(items: list[str], weights: list[list[int]]) -> list[list[str]]:
    """List (L, L) causal weights, a row for each item that looks."""
    rows = [[item, *map(_percent, row[:i + 1]), *["hidden"] * (len(items) - i - 1)]
            for i, (item, row) in enumerate(zip(items, weights, strict=True))]
    return [["looks ↓ at →", *items], *rows]


def _percent(thousandths: float) -> str:
    return f"{thousandths / 10:.1f}\N{NO-BREAK SPACE}%"
