"""Data: what goes in comes out in order, and what is wrong is refused with a sentence."""

import csv
import gc
import gzip
import hashlib
import http.server
import json
import math
import os
import subprocess
import sys
import threading
import warnings
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from importlib import resources
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3rec_mini import (
    SequenceDataset,
    load_dataset,
    movielens_interactions,
    planted_structure,
)
from s3rec_mini.tools import sources

needs_the_authors_files = pytest.mark.skipif(
    not os.environ.get("S3REC_DATA"), reason="S3REC_DATA names no folder with the authors' files")


def small(**changes):
    """Two users, four items, two attributes."""
    table = torch.zeros(6, 3, dtype=torch.uint8)
    table[1, 1] = table[2, 2] = table[4, 1] = table[4, 2] = 1
    fields = {
        "name": "small",
        "sequences": (np.array([1, 2, 3, 4]), np.array([4, 4, 2])),
        "item_attributes": table,
        "item_names": ("[padding]", "Alien (1979)", "Aliens (1986)", "Brazil (1985)", "Up (2009)",
                       "[mask]"),
        "attribute_names": ("[padding]", "horror", "comedy"),
        "user_names": ("ann", "bob"),
    }
    return SequenceDataset(**{**fields, **changes})


def table_with(*cells, value=1, shape=(6, 3), dtype=torch.uint8):
    table = torch.zeros(shape, dtype=dtype)
    for cell in cells:
        table[cell] = value
    return table


def interactions(*rows):
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


def three_by_three(**columns):
    """Three users who chose items "a", "b", "c" in that order."""
    frame = interactions(*[(u, i, t) for u in range(3) for t, i in enumerate("abc")])
    return frame.assign(**columns)


def attributes_of(data):
    """{item name: {attribute names}}, read off the table cell by cell."""
    table, names = data.item_attributes.tolist(), data.attribute_names
    return {data.item_names[i]: {names[a] for a, has in enumerate(table[i]) if has}
            for i in range(1, data.num_items + 1)}


def by_name(data):
    """{user name: [item names]}."""
    return {user: [data.item_names[i] for i in sequence]
            for user, sequence in zip(data.user_names, data.sequences, strict=True)}


# --- SequenceDataset -----------------------------------------------------------------------------


def test_counts_and_the_mask_follow_from_the_table():
    data = small()
    assert (data.num_users, data.num_items, data.num_attributes, data.mask_id) == (2, 4, 2, 5)
    assert data.item_names[data.mask_id] == "[mask]"
    assert len(repr(data)) < 120 and "7 interactions" in repr(data)


def test_sequences_are_a_read_only_int64_copy():
    mine = np.array([1, 2, 3], dtype=np.int16)
    data = small(sequences=[mine, [3, 2, 1]])
    mine[:] = 4
    assert [s.tolist() for s in data.sequences] == [[1, 2, 3], [3, 2, 1]]
    assert all(s.dtype == np.int64 for s in data.sequences)
    for view in (*data.sequences, *data.training_sequences, *data.held_out("test")[0]):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1


@pytest.mark.parametrize(("changes", "message"), [
    ({"sequences": (), "user_names": ()}, "one or more users"),
    ({"sequences": ([1, 2, 3], [])}, r"user 'bob'.*shape \(0,\).*leave such users out"),
    ({"sequences": ([1, 2, 3], [1])}, r"user 'bob'.*shape \(1,\).*train on, validate and test"),
    ({"sequences": ([1, 2], [1, 2, 3])}, r"user 'ann'.*shape \(2,\)"),
    ({"sequences": ([[1, 2, 3]], [1, 2, 3])}, r"user 'ann'.*shape \(1, 3\)"),
    ({"sequences": ([1, 2, 3], [1, 2, np.nan])}, "user 'bob'.*float64, not of integers"),
    ({"sequences": ([1, 2, 3], ["1", "2", "3"])}, "user 'bob'.*not of integers"),
    ({"sequences": ([1, 2, 3], [1, 2, 5])}, "user 'bob' has item id 5 at position 2, outside 1..4"),
    ({"sequences": ([1, 0, 3], [1, 2, 5])}, "user 'ann' has item id 0 at position 1, outside 1..4"),
    ({"sequences": ([1, 2, 3], [-1, 2, 3])}, r"user 'bob' has item id -1 at position 0"),
    ({"item_attributes": table_with(dtype=torch.float32)}, "torch.uint8.*float32"),
    ({"item_attributes": np.zeros((6, 3), np.uint8)}, "must be a torch.uint8 tensor"),
    ({"item_attributes": table_with(shape=(6,))}, r"not .*\[6\]"),
    ({"item_attributes": table_with(shape=(2, 3))}, "with an item or more"),
    ({"item_attributes": table_with(shape=(6, 3)).to("meta")}, "on the CPU.*meta"),
    ({"item_attributes": table_with((0, 1))}, "only 0 in row 0"),
    ({"item_attributes": table_with((5, 1))}, r"last row \(mask\)"),
    ({"item_attributes": table_with((1, 0))}, "column 0"),
    ({"item_attributes": table_with((1, 1), value=2)}, "must hold 0 and 1"),
    ({"item_attributes": table_with(shape=(7, 3))}, "item_names must hold 7 names.*not 6"),
    ({"attribute_names": ("[padding]", "horror")}, "attribute_names must hold 3 names.*not 2"),
    ({"user_names": ("ann", "bob", "eve")}, "user_names must hold 2 names.*not 3"),
])
def test_a_malformed_dataset_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_held_out_items_are_the_last_two_and_histories_what_came_before():
    data, _ = planted_structure(num_users=50, lengths=(3, 9))
    for split, back in [("validation", 2), ("test", 1)]:
        histories, targets = data.held_out(split)
        assert targets.dtype == np.int64 and targets.shape == (50,)
        for user in range(50):
            whole = data.sequences[user].tolist()
            assert histories[user].tolist() + whole[len(whole) - back:] == whole
            assert targets[user] == whole[len(whole) - back]


