"""Who chose what, in which order, and what the items are like: the data of S3-Rec, section 5.1.

Every dataset becomes one `SequenceDataset`: a user is a sequence of item ids in time order, an item
a row of ones and zeros over the attributes. Id 0 is padding, 1 to `num_items` are items and
`num_items + 1` is the mask, so a model's item table has `num_items + 2` rows.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import torch

__all__ = ["SequenceDataset", "load_dataset", "movielens_interactions", "planted_structure"]


@dataclass(frozen=True, eq=False, repr=False)
class SequenceDataset:
    """Sequences of items and the items' attributes (section 5.1), checked when made.

    Attributes
    ----------
    name : str
    sequences : tuple of numpy.ndarray
        Per user an int64 array of three or more item ids in 1..num_items, time order, read-only.
    item_attributes : torch.Tensor
        (num_items + 2, num_attributes + 1) uint8, CPU: 1 where the item (row) has the attribute
        (column). Rows 0 (padding) and num_items + 1 (mask) and column 0 are zero.
    item_names, attribute_names : tuple of str
        Lengths num_items + 2 and num_attributes + 1, so that ``item_names[item_id]`` works.
    user_names : tuple of str
        Length num_users.

    Raises
    ------
    ValueError
        If any of this does not hold; the message names the user, position and id.
    """

    name: str
    sequences: tuple[np.ndarray, ...]
    item_attributes: torch.Tensor
    item_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    user_names: tuple[str, ...]

    def __post_init__(self):
        _check_table(self.item_attributes)
        lengths = {"item_names": self.num_items + 2, "attribute_names": self.num_attributes + 1,
                   "user_names": self.num_users}
        for field, length in lengths.items():
            names = tuple(getattr(self, field))
            if len(names) != length:
                raise ValueError(f"{field} must hold {length} names, as many as sequences and "
                                 f"item_attributes imply, not {len(names)}")
            object.__setattr__(self, field, names)
        sequences = _checked_sequences(self.sequences, self.user_names, self.num_items)
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

        Parameters
        ----------
        split : {"validation", "test"}
            Whether to predict the last item but one, or the last.

        Returns
        -------
        histories : tuple of numpy.ndarray
            Per user the int64 ids of all items before the target (views).
        targets : numpy.ndarray
            (num_users,) int64.

        Raises
        ------
        ValueError
            For any other split.
        """
        if split not in ("validation", "test"):
            raise ValueError(f'split must be "validation" or "test", not {split!r}')
        at = -2 if split == "validation" else -1
        targets = np.array([sequence[at] for sequence in self.sequences], dtype=np.int64)
        return tuple(sequence[:at] for sequence in self.sequences), targets

    def item_id(self, name: str | int) -> int:
        """Return the id, in 1..num_items, of the item called `name` (the first, if several are).

        An id is given back as it is, so that items can be given either way.

        Raises
        ------
        ValueError
            If no item is called that, with similar names, or the id is out of range.
        """
        if isinstance(name, (int, np.integer)):
            if not 1 <= name <= self.num_items:
                raise ValueError(f"item id {name} is outside 1..{self.num_items} of {self.name}")
            return int(name)
        if name in self._id_of_name:
            return self._id_of_name[name]
        part = str(name).lower()  # "matrix" is not near "Matrix, The (1999)", but part of it
        close = [n for n in self._id_of_name if part and part in n.lower()][:3]
        close = close or difflib.get_close_matches(str(name), self._id_of_name)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "none is similar"
        raise ValueError(f"no item of {self.name} is called {name!r}: {hint}")

    @cached_property
    def _id_of_name(self) -> dict[str, int]:
        ids: dict[str, int] = {}
        for item in range(1, self.num_items + 1):
            ids.setdefault(self.item_names[item], item)
        return ids

    def subset(self, users) -> SequenceDataset:
        """Keep all items but only some users: `users`, (n,) integer indices, in that order.

        Raises
        ------
        ValueError
            If there is none, or one is outside 0..num_users - 1.
        """
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
        digest = hashlib.sha256()
        lengths = [len(sequence) for sequence in self.sequences]
        for numbers in (self.item_attributes.shape, lengths, *self.sequences):
            digest.update(np.asarray(numbers, dtype="<i8").tobytes())  # the same on every machine
        digest.update(self.item_attributes.contiguous().numpy())
        return digest.hexdigest()

    @classmethod
    def from_interactions(cls, frame, user="user", item="item", time="timestamp", attributes=None,
                          min_count=5, name="interactions") -> SequenceDataset:
        """Make a dataset of anybody's table of interactions, prepared as in section 5.1.

        Rows are put in time order; **equal times keep the frame's row order**. Then users and items
        with fewer than `min_count` interactions go, until none is left (the k-core). The rest is
        numbered in the sorted order of its keys. Repeated interactions count, and stay.

        Parameters
        ----------
        frame : pandas.DataFrame
            One row an interaction, in any order; it is not modified.
        user, item, time : str
            The columns to read. Keys are of any type that sorts; times are numbers or datetimes.
        attributes : Mapping or pandas.DataFrame, optional
            ``{item key: [attribute, ...]}``; or a frame with the column `item` and any number of
            others, each a field whose attributes are named "column: value": an item may take
            several rows, empty cells are skipped. Attributes of no remaining item are left out.
        min_count : int
            Interactions that a user or an item needs, at least 3.
        name : str
            What to call the dataset.

        Raises
        ------
        ValueError
            For missing columns or values, an empty frame, times that are text, keys that do not
            sort, attributes of unknown items, and when nothing is left.
        """
        _check_interactions(frame, user, item, time, min_count)
        ordered = frame.sort_values(time, kind="stable")
        users, user_codes = _numbered(ordered[user])
        items, item_codes = _numbered(ordered[item])
        rows = _core(user_codes, item_codes, min_count)
        if not len(rows):
            raise ValueError(f"of {len(frame)} interactions, {len(users)} users and {len(items)} "
                             f"items nothing is left if each needs {min_count}: lower min_count")
        rows = rows[np.argsort(user_codes[rows], kind="stable")]  # by user, and by time within
        kept_users, user_codes = np.unique(user_codes[rows], return_inverse=True)
        kept_items, item_codes = np.unique(item_codes[rows], return_inverse=True)
        keys = [items[code] for code in kept_items]
        table, attribute_names = _attribute_table(_attribute_lists(attributes, item), items, keys)
        return cls(name, tuple(np.split(item_codes + 1, np.flatnonzero(np.diff(user_codes)) + 1)),
                   table, ("[padding]", *map(str, keys), "[mask]"), attribute_names,
                   tuple(str(users[code]) for code in kept_users))


