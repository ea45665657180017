"""Any data that a person could have: the sequences that were written, or a sentence of ours.

The truth is made first, as sequences by name; then it is written in some layout, or spoilt. What is
read is compared with it by name. `make fuzz` takes ten thousand cases, `make test` a few hundred.
"""

import csv
import datetime as dt
import gzip
import io
import json
import re
import tempfile
import traceback
import warnings
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import cases
from hypothesis import assume, given
from hypothesis import strategies as st

from s3rec_mini import SequenceDataset
from s3rec_mini.tools.readers import Reading
from s3rec_mini.tools.sources import open_dataset

# --- what is true --------------------------------------------------------------------------------


def kept(rows, min_count=3):
    """Throw out one offender at a time, until there is none; rows are (user, item, time)."""
    rows = list(rows)
    while True:
        users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        bad = next((row for row in rows if min(users[row[0]], items[row[1]]) < min_count), None)
        if bad is None:
            return rows
        rows.remove(bad)


def sequences(rows):
    """{user: [item, ...]} in time order, ties as they come."""
    found = {}
    for user, item, _ in sorted(kept(rows), key=lambda row: row[2]):
        found.setdefault(user, []).append(item)
    return found


def by_name(data):
    return {user: [data.item_names[item] for item in items]
            for user, items in zip(data.user_names, data.sequences, strict=True)}


def check(rows, read):
    """Read quietly, and compare; None comes back where nothing was left to read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = sequences(rows)
        if not expected:
            with pytest.raises(ValueError, match="nothing is left"):
                read()
            return None
        data = read()
    assert by_name(data) == expected
    return data


def sentence(read):
    """Return what is read, or None where a sentence of this package refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return read()
        except (ValueError, TypeError, OSError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1].filename
            assert "s3rec_mini" in last or isinstance(error, OSError), traceback.format_exc()
            assert re.search(r"\w{3}.* \w", str(error)), repr(error)
            return None


# Keys as people have them, some of which look like other things.
WORDS = ["NA", "None", "null", "nan", "true", "False", "inf", "-", "user", "é", "日本", "a b", "#1",
         "1e3", "1E3", "1000", "01000", "1000.0", "+7", "-7", "007", "7", "0x10", "1_000", "1,5",
         "٣"]
TEXT = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="\x1f"), min_size=1,
               max_size=6)
KEYS = st.one_of(
    st.lists(st.integers(-20, 20_000).map(str), min_size=8, max_size=8, unique=True),
    st.lists(st.integers(0, 2**70).map(str), min_size=8, max_size=8, unique=True),
    st.lists(st.integers(0, 99).map("{:05}".format), min_size=8, max_size=8, unique=True),
    st.lists(st.decimals(-99, 99, places=2).map(str), min_size=8, max_size=8, unique=True),
    st.lists(st.sampled_from(WORDS), min_size=8, max_size=8, unique=True),
    st.lists(st.one_of(TEXT, st.sampled_from(WORDS)), min_size=8, max_size=8, unique=True))
STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 40)), min_size=6,
                 max_size=50)  # user, item, time


@st.composite
def interactions(draw):
    """Rows of keys and whole numbers, many of which survive the core."""
    users, items = draw(KEYS), draw(KEYS)
    rows = draw(STEPS) + [(user, item, 3 * item) for user in range(3) for item in range(3)]
    return [(users[user], items[item], time) for user, item, time in rows]


START = dt.datetime(2023, 1, 15, 22, 30)


def zoned(time):
    """Tell the time in another zone at each step."""
    zone = dt.timezone(dt.timedelta(minutes=30 * (time % 13 - 6)))
    return (START + dt.timedelta(hours=time)).replace(tzinfo=dt.timezone.utc).astimezone(zone)


TIMES = {
    "steps": str, "seconds": lambda t: str(1_700_000_000 + t), "milliseconds": lambda t: f"{t}000",
    "nanoseconds": lambda t: str(1_700_000_000_000_000_000 + t), "negative": lambda t: str(t - 20),
    "fractions": lambda t: f"{t / 8}", "long fractions": lambda t: f"1700000000.{t:09}",
    "exponents": lambda t: f"{t}e{t % 2}" if t % 2 == 0 else f"{t / 10}e1",
    "isoformat": lambda t: (START + dt.timedelta(milliseconds=500 * t)).isoformat(),
    "str": lambda t: str(START + dt.timedelta(days=t)), "zoned": lambda t: zoned(t).isoformat(),
    "Z": lambda t: f"{(START + dt.timedelta(seconds=t)).isoformat()}Z",
    "dates": lambda t: str(START.date() + dt.timedelta(days=t)),
    "UTC": lambda t: f"{START + dt.timedelta(hours=t)} UTC",
}
ORDERED = {  # dates of which each must be read one way, which `Reading` says
    "day-first": lambda t: (START + dt.timedelta(days=t)).strftime("%d.%m.%Y %H:%M"),
    "month-first": lambda t: (START + dt.timedelta(days=t)).strftime("%m/%d/%Y"),
    "%d %b %y": lambda t: (START + dt.timedelta(days=t)).strftime("%d %b %y"),
}
HEADERS = [("user", "item", "timestamp"), ("userId", "movieId", "timestamp"),
           ("user_id:token", "item_id:token", "timestamp:float"), ("visitorid", "itemid", "time"),
           ("reviewerID", "asin", "unixReviewTime"), None]


