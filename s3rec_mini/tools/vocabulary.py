"""What items and attributes are called: models learn numbers, and must know whose they are."""

import difflib
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
from torch import Tensor

from .files import expected
from .settings import is_a


class Vocabulary(NamedTuple):
    """The names of items 1, 2, … and of attributes 1, 2, …, in the order of their numbers."""

    items: tuple[str, ...]
    attributes: tuple[str, ...]

    @classmethod
    def from_saved(cls, saved, config, path) -> "Vocabulary | None":
        """Make one of what the model file `path` holds, a list of names for each field.

        Without one it warns and returns None. ValueError if it is not of a model with this config.
        """
        if saved is None:
            warnings.warn(f"{path} does not say what its items are called, and only their number "
                          f"is checked: model.save(path, data=data), in Python, names them",
                          stacklevel=3)
            return None
        with expected(f"{path} does not name as many items and attributes as it has: it is "
                      f"damaged, write it again"):
            items, attributes = (tuple(map("".join, names)) for names in saved)
            if (len(items), len(attributes)) != (config.num_items, config.num_attributes):
                raise ValueError(f"{len(items)} and {len(attributes)}")
        return cls(items, attributes)


# ---- from names to numbers


def ids_by_key(names: tuple[str, ...]) -> dict[str | int, int]:
    """Say which id belongs to each name and integer: `SequenceDataset.item_id`, as a dict.

    `names` are of items 1, 2, … Of several with one name the first counts.
    """
    ids: dict[str | int, int] = {}
    for number, name in enumerate(names, start=1):
        ids.setdefault(name, number)
    if all(re.fullmatch(r"0|-?[1-9]\d*", name) for name in names):
        return ids | {int(name): number for name, number in ids.items()}
    numbers = [name for name in ids if re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", name, re.I)]
    if 2 * len(numbers) > len(ids):
        return ids  # "007" and "7" may be two items, and "B7" one beside them: which would 7 be?
    return ids | {number: number for number in range(1, len(names) + 1)}


def find_item(name: str | int, ids: Mapping[str | int, int], dropped: Mapping[str, int],
              source: str) -> int:
    """Look an item up in `ids_by_key`; `dropped` has the counts of those that were left out."""
    if (isinstance(name, str) or is_a(int, name)) and name in ids:
        return ids[name]
    if count := dropped.get(str(name)):
        raise ValueError(f"item {name!r} is not in {source}: with {count} interactions it was "
                         f"dropped by the k-core: min_count= says how many an item needs")
    texts = [key for key in ids if isinstance(key, str)]
    part = str(name).lower()  # "matrix" is not near "Matrix, The (1999)", but part of it
    close = [text for text in texts if part and part in text.lower()][:3]
    close = close or difflib.get_close_matches(str(name), texts)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "none is similar"
    if not isinstance(name, str) and (integers := ids.keys() - set(texts)):
        hint = f"integers stand for items in {min(integers)}..{max(integers)}"
    raise ValueError(f"no item of {source} is called {name!r}: {hint}")


def best_items(scores: Tensor, k: int, data, called: str) -> pd.DataFrame:
    """Return the `k` items of the highest `scores` (num_items + 2,): item, name, and the score."""
    best = scores.topk(k)
    keys = {item: key for key, item in data.ids_by_key.items()}  # an integer, if it has one
    names = [data.item_names[item] for item in best.indices]
    items = [keys.get(item, name) for item, name in zip(best.indices.tolist(), names, strict=True)]
    return pd.DataFrame({"item": items, "name": names, called: best.values.numpy()})


# ---- a model and its data


def check_fit(model, data, kind: str = "items") -> None:
    """Raise ValueError unless items, or attributes, have the numbers that `model` learned them by.

    Of a model that does not know its vocabulary only their count can be compared.
    """
    if not hasattr(data, "vocabulary"):
        raise TypeError(f"the data must be a SequenceDataset, not {type(data).__name__}")
    config, known = getattr(model, "config", None), getattr(model, "vocabulary", None)
    names, own = getattr(data.vocabulary, kind), getattr(known, kind, None)
    if own is None:
        count = getattr(config, f"num_{kind}", len(names))
        if count != len(names):
            raise ValueError(f"the model has {count} {kind}, {data.name} has {len(names)}: make or "
                             f"train one for these data (in Python, ModelConfig.for_dataset(data))")
    elif names != own:
        there = set(own)
        if new := [name for name in names if name not in there]:
            raise ValueError(f"the model does not know {len(new)} of the {len(names)} {kind} of "
                             f"{data.name}, such as {', '.join(map(repr, new[:3]))}: train a model "
                             f"on these data, or leave those {kind} out")
        raise ValueError(f"the model has the {kind} of {data.name} under other numbers, among the "
                         f"{len(own)} that it knows: renumbered(model, data) finds each by name")


def renumbered(model, data):
    """Return a model whose items, found by name, have the numbers that they have in `data`.

    The model may know more than the data have: what is not in the data is left out. So are the
    attributes, if it knows them all; else it keeps its own.

    Parameters
    ----------
    model, data : S3Rec, SequenceDataset
        A model that knows its items, as all do that were pretrained or finetuned.

    Returns
    -------
    S3Rec
        On the same device, in the same mode.

    Raises
    ------
    ValueError
        If the model does not know an item of the data.
    """
    wanted, own = data.vocabulary, model.vocabulary
    if own is None or not set(wanted.items) <= set(own.items):
        check_fit(model, data)
        return model
    if not wanted.attributes or not set(wanted.attributes) <= set(own.attributes):
        wanted = wanted._replace(attributes=own.attributes)
    if wanted == own:
        return model
    if any(len(set(names)) < len(names) for names in own):
        raise ValueError("the model knows several items or attributes by one name, and none can be "
                         "found by it: train a model on these data")
    config = replace(model.config, num_items=len(wanted.items),
                     num_attributes=len(wanted.attributes))
    weights = model.state_dict()
    for table, before, names in zip(("item_embedding", "attribute_embedding"), own, wanted,
                                    strict=True):
        rows = [0, *(pd.Index(before).get_indexer(names) + 1), *[-1] * (table == "item_embedding")]
        weights[f"{table}.weight"] = weights[f"{table}.weight"][rows]
    other = type(model)(config)
    other.load_state_dict(weights)
    other.vocabulary = wanted
    return other.to(model.device).train(model.training)
