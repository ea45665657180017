"""Mini-batches: the masked and cut views of pretraining, the triples of finetuning (section 4).

A batch is padded on the left to its own longest sequence and no further: sequences of similar
length go together, since on Beauty, padded to 50, 86 % of all positions would be padding. Masks,
negatives and segments are drawn for a whole batch at once, from a generator seeded by
(seed, epoch): the batches of an epoch are a pure function of the data, the settings and that pair.

Nothing held out is ever looked at. Both stages read `data.training_sequences`, without the last
two items, and negatives avoid a user's *training* items only. The released code also cuts negative
segments from the held-out items and never draws them as finetuning negatives; pass
``pool=data.sequences`` and ``avoid=data.sequences`` to have it that way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

__all__ = ["FinetuneBatch", "PretrainBatch", "finetuning_batches", "pretraining_batches"]


class _Batch:
    """What both kinds of batch can do."""

    def __len__(self) -> int:
        return len(self.items)

    @property
    def num_terms(self) -> int:
        """How many terms the batch's loss is a mean of: sequences, or positions in finetuning."""
        return len(self.items)

    def to(self, device):
        """Return the batch with every tensor on `device`."""
        moved = (getattr(self, f.name).to(device) for f in fields(self))
        return type(self)(*moved)

    def shard(self, index: int, count: int):
        """Return every `count`-th row from row `index` on: one process's part of the batch."""
        names = [f.name for f in fields(self) if not f.name.endswith("positions")]
        return type(self)(*(getattr(self, name)[index::count] for name in names))

    def _check(self, names: Sequence[str]) -> None:
        shape = tuple(self.items.shape)
        for name in names:
            tensor = getattr(self, name)
            if tensor.dtype != torch.int64:
                raise TypeError(f"{name} must be int64, not {tensor.dtype}")
            if tensor.dim() != 2 or tuple(tensor.shape) != shape:
                raise ValueError(f"{name} must be (B, L) = {shape} like items, "
                                 f"not {tuple(tensor.shape)}")


@dataclass(frozen=True, eq=False)
class PretrainBatch(_Batch):
    """B training prefixes and the views of them that equations 5–8 compare.

    Parameters
    ----------
    items : Tensor
        (B, L) int64 item ids, left-padded with 0. All six tensors are of this shape and type.
    masked_items : Tensor
        `items` with some replaced by the mask id, the last one always.
    negative_items : Tensor
        At masked positions an item not among the user's training items, elsewhere as `items`.
    masked_segment : Tensor
        `items` with one segment replaced by the mask id: the segment's context.
    positive_segment, negative_segment : Tensor
        That segment, and one of as many items from elsewhere, the mask id around them.
    masked_positions, unmasked_positions : Tensor, optional
        (M,) int64: where in the flattened batch `items` is masked, and where it is a visible item.
        Found when left out; as index tensors made with the batch they spare a GPU the wait for a
        boolean mask.

    Raises
    ------
    TypeError, ValueError
        If a tensor is of another type or shape than `items`.
    """

    items: Tensor
    masked_items: Tensor
    negative_items: Tensor
    masked_segment: Tensor
    positive_segment: Tensor
    negative_segment: Tensor
    masked_positions: Tensor | None = None
    unmasked_positions: Tensor | None = None

    def __post_init__(self):
        self._check([f.name for f in fields(self) if not f.name.endswith("positions")])
        if self.masked_positions is None:
            masked = self.items != self.masked_items
            visible = (self.items != 0) & ~masked
            object.__setattr__(self, "masked_positions", _where(masked))
            object.__setattr__(self, "unmasked_positions", _where(visible))


@dataclass(frozen=True, eq=False)
class FinetuneBatch(_Batch):
    """B training sequences, at each position the item that came next and one that did not.

    Parameters
    ----------
    items, positive_items, negative_items : Tensor
        (B, L) int64, left-padded with 0: what was seen, the next item, an unseen item.
    positions : Tensor, optional
        (N,) int64: where in the flattened batch an item is; found when left out.

    Raises
    ------
    TypeError, ValueError
        If a tensor is of another type or shape than `items`.
    """

    items: Tensor
    positive_items: Tensor
    negative_items: Tensor
    positions: Tensor | None = None

    def __post_init__(self):
        self._check(["items", "positive_items", "negative_items"])
        if self.positions is None:
            object.__setattr__(self, "positions", _where(self.items != 0))

    @property
    def num_terms(self) -> int:
        """Real positions in the batch, the terms of its mean loss."""
        return len(self.positions)


def _where(mask: Tensor) -> Tensor:
    return mask.flatten().nonzero().squeeze(1)


