"""What items are like: attributes as people hold them, read into the table of ones and zeros.

A frame's columns are fields. A column of flags, 0 and 1 or no and yes, is one attribute of its own
name; of any other each value is one, "field: value". A cell may hold several: as a list, as the
text of one, ``['a', 'b']``, or with a mark such as '|' or ',' between them. A warning says what was
found.
"""

import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress

import pandas as pd
import torch

from .checks import check_count

NO, YES = {"0", "0.0", "false", "f", "no", "n"}, {"1", "1.0", "true", "t", "yes", "y"}
LIST = re.compile(r"(?s)(?!.*\w['\"]\s*:)(\[.*\]|\{.*\}|\(['\"].*\))")  # and no dict
PART = re.compile(r"""u?'((?:[^'\\]|\\.)*)'|u?"((?:[^"\\]|\\.)*)"|"""
                  r"""([^\s,'"\[\](){}](?:\([^()]*\)|[^,\[\](){}])*)""")
MOST_BYTES = 2**31


def attribute_lists(attributes, item: str, list_separator: str | None = None) -> dict:
    """Bring attributes in any form that `from_interactions` takes to {item key: [name, ...]}."""
    if isinstance(attributes, pd.DataFrame):
        if item not in attributes.columns:
            raise ValueError(f"attributes have no column {item!r}, only {list(attributes.columns)}")
        if attributes[item].isna().any() or not attributes.columns.is_unique:
            raise ValueError("attributes need an item in every row, and columns of several names")
        lists = {key: [] for key in attributes[item]}
        for field in attributes.columns.drop(item):  # by column: a row would mix the types
            names = _names(attributes[field], list_separator)
            for key, own in zip(attributes[item], names, strict=True):
                lists[key] += own
        return lists
    attributes = {} if attributes is None else attributes
    if not isinstance(attributes, Mapping):
        raise TypeError(f"attributes must be a mapping or a DataFrame, not {type(attributes)}")
    for key, values in attributes.items():
        # Text is not: list("Drama") has five attributes. Nor is a dict, which would give its keys.
        if not pd.api.types.is_list_like(values) or isinstance(values, Mapping):
            raise ValueError(f"the attributes of item {key!r} must be a list, not {values!r}")
    return {key: [value for value in _values(values, f"of item {key!r}") if value]
            for key, values in attributes.items()}


def _names(column: pd.Series, separator: str | None) -> list[list[str]]:
    """Return the attributes of each cell."""
    listed = any(map(pd.api.types.is_list_like, column))
    cells = [list(_values(cell, column.name)) for cell in column]
    texts = sorted({text for cell in cells for text in cell if text})
    words = {text.lower() for text in texts} - {"null", "nan", "none", "na", "\\n"}
    if not listed and words and words <= NO | YES:
        return [[str(column.name) for text in cell if text.lower() in YES] for cell in cells]
    part = _parting(column.name, texts, "" if listed else separator)
    return [[f"{column.name}: {value.strip()}" for text in cell for value in part(text)
             if value.strip()] for cell in cells]


def _values(cell, field) -> Iterator[str]:
    """Yield what a cell holds, of lists in lists too, as text."""
    if isinstance(cell, Mapping):
        raise ValueError(f"field {field!r} holds pairs, such as {cell!r}: leave lists of values")
    if pd.api.types.is_list_like(cell):
        for each in cell:
            yield from _values(each, field)
    elif not pd.isna(cell):
        yield str(cell).strip()


def _parting(field, texts: list[str], mark: str | None):
    """Return what parts a text into the values that it lists, by `mark` or as is found here."""
    mark = None if mark and not any(mark in text for text in texts) else mark
    if mark is None and sum(map(bool, map(LIST.fullmatch, texts))) > len(texts) / 2:
        return lambda text: _listed(text) if LIST.fullmatch(text) else [text]
    mark = _mark(field, texts) if mark is None else mark
    return lambda text: text.split(mark) if mark else [text]


def _listed(text: str) -> list[str]:
    """Read the values of a list that was written as text."""
    if re.fullmatch(r"\[[\s0-9.+e-]*\]", text):  # NumPy's
        return text[1:-1].split()
    with suppress(ValueError, RecursionError):
        values = [value for value in json.loads(text) if value is not None]
        if all(isinstance(value, str) for value in values):
            return values
    return [found[2] or "".join(found).encode("latin-1", "backslashreplace").decode(
                "unicode_escape", "replace") for found in PART.findall(text)
            if found[2].strip().lower() not in ("none", "null", "nan")]


