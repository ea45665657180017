"""The authors' own files: checkpoints and test negatives (RUCAIBox/CIKM2020-S3Rec)."""

import io
import warnings
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from ..encoder import ModelConfig, S3Rec
from .files import existing, expected, load_weights

__all__ = ["load_checkpoint", "load_negatives"]

# What stands in our names, and what in theirs.
_PARTS = {
    "blocks": "item_encoder.layer", "attention.output": "attention.dense",
    "attention_norm": "attention.LayerNorm", "expand": "intermediate.dense_1",
    "contract": "intermediate.dense_2", "feed_forward_norm": "intermediate.LayerNorm",
    "embedding_norm": "LayerNorm", "_embedding.": "_embeddings.",
    "aap_head": "aap_norm", "mip_head": "mip_norm", "map_head": "map_norm", "sp_head": "sp_norm"}
_PROJECTIONS = ("query", "key", "value")  # one matrix in ours, stacked in this order


def load_checkpoint(path, dataset, num_heads: int = 2, dropout: float = 0.5) -> S3Rec:
    """Read weights that the authors' code saved, such as ``LastFM-epochs-150.pt``.

    Sizes are read off the tensors, but for the number of heads, which leaves no trace in them.

    Parameters
    ----------
    path : str or Path
        A file of ``torch.save(model.state_dict())``; it is unpickled with ``weights_only``, so
        that nothing in it is executed.
    dataset : SequenceDataset
        The dataset the weights were trained on.
    num_heads, dropout : int, float
        As the authors trained it; 2 and 0.5 in all of their files.

    Returns
    -------
    S3Rec
        On the CPU, in evaluation mode.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, it is not one of theirs, or not of this dataset.
    """
    theirs = _read(path)
    with expected(f"{path} is not a checkpoint of the authors' S3-Rec"):
        items, attributes, positions = (len(theirs[f"{table}_embeddings.weight"])
                                        for table in ("item", "attribute", "position"))
        layers = sum(name.endswith("attention.query.weight") for name in theirs)
        config = ModelConfig(items - 2, attributes - 1, theirs["item_embeddings.weight"].shape[1],
                             layers, num_heads, positions, dropout)
        model = S3Rec(config)
        ours = {name: torch.cat([theirs[piece] for piece in pieces])
                for name, pieces in _names(model).items()}
    if (config.num_items, config.num_attributes) != (dataset.num_items, dataset.num_attributes):
        raise ValueError(f"{path} was trained on {items - 2} items and {attributes - 1} "
                         f"attributes, {dataset.name} has {dataset.num_items} and "
                         f"{dataset.num_attributes}: load the dataset that its name tells")
    load_weights(model, ours, source=path)
    model.vocabulary = dataset.vocabulary
    return model.eval()


def load_negatives(path, dataset) -> np.ndarray:
    """Read the authors' 99 test negatives a user, ``NAME_sample.txt``.

    Parameters
    ----------
    path : str or Path
        A line a user, ``user item item …``, in the order of ``NAME.txt``: integers, as
        `SequenceDataset.item_id` takes them.
    dataset : SequenceDataset
        Whose users they belong to.

    Returns
    -------
    int64 array
        (num_users, 99) item ids, for ``evaluate(…, negatives=…)``.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or its users or items are not those of the dataset.
    """
    with expected(f"{path} is not a table of item ids"):
        rows = np.loadtxt(existing(path), dtype=np.int64, ndmin=2)
    users, negatives = rows[:, 0], rows[:, 1:]
    names = [*dataset.user_names], [*map(str, range(1, dataset.num_users + 1))]
    if users.astype(str).tolist() not in names:
        raise ValueError(f"the users of {path} are not those of {dataset.name}, nor "
                         f"1…{dataset.num_users}, in its order")
    with expected(f"{path} holds no items, or some that {dataset.name} has not"):
        return np.vectorize(dataset.ids_by_key.__getitem__)(negatives)


def _names(model: S3Rec) -> dict[str, list[str]]:
    """Map each parameter's name to the authors' name or, for stacked projections, names."""
    names = {}
    for ours in model.state_dict():
        theirs = reduce(lambda name, parts: name.replace(*parts), _PARTS.items(), ours)
        if theirs != ours:  # a fifth objective's head is no part of theirs
            pieces = _PROJECTIONS if "query_key_value" in ours else ("query_key_value",)
            names[ours] = [theirs.replace("query_key_value", piece) for piece in pieces]
    return names


def _read(path) -> dict[str, Tensor]:
    with expected(f"{path} is not a file of plain torch tensors, or it is damaged; it was not "
                  f"executed"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = io.BytesIO(existing(path).read_bytes())  # of a damaged file torch cannot seek
        weights = torch.load(content, map_location="cpu", weights_only=True)
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise ValueError(f"{path} holds no dict of tensors: it is not an S3-Rec checkpoint")
    return weights
