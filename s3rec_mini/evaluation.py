"""Evaluation: the rank of each user's held-out item, and what is computed from ranks (section 5.1).

Everything follows from one number a user: the rank of the target among its candidates, 1 the best.

**The tie rule**: a candidate with the target's own score stands before it (pessimistic). A model
that scores all items alike then ranks every target last, where an optimistic rule would call it
perfect and a random one would make the result depend on a seed.

A model is anything with `max_length`, `device`, ``model(item_ids, causal=True)`` and
``model.score(states, candidates)``, a new tensor: `S3Rec`, the baseline `PopRec`, or your own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .batches import left_padded
from .encoder import S3Rec
from .tools.fast import newest_states
from .tools.negatives import negatives_for
from .tools.vocabulary import check_fit


def evaluate(model, data, split: str = "test", protocol: str = "full", negatives=99,
             seed: int = 0) -> dict[str, float]:
    """Evaluate next-item prediction on the held-out items.

    Parameters
    ----------
    model, data : S3Rec or PopRec, SequenceDataset
        The model is in evaluation mode for the call. The data say what came before each target.
    split : {"test", "validation"}
        Last item after all before it, or last but one.
    protocol : {"full", "sampled"}
        Candidates are all items the user has not seen, or `negatives` of them.
    negatives, seed : int or int array, int
        For the sampled protocol: how many to draw for each user, or their ids, (num_users, K),
        different ones that the user has not seen.

    Returns
    -------
    dict of str to float
        ``HR@k`` for k in 1, 5, 10, 20, ``NDCG@k`` for k in 5, 10, 20, ``MRR``: means over users.
    """
    return metrics_from_ranks(rank_targets(model, data, split, protocol, negatives, seed))


def rank_targets(model, data, split: str = "test", protocol: str = "full", negatives=99,
                 seed: int = 0, batch_size: int = 256) -> np.ndarray:
    """Rank every user's held-out item among its candidates: (num_users,) int64 from 1.

    Parameters are those of `evaluate`; `batch_size` users are scored at once.
    """
    if protocol not in ("full", "sampled"):
        raise ValueError(f'protocol must be "full" or "sampled", not {protocol!r}')
    check_fit(model, data)
    candidates = negatives_for(negatives, data, split, seed) if protocol == "sampled" else None
    return ranks_among(model, *data.held_out(split), candidates, batch_size)


@torch.no_grad()
def ranks_among(model, histories, targets, negatives=None, batch_size: int = 256) -> np.ndarray:
    """Rank each target among `negatives` (num_users, K), or without them among all unseen items."""
    ranks = np.empty(len(targets), dtype=np.int64)
    with evaluating(model):
        for users in users_by_length(histories, batch_size):
            seen, wanted = [histories[user] for user in users], targets[users, None]  # (B, 1)
            states = last_states(model, seen)  # (B, H)
            if negatives is None:
                scores, wanted = model.score(states), torch.from_numpy(wanted).to(model.device)
                target = scores.gather(1, wanted)  # (B, 1)
                others = leave_out(scores, seen).scatter_(1, wanted, -torch.inf)
            else:
                candidates = torch.from_numpy(np.hstack([wanted, negatives[users]]))
                scores = model.score(states, candidates.to(model.device))  # (B, 1 + K)
                target, others = scores[:, :1], scores[:, 1:]  # (B, 1), (B, K)
            # −inf is what excluded items have; a NaN would count as worse than any target.
            if not (others.amax() < torch.inf and torch.isfinite(target).all()):
                raise ValueError("the model's scores are not finite: its training diverged")
            # The tie rule, others >= target: an equal score stands before the target. (The answers,
            # 1 or 0, are written over the scores: a CPU counts floats in a third of the time.)
            ahead = torch.ge(others, target, out=others)  # (B, candidates)
            ranks[users] = 1 + ahead.sum(1, dtype=torch.float32).cpu().numpy()
    return ranks


@contextmanager
def evaluating(model) -> Iterator[None]:
    """Put a model that has modes in evaluation mode for a while, whatever happens in it."""
    training = getattr(model, "training", False)
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def users_by_length(histories: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
    """Group users whose histories are of similar length, and so need little padding together."""
    order = np.argsort([len(h) for h in histories])
    return np.split(order, np.arange(batch_size, len(order), batch_size))


def last_states(model, histories: Sequence[np.ndarray]) -> Tensor:
    """Encode histories causally and return the states (B, H) of their newest items."""
    ends = np.array([len(h) for h in histories]).cumsum()
    starts = ends - np.minimum([len(h) for h in histories], model.max_length)
    item_ids = torch.from_numpy(left_padded(np.concatenate(histories), starts, ends))  # (B, L)
    item_ids = item_ids.to(model.device)
    if isinstance(model, S3Rec):
        return newest_states(model, item_ids, causal=True)[1]
    return model(item_ids, causal=True)[:, -1]


def leave_out(scores: Tensor, seen: Sequence[np.ndarray]) -> Tensor:
    """Set scores (B, num_items + 2) of padding, mask and what each user has seen to −inf."""
    scores = scores.contiguous()
    rows = np.repeat(np.arange(len(seen)), [len(s) for s in seen])
    places = torch.from_numpy(rows * scores.shape[1] + np.concatenate(seen)).to(scores.device)
    scores.view(-1)[places] = -torch.inf
    scores[:, [0, -1]] = -torch.inf
    return scores


def per_user_metrics(ranks: np.ndarray) -> pd.DataFrame:
    """Return each user's metrics, a column each, from (num_users,) ranks that start at 1.

    With one relevant item, HR@k is whether it ranks within k, NDCG@k is 1/log₂(rank + 1) if it
    does, and MRR is 1/rank, without a cut-off.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 1 or not ranks.size or ranks.min() < 1:
        raise ValueError("ranks must be a non-empty (num_users,) array of integers from 1")
    gain = 1 / np.log2(ranks + 1)
    hits = {f"HR@{k}": (ranks <= k).astype(float) for k in (1, 5, 10, 20)}
    gains = {f"NDCG@{k}": gain * (ranks <= k) for k in (5, 10, 20)}
    return pd.DataFrame({**hits, **gains, "MRR": 1 / ranks})


def metrics_from_ranks(ranks: np.ndarray) -> dict[str, float]:
    """Return the means over users of `per_user_metrics`."""
    return per_user_metrics(ranks).mean().to_dict()