def _mark(field, texts: list[str]) -> str:
    """Find what stands between the values in a text, "" where each text is one value."""
    for mark in "|;,/>&":
        parts = {part.strip() for text in texts for part in text.split(mark)}
        varying = len({text.count(mark) for text in texts}) > 1  # not so in "Last, First"
        words = (any(re.search(r"[^\W\d]", part) for part in parts)  # not so in "2,50"
                 and not any(re.search(rf"^[\[{{(]|\d[{mark}]\d", text) for text in texts))  # dicts
        parted = mark == "|" or (varying and words and len(parts) < len(texts))
        example = next((text for text in texts if mark in text), None)
        if example:
            how = "as lists, with {!r} between values" if parted else "as it is, {!r} and all"
            warnings.warn(f"field {field!r} is read {how.format(mark)}, such as {example!r}; "
                          "list_separator= says otherwise", stacklevel=6)
            if parted:
                return mark
    return ""


def attribute_table(lists, all_keys, keys, min_items=1) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Fill the items' multi-hot table, (items + 2, attributes + 1), and name its columns.

    What fewer than `min_items` of the items `keys` have is left out, and so are lists of items that
    are not among `all_keys`, with a warning. ValueError if those are all the lists, if a field has
    nearly as many values as items, or if the table would not fit in memory.
    """
    check_count("min_items", min_items, least=1)
    known = set(all_keys)
    unknown = [key for key in lists if key not in known]
    if unknown and len(unknown) == len(lists):
        theirs, ours = type(unknown[0]).__name__, type(keys[0]).__name__
        raise ValueError(f"none of the {len(unknown):,} items with attributes has interactions: is "
                         f"it the type, or how they are written? These are {theirs}, such as "
                         f"{unknown[:3]}, those with interactions {ours}, such as {keys[:3]}")
    if unknown:
        warnings.warn(f"{len(unknown):,} of the {len(lists):,} items with attributes have no "
                      f"interactions, e.g. {unknown[:3]}: they are left out", stacklevel=3)
    counts = Counter(name for key in keys for name in set(lists.get(key, ())))
    names = sorted(name for name, count in counts.items() if count >= min_items)
    fields = defaultdict(list)
    for name in names:
        fields[name.partition(": ")[0] if ": " in name else ""].append(counts[name])
    for field, own in fields.items():
        if len(own) >= 10 and len(own) > 0.75 * sum(own):
            raise ValueError(f"field {field!r} has {len(own):,} values in {sum(own):,} cells, too "
                             "many to say what items share: leave its column out (of fields= in "
                             "files), cut it into ranges, or keep common values with min_items=2")
    if (len(keys) + 2) * (len(names) + 1) > MOST_BYTES:
        raise ValueError(f"a table of {len(keys):,} items and {len(names):,} attributes would not "
                         "fit in memory: leave out rare ones with min_items=")
    column = {name: number for number, name in enumerate(names, start=1)}
    table = torch.zeros(len(keys) + 2, len(names) + 1, dtype=torch.uint8)
    for row, key in enumerate(keys, start=1):  # said twice is still 1
        table[row, [column[name] for name in lists.get(key, ()) if name in column]] = 1
    return table, ("[padding]", *names)


def attribute_report(data) -> str:
    """Say of each field how many values it has, and its five most common with their items.

    The last line says how many items have no attribute.
    """
    fields = defaultdict(list)
    counts = data.item_attributes.sum(0, dtype=torch.int64).tolist()
    for name, items in list(zip(data.attribute_names, counts, strict=True))[1:]:
        field, colon, value = name.partition(": ")
        fields[field if colon else "without a field"].append((-items, value or name))
    lines = [f"{field}: {len(own):,} values, "
             + ", ".join(f"{value} ({-items:,})" for items, value in sorted(own)[:5])
             for field, own in fields.items()]
    bare = int((data.item_attributes[1:-1].sum(1) == 0).sum())
    return "\n".join([*lines, f"{bare:,} of {data.num_items:,} items have no attribute"])