def _check_table(table) -> None:
    if not (torch.is_tensor(table) and table.dtype == torch.uint8 and table.ndim == 2
            and table.shape[0] >= 3 and table.shape[1] >= 1 and table.device.type == "cpu"):
        got = [str(getattr(table, field, "?")) for field in ("dtype", "shape", "device")]
        raise ValueError("item_attributes must be a torch.uint8 tensor of (num_items + 2, "
                         f"num_attributes + 1) on the CPU, with an item or more, not {got}")
    if table[0].any() or table[-1].any() or table[:, 0].any() or (table > 1).any():
        raise ValueError("item_attributes must hold 0 and 1, and only 0 in row 0 (padding), in the "
                         "last row (mask) and in column 0: attribute ids start at 1")


def _checked_sequences(sequences, user_names, num_items) -> tuple[np.ndarray, ...]:
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
    ends = np.cumsum([len(array) for array in arrays])
    flat = np.concatenate([array.astype(np.int64) for array in arrays])  # (interactions,)
    wrong = np.flatnonzero((flat < 1) | (flat > num_items))
    if len(wrong):
        row = int(np.searchsorted(ends, wrong[0], side="right"))
        raise ValueError(
            f"user {user_names[row]!r} has item id {flat[wrong[0]]} at position "
            f"{wrong[0] - ends[row] + len(arrays[row])}, outside 1..{num_items} (0 is padding, "
            f"{num_items + 1} the mask)")
    flat.setflags(write=False)
    return tuple(np.split(flat, ends[:-1]))