# --- files ---------------------------------------------------------------------------------------


def written(rows, layout):
    """Write rows of text as the bytes of a file; `layout` says how."""
    order, separator, quoting, ending = (layout[key] for key in ("order", "separator", "quoting",
                                                                 "ending"))
    names = layout["header"] and [*layout["header"], "rating"]
    lines = [names] * bool(names) + [[*row, "4.5"] for row in rows]
    text = io.StringIO()
    if separator == "::":
        text.write("".join("::".join(line[at] for at in order) + ending for line in lines))
    else:
        writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=ending)
        writer.writerows([line[at] for at in order] for line in lines)
    content = text.getvalue().encode(layout["encoding"])
    return gzip.compress(content) if layout["gzip"] else content


@st.composite
def layouts(draw):
    """Choose how a file is written, and what `Reading` has to be told of it."""
    separator = draw(st.sampled_from([",", ";", "\t", "::", "|"]))
    layout = {
        "order": draw(st.permutations(range(4))), "separator": separator,
        "header": draw(st.sampled_from(HEADERS)),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        "ending": draw(st.sampled_from(["\n", "\r\n", "\n\n"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
        "gzip": draw(st.booleans()),
    }
    told = {"min_count": 3, "separator": separator}
    if layout["header"] is None:
        places = {role: layout["order"].index(at) + 1 for at, role in enumerate(
            ("user", "item", "time"))}
        told |= {role: str(place) for role, place in places.items()}
    return layout, told


def fits(rows, layout):
    """Say whether such a file can hold these keys: one with tabs or :: has no quotes."""
    cells = [cell for row in rows for cell in row]
    if layout["separator"] in ("\t", "::"):
        layout["quoting"] = csv.QUOTE_MINIMAL
        return not any(set(cell) & set('"\t:') for cell in cells)
    return True


def reading(content, told, name="shop.csv"):
    """Return what reads these bytes from a file."""

    def read():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            return open_dataset(str(path), None, Reading(**told))

    return read


@cases(60)
@given(interactions(), layouts(), st.sampled_from([*TIMES, *ORDERED]))
def test_a_file_in_any_layout_gives_the_sequences_that_were_written(rows, layout, kind):
    layout, told = layout
    if kind in ORDERED:
        told = {**told, "time_format": kind}
    clock = {**TIMES, **ORDERED}[kind]
    cells = [(user, item, clock(time)) for user, item, time in rows]
    assume(fits(cells, layout))
    # Where both may be read off the first line, they need not be told.
    if layout["separator"] in ("\t", "::") and layout["header"] is not None:
        told.pop("separator")
    check(rows, reading(written(cells, layout), told))


@cases(60)
@given(interactions(), layouts(), st.data())
def test_a_file_with_one_thing_spoilt_is_refused_and_the_line_named(rows, layout, data):
    layout, told = layout
    lines = [[user, item, str(time), "4.5"] for user, item, time in rows]
    assume(fits([line[:3] for line in lines], layout))
    at = data.draw(st.integers(1, len(lines) - 1))
    place = data.draw(st.integers(0, 2))
    kind = data.draw(st.sampled_from(["too many", "too few", "empty", "time"]))
    if kind == "too many":
        lines[at] = [*lines[at], "x"]
    elif kind == "too few":
        lines[at] = lines[at][:3]
    elif kind == "empty":
        lines[at][place] = ""
    else:
        lines[at][2] = data.draw(st.sampled_from(["soon", "now", "1,5", "NaT", "2023-13-45"]))
    # The spoilt row as it is, the others in the order of the layout.
    order, header = layout["order"], layout["header"]
    names = [[*header, "rating"]] if header else []
    text = io.StringIO()
    table = [[line[place] for place in order] if len(line) == 4 else line for line in names + lines]
    if layout["separator"] == "::":
        text.write("\n".join("::".join(line) for line in table))
    else:
        csv.writer(text, delimiter=layout["separator"], lineterminator="\n").writerows(table)
    number = at + 1 + bool(header)
    with pytest.raises(ValueError, match=f"shop.csv, line {number}\\b"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        reading(text.getvalue().encode(), told)()


@cases(60)
@given(interactions(), layouts(), st.data())
def test_a_damaged_file_gives_what_a_plain_reader_finds_or_a_sentence(rows, layout, data):
    """Bytes are changed, left out or put in anywhere; only UTF-8 with commas, which others read."""
    layout, told = layout
    layout |= {"separator": ",", "encoding": "utf-8", "gzip": False, "ending": "\n"}
    told["separator"] = ","
    content = bytearray(written([(user, item, str(time)) for user, item, time in rows], layout))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(st.sampled_from([b"", b",", b'"', b"\n", b"\r", b"7", b"x", b"\xff",
                                           b"\0", b'","', b" ", b";", b"\xef\xbb\xbf"]))
        content[at:at + data.draw(st.integers(0, 2))] = piece
    found = sentence(reading(bytes(content), told))
    if found is None:
        return
    table = [row for row in csv.reader(io.StringIO(content.decode().removeprefix("\ufeff"),
                                                   newline=""), strict=True) if row]
    assert len({len(row) for row in table}) == 1
    order, header = layout["order"], layout["header"]
    places = [order.index(at) for at in range(3)]
    plain = [tuple(row[place] for place in places) for row in table[bool(header):]]
    if not header and not re.search("[0-9]", table[0][places[2]]):
        plain = plain[1:]  # a first line without a number is one, and a warning says so
    rows = [(user, item, Decimal(time.strip(" \t"))) for user, item, time in plain]
    assert by_name(found) == sequences(rows)


@cases(40)
@given(st.binary(max_size=300), st.sampled_from(["x.csv", "x.dat", "x.tsv", "x.inter", "x.csv.gz"]),
       st.booleans())
def test_bytes_of_any_kind_are_a_table_or_a_sentence(content, name, packed):
    sentence(reading(gzip.compress(content)[:-2] if packed else content, {}, name))


# --- frames --------------------------------------------------------------------------------------

FRAME_TIMES = {
    "ints": lambda t: t, "floats": lambda t: t / 8,
    "dates": lambda t: START.date() + dt.timedelta(days=t),
    "Decimals": lambda t: Decimal(t) / 10**20, "datetimes": lambda t: START + dt.timedelta(hours=t),
    "zones": zoned, "Timestamps": lambda t: pd.Timestamp(START) + pd.Timedelta(t, "ns"),
    "timedeltas": lambda t: dt.timedelta(hours=t), "NumPy": np.int32,
}
KINDS = {"text": str, "category": "category", "object": object}
ID_KINDS = {"int64": "int64", "Int64": "Int64", "object": object, "int category": "category"}


@cases(60)
@given(STEPS, st.one_of(KEYS, st.lists(st.integers(-2**62, 2**62), min_size=8, max_size=8,
                                       unique=True)), st.sampled_from(list(FRAME_TIMES)), st.data())
def test_a_frame_of_any_types_gives_the_sequences_it_holds(steps, keys, kind, data):
    kinds = ID_KINDS if isinstance(keys[0], int) else KINDS
    rows = [(keys[user], keys[item], time) for user, item, time in steps]
    frame = pd.DataFrame({"user": [row[0] for row in rows], "item": [row[1] for row in rows]})
    frame = frame.astype({name: kinds[data.draw(st.sampled_from(list(kinds)))] for name in frame})
    frame["timestamp"] = [FRAME_TIMES[kind](row[2]) for row in rows]
    expected = [(str(user), str(item), time) for user, item, time in rows]
    made = check(expected, lambda: SequenceDataset.from_interactions(frame, min_count=3))
    if made:
        names = [row[1] for row in rows if str(row[1]) in made.item_names]
        assert list(made.item_names[1:-1]) == [str(key) for key in sorted(set(names))]


@cases(60)
@given(interactions(), st.data())
def test_a_frame_with_something_wrong_is_refused_in_a_sentence(rows, data):
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    some = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(["user", "item", "timestamp"]))
    wrong = [
        lambda: {"frame": frame.astype({"timestamp": str})},
        lambda: {"frame": frame.assign(**{column: frame[column].where(frame.index != some)})},
        lambda: {"frame": frame.assign(**{column: [1.5] * len(frame)}) if column != "timestamp"
                 else frame.assign(timestamp=[True] * len(frame))},
        lambda: {"frame": frame.drop(columns=column)},
        lambda: {"frame": pd.concat([frame, frame[[column]]], axis=1)},
        lambda: {"frame": frame, "user": "item"}, lambda: {"frame": frame, "user": ["user"]},
        lambda: {"frame": frame.iloc[:0]}, lambda: {"frame": rows},
        lambda: {"frame": frame, "min_count": data.draw(st.sampled_from(
            [2, 0, -1, True, "5", 3.5, float("nan"), None]))},
        lambda: {"frame": frame, "min_items": data.draw(st.sampled_from([0, "2", None, 1.5]))},
        lambda: {"frame": frame, "attributes": data.draw(st.sampled_from(
            [[1], "x", 5, {"a": "x"}, {rows[0][1]: "x"}, {"nowhere": ["x"]}]))},
        lambda: {"frame": frame.assign(**{column: [object() for _ in rows]})},
        lambda: {"frame": frame.assign(**{column: [[1]] * len(rows)})},
    ]
    options = data.draw(st.sampled_from(wrong))()
    options = {"min_count": 3, **options}
    assert sentence(lambda: SequenceDataset.from_interactions(**options)) is None


# --- attributes ----------------------------------------------------------------------------------

VALUES = st.one_of(st.sampled_from(["Action", "Sci-Fi", "Children's", "NA", "None", "1990", "é",
                                    "R&B", "a b", "0.5", "A", "a"]), TEXT)
PLAIN = VALUES.filter(lambda text: not set(text) & set("|;,[](){}'\"\\") and text.strip() == text)


def shown(values, form):
    """Write the values of a cell as people write them."""
    return {"bar": "|".join(values), "list": str(list(values)), "JSON": json.dumps(list(values)),
            "named": " / ".join(values), "NumPy": f"[{' '.join(map(repr, values))}]",
            "objects": list(values), "set": str(set(values)) if values else "{}"}[form]


@cases(60)
@given(st.lists(st.lists(PLAIN, max_size=4, unique=True), min_size=6, max_size=14),
       st.sampled_from(["bar", "list", "JSON", "named", "NumPy", "objects", "set", "rows"]),
       st.integers(1, 3), st.booleans(), st.booleans())
def test_attributes_are_those_that_were_written_in_any_form(lists, form, least, as_file, integers):
    assume(form != "named" or not any("/" in value for own in lists for value in own))
    items = [str(n) if integers else f"i{n}" for n in range(len(lists))]
    rows = [(f"u{user}", item, n) for user in range(3) for n, item in enumerate(items)]
    flags = [str(n % 2) for n in range(len(items))]
    if form == "rows":
        pairs = [(item, value, flag) for item, own, flag in zip(items, lists, flags, strict=True)
                 for value in own or [""]]
    else:
        pairs = [(item, shown(own, form), flag) for item, own, flag in
                 zip(items, lists, flags, strict=True)]
    table = pd.DataFrame([*pairs, ("unsold", pairs[0][1], "1")], columns=["item", "x", "flag"])
    separator = {"bar": "|", "named": "/", "rows": ""}.get(form)
    counts = Counter(value for own in lists for value in own)
    values = {value for value, count in counts.items() if count >= least}

    def read():
        if as_file and form != "objects":
            with tempfile.TemporaryDirectory() as folder:
                shop, goods = Path(folder) / "shop.csv", Path(folder) / "goods.csv"
                pd.DataFrame(rows, columns=["user", "item", "timestamp"]).to_csv(shop, index=False)
                table.to_csv(goods, index=False)
                return open_dataset(str(shop), goods, Reading(
                    min_count=3, list_separator=separator, min_items=least))
        frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
        return SequenceDataset.from_interactions(frame, attributes=table, min_count=3,
                                                 list_separator=separator, min_items=least)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if len(values) >= 10 and len(values) > 0.75 * sum(counts[value] for value in values):
            with pytest.raises(ValueError, match=r"field 'x' has .*, too many to say"):
                read()
            return
        data = read()
    only_flags = values and {value.lower() for value in counts} <= {
        "0", "1", "0.0", "1.0", "n", "y", "no", "yes", "true", "false"}
    assume(not (only_flags and form in ("bar", "named", "rows")))
    assert by_name(data) == sequences(rows)
    flagged = sum(map(int, flags)) >= least
    for item, own, flag in zip(items, lists, flags, strict=True):
        row = data.item_attributes[data.item_names.index(item)].tolist()
        found = {name for name, has in zip(data.attribute_names, row, strict=True) if has}
        wanted = {f"x: {value}" for value in own if value in values}
        assert found == wanted | ({"flag"} if flagged and flag == "1" else set())