def test_the_future_never_reaches_a_training_sequence():
    data, _ = planted_structure(num_users=50, lengths=(3, 9))
    other = [np.concatenate([s[:-2], s[-2:] % data.num_items + 1]) for s in data.sequences]
    changed = SequenceDataset("changed", other, data.item_attributes, data.item_names,
                              data.attribute_names, data.user_names)
    assert all((a[-2:] != b[-2:]).all() for a, b in zip(data.sequences, other, strict=True))
    assert all(np.array_equal(a, b) for a, b in
               zip(data.training_sequences, changed.training_sequences, strict=True))


@pytest.mark.parametrize("split", ["train", "Test", None, 1])
def test_an_unknown_split_is_refused(split):
    with pytest.raises(ValueError, match='must be "validation" or "test"'):
        small().held_out(split)


def test_item_id_inverts_item_names():
    data = small()
    assert [data.item_id(name) for name in data.item_names[1:-1]] == [1, 2, 3, 4]


@pytest.mark.parametrize(("name", "hint"), [
    ("alien", "did you mean 'Alien (1979)' or 'Aliens (1986)'"),
    ("Brasil (1985)", "did you mean 'Brazil (1985)'"),
    ("qqqqqqq", "none is similar"),
    ("[mask]", "none is similar"),
    ("[padding]", "none is similar"),
])
def test_an_unknown_title_is_answered_with_similar_ones(name, hint):
    with pytest.raises(ValueError) as caught:
        small().item_id(name)
    assert hint in str(caught.value) and repr(name) in str(caught.value)


def test_of_two_items_with_one_name_the_first_is_meant():
    assert small(item_names=("[padding]", "Up", "It", "It", "Up", "[mask]")).item_id("It") == 2


def test_a_subset_keeps_the_items_and_the_order_asked_for():
    data, _ = planted_structure(num_users=9)
    part = data.subset(np.array([5, 2]))
    assert by_name(part) == {"user 6": by_name(data)["user 6"], "user 3": by_name(data)["user 3"]}
    assert part.user_names == ("user 6", "user 3")
    assert part.num_items == data.num_items and part.item_attributes is data.item_attributes
    assert len(part.training_sequences) == 2


@pytest.mark.parametrize(
    "users", [[], np.arange(0), [2], [-1], [0.0], [True, False], [[0]], 0, ["ann"]])
def test_a_subset_of_what_is_not_there_is_refused(users):
    with pytest.raises(ValueError, match=r"indices in 0..1"):
        small().subset(users)


def test_the_fingerprint_sees_all_that_training_depends_on_and_nothing_else():
    whole = small().fingerprint
    assert whole == small(name="x", user_names=("x", "y")).fingerprint
    assert len(whole) == 64 and int(whole, 16)
    others = [
        small(sequences=([1, 2, 3, 3], [4, 4, 2])),
        small(sequences=([4, 4, 2], [1, 2, 3, 4])),
        small(sequences=([1, 2, 3], [4, 4, 4, 2])),  # the same items in a row, cut elsewhere
        small(item_attributes=table_with((1, 1))),
        small(item_attributes=table_with((1, 2))),
    ]
    assert len({whole, *(other.fingerprint for other in others)}) == 6


def test_the_fingerprint_is_the_same_on_every_machine():
    assert small().fingerprint == small(sequences=(
        np.array([1, 2, 3, 4], dtype=">i4"), np.array([4, 4, 2], dtype=np.uint8))).fingerprint
    text = hashlib.sha256()
    for numbers in ([6, 3], [4, 3], [1, 2, 3, 4], [4, 4, 2]):
        for number in numbers:
            text.update(number.to_bytes(8, "little"))
    text.update(bytes([0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0]))
    assert small().fingerprint == text.hexdigest()


# --- from_interactions ---------------------------------------------------------------------------


def slow_core(rows, min_count):
    """Throw out one offender at a time, until there is none."""
    rows = list(rows)
    while True:
        users, items = Counter(r[0] for r in rows), Counter(r[1] for r in rows)
        bad = next((r for r in rows if min(users[r[0]], items[r[1]]) < min_count), None)
        if bad is None:
            return rows
        rows.remove(bad)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 9)), min_size=1,
                max_size=60), st.integers(3, 5))
