"""Evaluation: the rank of each user's held-out item, and what is computed from ranks (section 5.1).

Everything follows from one number a user: the rank of the target among its candidates, 1 the best.
A candidate with the target's own score stands before it (the pessimistic tie rule): a model that
scores all items alike then ranks every target last, where an optimistic rule would call it perfect
and a random one would make the result depend on a seed.

A model is anything with `max_length`, `device`, ``model(item_ids, causal=True)`` and
``model.score(states, candidates)``: `S3Rec`, and the baseline `PopRec`.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .batches import left_padded

__all__ = ["PopRec", "bootstrap_intervals", "evaluate", "load_results", "metrics_from_ranks",
           "per_user_metrics", "rank_targets", "recommend", "sample_negatives"]


class PopRec(nn.Module):
    """The popularity baseline: the more often an item occurs in training, the higher it ranks.

    Parameters
    ----------
    data : SequenceDataset
        Only its training sequences are counted.
    """

    def __init__(self, data):
        super().__init__()
        counts = np.bincount(np.concatenate(data.training_sequences), minlength=data.num_items + 2)
        self.register_buffer("counts", torch.from_numpy(counts).float())  # (num_items + 2,)
        self.max_length = 1

    @property
    def device(self) -> torch.device:
        """Where the counts are."""
        return self.counts.device

    def forward(self, item_ids: Tensor, causal: bool = True) -> Tensor:
        """Return (B, L, 1) ones: a state that knows nothing of the history."""
        return torch.ones(*item_ids.shape, 1, device=item_ids.device)

    def score(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Return the counts of all items (B, num_items + 2), or of `candidates` (B, K)."""
        return states * self.counts if candidates is None else self.counts[candidates]


def evaluate(model, data, split: str = "test", protocol: str = "full", negatives=99,
             seed: int = 0) -> dict[str, float]:
    """Evaluate next-item prediction on the held-out items.

    Parameters
    ----------
    model : S3Rec or PopRec
        Put in evaluation mode for the call; the mode is restored.
    data : SequenceDataset
        Its `held_out` gives each user's history and target.
    split : {"test", "validation"}
        Last item after all before it, or last but one.
    protocol : {"full", "sampled"}
        Candidates are all items the user has not seen, or `negatives` of them.
    negatives : int or int array
        For the sampled protocol: how many to draw for each user, or the items, (num_users, K).
    seed : int
        Of the drawn negatives.

    Returns
    -------
    dict of str to float
        ``HR@k`` for k in 1, 5, 10, 20, ``NDCG@k`` for k in 5, 10, 20, and ``MRR``: means over
        users.

    Raises
    ------
    ValueError
        If an argument is unknown, ids are out of range or scores are not finite.
    """
    return metrics_from_ranks(rank_targets(model, data, split, protocol, negatives, seed))


@torch.no_grad()
def rank_targets(model, data, split: str = "test", protocol: str = "full", negatives=99,
                 seed: int = 0, batch_size: int = 256) -> np.ndarray:
    """Rank every user's held-out item among its candidates.

    Parameters are those of `evaluate`; `batch_size` users are scored at once.

    Returns
    -------
    int64 array
        (num_users,) ranks from 1, ties counted against the target.
    """
    if protocol not in ("full", "sampled"):
        raise ValueError(f'protocol must be "full" or "sampled", not {protocol!r}')
    check_fit(model, data)
    histories, targets = data.held_out(split)
    if protocol == "sampled":
        negatives = checked_negatives(negatives, histories, targets, data.num_items, seed)
    ranks = np.empty(len(targets), dtype=np.int64)
    with evaluating(model):
        for users in _users_by_length(histories, batch_size):
            seen = [histories[user] for user in users]
            states = _last_states(model, seen)  # (B, H)
            if protocol == "full":
                scores, target = _unseen_scores(model, states, seen, targets[users])
            else:
                candidates = np.column_stack([targets[users], negatives[users]])  # (B, 1 + K)
                scores = model.score(states, torch.from_numpy(candidates).to(model.device))
                target = scores[:, :1].clone()  # the counting below overwrites the scores
            # −inf is what excluded items have; a NaN would count as worse than any target.
            if not (scores.amax() < torch.inf and torch.isfinite(target).all()):
                raise ValueError("the model's scores are not finite: its training diverged")
            # Everything at least as good as the target stands before it; it is one of these itself.
            # Answers that stay floats, exact up to 2²⁴ items, are counted ten times as fast.
            ranks[users] = scores.ge_(target).sum(1, dtype=torch.float32).cpu().numpy()
    return ranks