def _check_interactions(frame, user, item, time, min_count) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"frame must be a pandas DataFrame, not {type(frame).__name__}")
    for column in (user, item, time):
        if column not in frame.columns:
            raise ValueError(f"the frame has no column {column!r}, only {list(frame.columns)}: say "
                             "which to read with user=, item= and time=")
        if isinstance(frame[column], pd.DataFrame):
            raise ValueError(f"the frame has several columns {column!r}: keep one of them")
        if frame[column].isna().any():
            raise ValueError(f"column {column!r} lacks {frame[column].isna().sum()} values: leave "
                             f"such rows out with frame.dropna(subset=[{column!r}])")
    if frame.empty:
        raise ValueError("the frame has no rows")
    kind = frame[time].dtype
    if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind)):
        raise ValueError(f"column {time!r} is {kind}, and text does not sort as time: convert it "
                         "with pd.to_datetime (or pd.to_numeric)")
    if min_count < 3:
        raise ValueError(f"min_count must be 3 or more, not {min_count}: a user needs an item to "
                         "train on, one to validate and one to test")


def _numbered(keys: pd.Series) -> tuple[list, np.ndarray]:
    """Sort the distinct keys, and give each row its key's place among them."""
    try:
        distinct = sorted(keys.unique().tolist())
    except TypeError as error:
        raise ValueError(f"the keys in column {keys.name!r} do not sort ({error}): make them one "
                         f"type, as frame[{keys.name!r}].astype(str) does") from error
    return distinct, keys.map({key: code for code, key in enumerate(distinct)}).to_numpy(np.int64)


def _core(users: np.ndarray, items: np.ndarray, min_count: int) -> np.ndarray:
    """Find the rows of the largest part in which users and items have `min_count` rows."""
    rows, before = np.arange(len(users)), -1
    while len(rows) != before:
        before = len(rows)
        for codes in (users, items):
            rows = rows[np.bincount(codes[rows])[codes[rows]] >= min_count]
    return rows


def _attribute_lists(attributes, item: str) -> dict[object, list[str]]:
    """Bring attributes in any form that `from_interactions` takes to {item key: [name, ...]}."""
    if isinstance(attributes, pd.DataFrame):
        if item not in attributes.columns:
            raise ValueError(f"the attributes have no column {item!r} that says whose they are, "
                             f"only {list(attributes.columns)}")
        if attributes[item].isna().any() or not attributes.columns.is_unique:
            raise ValueError(f"the attributes need an item in every row of column {item!r}, and "
                             "columns of different names")
        lists = {key: [] for key in attributes[item]}
        for column in attributes.columns.drop(item):  # by column: a row would mix the types
            for key, value in zip(attributes[item], attributes[column], strict=True):
                if pd.api.types.is_list_like(value):
                    raise ValueError(f"column {column!r} of the attributes holds lists: give each "
                                     f"value a row with attributes.explode({column!r})")
                if not pd.isna(value):
                    lists[key].append(f"{column}: {value}")
        return lists
    attributes = {} if attributes is None else attributes
    if not isinstance(attributes, Mapping):
        raise TypeError(f"attributes must be a mapping or a DataFrame, not {type(attributes)}")
    for key, values in attributes.items():
        if not pd.api.types.is_list_like(values):  # text is not: list("Drama") has five attributes
            raise ValueError(f"the attributes of item {key!r} must be a list, not {values!r}")
    return {key: [str(value) for value in values if not pd.isna(value)]
            for key, values in attributes.items()}