def test_any_table_becomes_the_sequences_that_a_slow_loop_finds(rows, min_count):
    expected = defaultdict(list)
    for user, item, _ in sorted(slow_core(rows, min_count), key=lambda row: row[2]):
        expected[str(user)].append(str(item))
    if not expected:
        with pytest.raises(ValueError, match="nothing is left"):
            SequenceDataset.from_interactions(interactions(*rows), min_count=min_count)
        return
    data = SequenceDataset.from_interactions(interactions(*rows), min_count=min_count)
    assert by_name(data) == expected
    assert data.user_names == tuple(sorted(expected))
    assert data.item_names[1:-1] == tuple(sorted({i for items in expected.values() for i in items}))


def test_rows_in_any_order_give_the_same_dataset():
    frame = movielens_interactions().query("userId < 60").drop_duplicates(["userId", "timestamp"])
    columns = {"user": "userId", "item": "movieId", "min_count": 3}
    shuffled = frame.sample(frac=1, random_state=0)
    assert not shuffled["timestamp"].is_monotonic_increasing
    assert (SequenceDataset.from_interactions(shuffled, **columns).fingerprint
            == SequenceDataset.from_interactions(frame, **columns).fingerprint)


def test_equal_times_keep_the_order_of_the_frame():
    frame = three_by_three(timestamp=7).iloc[[2, 0, 1, 5, 3, 4, 6, 7, 8]]
    data = SequenceDataset.from_interactions(frame, min_count=3)
    assert by_name(data) == {"0": ["c", "a", "b"], "1": ["c", "a", "b"], "2": ["a", "b", "c"]}


@pytest.mark.parametrize("times", [
    pd.to_datetime(["2020-10-01", "2020-09-01", "2020-11-01"]),
    pd.to_datetime(["2020-10-01", "2020-09-01", "2020-11-01"]).tz_localize("Europe/Berlin"),
    [10.5, 9.25, 11.0],
    pd.array([10, 9, 11], dtype="Int64"),
    [Decimal("10.000000000000000002"), Decimal("10.000000000000000001"), Decimal(11)],
    [date(2020, 10, 1), date(2020, 9, 1), date(2020, 11, 1)],
    [datetime(2020, 1, 1, 9, tzinfo=timezone(timedelta(hours=h))) for h in (2, 3, -4)],
    pd.to_timedelta([10, 9, 11], unit="D"),
])
def test_times_may_be_numbers_or_datetimes(times):
    frame = three_by_three(timestamp=pd.Series(list(times) * 3))
    data = SequenceDataset.from_interactions(frame, min_count=3)
    assert set(map(tuple, by_name(data).values())) == {("b", "a", "c")}


def test_keys_may_be_of_any_one_type_and_columns_of_any_name():
    frame = three_by_three().rename(columns={"user": "who", "item": "what", "timestamp": "when"})
    for what in (frame["what"].astype("category"), frame["what"].astype(object),
                 frame["what"].map({k: (k, 1) for k in "abc"}),
                 pd.to_datetime(frame["what"].map({"a": "1999", "b": "2000", "c": "2001"}))):
        data = SequenceDataset.from_interactions(
            frame.assign(what=what), "who", "what", "when", min_count=3)
        assert [s.tolist() for s in data.sequences] == [[1, 2, 3]] * 3


def test_numbers_sort_as_numbers_not_as_text():
    frame = three_by_three(item=[9, 10, 11] * 3)
    data = SequenceDataset.from_interactions(frame, min_count=3)
    assert data.item_names == ("[padding]", "9", "10", "11", "[mask]")


def test_a_repeated_item_stays():
    frame = three_by_three(item=["a", "b", "a"] * 3)
    data = SequenceDataset.from_interactions(frame, min_count=3)
    assert by_name(data)["0"] == ["a", "b", "a"]


def test_the_callers_frames_are_not_modified():
    frame = three_by_three().iloc[::-1]
    attributes = pd.DataFrame({"item": list("abc"), "genre": ["x", None, "y"]})
    before = frame.copy(), attributes.copy()
    SequenceDataset.from_interactions(frame, attributes=attributes, min_count=3)
    pd.testing.assert_frame_equal(frame, before[0])
    pd.testing.assert_frame_equal(attributes, before[1])