@contextmanager
def evaluating(model) -> Iterator[None]:
    """Put a model in evaluation mode for a while, whatever happens in it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def check_fit(model, data) -> None:
    """Raise ValueError if an `S3Rec` was made for other numbers of items or attributes."""
    for name in ("num_items", "num_attributes") if hasattr(model, "config") else ():
        ours, theirs = getattr(model.config, name), getattr(data, name)
        if ours != theirs:
            raise ValueError(f"the model has {name}={ours}, {data.name} has {theirs}: make it with "
                             f"ModelConfig.for_dataset(data)")


def _users_by_length(histories: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
    """Group users whose histories are of similar length, and so need little padding together."""
    order = np.argsort([len(h) for h in histories])
    return np.split(order, np.arange(batch_size, len(order), batch_size))


def _last_states(model, histories: Sequence[np.ndarray]) -> Tensor:
    """Encode histories causally and return the states (B, H) of their newest items."""
    ends = np.array([len(h) for h in histories]).cumsum()
    starts = ends - np.minimum([len(h) for h in histories], model.max_length)
    item_ids = torch.from_numpy(left_padded(np.concatenate(histories), starts, ends))  # (B, L)
    return model(item_ids.to(model.device), causal=True)[:, -1]


def _unseen_scores(model, states, seen, targets) -> tuple[Tensor, Tensor]:
    """Score all items, those in `seen` (but the target), padding and mask at −inf.

    Returns scores (B, num_items + 2) and the targets' own (B, 1).
    """
    scores = model.score(states)  # (B, num_items + 2)
    targets = torch.from_numpy(targets).to(scores.device)[:, None]  # (B, 1)
    target_scores = scores.gather(1, targets)
    rows = np.repeat(np.arange(len(seen)), [len(s) for s in seen])
    excluded = torch.from_numpy(rows * scores.shape[1] + np.concatenate(seen)).to(scores.device)
    scores.view(-1)[excluded] = -torch.inf
    scores[:, [0, -1]] = -torch.inf
    return scores.scatter_(1, targets, target_scores), target_scores


def sample_negatives(histories, targets, num_items: int, count: int = 99, seed: int = 0):
    """Draw `count` different items for each user that are neither in its history nor its target.

    Parameters
    ----------
    histories : sequence of int64 arrays
        What each user has seen.
    targets : int64 array
        (num_users,) the held-out items.
    num_items : int
        Items are 1…num_items, drawn uniformly.
    count, seed : int
        Negatives a user; seed of the draw.

    Returns
    -------
    int64 array
        (num_users, count).

    Raises
    ------
    ValueError
        If a user has fewer than `count` unseen items.
    """
    generator = np.random.default_rng([seed, 3])
    negatives = np.empty((len(targets), count), dtype=np.int64)
    for user, (history, target) in enumerate(zip(histories, targets, strict=True)):
        unseen = np.ones(num_items + 1, dtype=bool)
        unseen[0] = unseen[target] = False
        unseen[history] = False
        unseen = np.flatnonzero(unseen)
        if len(unseen) < count:
            raise ValueError(f"user {user} has only {len(unseen)} unseen items, {count} negatives "
                             f'were asked for: ask for fewer, or rank among all items '
                             f'(protocol "full"; validation_protocol in finetuning)')
        negatives[user] = generator.choice(unseen, count, replace=False)
    return negatives


def checked_negatives(negatives, histories, targets, num_items: int, seed: int) -> np.ndarray:
    """Return the negatives (num_users, K) int64 that `evaluate` is to use, drawn if a number."""
    if np.ndim(negatives) == 0:
        whole = isinstance(negatives, (int, np.integer)) and not isinstance(negatives, bool)
        if not whole or negatives < 1:
            raise ValueError(f"negatives must be a whole number of at least 1, or integers of "
                             f"shape ({len(targets)}, K), not {negatives!r}")
        return sample_negatives(histories, targets, num_items, int(negatives), seed)
    negatives = np.asarray(negatives)
    if (negatives.ndim != 2 or len(negatives) != len(targets) or not negatives.size
            or negatives.dtype.kind not in "iu"):
        raise ValueError(f"negatives must be integers of shape ({len(targets)}, K), "
                         f"not {negatives.dtype} {negatives.shape}")
    if negatives.min() < 1 or negatives.max() > num_items:
        raise ValueError(f"negatives must be item ids in 1…{num_items}, "
                         f"found {negatives.min()}…{negatives.max()}")
    return negatives.astype(np.int64)


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


def bootstrap_intervals(ranks: np.ndarray, level: float = 0.95, samples: int = 1000,
                        seed: int = 0) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals over users of every metric.

    They say how far a metric would move with other users, the trained model being as it is; the
    spread over training seeds is another matter.

    Parameters
    ----------
    ranks : int array
        (num_users,) ranks that start at 1.
    level : float
        Coverage, in (0, 1).
    samples, seed : int
        Resamples of the users; seed of the resampling.

    Returns
    -------
    dict of str to (float, float)
        Lower and upper end for each metric.
    """
    values = per_user_metrics(ranks)
    generator = np.random.default_rng([seed, 4])
    # How often each user is drawn is all a mean needs: (samples, users) @ (users, metrics).
    draws = [generator.multinomial(len(values), np.full(len(values), 1 / len(values)))
             @ values.to_numpy() for _ in range(samples)]
    tail = (1 - level) / 2
    low, high = np.quantile(np.array(draws) / len(values), [tail, 1 - tail], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(values, low, high, strict=True)}