def _attribute_table(lists, all_keys, keys) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Fill the items' multi-hot table, (items + 2, attributes + 1), and name its columns."""
    known = set(all_keys)
    unknown = [key for key in lists if key not in known]
    if unknown:
        raise ValueError(
            f"{len(unknown)} items have attributes but no interactions, e.g. {unknown[:3]}. Is it "
            f"the type? Theirs is {type(unknown[0]).__name__}, the frame's items are of type "
            f"{type(keys[0]).__name__}, e.g. {keys[:3]}. If not, leave their attributes out")
    names = sorted({name for key in keys for name in lists.get(key, ())})
    column = {name: number for number, name in enumerate(names, start=1)}
    table = torch.zeros(len(keys) + 2, len(names) + 1, dtype=torch.uint8)
    for row, key in enumerate(keys, start=1):
        table[row, [column[name] for name in lists.get(key, ())]] = 1  # said twice is still 1
    return table, ("[padding]", *names)


def _dataset_of_ids(name, sequences, table) -> SequenceDataset:
    """Make a dataset that has no names but "item 17", "attribute 5" and "user 1"."""
    items, attributes, users = (
        tuple(f"{kind} {number}" for number in range(1, count + 1)) for kind, count in
        [("item", len(table) - 2), ("attribute", table.shape[1] - 1), ("user", len(sequences))])
    return SequenceDataset(name, sequences, table, ("[padding]", *items, "[mask]"),
                           ("[padding]", *attributes), users)


# The authors' repository has no licence: its files never ship here, but are downloaded by the
# reader (as they stand at this commit) or read from a folder.
_ADDRESS = ("https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/"
            "2a81540ae18615d88ef88227b0c066e5b74781e5/data/")
_AUTHORS = ("LastFM", "Beauty", "Toys_and_Games", "Sports_and_Outdoors", "Yelp")
_SHA256 = {
    "LastFM.txt": "9ded486adb5b0fe9dc761950afa0a9a05e93ff018992e0c52bf11afec529f802",
    "LastFM_item2attributes.json":
        "a4ccd678dc9ff6d43fe5073f491db5c9b02eb98dfa4f8c0382913a784be217ef",
    "LastFM_sample.txt": "60194cc2e4fd1aa8b5dc8872e1f3af9c6abd09c39d478d3df9337cb97e6e2f0d",
    "Beauty.txt": "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
    "Beauty_item2attributes.json":
        "129e40f67486f6877eff0f5318cfa8530ee8ac23d8b0d1de04e1bb7a2ba0b2d4",
    "Toys_and_Games.txt": "176c680c688d497598c4a89a03b402c0fe78d795e5db335c2e78dd5f2d778a3f",
    "Toys_and_Games_item2attributes.json":
        "d371acd25101eedac04afc727626464b7acec770c4eda708705d51eb76eb1ad0",
    "Sports_and_Outdoors.txt": "2a095e0648872beb9982408958290f5d655db5be2911c3756b5446de9f0b8de2",
    "Sports_and_Outdoors_item2attributes.json":
        "7fb10733ac4f1811384a52144cdefa7fcc7536fa80a7232c5da9bd789155c34b",
    "Yelp.txt": "724b219106b81dd2349027da997334ddb6da9fe2f152ad6e0d97a93170f7caed",
    "Yelp_item2attributes.json":
        "f25acd5e1e680e0b22fd4e3f4fb6be4b2a7461e9222610616e3e1ee6702dd58d",
}


