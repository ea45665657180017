"""What items are like: attributes as people hold them, read into a table of ones and zeros."""

from collections.abc import Mapping

import pandas as pd
import torch

__all__ = ["attribute_lists", "attribute_table"]


def attribute_lists(attributes, item: str) -> dict[object, list[str]]:
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


def attribute_table(lists, all_keys, keys) -> tuple[torch.Tensor, tuple[str, ...]]:
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
