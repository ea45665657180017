"""What is refused at the doors, in words: tables, sequences, item ids, flags.

Public functions call these; what is no door trusts them.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .settings import is_a

# As pandas calls them.
NO_KEYS = ("floating", "mixed-integer-float", "mixed-integer", "decimal", "boolean", "bytes")
TIMES = ("integer", "floating", "mixed-integer-float", "decimal", "datetime64", "datetime", "date",
         "timedelta64", "timedelta", "period")


def checked_interactions(frame, user, item, time, min_count) -> pd.DataFrame:
    """Return the frame in time order, or raise what `from_interactions` raises if it is wrong."""
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"frame must be a pandas DataFrame, not {type(frame).__name__}")
    check_count("min_count", min_count, least=3)
    for column in (user, item, time):
        if column not in list(frame.columns):
            raise ValueError(f"the frame has no column {column!r}, only {list(frame.columns)}: say "
                             "which to read with user=, item= and time=")
        if isinstance(frame[column], pd.DataFrame) or [user, item, time].count(column) > 1:
            raise ValueError(f"column {column!r} is there, or meant, more than once: take others")
        if (lacking := (frame[column].isna() | (frame[column] == ""))).any():
            raise ValueError(f"column {column!r} lacks {lacking.sum()} values: leave such rows out "
                             f"with frame.dropna(subset=[{column!r}]), empty text too")
    if frame.empty:
        raise ValueError("the frame has no rows")
    kind = pd.api.types.infer_dtype(frame[time], skipna=False)
    if kind not in TIMES:
        raise ValueError(f"column {time!r} is {kind}, which does not sort as time: convert it with "
                         "pd.to_datetime (or pd.to_numeric)")
    if str(frame[time].dtype).lower() in ("float16", "float32"):
        raise ValueError(f"column {time!r} is {frame[time].dtype}, too short for times: take int64")
    # Where a time is missing, some write 0 or -1.
    numbers = frame[time][frame[time] > 0] if kind in TIMES[:4] else pd.Series([0])
    early, late = numbers.min(), numbers.max()
    if early > 10**8 and late / 500 > early:
        raise ValueError(f"column {time!r} goes from {early} to {late}: are some times in "
                         "seconds and some in milliseconds? Make them one")
    try:
        return frame.reset_index(drop=True).sort_values(time, kind="stable")
    except TypeError as error:
        raise ValueError(f"the times in column {time!r} do not sort ({error}): make them one type, "
                         "with pd.to_datetime, utc=True if they have offsets") from error


def numbered(keys: pd.Series) -> tuple[list, np.ndarray]:
    """Sort the distinct keys, ordered categories as they are; give each row its key's place."""
    if isinstance(keys.dtype, pd.CategoricalDtype):
        if keys.cat.ordered and pd.api.types.infer_dtype(keys.cat.categories) not in NO_KEYS:
            keys = keys.cat.remove_unused_categories().cat
            return keys.categories.tolist(), keys.codes.to_numpy(np.int64)
        keys = keys.astype(keys.cat.categories.dtype)
    kind = pd.api.types.infer_dtype(keys, skipna=False)
    if kind in NO_KEYS:
        raise ValueError(f"column {keys.name!r} holds {kind} keys, such as {keys.iloc[0]}, which "
                         "may have lost digits: read them as text, with dtype=str, or as integers")
    try:
        distinct = sorted(keys.unique().tolist())
    except TypeError as error:
        raise ValueError(f"the keys in column {keys.name!r} do not sort ({error}): make them one "
                         f"type, as frame[{keys.name!r}].astype(str) does") from error
    return distinct, keys.map({key: code for code, key in enumerate(distinct)}).to_numpy(np.int64)


def check_count(name: str, value, least: int) -> None:
    """Raise ValueError unless `value` is a whole number, and as large as that."""
    if not is_a(int, value) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