@pytest.mark.parametrize(("frame", "options", "message"), [
    (three_by_three(), {"user": "who"}, r"no column 'who', only \['user', 'item', 'timestamp'\]"),
    (three_by_three(), {"time": "when"}, "no column 'when'.*time="),
    (three_by_three(), {"item": ["item"]}, r"no column \['item'\], only"),
    (three_by_three().iloc[:0], {}, "no rows"),
    (three_by_three(user=[0, 0, None] * 3), {}, r"'user' lacks 3 values.*dropna\(subset=\['user'"),
    (three_by_three(item=["a", None, "c"] * 3), {}, "'item' lacks 3 values"),
    (three_by_three(timestamp=[1.0, math.nan, 2.0] * 3), {}, "'timestamp' lacks 3 values"),
    (three_by_three(item=["a", "", "c"] * 3), {}, "'item' lacks 3 values.*, empty text too"),
    (three_by_three(timestamp=pd.Series([1.0, 2, 3] * 3, dtype="float32")), {},
     "'timestamp' is float32, too short for times: take int64"),
    (three_by_three(timestamp=["10", "9", "11"] * 3), {}, "'timestamp' is .*pd.to_datetime"),
    (three_by_three(timestamp=[True, False, True] * 3), {}, "'timestamp' is boolean"),
    (three_by_three(timestamp=[date(2020, 1, 1), datetime(2020, 1, 2), date(2020, 1, 3)] * 3), {},
     "times in column 'timestamp' do not sort"),
    (three_by_three(item=["a", 1, "b"] * 3), {}, "'item' holds mixed-integer keys, such as a"),
    (three_by_three(item=pd.Series([1, True, 2] * 3, dtype=object)), {}, "mixed-integer keys"),
    (three_by_three(item=[("a", 1), "a", "b"] * 3), {}, r"'item' do not sort.*astype\(str\)"),
    (three_by_three(user=pd.Series([[1]] * 9)), {}, "'user' do not sort"),
    (three_by_three(item=[12000.0, 2.0, 3.0] * 3), {}, "floating keys, such as 12000.0.*dtype=str"),
    (three_by_three(item=pd.Series([1.0, 2.0, 3.5] * 3).astype("category")), {}, "floating keys"),
    (three_by_three(user=pd.array([1.0, 2.0, 3.0] * 3, dtype="Float64")), {}, "floating keys"),
    (three_by_three(user=[True] * 9), {}, "'user' holds boolean keys"),
    (three_by_three(), {"user": "item"}, "'item' is there, or meant, more than once"),
    (three_by_three(), {"min_count": 2}, "min_count must be a whole number of at least 3, not 2"),
    (three_by_three(), {"min_count": True}, "min_count must be a whole number.*not True"),
    (three_by_three(), {"min_count": "5"}, "min_count must be a whole number.*not '5'"),
    (three_by_three(), {"min_count": 4}, "9 interactions, 3 users and 3 items nothing is left.*4"),
])
def test_a_bad_table_is_refused_with_what_to_do(frame, options, message):
    with pytest.raises(ValueError, match=message):
        SequenceDataset.from_interactions(frame, **{"min_count": 3, **options})


def test_a_table_that_is_no_frame_is_refused():
    with pytest.raises(TypeError, match="must be a pandas DataFrame, not dict"):
        SequenceDataset.from_interactions({"user": [1]})
    with pytest.raises(TypeError, match="attributes must be a mapping or a DataFrame"):
        SequenceDataset.from_interactions(three_by_three(), attributes=[["x"]], min_count=3)


def test_attributes_from_a_mapping():
    data = SequenceDataset.from_interactions(
        three_by_three(), attributes={"a": ["y", "x", "x"], "c": ("y", 3, math.nan), "b": []},
        min_count=3)
    assert data.attribute_names == ("[padding]", "3", "x", "y")
    assert attributes_of(data) == {"a": {"x", "y"}, "b": set(), "c": {"3", "y"}}
    assert data.item_attributes.dtype == torch.uint8 and data.item_attributes.max() == 1


def test_attributes_from_a_frame_with_several_fields_and_rows():
    attributes = pd.DataFrame({
        "item": ["c", "a", "a", "b"], "genre": ["Drama", "Drama", "War", None],
        "year": [1990, 1990, 1990, 2000], "stars": [math.nan, 2.5, 2.5, math.nan]})
    data = SequenceDataset.from_interactions(three_by_three(), attributes=attributes, min_count=3)
    assert attributes_of(data) == {
        "a": {"genre: Drama", "genre: War", "year: 1990", "stars: 2.5"},
        "b": {"year: 2000"}, "c": {"genre: Drama", "year: 1990"}}
    assert list(data.attribute_names[1:]) == sorted(data.attribute_names[1:])


@pytest.mark.parametrize("attributes", [None, {}, {"a": []}, pd.DataFrame({"item": ["a"]})])
def test_a_dataset_may_have_no_attributes(attributes):
    data = SequenceDataset.from_interactions(three_by_three(), attributes=attributes, min_count=3)
    assert data.num_attributes == 0 and data.item_attributes.shape == (5, 1)
    assert data.attribute_names == ("[padding]",)


def test_attributes_of_items_that_fell_to_the_core_are_left_out():
    frame = pd.concat([three_by_three(), interactions((0, "rare", 9))])
    data = SequenceDataset.from_interactions(
        frame, attributes={"rare": ["only here"], "a": ["x"]}, min_count=3)
    assert data.attribute_names == ("[padding]", "x") and "rare" not in data.item_names


