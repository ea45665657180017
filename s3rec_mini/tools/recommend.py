"""Using a model: the next items for somebody, and the baseline that every model must beat."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..evaluation import evaluating, last_states, leave_out
from .settings import is_a
from .vocabulary import best_items, check_fit


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
        What the user has seen, oldest first, as `SequenceDataset.item_id` takes it: names, or
        integers, which are keys where all keys are integers, else ids; the newest `max_length`
        count.
    k : int
        How many to return.

    Returns
    -------
    pandas.DataFrame
        `k` rows of item (id, or key where keys are integers), name and score, best first; nothing
        from the history.

    Raises
    ------
    ValueError
        If the history is empty, an item is unknown, `k` is not in 1…(number of unseen items), or
        the scores are not finite.
    """
    if isinstance(history, str) or not len(history):
        raise ValueError("history must be a non-empty list of item names or ids, oldest first")
    check_fit(model, data)
    items = np.array([data.item_id(item) for item in history])
    with evaluating(model):
        scores = model.score(last_states(model, [items])).cpu().float()  # (1, num_items + 2)
    scores = leave_out(scores, [items])[0]
    if not scores.amax() < torch.inf:  # a NaN is no less than anything
        raise ValueError("the model's scores are not finite: its training diverged")
    unseen = int((scores > -torch.inf).sum())
    if not is_a(int, k) or not 1 <= k <= unseen:
        raise ValueError(f"k must lie in 1…{unseen}, the number of unseen items, not {k!r}")
    return best_items(scores, int(k), data, "score")


class PopRec(nn.Module):
    """The popularity baseline: the more often an item occurs in training, the higher it ranks.

    Parameters
    ----------
    data : SequenceDataset
        Only its training sequences are counted.
    """

    def __init__(self, data):
        super().__init__()
        counts = np.bincount(np.concatenate(data.training_sequences), minlength=data.mask_id + 1)
        self.register_buffer("counts", torch.from_numpy(counts).float())  # (num_items + 2,)
        self.max_length, self.vocabulary = 1, data.vocabulary

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