def load_dataset(name: str, folder: str | os.PathLike | None = None) -> SequenceDataset:
    """Load a dataset by name.

    Parameters
    ----------
    name : str
        "movielens-small", which ships with the package, or one of the authors' (section 5.1):
        "LastFM", "Beauty", "Toys_and_Games", "Sports_and_Outdoors", "Yelp".
    folder : path, optional
        Where the authors' files lie, else the folder that $S3REC_DATA names. If neither is given
        they are downloaded once, with a progress bar, to the user's cache folder.

    Raises
    ------
    ValueError
        For an unknown name, or a file in the folder that is corrupt or of another version.
    FileNotFoundError
        If the folder lacks a file.
    OSError
        If a download failed or was not what the authors published. No part of it is kept.
    """
    if name == "movielens-small":
        return _movielens_small()
    if name not in _AUTHORS:
        known = {key.lower(): key for key in ("movielens-small", *_AUTHORS)}
        close = [known[key] for key in difflib.get_close_matches(str(name).lower(), known, n=1)]
        raise ValueError(f"there is no dataset {name!r}, only {', '.join(known.values())}."
                         + "".join(f" Did you mean {key!r}?" for key in close))
    lines = _fetch(f"{name}.txt", folder).read_text().splitlines()
    lists = json.loads(_fetch(f"{name}_item2attributes.json", folder).read_text())
    sequences = tuple(np.array(line.split()[1:], dtype=np.int64) for line in lines)  # users 1, 2, …
    num_attributes = max(max(ids, default=0) for ids in lists.values())
    table = torch.zeros(max(map(max, sequences)) + 2, num_attributes + 1, dtype=torch.uint8)
    for item, ids in lists.items():
        table[int(item), ids] = 1
    return _dataset_of_ids(name, sequences, table)


def _fetch(file: str, folder: str | os.PathLike | None = None) -> Path:
    """Find one of the authors' files, download it if no folder is named, check its sha256."""
    folder = folder or os.environ.get("S3REC_DATA")
    if not folder:
        return _download(file)
    path = Path(folder).expanduser() / file
    if not path.is_file():
        raise FileNotFoundError(f"{file} is not in {path.parent}, the folder given or named by "
                                "S3REC_DATA: put it there, or give no folder to download it")
    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256[file]:
        raise ValueError(f"{path} is corrupt or another version, as its sha256 is not "
                         f"{_SHA256[file]}: replace it by {_ADDRESS}{file}")
    return path


def _download(file: str) -> Path:
    import pooch  # not at the top: `import s3rec_mini` loads no download library

    cache = pooch.os_cache("s3rec-mini")
    try:  # pooch writes to a temporary file, and renames it once the sum is right
        return Path(pooch.retrieve(_ADDRESS + file, _SHA256[file], file, cache, progressbar=True))
    except (OSError, ValueError) as error:  # all that requests raises is an OSError
        raise OSError(
            f"could not download {_ADDRESS}{file} to {cache}: {error}\nNothing of it was kept. "
            "Check connection and disk and try again, or get the file by other means and name its "
            "folder in S3REC_DATA") from error


def movielens_interactions() -> pd.DataFrame:
    """Read the ratings behind "movielens-small", in the order in which its sequences hold them.

    That is time order, and by movieId (an arbitrary choice) within the same second. Seven ratings
    without a title are left out. GroupLens's terms lie beside the file.

    Returns
    -------
    pandas.DataFrame
        userId, movieId, rating (stars), timestamp (seconds since 1970), title, year and genres.
    """
    file = resources.files("s3rec_mini") / "data" / "movielens-small.csv.gz"
    with file.open("rb") as stream:
        frame = pd.read_csv(stream, compression="gzip").dropna(subset=["title"])
    return frame.astype({"year": int}).sort_values(["timestamp", "movieId"], ignore_index=True)