def check_attribute_table(table) -> None:
    """Raise ValueError unless `table` is what `SequenceDataset.item_attributes` must be."""
    if not (torch.is_tensor(table) and table.dtype == torch.uint8 and table.ndim == 2
            and table.shape[0] >= 3 and table.shape[1] >= 1 and table.device.type == "cpu"):
        got = [str(getattr(table, field, "?")) for field in ("dtype", "shape", "device")]
        raise ValueError("item_attributes must be a torch.uint8 tensor of (num_items + 2, "
                         f"num_attributes + 1) on the CPU, with an item or more, not {got}")
    if table[0].any() or table[-1].any() or table[:, 0].any() or (table > 1).any():
        raise ValueError("item_attributes must hold 0 and 1, and only 0 in row 0 (padding), in the "
                         "last row (mask) and in column 0: attribute ids start at 1")


def checked_sequences(sequences, user_names, num_items) -> tuple[np.ndarray, ...]:
    """Copy the sequences to read-only int64 views of one array, or say what is wrong first."""
    if not len(sequences):
        raise ValueError("a dataset needs one or more users")
    arrays = [np.asarray(sequence) for sequence in sequences]
    for user, array in zip(user_names, arrays, strict=True):
        if array.ndim != 1 or len(array) < 3:
            raise ValueError(f"user {user!r} has a sequence of shape {array.shape}, but it takes 3 "
                             "items to train on, validate and test: leave such users out")
        if array.dtype.kind not in "iu":
            raise ValueError(f"user {user!r} has a sequence of {array.dtype}, not of integers")
        for place in np.flatnonzero((array < 1) | (array > num_items)):
            raise ValueError(f"user {user!r} has item id {array[place]} at position {place}, "
                             f"outside 1..{num_items} (0 pads, {num_items + 1} masks)")
    flat = np.concatenate([array.astype(np.int64) for array in arrays])  # (interactions,)
    flat.setflags(write=False)
    return tuple(np.split(flat, np.cumsum([len(array) for array in arrays])[:-1]))


def as_ids(name: str, ids, device=None) -> Tensor:
    """Return whole numbers in a tensor, or in an array or lists (put on `device`), as int64.

    TypeError for anything else, which is called `name`.
    """
    ids = ids if torch.is_tensor(ids) else np.asarray(ids)
    if "int" not in str(ids.dtype):
        raise TypeError(f"{name} must be whole numbers, such as torch.int64, not {ids.dtype}")
    return ids.long() if torch.is_tensor(ids) else torch.tensor(ids.astype(np.int64), device=device)


def checked_ids(model, item_ids, **flags: bool) -> Tensor:
    """Return item ids as `as_ids` does, or raise what `S3Rec.forward` raises for them."""
    for name, value in flags.items():
        if not is_a(bool, value):  # the text "False" is true
            raise ValueError(f"{name} must be True or False, not {value!r}")
    item_ids = as_ids("item_ids", item_ids, model.device)
    if item_ids.dim() != 2 or not 1 <= item_ids.shape[1] <= model.max_length:
        raise ValueError(f"item_ids must be (B, L), 1 <= L <= {model.max_length} (max_length), not "
                         f"{tuple(item_ids.shape)}: keep the newest items of longer sequences")
    if item_ids.device.type != model.device.type:
        raise ValueError(f"item_ids are on {item_ids.device}, the model on {model.device}: "
                         f"use item_ids.to(model.device)")
    if item_ids.device.type == "cpu" and item_ids.numel():
        low, high = int(item_ids.min()), int(item_ids.max())
        last = model.item_embedding.num_embeddings - 1
        if low < 0 or high > last:
            raise ValueError(f"item id {low if low < 0 else high} is outside 0…{last}: ids run "
                             f"from 1 to {last - 1}, 0 pads and {last} masks")
        if ((item_ids[:, :-1] != 0) & (item_ids[:, 1:] == 0)).any():
            raise ValueError("item_ids have padding (0) after an item: pad on the left")
    return item_ids


def check_attributes(data, weights: dict[str, float]) -> None:
    """Raise ValueError if objectives that learn from attributes are asked for where none are."""
    if not data.num_attributes and (weights.get("aap", 0) or weights.get("map", 0)):
        raise ValueError(f"{data.name} has no attributes, which aap and map learn from: give some "
                         f"with attributes=, or both the weight 0 (on the command line, --weight "
                         f"aap=0 --weight map=0)")