@pytest.mark.parametrize(("attributes", "message"), [
    ({"a": "Drama"}, "attributes of item 'a' must be a list, not 'Drama'"),
    ({"a": 5}, "must be a list, not 5"),
    ({"zz": ["x"], 7: []}, r"none of the 2 items with attributes.*type.*\['zz', 7\]"),
    ({1: ["x"]}, r"These are int, such as \[1\], those with interactions str, such as \['a', 'b'"),
    (pd.DataFrame({"film": ["a"], "genre": ["x"]}), r"no column 'item'.*\['film', 'genre'\]"),
    (pd.DataFrame({"item": ["a", None], "genre": ["x", "y"]}), "need an item in every row"),
])
def test_bad_attributes_are_refused_with_what_to_do(attributes, message):
    with pytest.raises(ValueError, match=message):
        SequenceDataset.from_interactions(three_by_three(), attributes=attributes, min_count=3)


# --- MovieLens -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def movielens():
    return load_dataset("movielens-small")


@pytest.fixture(scope="module")
def movielens_rows():
    """The 5-core by plain loops over the file: (user, time, movie, row), in order."""
    file = resources.files("s3rec_mini") / "data" / "movielens-small.csv.gz"
    with file.open("rb") as raw, gzip.open(raw, "rt", encoding="utf-8", newline="") as stream:
        rows = [(int(r["userId"]), int(r["timestamp"]), int(r["movieId"]), r)
                for r in csv.DictReader(stream) if r["title"]]
    assert len(rows) == 100_004 - 7
    while True:
        users, movies = Counter(r[0] for r in rows), Counter(r[2] for r in rows)
        kept = [r for r in rows if users[r[0]] >= 5 and movies[r[2]] >= 5]
        if len(kept) == len(rows):
            return sorted(rows, key=lambda r: r[:3])
        rows = kept


def title(row):
    return f"{row['title']} ({int(float(row['year']))})"


def test_movielens_has_the_known_size(movielens):
    assert (movielens.num_users, movielens.num_items) == (671, 3_496)
    assert sum(map(len, movielens.sequences)) == 90_072
    assert sum(min(len(s) - 2, 50) for s in movielens.sequences) == 28_089
    assert len(set(movielens.item_names)) == 3_498


def test_the_ratings_behind_movielens_are_all_titled_and_in_order():
    frame = movielens_interactions()
    assert len(frame) == 100_004 - 7 and frame.notna().all(axis=None)
    order = list(zip(frame["timestamp"], frame["movieId"], strict=True))
    assert order == sorted(order) and frame["year"].dtype == int


def test_movielens_sequences_are_those_of_a_plain_loop(movielens, movielens_rows):
    expected = defaultdict(list)
    for user, _, _, row in movielens_rows:
        expected[str(user)].append(title(row))
    assert by_name(movielens) == expected


def test_movielens_attributes_are_genres_and_decade(movielens, movielens_rows):
    expected = {}
    for *_, row in movielens_rows:
        genres = {f"genre: {g}" for g in row["genres"].split("|") if g != "(no genres listed)"}
        expected[title(row)] = genres | {f"decade: {row['year'][:3]}0s"}
    assert attributes_of(movielens) == expected
    assert expected["Toy Story (1995)"] >= {"genre: Animation", "decade: 1990s"}


def test_movielens_ships_with_its_terms():
    folder = resources.files("s3rec_mini") / "data"
    terms = (folder / "movielens-small.LICENSE.md").read_text(encoding="utf-8")
    for part in ("commercial or revenue-bearing", "under these same\n  license conditions",
                 "endorsement", "10.1145/2827872"):
        assert part in terms


# --- The authors' datasets -----------------------------------------------------------------------


@needs_the_authors_files
@pytest.mark.parametrize(("name", "users", "items", "total", "attributes", "prefixes"), [
    ("LastFM", 1_090, 3_646, 52_551, 388, 25_726),
    ("Beauty", 22_363, 12_101, 198_502, 637, 150_258),
    ("Toys_and_Games", 19_412, 11_924, 167_597, 1_027, 125_896),
    ("Sports_and_Outdoors", 35_598, 18_357, 296_337, 2_277, 223_464),
    ("Yelp", 30_431, 20_033, 316_354, 1_001, 247_854),
])
def test_the_authors_datasets_have_their_published_size(
        name, users, items, total, attributes, prefixes):
    data = load_dataset(name)
    assert (data.num_users, data.num_items, data.num_attributes) == (users, items, attributes)
    assert sum(map(len, data.sequences)) == total
    assert sum(min(len(s) - 2, 50) for s in data.sequences) == prefixes


@needs_the_authors_files
def test_lastfm_keeps_the_authors_ids():
    data, folder = load_dataset("LastFM"), os.environ["S3REC_DATA"]
    with open(os.path.join(folder, "LastFM.txt")) as lines:
        for number, line in enumerate(lines):
            user, *items = map(int, line.split())
            assert data.sequences[number].tolist() == items
            assert data.user_names[number] == f"user {user}"
    with open(os.path.join(folder, "LastFM_item2attributes.json")) as file:
        for item, ids in json.load(file).items():
            assert data.item_attributes[int(item)].nonzero().flatten().tolist() == sorted(set(ids))
    assert data.item_names[17] == "item 17" and data.attribute_names[5] == "attribute 5"