def _movielens_small() -> SequenceDataset:
    frame = movielens_interactions()
    films = frame.drop_duplicates("movieId").set_index("movieId")
    attributes = pd.DataFrame({
        "genre": films["genres"].where(films["genres"] != "(no genres listed)").str.split("|"),
        "decade": (films["year"] // 10 * 10).astype(str) + "s",
    }).explode("genre").reset_index()
    data = SequenceDataset.from_interactions(
        frame, "userId", "movieId", attributes=attributes, name="movielens-small")
    films = films.loc[map(int, data.item_names[1:-1])]
    names = films["title"] + " (" + films["year"].astype(str) + ")"
    assert names.is_unique  # which titles without years are not
    return replace(data, item_names=("[padding]", *names, "[mask]"))


def planted_structure(num_users=400, num_groups=8, items_per_group=20, attributes_per_group=2,
                      stay=0.8, lengths=(5, 30), segment_length=2, seed=0,
                      ) -> tuple[SequenceDataset, dict[str, float]]:
    """Generate data whose mutual informations (equation 1) are known exactly.

    Items form groups; an item has all attributes of its group. A user starts in any group, stays
    for the next item with probability `stay`, else moves to another; the item is any of the group.
    All of these choices are uniform, so the chain of groups is stationary.

    Parameters
    ----------
    num_users, num_groups, items_per_group, attributes_per_group : int
        Sizes, 1 or more; 2 groups or more.
    stay : float
        Probability in [0, 1].
    lengths : tuple of int
        Shortest (3 or more) and longest sequence; lengths are uniform between them.
    segment_length : int
        Items in the segment of "segment_neighbours".
    seed : int

    Returns
    -------
    data : SequenceDataset
        num_groups * items_per_group items and num_groups * attributes_per_group attributes, both
        numbered group by group.
    information : dict of str to float
        In nats, of an item and: "item_attribute", one of its attributes (uniform; equation 5);
        "item_previous", the item before; "item_neighbours", the two around it (6);
        "segment_neighbours", for a segment instead of the item, the two around it (8).

    Raises
    ------
    ValueError
        For arguments outside these ranges.

    Notes
    -----
    Given its group an item tells nothing more, so these are informations of groups. Let h(n) be the
    entropy of the group n steps from a known one, G the number of groups, A and B the groups before
    and after a segment S of n. The chain is Markov and symmetric in time, so
    I(S; A, B) = H(A, B) - H(A | S) - H(B | S) = log G + h(n + 1) - 2 h(1).
    """
    sizes = (num_users, num_groups - 1, items_per_group, attributes_per_group, segment_length)
    if min(sizes) < 1 or not 0 <= stay <= 1 or not 3 <= lengths[0] <= lengths[1]:
        raise ValueError("sizes must be 1 or more, groups 2 or more, stay in [0, 1] and lengths in "
                         f"order from 3 up; users, groups - 1, items and attributes per group and "
                         f"segment_length are {sizes}, {stay=}, {lengths=}")
    rng = np.random.default_rng(seed)
    ends = rng.integers(lengths[0], lengths[1], size=num_users, endpoint=True)  # (users,)
    shape = (num_users, lengths[1])
    steps = rng.integers(1, num_groups, size=shape) * (rng.random(shape) >= stay)  # 0: it stays
    steps[:, 0] = rng.integers(num_groups, size=num_users)
    groups = steps.cumsum(axis=1) % num_groups  # (users, longest)
    items = groups * items_per_group + rng.integers(items_per_group, size=shape) + 1
    own = np.kron(np.eye(num_groups), np.ones((items_per_group, attributes_per_group)))
    table = torch.from_numpy(np.pad(own, [(1, 1), (1, 0)]).astype(np.uint8))
    sequences = tuple(row[:end] for row, end in zip(items, ends, strict=True))
    data = _dataset_of_ids("planted structure", sequences, table)
    return data, _planted_information(num_groups, stay, segment_length)


def _planted_information(num_groups: int, stay: float, segment_length: int) -> dict[str, float]:
    def h(steps: int) -> float:  # nats; `shrink` is the second eigenvalue of the chain
        shrink = stay - (1 - stay) / (num_groups - 1)
        same = (1 + (num_groups - 1) * shrink**steps) / num_groups
        rest = 1 - same
        outcomes = [(same, 1), (rest, num_groups - 1)]  # probability, in how many equal parts
        return -sum(p * math.log(p / parts) for p, parts in outcomes if p > 0)

    whole = math.log(num_groups)
    return {
        "item_attribute": whole,
        "item_previous": whole - h(1),
        "item_neighbours": whole + h(2) - 2 * h(1),
        "segment_neighbours": whole + h(segment_length + 1) - 2 * h(1),
    }
