"""The same numbers in less time: states without padding, the newest state alone, scores in blocks.

Without dropout a function is equal, in values and gradients, to the plain code that its docstring
names; with dropout it draws other masks. What each saves was measured on one thread of a CPU.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..encoder import Block, S3Rec, visible_keys
from .checks import checked_ids


def item_states(model: S3Rec, item_ids: Tensor, positions: Tensor, causal: bool = False) -> Tensor:
    """Return ``model(item_ids, causal).flatten(0, 1)[positions]``: states of items, not of padding.

    On a CPU, where padding costs as much as items, several short sequences share a row, and none of
    them sees another: without that, finetuning on Beauty takes 7.3 times as long.

    Parameters
    ----------
    model, item_ids, causal
        (B, L) ids, as for `S3Rec.forward`.
    positions : Tensor
        (N,) int64: where the flattened `item_ids` are not 0, in ascending order.

    Returns
    -------
    Tensor
        (N, H).
    """
    item_ids = checked_ids(model, item_ids, causal=causal)
    if item_ids.device.type != "cpu":
        return model(item_ids, causal).flatten(0, 1)[positions]
    length = item_ids.shape[1]
    lengths = (item_ids != 0).sum(1).tolist()
    width = max(lengths, default=0) or 1
    ends, rows = packed(lengths, width)  # R rows of W places
    sequence, column = positions // length, positions % length  # (N,), (N,)
    places = torch.tensor(ends)[sequence] - length + column  # (N,)

    def in_rows(values: Tensor) -> Tensor:
        """Put the values (N,) of the items into their places, (R, W), and 0 elsewhere."""
        return values.new_zeros(rows * width).index_put((places,), values).view(rows, width)

    ids = in_rows(item_ids.flatten()[positions])
    learned = in_rows(model.max_length - length + column)  # the newest item has the last one
    states = model.embed(ids, model.position_embedding(learned))  # (R, W, H)
    owners = in_rows(sequence + 1)
    visible = owners[:, None, :, None] == owners[:, None, None, :]  # (R, 1, W, W)
    visible = visible.tril() if causal else visible
    for block in model.blocks:
        states, _ = block(states, visible)
    return states.flatten(0, 1)[places]


def newest_states(model: S3Rec, item_ids: Tensor, whole: int = 0, causal: bool = False):
    """Return ``states[:whole]`` and ``states[whole:, -1]`` of ``states = model(item_ids, causal)``.

    Of the sequences wanted at their newest item only, the last block computes nothing else: without
    that, pretraining takes 1.39 times as long.

    Parameters
    ----------
    model, item_ids, causal
        (B, L) ids, as for `S3Rec.forward`.
    whole : int
        How many rows, from the first on, are wanted at every position.

    Returns
    -------
    (Tensor, Tensor)
        (whole, L, H) and (B - whole, H).
    """
    item_ids = checked_ids(model, item_ids, causal=causal)
    states = model.embed(item_ids, model.newest_positions(item_ids.shape[1]))  # (B, L, H)
    visible = visible_keys(item_ids, causal)  # (B, 1, L, L)
    *earlier, last = model.blocks
    for block in earlier:
        states, _ = block(states, visible)
    sizes = [whole, len(states) - whole]
    (first, others), (first_sees, others_see) = states.split(sizes), visible.split(sizes)
    return last(first, first_sees)[0], _newest_of(last, others, others_see)


def _newest_of(block: Block, states: Tensor, visible: Tensor) -> Tensor:
    """Return ``block(states, visible)[0][:, -1]``, (B, H): one query for the keys of all places."""
    attention, size = block.attention, states.shape[-1]
    weight, bias = attention.query_key_value.weight, attention.query_key_value.bias
    newest = states[:, -1:]  # (B, 1, H)
    (query,) = attention.split_heads(F.linear(newest, weight[:size], bias[:size]))
    key, value = attention.split_heads(F.linear(states, weight[size:], bias[size:]))
    mixed, _ = attention.mix(query, key, value, visible[:, :, -1:])
    return block.after_attention(newest, mixed)[:, 0]


def packed(lengths: list[int], width: int) -> tuple[list[int], int]:
    """Lay sequences into rows of `width` places, several to a row, so that little stays empty.

    Parameters
    ----------
    lengths : list of int
        How many places each sequence takes, `width` at most.
    width : int
        Places in a row.

    Returns
    -------
    (list of int, int)
        Where each sequence ends (the place after its last) in the flattened rows, and how many
        rows there are. The longest come first, each into the fullest row that has room for it.
    """
    rows_by_room: list[list[int]] = [[] for _ in range(width + 1)]
    ends, rows = [0] * len(lengths), 0
    for sequence in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = lengths[sequence]
        room = next((room for room in range(length, width) if rows_by_room[room]), width)
        if not rows_by_room[room]:
            rows_by_room[room].append(rows)
            rows += 1
        row = rows_by_room[room].pop()
        rows_by_room[room - length].append(row)
        ends[sequence] = (row + 1) * width - room + length
    return ends, rows


def in_blocks(loss: Callable[[Tensor, Tensor], Tensor], states: Tensor, items: Tensor) -> Tensor:
    """Return ``loss(states, items)``, (N,), computed for 64 of the N rows at a time.

    The scores of a whole batch against all items, 100 MB on Beauty, fit no cache and are asked of
    the system anew at each step: in one block a step of softmax finetuning takes 2.2 times as
    long.
    """
    blocks = zip(states.split(64), items.split(64), strict=True)
    return torch.cat([loss(some, wanted) for some, wanted in blocks])
