"""The items that the sampled protocol ranks a held-out one against: drawn, or given."""

import numpy as np

from . import streams
from .checks import check_count
from .files import expected


def sample_negatives(histories, targets, num_items: int, count: int = 99, seed: int = 0,
                     user_names=None) -> np.ndarray:
    """Draw `count` different items for each user that are neither in its history nor its target.

    Uniformly among 1…num_items; (num_users, count) int64. ValueError, with the user's name where
    names are given, if too few are unseen.
    """
    check_count("count", count, least=1)
    generator = streams.generator("test negatives", seed)
    negatives = np.empty((len(targets), count), dtype=np.int64)
    for user, (history, target) in enumerate(zip(histories, targets, strict=True)):
        unseen = np.delete(np.arange(num_items + 1), [0, target, *history])
        if len(unseen) < count:
            name = repr(user_names[user]) if user_names else user
            raise ValueError(f"user {name} has only {len(unseen)} unseen items, {count} negatives "
                             f"were asked for: ask for fewer with negatives=, or rank among all "
                             f"items (in finetuning with validation_protocol='full')")
        negatives[user] = generator.choice(unseen, count, replace=False)
    return negatives


def negatives_for(asked, data, split: str, seed: int) -> np.ndarray:
    """Return the negatives (num_users, K) int64 that were asked for, drawn if a number.

    Those that are given must be different items that the user has not seen, the held-out one not
    among them (ValueError).
    """
    histories, targets = data.held_out(split)
    with expected(f"negatives must be a number, or integers of shape ({len(targets)}, K)"):
        negatives = np.asarray(asked)
    if negatives.ndim == 0:
        check_count("negatives", asked, least=1)
        return sample_negatives(histories, targets, data.num_items, int(asked), seed,
                                data.user_names)
    if (negatives.ndim != 2 or len(negatives) != len(targets) or not negatives.size
            or negatives.dtype.kind not in "iu"):
        raise ValueError(f"negatives must be integers of shape ({len(targets)}, K), "
                         f"not {negatives.dtype} {negatives.shape}")
    if negatives.min() < 1 or negatives.max() > data.num_items:
        raise ValueError(f"negatives must be item ids in 1…{data.num_items}, "
                         f"found {negatives.min()}…{negatives.max()}")
    for user, row, history, target in zip(
            data.user_names, negatives, histories, targets, strict=True):
        taken = dict.fromkeys(history.tolist(), "an item of its history")
        taken[target] = "the held-out item itself"
        for item in row.tolist():
            if item in taken:
                raise ValueError(f"the negatives of user {user!r} hold {taken[item]}, "
                                 f"{data.item_names[item]!r}: give others, all unseen")
            taken[item] = "an item twice"
    return negatives.astype(np.int64)