@torch.no_grad()
def recommend(model, data, history: Sequence, k: int = 10) -> pd.DataFrame:
    """Recommend the next items to a new user.

    Parameters
    ----------
    model : S3Rec or PopRec
        A finetuned model of `data`.
    data : SequenceDataset
        Names the items.
    history : sequence of str or int
        What the user has seen, oldest first, by name or id; the newest `max_length` count.
    k : int
        How many to return.

    Returns
    -------
    pandas.DataFrame
        `k` rows of item (id), name and score, best first; nothing from the history.

    Raises
    ------
    ValueError
        If the history is empty, an item is unknown, or `k` is not in 1…(number of unseen items).
    """
    if isinstance(history, str) or not len(history):
        raise ValueError("history must be a non-empty list of item names or ids, oldest first")
    check_fit(model, data)
    items = np.array([data.item_id(item) for item in history])
    with evaluating(model):
        scores = model.score(_last_states(model, [items]))[0].cpu()  # (num_items + 2,)
    scores[np.r_[0, items, data.num_items + 1]] = -torch.inf
    unseen = int((scores > -torch.inf).sum())
    if not 1 <= k <= unseen:
        raise ValueError(f"k must lie in 1…{unseen}, the number of unseen items, not {k}")
    best = scores.topk(k)
    names = [data.item_names[item] for item in best.indices]
    return pd.DataFrame({"item": best.indices.numpy(), "name": names, "score": best.values.numpy()})


def load_results(folder: str) -> dict[str, list[dict]]:
    """Read the results files that ship with the package, such as those of "movielens-small".

    ``s3rec reproduce`` and ``s3rec ablate`` write one for each run; it names its command.

    Parameters
    ----------
    folder : str
        A folder below ``s3rec_mini/data/results``, such as "LastFM" or "movielens-small/ablations".

    Returns
    -------
    dict of str to list of dict
        For each kind of run ("scratch-pairwise", …) the content of its files, by seed.

    Raises
    ------
    ValueError
        If no results ship in that folder; the message lists those that do.
    """
    root = Path(__file__).parent / "data" / "results"
    runs = {}
    files = (root / folder).glob("*-seed*.json")
    for path in sorted(files, key=lambda path: (len(path.name), path.name)):  # seed 10 after seed 9
        runs.setdefault(path.stem.rpartition("-seed")[0], []).append(json.loads(path.read_text()))
    if not runs:
        shipped = {path.parent.relative_to(root).as_posix() for path in root.rglob("*.json")}
        raise ValueError(f"no results ship in {folder!r}: choose from {', '.join(sorted(shipped))}")
    return runs
