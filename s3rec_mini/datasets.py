"""Who chose what, in which order, and what the items are like: the data of S3-Rec, section 5.1.

Every dataset becomes one `SequenceDataset`: a user is a sequence of item ids in time order, an item
a row of ones and zeros over the attributes. Id 0 is padding, 1 to `num_items` are items and
`num_items + 1` is the mask, so a model's item table has `num_items + 2` rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from .tools.checks import check_attribute_table, checked_interactions, checked_sequences, numbered
from .tools.tables import attribute_lists, attribute_table
from .tools.vocabulary import Vocabulary, find_item, ids_by_key


@dataclass(frozen=True, eq=False, repr=False)
class SequenceDataset:
    """Sequences of items and the items' attributes (section 5.1), checked when made (ValueError).

    Attributes
    ----------
    name : str
    sequences : tuple of numpy.ndarray
        Per user an int64 array of three or more item ids in 1..num_items, time order, read-only.
    item_attributes : torch.Tensor
        (num_items + 2, num_attributes + 1) uint8, CPU: 1 where the item (row) has the attribute
        (column). Rows 0 (padding) and num_items + 1 (mask) and column 0 are zero.
    item_names, attribute_names, user_names : tuple of str
        By id, so of lengths num_items + 2 and num_attributes + 1; by row of `sequences`.
    dropped_items : dict of str to int
        Items that the k-core left out, and how many interactions they had.
    """

    name: str
    sequences: tuple[np.ndarray, ...]
    item_attributes: torch.Tensor
    item_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    user_names: tuple[str, ...]
    dropped_items: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        check_attribute_table(self.item_attributes)
        lengths = {"item_names": self.num_items + 2, "attribute_names": self.num_attributes + 1,
                   "user_names": self.num_users}
        for kind, length in lengths.items():
            names = tuple(getattr(self, kind))
            if len(names) != length:
                raise ValueError(f"{kind} must hold {length} names here, not {len(names)}")
            object.__setattr__(self, kind, names)
        sequences = checked_sequences(self.sequences, self.user_names, self.num_items)
        object.__setattr__(self, "sequences", sequences)

    def __repr__(self):
        interactions = sum(map(len, self.sequences))
        return (f"SequenceDataset({self.name!r}: {self.num_users:,} users, {self.num_items:,} "
                f"items, {interactions:,} interactions, {self.num_attributes:,} attributes)")

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.sequences)

    @property
    def num_items(self) -> int:
        """Number of items, padding and mask not counted."""
        return self.item_attributes.shape[0] - 2

    @property
    def num_attributes(self) -> int:
        """Number of attributes, padding not counted."""
        return self.item_attributes.shape[1] - 1

    @property
    def mask_id(self) -> int:
        """The id that stands for a hidden item: num_items + 1."""
        return self.num_items + 1

    @cached_property
    def training_sequences(self) -> tuple[np.ndarray, ...]:
        """Per user all items but the last two (int64 views): all that training may see."""
        return tuple(sequence[:-2] for sequence in self.sequences)

    def held_out(self, split: str) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Leave-one-out (section 5.1): what came before, and the item to predict.

        `split` "validation" asks for the last item but one, "test" for the last. Returns each
        user's earlier items (int64 views) and the targets (num_users,) int64; ValueError for
        another split.
        """
        if split not in ("validation", "test"):
            raise ValueError(f'split must be "validation" or "test", not {split!r}')
        at = -2 if split == "validation" else -1
        targets = np.array([sequence[at] for sequence in self.sequences], dtype=np.int64)
        return tuple(sequence[:at] for sequence in self.sequences), targets

    @property
    def vocabulary(self) -> Vocabulary:
        """The names of items and attributes in the order of their ids, from 1."""
        return Vocabulary(self.item_names[1:-1], self.attribute_names[1:])

    def item_id(self, name: str | int) -> int:
        """Return the id, in 1..num_items, of the item called `name` (the first, if several are).

        An integer is the item's key where all keys are integers, else its id. ValueError, with
        similar names, if there is no such item.
        """
        return find_item(name, self.ids_by_key, self.dropped_items, self.name)

    @cached_property
    def ids_by_key(self) -> dict[str | int, int]:
        """The ids by all that `item_id` takes."""
        return ids_by_key(self.item_names[1:-1])

    def subset(self, users) -> SequenceDataset:
        """Return the dataset of only these users, (n,) indices, in that order; all items stay."""
        users = np.asarray(users)
        if (users.ndim != 1 or users.dtype.kind not in "iu" or not users.size
                or users.min() < 0 or users.max() >= self.num_users):
            raise ValueError(f"users must be one or more indices in 0..{self.num_users - 1} (of a "
                             "boolean mask take np.flatnonzero)")
        return replace(self, sequences=tuple(self.sequences[user] for user in users),
                       user_names=tuple(self.user_names[user] for user in users))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of all that training depends on: `sequences` and `item_attributes`."""
        lengths = [len(sequence) for sequence in self.sequences]
        numbers = np.concatenate([self.item_attributes.shape, lengths, *self.sequences])
        content = numbers.astype("<i8").tobytes()  # the same on every machine
        return hashlib.sha256(content + self.item_attributes.numpy().tobytes()).hexdigest()

    @classmethod
    def from_interactions(cls, frame, user="user", item="item", time="timestamp", attributes=None,
                          min_count=5, name="interactions", list_separator=None, min_items=1):
        """Make a dataset of anybody's table of interactions, prepared as in section 5.1.

        Rows are put in time order; **equal times keep the frame's row order**. Then users and items
        with fewer than `min_count` interactions go, again and again until none is so (the k-core).
        The rest is numbered in the sorted order of its keys. Repeated interactions count, and stay.
        What cannot be read, or leaves nothing, is a ValueError or TypeError.

        Parameters
        ----------
        frame : pandas.DataFrame
            One row an interaction, in any order; it is not modified.
        user, item, time : str
            The columns to read. Keys are of any type that sorts but floats, which may have lost
            digits; times are numbers, dates or datetimes.
        attributes : Mapping or pandas.DataFrame, optional
            ``{item key: [attribute, ...]}``; or a frame with the column `item` and any number of
            others, each a field: an item may take several rows, empty cells are skipped, and what
            stands between the values of a cell is found or said: `list_separator`, "" for nothing.
        min_count, min_items, name : int, int, str
            Interactions that a user or an item needs, at least 3, and items that an attribute
            needs; what to call the dataset.
        """
        ordered = checked_interactions(frame, user, item, time, min_count)
        users, user_codes = numbered(ordered[user])
        items, all_codes = numbered(ordered[item])
        rows = core(user_codes, all_codes, min_count)
        if not len(rows):
            raise ValueError(f"of {len(frame)} interactions, {len(users)} users and {len(items)} "
                             f"items nothing is left if each needs min_count={min_count}: ask less")
        rows = rows[np.argsort(user_codes[rows], kind="stable")]  # by user, and by time within
        kept_users, user_codes = np.unique(user_codes[rows], return_inverse=True)
        kept_items, item_codes = np.unique(all_codes[rows], return_inverse=True)
        keys = [items[code] for code in kept_items]
        counts = np.bincount(all_codes, minlength=len(items))
        dropped = {str(items[code]): int(counts[code])
                   for code in np.setdiff1d(np.arange(len(items)), kept_items)}
        lists = attribute_lists(attributes, item, list_separator)
        table, attribute_names = attribute_table(lists, items, keys, min_items)
        return cls(name, tuple(np.split(item_codes + 1, np.flatnonzero(np.diff(user_codes)) + 1)),
                   table, ("[padding]", *map(str, keys), "[mask]"), attribute_names,
                   tuple(str(users[code]) for code in kept_users), dropped)


def core(users: np.ndarray, items: np.ndarray, min_count: int) -> np.ndarray:
    """Find the rows of the largest part in which users and items have `min_count` rows."""
    rows, before = np.arange(len(users)), -1
    while len(rows) != before:
        before = len(rows)
        for codes in (users, items):
            rows = rows[np.bincount(codes[rows])[codes[rows]] >= min_count]
    return rows