TOY = {"LastFM.txt": b"1 1 2 3\n2 3 2 1 3\n",
       "LastFM_item2attributes.json": b'{"1": [1, 2, 2], "2": [], "3": [4]}'}


@pytest.fixture
def toy(monkeypatch):
    """Let two tiny files pass for the authors' LastFM, whatever the environment says."""
    monkeypatch.delenv("S3REC_DATA", raising=False)
    for file, text in TOY.items():
        monkeypatch.setitem(sources._SHA256, file, hashlib.sha256(text).hexdigest())


def write(folder, files=TOY):
    for file, text in files.items():
        (folder / file).write_bytes(text)


def assert_is_toy(data):
    assert by_name(data) == {"user 1": ["item 1", "item 2", "item 3"],
                             "user 2": ["item 3", "item 2", "item 1", "item 3"]}
    assert data.item_attributes.tolist() == [
        [0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]


def test_the_authors_files_are_read_from_a_folder(toy, tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr(sources, "_download", None)  # reading a folder never downloads
    assert_is_toy(load_dataset("LastFM", folder=tmp_path))
    monkeypatch.setenv("S3REC_DATA", str(tmp_path))
    assert_is_toy(load_dataset("LastFM"))


def test_a_folder_named_in_the_call_wins_over_the_environment(toy, tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setenv("S3REC_DATA", str(tmp_path / "elsewhere"))
    assert_is_toy(load_dataset("LastFM", folder=tmp_path))


@pytest.mark.parametrize("gone", list(TOY))
def test_a_file_missing_from_the_folder_is_named(toy, tmp_path, gone):
    write(tmp_path)
    (tmp_path / gone).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_dataset("LastFM", folder=tmp_path)
    assert gone in str(caught.value) and str(tmp_path) in str(caught.value)
    assert "put it there" in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"1 1 2\n", TOY["LastFM.txt"][:-1], b"\x00\xff"])
def test_a_file_of_another_content_is_refused_before_it_is_parsed(toy, tmp_path, text):
    write(tmp_path)
    write(tmp_path, {"LastFM.txt": text})
    with pytest.raises(ValueError, match=r"LastFM.txt is corrupt or another version.*replace it"):
        load_dataset("LastFM", folder=tmp_path)


@pytest.mark.parametrize(("name", "hint"), [
    ("Beuty", "Did you mean 'Beauty'?"), ("lastfm", "Did you mean 'LastFM'?"),
    ("movielens", "Did you mean 'movielens-small'?"), ("", "Sports_and_Outdoors, Yelp."),
    (None, "only movielens-small, LastFM, Beauty, Toys_and_Games")])
def test_an_unknown_dataset_is_answered_with_the_known_ones(name, hint):
    with pytest.raises(ValueError) as caught:
        load_dataset(name)
    assert hint in str(caught.value) and "Toys_and_Games" in str(caught.value)


@pytest.fixture
def server(toy, tmp_path, monkeypatch):
    """A web server in place of the authors', and an empty cache: (files to serve, cache, hits)."""
    import pooch

    files, cache, hits = dict(TOY), tmp_path / "cache", []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            body = files.get(self.path.rpartition("/")[2])
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"") + files.get("missing", 0)))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(sources, "_ADDRESS", f"http://127.0.0.1:{web.server_port}/data/")
        monkeypatch.setattr(pooch, "os_cache", lambda project: cache / project)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield files, cache / "s3rec-mini", hits
        web.shutdown()
        thread.join()
    with warnings.catch_warnings():  # pooch leaves the socket of a failed download to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_a_dataset_is_downloaded_once_with_a_progress_bar(server, capfd):
    files, cache, hits = server
    assert_is_toy(load_dataset("LastFM"))
    assert hits == ["/data/LastFM.txt", "/data/LastFM_item2attributes.json"]
    assert "100%" in capfd.readouterr().err
    files.clear()  # from here on the server has nothing
    assert_is_toy(load_dataset("LastFM"))
    assert len(hits) == 2 and sorted(os.listdir(cache)) == sorted(TOY)


def test_a_spoilt_file_in_the_cache_is_fetched_again(server):
    _, cache, hits = server
    load_dataset("LastFM")
    (cache / "LastFM.txt").write_bytes(b"spoilt")
    assert_is_toy(load_dataset("LastFM"))
    assert hits.count("/data/LastFM.txt") == 2


def assert_download_fails(cache, because):
    with pytest.raises(OSError) as caught:
        load_dataset("LastFM")
    message = str(caught.value)
    assert "could not download http://127.0.0.1" in message and because in message
    assert "try again" in message and "S3REC_DATA" in message
    assert not cache.exists() or not os.listdir(cache)  # nothing half-written


def test_a_truncated_download_leaves_nothing_behind(server):
    files, cache, _ = server
    files["missing"] = 1_000  # promised, never sent
    assert_download_fails(cache, "")
    files["missing"] = 0
    assert_is_toy(load_dataset("LastFM"))


