"""What a trained model has learned, in numbers: attention and embeddings; `plots` draws them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..encoder import S3Rec
from ..evaluation import evaluating
from ..tools.checks import check_count
from ..tools.vocabulary import best_items, check_fit

__all__ = ["attention_by_distance", "attention_maps", "nearest_items", "probe_attributes",
           "project_embeddings"]


@torch.no_grad()
def attention_maps(model: S3Rec, items: Sequence[int], causal: bool = False) -> Tensor:
    """Return where each position of one sequence looks (equation 4).

    Parameters
    ----------
    model : S3Rec
        Read without dropout; its mode is restored.
    items : sequence of int
        Ids, oldest first; the newest `max_length` are read.
    causal : bool
        Read as in finetuning.

    Returns
    -------
    Tensor
        (layers, heads, L, L) float32 on the CPU; row q holds the weights of query q, summing to 1.

    Raises
    ------
    ValueError
        If there are no items, or one is out of range.
    """
    if not len(items):
        raise ValueError("attention needs at least one item")
    newest = torch.tensor(np.asarray(items)[-model.max_length :], device=model.device)
    with evaluating(model):
        _, attention = model(newest[None], causal=causal, return_attention=True)
    return attention[:, 0].cpu().float()


@torch.no_grad()
def attention_by_distance(model: S3Rec, sequences: Sequence[np.ndarray], length: int = 20,
                          causal: bool = False) -> pd.DataFrame:
    """Return the mean weight that the item at each place gives to the one so many steps back.

    Parameters
    ----------
    model : S3Rec
        Read without dropout; its mode is restored.
    sequences : sequence of int64 arrays
        Those of fewer than `length` items are left out, so that every mean is over the same users.
    length : int
        How many of the newest items the model reads, at most `max_length`.
    causal : bool
        Read as in finetuning.

    Returns
    -------
    pandas.DataFrame
        Columns layer, head, query (the place that looks, all from 1; the newest item's is
        `length`), distance (negative where it looks ahead; no such rows if `causal`) and weight.

    Raises
    ------
    ValueError
        If no sequence is long enough, or `length` is not in 1…max_length.
    """
    if not 1 <= length <= model.max_length:
        raise ValueError(f"length must lie in 1…{model.max_length} (max_length), not {length}")
    long_enough = [s[-length:] for s in sequences if len(s) >= length]
    if not long_enough:
        raise ValueError(f"no sequence has {length} items: choose a smaller length")
    items = torch.as_tensor(np.stack(long_enough), device=model.device)  # (users, length)
    with evaluating(model):  # some hundred users at once: weights are (layers, B, heads, L, L)
        sums = [model(part, causal=causal, return_attention=True)[1].sum(1)
                for part in items.split(256)]
    mean = (sum(sums) / len(items)).cpu().float().numpy()  # (layers, heads, L, L)
    layer, head, query, key = (axis.ravel() for axis in np.indices(mean.shape))
    frame = pd.DataFrame({"layer": layer + 1, "head": head + 1, "query": query + 1,
                          "distance": query - key, "weight": mean.ravel()})
    return frame[frame["distance"] >= 0].reset_index(drop=True) if causal else frame


def nearest_items(model: S3Rec, data, item: str | int, k: int = 5) -> pd.DataFrame:
    """Return the items whose embeddings point most nearly the same way.

    Parameters
    ----------
    model : S3Rec
        Made for `data`.
    data : SequenceDataset
        Names the items.
    item : str or int
        As `SequenceDataset.item_id` takes it.
    k : int
        How many.

    Returns
    -------
    pandas.DataFrame
        `k` rows of item (id, or key where keys are integers), name and cosine, the nearest first,
        without the item itself.

    Raises
    ------
    ValueError
        If there is no such item, or `k` is no number of them.
    """
    check_fit(model, data)
    check_count("k", k, least=1)
    item = data.item_id(item)
    table = torch.nn.functional.normalize(model.item_embedding.weight.detach().cpu().float(), dim=1)
    cosines = table @ table[item]  # (num_items + 2,)
    cosines[[0, item, data.mask_id]] = -torch.inf
    return best_items(cosines, min(k, data.num_items - 1), data, "cosine")


def project_embeddings(vectors: Tensor | np.ndarray, method: str = "pca", seed: int = 0):
    """Place vectors in the plane.

    Parameters
    ----------
    vectors : Tensor or array
        (N, H) float, for example rows of ``model.item_embedding.weight``.
    method : {"pca", "tsne"}
        The two directions of most variance, or a map that keeps neighbours together and whose
        larger distances mean little.
    seed : int
        Of t-SNE.

    Returns
    -------
    float array
        (N, 2).

    Raises
    ------
    ValueError
        If the method is unknown or there are fewer than three vectors.
    """
    from sklearn.decomposition import PCA  # half a second to import, and nothing else needs it
    from sklearn.manifold import TSNE

    vectors = torch.as_tensor(vectors).detach().cpu().float().numpy()
    if len(vectors) < 3:
        raise ValueError(f"a map needs at least three vectors, not {len(vectors)}")
    if method == "pca":
        return PCA(2, random_state=seed).fit_transform(vectors)
    if method == "tsne":
        perplexity = min(30, (len(vectors) - 1) / 3)
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
    raise ValueError(f'method must be "pca" or "tsne", not {method!r}')


def probe_attributes(vectors: Tensor | np.ndarray, item_attributes: Tensor,
                     seed: int = 0) -> pd.DataFrame:
    """Ask of each attribute how well a linear probe reads it off an item's vector.

    A logistic regression is trained on seven items of ten and judged on the others. Beside it
    stands the same on labels that were dealt to other items. As the items judged are new to the
    probe, that is near 0.5 for any vectors and any probe: it shows that nothing leaks from one
    part to the other, neither how much a probe can learn by heart nor who put an attribute there.

    Parameters
    ----------
    vectors : Tensor or array
        (num_items, H) float, of the items 1…num_items, such as
        ``model.item_embedding.weight[1:-1]``.
    item_attributes : Tensor
        (num_items + 2, num_attributes + 1), as `SequenceDataset` holds it.
    seed : int
        Of the split and of the control's labels.

    Returns
    -------
    pandas.DataFrame
        A row for each attribute that at least 20 items have and 20 have not: attribute (id),
        positives (items that have it), auc and control_auc, the areas under the ROC curve on the
        items left out: 0.5 is chance, 1 perfect.

    Raises
    ------
    ValueError
        If the shapes do not fit, vectors are not finite or no attribute is common enough.
    """
    from sklearn.preprocessing import StandardScaler

    vectors = torch.as_tensor(vectors).detach().cpu().double().numpy()
    labels = torch.as_tensor(item_attributes)[1:-1].cpu().numpy()  # (num_items, A + 1)
    if vectors.ndim != 2 or len(vectors) != len(labels):
        raise ValueError(f"vectors must be ({len(labels)}, H), one for each item from 1 on, "
                         f"not {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors must be finite, some are NaN or infinite")
    positives = labels.sum(axis=0, dtype=np.int64)
    common = np.flatnonzero(np.minimum(positives, len(labels) - positives) >= 20)
    if not len(common):
        raise ValueError("no attribute belongs to at least 20 items and is missing in 20: too few "
                         "to train and judge a probe")
    generator = np.random.default_rng(seed)
    order, dealt = generator.permutation(len(labels)), generator.permutation(len(labels))
    train, test = np.split(order, [round(0.7 * len(order))])
    vectors = StandardScaler().fit(vectors[train]).transform(vectors)
    return pd.DataFrame([{"attribute": attribute, "positives": positives[attribute],
                          "auc": _probe(vectors, labels[:, attribute], train, test),
                          "control_auc": _probe(vectors, labels[dealt, attribute], train, test)}
                         for attribute in common])


def _probe(vectors: np.ndarray, label: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Train a logistic regression on some rows; return its area under the ROC curve on others."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    if len(np.unique(label[train])) < 2 or len(np.unique(label[test])) < 2:
        return np.nan  # a split of few positives can miss them
    probe = LogisticRegression(max_iter=1000).fit(vectors[train], label[train])
    return roc_auc_score(label[test], probe.decision_function(vectors[test]))