class Unseen:
    """Draws items that a user has not seen, uniformly and for many users at once.

    Parameters
    ----------
    sequences : sequence of int64 arrays
        What user 0, 1, … has seen.
    num_items : int
        Items are 1…num_items; the mask id is never drawn (the released code can draw it).

    Raises
    ------
    ValueError
        If a user has seen every item.
    """

    def __init__(self, sequences: Sequence[np.ndarray], num_items: int):
        self.num_items = num_items
        users = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences])
        # One sorted array of (user, item) keys: a set for every user, searched in one call.
        self.seen = np.unique(users * (num_items + 1) + np.concatenate(sequences))
        most = np.bincount(self.seen // (num_items + 1)).argmax()
        if np.unique(sequences[most]).size == num_items:
            raise ValueError(f"user {most} has seen all {num_items} items, so no negative is left "
                             f"to draw: remove that user")

    def draw(self, users: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return one unseen item for each entry of `users`, in the same shape, int64."""
        items = generator.integers(1, self.num_items + 1, users.shape)
        clashing = np.flatnonzero(self._saw(users, items))
        while clashing.size:
            items.flat[clashing] = generator.integers(1, self.num_items + 1, clashing.size)
            clashing = clashing[self._saw(users.flat[clashing], items.flat[clashing])]
        return items

    def _saw(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        keys = users * (self.num_items + 1) + items
        places = np.searchsorted(self.seen, keys)
        return self.seen[np.minimum(places, self.seen.size - 1)] == keys


def left_padded(items: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return ``items[start:end]`` of each pair as a row of a matrix, zeros on the left.

    Parameters
    ----------
    items : int64 array
        (T,) all sequences, one after another.
    starts, ends : int64 array
        (B,) where each row's sequence starts and ends.

    Returns
    -------
    int64 array
        (B, L), L the longest of the sequences.
    """
    places = ends[:, None] - np.arange((ends - starts).max(), 0, -1)  # (B, L), ends on the right
    return np.where(places >= starts[:, None], items[np.maximum(places, 0)], 0)


def by_length(
    lengths: np.ndarray, batch_size: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """Split sequences at random into batches of similar length, in random order.

    Sequences are shuffled, sorted by length within groups of 64 batches, and cut. Each batch holds
    at most `batch_size` indices into `lengths`, none is much smaller than another.
    """
    batches = []
    order = generator.permutation(len(lengths))
    for group in np.array_split(order, -(-len(order) // (64 * batch_size))):
        group = group[np.argsort(lengths[group], kind="stable")]
        batches += np.array_split(group, -(-len(group) // batch_size))
    return [batches[i] for i in generator.permutation(len(batches))]


def pretraining_batches(
    data,
    max_length: int = 50,
    batch_size: int = 200,
    mask_probability: float = 0.2,
    prefixes_per_user: int | None = None,
    seed: int = 0,
    epoch: int = 0,
    pool: Sequence[np.ndarray] | None = None,
) -> Iterator[PretrainBatch]:
    """Yield one epoch of pretraining batches.

    The training sequences are the prefixes of each user's last `max_length` training items.

    Parameters
    ----------
    data : SequenceDataset
        Only its training sequences and counts are read.
    max_length, batch_size : int
        Longest prefix in items; prefixes a batch.
    mask_probability : float
        Chance of each item but the last, which is always masked, to be masked.
    prefixes_per_user : int, optional
        Prefixes drawn for a user each epoch; every prefix, as in the released code, by default.
    seed, epoch : int
        The batches depend on these two and on nothing else that is random.
    pool : sequence of int64 arrays, optional
        Where negative segments are cut from; the training sequences by default.
        ``data.sequences`` leaks the held-out items as the released code does.

    Yields
    ------
    PretrainBatch
        int64 tensors on the CPU.
    """
    generator = np.random.default_rng([seed, epoch, 1])
    training = data.training_sequences
    unseen = Unseen(training, data.num_items)
    items = np.concatenate(training)
    segments = items if pool is None else np.concatenate(pool)
    users, starts, ends = _prefixes(training, max_length, prefixes_per_user, generator)
    for rows in by_length(ends - starts, batch_size, generator):
        sequences = left_padded(items, starts[rows], ends[rows])  # (B, L)
        views = (
            *mask_items(sequences, users[rows], unseen, mask_probability, generator),
            *cut_segments(sequences, segments, data.num_items + 1, generator),
        )
        yield PretrainBatch(*map(torch.from_numpy, (sequences, *views)))


def _prefixes(training, max_length, prefixes_per_user, generator):
    """Return the user, start and end of each prefix within the concatenated sequences."""
    lengths = np.array([len(s) for s in training])
    user_ends = lengths.cumsum()
    counts = np.minimum(lengths, max_length)  # as many prefixes as items
    if prefixes_per_user is None:
        users = np.repeat(np.arange(len(training)), counts)
        sizes = np.arange(len(users)) - np.repeat(counts.cumsum() - counts, counts) + 1
    else:
        users = np.repeat(np.arange(len(training)), prefixes_per_user)
        sizes = generator.integers(1, counts[users] + 1)
    starts = (user_ends - counts)[users]
    return users, starts, starts + sizes


def mask_items(sequences, users, unseen, probability, generator):
    """Draw the masks of MIP and MAP and the negatives of MIP (equations 6 and 7).

    Parameters
    ----------
    sequences : int64 array
        (B, L), left-padded.
    users : int64 array
        (B,) whose sequences they are, for `unseen`.
    unseen : Unseen
        Draws the negatives.
    probability : float
        Chance of an item but the last to be masked.
    generator : numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    masked_items, negative_items : int64 arrays
        (B, L) each, as `PretrainBatch` describes them.
    """
    masked = (generator.random(sequences.shape) < probability) & (sequences != 0)
    masked[:, -1] = True  # finetuning predicts from a last position: train it in every sequence
    negatives = sequences.copy()
    owners = np.broadcast_to(users[:, None], masked.shape)[masked]  # (M,)
    negatives[masked] = unseen.draw(owners, generator)
    return np.where(masked, unseen.num_items + 1, sequences), negatives


def cut_segments(sequences, pool, mask_id, generator):
    """Cut a segment out of each sequence and one of as many items out of `pool` (equation 8).

    A segment's length is uniform in 1…⌊n/2⌋ of a sequence's n items and its place uniform. A
    sequence of one item has no half to cut: it is its own context and both segments.

    Parameters
    ----------
    sequences : int64 array
        (B, L), left-padded.
    pool : int64 array
        (T,) the sequences that negative segments are cut from, one after another.
    mask_id : int
        Stands for the segment in its context, and around the segment itself.
    generator : numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    masked_segment, positive_segment, negative_segment : int64 arrays
        (B, L) each, as `PretrainBatch` describes them.
    """
    real = sequences != 0  # (B, L)
    sizes = real.sum(1)
    cut = generator.integers(1, np.maximum(sizes // 2, 1) + 1)  # (B,) items a segment
    first = generator.integers(0, sizes - cut + 1)
    elsewhere = generator.integers(0, len(pool) - cut + 1)
    place = np.arange(sequences.shape[1]) - (sequences.shape[1] - sizes + first)[:, None]  # (B, L)
    inside = (place >= 0) & (place < cut[:, None])
    outside = np.where(real, mask_id, 0)
    others = pool[np.clip(elsewhere[:, None] + place, 0, len(pool) - 1)]
    views = (
        np.where(inside, mask_id, sequences),
        np.where(inside, sequences, outside),
        np.where(inside, others, outside),
    )
    return tuple(np.where(sizes[:, None] == 1, sequences, view) for view in views)


def finetuning_batches(
    data,
    max_length: int = 50,
    batch_size: int = 256,
    seed: int = 0,
    epoch: int = 0,
    avoid: Sequence[np.ndarray] | None = None,
) -> Iterator[FinetuneBatch]:
    """Yield one epoch of finetuning batches: every user's newest training items.

    Parameters
    ----------
    data : SequenceDataset
        Only its training sequences and counts are read.
    max_length, batch_size : int
        Longest input in items; users a batch.
    seed, epoch : int
        The batches depend on these two and on nothing else that is random.
    avoid : sequence of int64 arrays, optional
        Items that a user's negatives avoid; the training sequences by default. ``data.sequences``
        leaks the held-out items as the released code does.

    Yields
    ------
    FinetuneBatch
        int64 tensors on the CPU. Users with one training item have nothing to predict and are
        left out.
    """
    generator = np.random.default_rng([seed, epoch, 2])
    training = data.training_sequences
    unseen = Unseen(training if avoid is None else avoid, data.num_items)
    items = np.concatenate(training)
    lengths = np.array([len(s) for s in training])
    users = np.flatnonzero(lengths > 1)
    if not len(users):
        raise ValueError("no user has two training items (four in all), one to predict from the "
                         "other: finetuning has nothing to learn")
    ends = lengths.cumsum()[users]
    starts = ends - np.minimum(lengths[users], max_length + 1)
    # Users of any length together: where each batch is a mean over its own positions, batches of
    # like lengths would make the few items of short users weigh as much as the many of long ones.
    order = generator.permutation(len(users))
    for rows in np.array_split(order, -(-len(order) // batch_size)):
        inputs = left_padded(items, starts[rows], ends[rows] - 1)  # (B, L)
        targets = left_padded(items, starts[rows] + 1, ends[rows])
        owners = np.broadcast_to(users[rows][:, None], inputs.shape)
        negatives = np.where(inputs != 0, unseen.draw(owners, generator), 0)
        yield FinetuneBatch(*map(torch.from_numpy, (inputs, targets, negatives)))