def test_a_download_of_another_content_leaves_nothing_behind(server):
    files, cache, _ = server
    files["LastFM.txt"] = TOY["LastFM.txt"][:-3]
    assert_download_fails(cache, "hash")
    files["LastFM.txt"] = TOY["LastFM.txt"]
    assert_is_toy(load_dataset("LastFM"))


def test_a_missing_page_leaves_nothing_behind(server):
    files, cache, _ = server
    files.clear()
    assert_download_fails(cache, "404")


def test_a_refused_connection_leaves_nothing_behind(server, monkeypatch):
    _, cache, _ = server
    monkeypatch.setattr(sources, "_ADDRESS", "http://127.0.0.1:9/data/")
    assert_download_fails(cache, "refused")


def test_an_unusable_cache_folder_is_one_clear_error(server):
    _, cache, _ = server
    cache.parent.write_text("a file where the folder should go")
    with pytest.raises(OSError, match="could not download"):
        load_dataset("LastFM")


def test_a_full_disk_leaves_nothing_behind(server, monkeypatch):
    import shutil

    def full(*_):
        raise OSError(28, "No space left on device")

    _, cache, _ = server
    monkeypatch.setattr(shutil, "move", full)
    assert_download_fails(cache, "No space left")


def test_the_addresses_are_pinned_and_the_sums_those_published():
    assert sources._ADDRESS.startswith(
        "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/")
    commit = sources._ADDRESS.split("/")[-3]
    assert len(commit) == 40 and int(commit, 16)
    for name in sources._AUTHORS:
        assert {f"{name}.txt", f"{name}_item2attributes.json"} <= set(sources._SHA256)
    folder = os.environ.get("S3REC_DATA")
    if folder and os.path.exists(os.path.join(folder, "SHA256SUMS")):
        with open(os.path.join(folder, "SHA256SUMS")) as lines:
            published = {file: digest for digest, file in map(str.split, lines)}
        assert sources._SHA256.items() <= published.items()


def test_importing_the_data_loads_no_download_plotting_or_command_line_library():
    code = ("import s3rec_mini.datasets, sys; print([m for m in "
            "('pooch', 'requests', 'matplotlib', 'typer', 'tqdm.notebook') if m in sys.modules])")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# --- Planted structure ---------------------------------------------------------------------------


def mutual_information(joint):
    """I(X; Y) in nats of {(x, y): weight}, straight from the definition (equation 1)."""
    total = sum(joint.values())
    left, right = Counter(), Counter()
    for (x, y), weight in joint.items():
        left[x] += weight
        right[y] += weight
    return sum(w / total * (math.log(w) + math.log(total) - math.log(left[x]) - math.log(right[y]))
               for (x, y), w in joint.items() if w)


def windows(sequences, length):
    """Each run of items of that length, split in its ends and its middle, with its weight."""
    for items, weight in sequences:
        for start in range(len(items) - length + 1):
            run = tuple(items[start:start + length])
            yield run[1:-1], (run[0], run[-1]), weight


def informations(sequences, segment_length):
    """The three informations of items in context, from weighted sequences."""
    pairs, around, segments = Counter(), Counter(), Counter()
    for items, weight in sequences:
        for previous, item in pairwise(items):
            pairs[previous, item] += weight
    for middle, ends, weight in windows(sequences, 3):
        around[middle, ends] += weight
    for middle, ends, weight in windows(sequences, segment_length + 2):
        segments[middle, ends] += weight
    return {"item_previous": mutual_information(pairs),
            "item_neighbours": mutual_information(around),
            "segment_neighbours": mutual_information(segments)}


def item_attribute_information(data):
    """I of a uniform item and a uniform one of its attributes, from the table."""
    joint = Counter()
    for item in range(1, data.num_items + 1):
        own = data.item_attributes[item].nonzero().flatten().tolist()
        for attribute in own:
            joint[item, attribute] += 1 / len(own)
    return mutual_information(joint)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 3), st.integers(1, 2), st.integers(1, 3), st.floats(0, 1), st.integers(1, 2))
