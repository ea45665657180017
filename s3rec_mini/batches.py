"""Mini-batches: the masked and cut views of pretraining, the triples of finetuning (section 4).

A batch is padded on the left to its own longest sequence and no further: on Beauty, padded to 50,
86 % of all positions would be padding. By default nothing held out is ever looked at: both stages
read `data.training_sequences`, and negatives avoid a user's *training* items only. B sequences, L
positions; all arrays and tensors hold int64 ids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from .tools import streams
from .tools.checks import as_ids


class _Batch:
    """Tensors (B, L) of one shape, and the index tensors that say which of their places count."""

    def __len__(self) -> int:
        return len(self.items)

    @property
    def num_terms(self) -> int:
        """How many terms the batch's loss is a mean of: sequences, or positions in finetuning."""
        return len(self.items)

    def to(self, device):
        """Return the batch with every tensor on `device`."""
        return type(self)(*(getattr(self, f.name).to(device) for f in fields(self)))

    def shard(self, index: int, count: int):
        """Return every `count`-th row from row `index` on: one process's part of the batch."""
        return type(self)(*(getattr(self, name)[index::count] for name in self._sequences()))

    def _sequences(self) -> list[str]:
        return [f.name for f in fields(self) if not f.name.endswith("positions")]

    def __post_init__(self):
        for name in self._sequences():
            tensor = as_ids(name, getattr(self, name))
            object.__setattr__(self, name, tensor)
            if tensor.dim() != 2 or tensor.shape != self.items.shape:
                raise ValueError(f"{name} must be (B, L) = {tuple(self.items.shape)} like items, "
                                 f"not {tuple(tensor.shape)}")
        missing = [f.name for f in fields(self) if getattr(self, f.name) is None]
        places = self._places() if missing else {}  # on a GPU this would wait for it
        for name in missing:
            object.__setattr__(self, name, places[name].flatten().nonzero().squeeze(1))


@dataclass(frozen=True, eq=False)
class PretrainBatch(_Batch):
    """B training prefixes and the views of them that equations 5–8 compare; all (B, L).

    Parameters
    ----------
    items : Tensor
        Item ids, left-padded with 0. What holds no whole numbers of this shape is refused.
    masked_items : Tensor
        `items` with some replaced by the mask id, the last one always.
    negative_items : Tensor
        At masked positions an item not among the user's training items, elsewhere as `items`.
    masked_segment, positive_segment, negative_segment : Tensor
        `items` with one segment masked, that segment, and one of as many items from elsewhere; the
        mask id stands around a segment.
    masked_positions, unmasked_positions : Tensor, optional
        (M,) places in the flattened batch: where `items` is masked, and where it is a visible item.
        Found when left out; made with the batch they spare a GPU the wait for a boolean mask.
    """

    items: Tensor
    masked_items: Tensor
    negative_items: Tensor
    masked_segment: Tensor
    positive_segment: Tensor
    negative_segment: Tensor
    masked_positions: Tensor | None = None
    unmasked_positions: Tensor | None = None

    def _places(self) -> dict[str, Tensor]:
        masked = self.items != self.masked_items
        return {"masked_positions": masked, "unmasked_positions": (self.items != 0) & ~masked}


@dataclass(frozen=True, eq=False)
class FinetuneBatch(_Batch):
    """B training sequences, at each position the item that came next and one that did not; (B, L).

    `items`, `positive_items` and `negative_items` are left-padded with 0; `positions` (N,) are the
    places of items in the flattened batch, found when left out. Raises what `PretrainBatch` does.
    """

    items: Tensor
    positive_items: Tensor
    negative_items: Tensor
    positions: Tensor | None = None

    def _places(self) -> dict[str, Tensor]:
        return {"positions": self.items != 0}

    @property
    def num_terms(self) -> int:
        """Real positions in the batch, the terms of its mean loss."""
        return len(self.positions)