def test_planted_informations_are_those_of_the_whole_joint_distribution(
        groups, per_group, attributes, stay, segment):
    data, stated = planted_structure(10, groups, per_group, attributes, stay, (3, 4), segment)
    group_of = [i // per_group for i in range(groups * per_group)]
    move = (1 - stay) / (groups - 1)
    every = []
    for run in product(range(groups * per_group), repeat=segment + 2):
        weight = 1 / len(group_of)
        for a, b in pairwise(run):
            weight *= (stay if group_of[a] == group_of[b] else move) / per_group
        every.append((run, weight))
    assert math.isclose(sum(weight for _, weight in every), 1)
    expected = {**informations(every, segment), "item_attribute": item_attribute_information(data)}
    assert stated == pytest.approx(expected, abs=1e-9)
    assert stated["item_attribute"] == math.log(groups)


@pytest.mark.parametrize("stay", [0.1, 0.6, 0.95])
def test_planted_sequences_have_the_informations_stated(stay):
    data, stated = planted_structure(6_000, 3, 2, 2, stay, lengths=(10, 30), seed=1)
    measured = informations([(s.tolist(), 1) for s in data.sequences], segment_length=2)
    for name, value in measured.items():  # the plug-in estimate's bias: < 1296 / (2 * 100,000)
        assert value == pytest.approx(stated[name], abs=0.02), name


def test_planted_items_are_uniform_at_every_position_and_lengths_between_the_bounds():
    data, _ = planted_structure(20_000, 4, 2, lengths=(3, 6))
    assert Counter(map(len, data.sequences)).keys() == {3, 4, 5, 6}
    for position in range(6):
        items = [s[position] for s in data.sequences if len(s) > position]
        shares = np.bincount(items, minlength=9)[1:] / len(items)
        assert np.abs(shares - 1 / 8).max() < 5 * math.sqrt(1 / 8 * 7 / 8 / len(items))


def test_planted_items_of_a_group_share_all_and_only_its_attributes():
    data, _ = planted_structure(num_users=3)
    assert (data.num_users, data.num_items, data.num_attributes) == (3, 160, 16)
    for item in range(1, 161):
        group = (item - 1) // 20
        assert data.item_attributes[item].nonzero().flatten().tolist() == [
            2 * group + 1, 2 * group + 2]


def test_planted_structure_is_a_function_of_its_arguments():
    same, other = planted_structure(seed=3)[0], planted_structure(seed=4)[0]
    assert planted_structure(seed=3)[0].fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize("changes", [
    {"num_users": 0}, {"num_groups": 1}, {"items_per_group": 0}, {"attributes_per_group": 0},
    {"stay": 1.1}, {"stay": -0.1}, {"stay": math.nan}, {"lengths": (2, 5)}, {"lengths": (6, 5)},
    {"segment_length": 0}])
def test_an_impossible_planted_structure_is_refused(changes):
    with pytest.raises(ValueError, match="groups 2 or more, stay in"):
        planted_structure(**changes)


def test_a_frame_with_two_columns_of_one_name_is_refused():
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["user", "item", "item", "timestamp"])
    with pytest.raises(ValueError, match="'item' is there, or meant, more than once"):
        SequenceDataset.from_interactions(frame)


@pytest.mark.parametrize("attributes", [
    pd.DataFrame({"item": [1.0, float("nan")], "genre": ["a", "b"]}),
    pd.DataFrame([[1, "a", "b"]], columns=["item", "genre", "genre"]),
])
def test_attribute_frames_without_an_item_or_with_one_name_twice_are_refused(attributes):
    frame = pd.DataFrame([(user, item, time) for user in range(6) for time, item in
                          enumerate(range(1, 7))], columns=["user", "item", "timestamp"])
    with pytest.raises(ValueError, match="attributes need an item in every row"):
        SequenceDataset.from_interactions(frame, attributes=attributes)


def of_ten_items(**columns):
    rows = [(f"u{user}", (user + step) % 10, step) for user in range(15) for step in range(8)]
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    return frame.assign(**{name: change(frame) for name, change in columns.items()})


@pytest.mark.parametrize("change", [
    lambda frame: pd.Categorical(frame["item"].astype(float), ordered=True),
    lambda frame: frame["item"].astype(str).str.encode("utf8")])
def test_keys_that_are_floats_or_bytes_are_refused_in_any_dress(change):
    with pytest.raises(ValueError, match=r"column 'item' holds (floating|bytes) keys"):
        SequenceDataset.from_interactions(of_ten_items(item=change), time="timestamp")


def test_an_index_of_the_name_of_a_column_is_no_column():
    frame = of_ten_items()
    found, plain = (SequenceDataset.from_interactions(each, time="timestamp")
                    for each in (frame.set_index("timestamp", drop=False), frame))
    assert all(map(np.array_equal, found.sequences, plain.sequences))


@pytest.mark.parametrize("missing", [0, -1])
def test_a_missing_time_does_not_hide_that_seconds_and_milliseconds_are_mixed(missing):
    def times(frame):
        seconds = 1_577_836_800 + frame["timestamp"]
        mixed = seconds.where(frame["timestamp"] > 4, 1000 * seconds)
        return mixed.where(frame["timestamp"] > 0, missing)

    with pytest.raises(ValueError, match="some times in seconds and some in milliseconds"):
        SequenceDataset.from_interactions(of_ten_items(timestamp=times), time="timestamp")


def test_what_is_listed_of_an_item_in_a_mapping_may_hold_lists_and_no_pairs():
    frame = of_ten_items()
    data = SequenceDataset.from_interactions(
        frame, time="timestamp", attributes={item: [["a"], None, "b"] for item in range(10)})
    assert data.attribute_names[1:] == ("a", "b")
    with pytest.raises(ValueError, match=r"of item 0.* holds pairs"):
        SequenceDataset.from_interactions(frame, time="timestamp",
                                             attributes={0: [{"id": 1}]})