class Unseen:
    """Draws items that a user has not seen, uniformly and for many users at once.

    `sequences` say what user 0, 1, … has seen of the items 1…num_items. The mask id is never drawn
    (the released code can draw it). ValueError if a user has seen every item.
    """

    def __init__(self, sequences: Sequence[np.ndarray], num_items: int):
        self.num_items = num_items
        users = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences])
        # One sorted array of (user, item) keys: a set for every user, searched in one call.
        self.seen = np.unique(users * (num_items + 1) + np.concatenate(sequences))
        most = np.bincount(self.seen // (num_items + 1)).argmax()
        if np.unique(sequences[most]).size == num_items:
            raise ValueError(f"user {most} has seen all {num_items} items: remove that user")

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
    """Return ``items[start:end]`` of each pair (B,) as a row, zeros on the left: (B, L).

    `items` (T,) are all sequences, one after another; L is the longest row.
    """
    places = ends[:, None] - np.arange((ends - starts).max(), 0, -1)  # (B, L), ends on the right
    return np.where(places >= starts[:, None], items[np.maximum(places, 0)], 0)


def by_length(lengths: np.ndarray, batch_size: int, generator) -> list[np.ndarray]:
    """Split sequences at random into batches of similar length, in random order.

    Shuffled, sorted by length within groups of 64 batches, cut: (up to batch_size,) indices each.
    """
    batches = []
    order = generator.permutation(len(lengths))
    for group in np.array_split(order, -(-len(order) // (64 * batch_size))):
        group = group[np.argsort(lengths[group], kind="stable")]
        batches += np.array_split(group, -(-len(group) // batch_size))
    return [batches[i] for i in generator.permutation(len(batches))]


def pretraining_batches(
        data, max_length: int = 50, batch_size: int = 200, mask_probability: float = 0.2,
        prefixes_per_user: int | None = None, seed: int = 0, epoch: int = 0,
        pool: Sequence[np.ndarray] | None = None) -> Iterator[PretrainBatch]:
    """Yield one epoch of batches of prefixes of each user's last `max_length` training items.

    Every prefix counts, as in the released code, or `prefixes_per_user` are drawn. An item is
    masked with `mask_probability`, the last one always. What is random depends on `seed` and
    `epoch` alone. Negative segments come from `pool`, the training sequences by default;
    ``pool=data.sequences`` leaks the held-out items as the released code does.
    """
    generator = streams.generator("pretraining batches", seed, epoch)
    training = data.training_sequences
    unseen = Unseen(training, data.num_items)
    items = np.concatenate(training)
    segments = items if pool is None else np.concatenate(pool)
    users, starts, ends = prefixes(training, max_length, prefixes_per_user, generator)
    for rows in by_length(ends - starts, batch_size, generator):
        sequences = left_padded(items, starts[rows], ends[rows])  # (B, L)
        masked = mask_items(sequences, users[rows], unseen, data.mask_id, mask_probability,
                            generator)
        cut = cut_segments(sequences, segments, data.mask_id, generator)
        yield PretrainBatch(*map(torch.from_numpy, (sequences, *masked, *cut)))


def prefixes(training, max_length: int, prefixes_per_user: int | None, generator):
    """Return user, start and end, (P,) int64 each, of P prefixes in the concatenated sequences.

    They are all prefixes of each user's last `max_length` items, or so many drawn for each user.
    """
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


def mask_items(sequences, users, unseen, mask_id, probability, generator):
    """Draw the masks of MIP and MAP and the negatives of MIP (equations 6 and 7).

    Takes `sequences` (B, L) of the `users` (B,); returns `masked_items` and `negative_items` of
    `PretrainBatch`. Each item is masked with `probability`, the last one always.
    """
    masked = (generator.random(sequences.shape) < probability) & (sequences != 0)
    masked[:, -1] = True  # finetuning predicts from a last position: train it in every sequence
    negatives = sequences.copy()
    owners = np.broadcast_to(users[:, None], masked.shape)[masked]  # (M,)
    negatives[masked] = unseen.draw(owners, generator)
    return np.where(masked, mask_id, sequences), negatives


def cut_segments(sequences, pool, mask_id, generator):
    """Cut a segment out of each sequence and one of as many items out of `pool` (equation 8).

    A segment's length is uniform in 1…⌊n/2⌋ of a sequence's n items and its place uniform. A
    sequence of one item has no half to cut: it is its own context and both segments. Takes
    `sequences` (B, L) and `pool` (T,), all sequences one after another (a foreign segment may span
    two, or be the very one); returns the three segment views of `PretrainBatch`.
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
    views = (np.where(inside, mask_id, sequences), np.where(inside, sequences, outside),
             np.where(inside, others, outside))
    return tuple(np.where(sizes[:, None] == 1, sequences, view) for view in views)


def finetuning_batches(data, max_length: int = 50, batch_size: int = 256, seed: int = 0,
                       epoch: int = 0, avoid: Sequence[np.ndarray] | None = None,
                       ) -> Iterator[FinetuneBatch]:
    """Yield one epoch of batches of every user's newest `max_length` + 1 training items.

    Users with one training item have nothing to predict and are left out. Negatives avoid the
    user's items in `avoid`, the training sequences by default; ``avoid=data.sequences`` leaks the
    held-out items as the released code does. What is random depends on `seed` and `epoch` alone.
    """
    generator = streams.generator("finetuning batches", seed, epoch)
    training = data.training_sequences
    unseen = Unseen(training if avoid is None else avoid, data.num_items)
    items = np.concatenate(training)
    lengths = np.array([len(s) for s in training])
    users = np.flatnonzero(lengths > 1)
    if not len(users):
        raise ValueError("no user has two training items (four in all): there is nothing to learn")
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
