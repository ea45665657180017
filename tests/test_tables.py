"""Attributes as people hold them: each cell becomes the values that its owner sees in it."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import make_data

from s3rec_mini import SequenceDataset, movielens_interactions
from s3rec_mini.tools import tables

ITEMS = list("abcde")


def ring(items):
    """Five users, each of whom chose all items."""
    return pd.DataFrame([(user, item, time) for user in range(5)
                         for time, item in enumerate(items)], columns=["user", "item", "timestamp"])


def attributes_of(cells, items=ITEMS, **options):
    """Give {item: attributes} for a frame with one field, called x."""
    frame = pd.DataFrame({"item": items, "x": pd.Series(cells)})
    data = SequenceDataset.from_interactions(ring(items), attributes=frame, **options)
    table = data.item_attributes.tolist()
    return {data.item_names[row]: {name for name, has in zip(data.attribute_names, table[row],
                                                             strict=True) if has}
            for row in range(1, data.num_items + 1)}


def values_of(cells, **options):
    """Give the values of each cell, without the field's name."""
    found = attributes_of(cells, **options).values()
    return [{name.removeprefix("x: ") for name in names} for names in found]


@pytest.mark.parametrize("cells", [
    [["y", "z"], ["y"], [], None, ["y, z"]],
    [("y", "z"), {"y"}, np.array([]), None, np.array(["y, z"])],
    ["['y', 'z']", "['y']", "[]", None, "['y, z']"],
    ['["y", "z"]', '["y"]', "[]", "", '["y, z"]'],
    ["('y', 'z')", "('y',)", "[]", float("nan"), "{'y, z'}"],
    ["['y' 'z']", "['y']", "[]", "  ", "['y, z']"],  # as NumPy prints it
])
def test_lists_in_cells_are_read_however_they_are_written(cells):
    assert values_of(cells) == [{"y", "z"}, {"y"}, set(), set(), {"y, z"}]


def test_lists_in_lists_are_read_and_pairs_refused():
    assert values_of([[["y", "z"], ["y"], [None]]] * 5) == [{"y", "z"}] * 5
    assert values_of(["[['y'], ['z']]"] * 5) == [{"y", "z"}] * 5
    for pairs in ([{"id": 1, "name": "y"}], {"name": "y"}):
        with pytest.raises(ValueError, match=r"field 'x' holds pairs, such as \{.*'name': 'y'"):
            values_of([pairs] * 5)
    with pytest.warns(UserWarning, match="'x' is read as it is, ',' and all"):  # text: no list
        assert values_of(["[{'id': 1, 'name': 'y'}]"] * 5) == [{"[{'id': 1, 'name': 'y'}]"}] * 5
    with pytest.raises(ValueError, match=r"item 'a' must be a list, not \{'x': 'y'"):
        SequenceDataset.from_interactions(ring(ITEMS), attributes={"a": {"x": "y"}})


def test_lists_without_quotes_and_with_apostrophes_are_read():
    assert values_of([json.dumps(["café", "日本"])] * 5) == [{"café", "日本"}] * 5
    assert values_of(["[y, z]", "[y]", '["Children\'s"]', r"['it\'s']", "[a b]"]) == [
        {"y", "z"}, {"y"}, {"Children's"}, {"it's"}, {"a b"}]


def test_lists_keep_parentheses_and_python_s_escapes():
    assert values_of([repr(["Sci\xa0Fi", "cafe\u0301 日本", "a\\b", "a\nb"])] * 5) == [
        {"Sci\xa0Fi", "cafe\u0301 日本", "a\\b", "a\nb"}] * 5
    assert values_of([ascii(["Sci\xa0Fi", "日本"])] * 5) == [{"Sci\xa0Fi", "日本"}] * 5
    cells = ["[Shoes (Men, Boys), Hats]", "[Hats (old)]", "[Hats]", "[Hats]", "[Hats]"]
    assert values_of(cells)[:3] == [{"Shoes (Men, Boys)", "Hats"}, {"Hats (old)"}, {"Hats"}]


def test_lists_of_numpy_and_of_python_2_are_lists():
    assert values_of(["[1 2]", "[1]", "[]", "[2. 3.5]", "[-1  2]"]) == [
        {"1", "2"}, {"1"}, set(), {"2.", "3.5"}, {"-1", "2"}]
    cells = ["[u'Sci, Fi', u'RPG']", "[u'RPG']", '[u"it\'s"]', "[u'a']", "[u'b']"]
    assert values_of(cells)[:3] == [{"Sci, Fi", "RPG"}, {"RPG"}, {"it's"}]


@pytest.mark.parametrize("mark", ["/", " > ", " & "])
def test_other_marks_between_values_that_items_share_are_found_and_said(mark):
    with pytest.warns(UserWarning, match="'x' is read as lists, with"):
        found = values_of([mark.join(cell) for cell in ("yz", "y", "zy", "w", "wyz")])
    assert found == [set(cell) for cell in ("yz", "y", "zy", "w", "wyz")]


def test_an_empty_text_is_no_attribute_of_a_mapping():
    data = SequenceDataset.from_interactions(ring(ITEMS), attributes={
        item: text.split("|") for item, text in zip(ITEMS, ["p", "", "p|q", "", "q"], strict=True)})
    assert data.attribute_names[1:] == ("p", "q") and not data.item_attributes[2].any()


def test_names_without_a_field_are_looked_at_as_one_field():
    with pytest.raises(ValueError, match="field '' has 10 values in 10 cells"):
        SequenceDataset.from_interactions(
            ring(range(10)), attributes={item: [f"unique {item}"] for item in range(10)})


def test_a_bar_is_found_and_said():
    with pytest.warns(UserWarning, match=r"'x' is read as lists, with '\|' between .*'y\|z'"):
        assert values_of(["y|z", "y", "z| y", "|", ""]) == [{"y", "z"}, {"y"}, {"y", "z"}, set(),
                                                            set()]


@pytest.mark.parametrize("mark", [",", ";", ", ", " ; "])
def test_commas_between_values_that_items_share_are_found_and_said(mark):
    with pytest.warns(UserWarning, match="'x' is read as lists, with"):
        found = values_of([mark.join(cell) for cell in ("yz", "y", "zy", "w", "wyz")])
    assert found == [set(cell) for cell in ("yz", "y", "zy", "w", "wyz")]


@pytest.mark.parametrize("cells", [
    ["Kim, Min", "Lee, Min", "Kim, Su", "Lee, Su", "Kim, Lee"],  # always one: names
    ["2,50", "2", "3,50", "3", "2,50"],  # decimal commas
    ["Bauer, Inc.", "Acme", "Acme", "Miller", "Miller"],
])
def test_commas_within_a_value_stay_and_that_is_said(cells):
    with pytest.warns(UserWarning, match="'x' is read as it is, ',' and all"):
        assert values_of(cells) == [{cell} for cell in cells]
    assert values_of(cells, list_separator="") == [{cell} for cell in cells]  # said, so no warning


def test_a_separator_that_is_named_is_used_without_a_word():
    assert values_of(["y/z", "y", "a|b", "c, d", "/"], list_separator="/") == [
        {"y", "z"}, {"y"}, {"a|b"}, {"c, d"}, set()]


@pytest.mark.parametrize("cells", [
    [1, 0, 1, 0, None], [True, False, True, False, None], ["1", "0", "1", "0", ""],
    ["Yes", "no", "YES", "No", ""], ["Y", "N", "y", "n", None], [1.0, 0.0, 1.0, 0.0, float("nan")],
    ["true", "FALSE", "True", "false", None], ["t", "f", "t", "f", "NULL"],
    [1, 0, 1, 0, "\\N"], pd.array([1, 0, 1, 0, None], dtype="Int64"),
])
def test_a_column_of_flags_is_one_attribute(cells):
    assert list(attributes_of(cells).values()) == [{"x"}, set(), {"x"}, set(), set()]


def test_words_for_missing_are_values():
    words = ["NA", "None", "null", "nan", "N/A"]
    assert values_of(words, list_separator="") == [{word} for word in words]


def test_movielens_genres_are_20_not_616():
    frame = movielens_interactions()
    films = frame.drop_duplicates("movieId")
    assert films["genres"].nunique() > 600
    with pytest.warns(UserWarning, match="'genres' is read as lists"):
        lists = tables.attribute_lists(films[["movieId", "genres"]], "movieId")
    assert len({name for names in lists.values() for name in names}) == 20  # one is: none listed
    assert lists == {film.movieId: [f"genres: {genre}" for genre in film.genres.split("|")]
                     for film in films.itertuples()}
    with pytest.raises(ValueError, match=r"field 'title' has [\d,]+ values in [\d,]+ cells"):
        SequenceDataset.from_interactions(frame, "userId", "movieId", list_separator="",
                                          attributes=films[["movieId", "title"]])


def test_a_field_of_nearly_as_many_values_as_items_is_refused_and_its_common_values_may_stay():
    items = list(range(20))
    prices = [f"{price:.2f}" for price in np.linspace(1, 9, 18)] + ["1.00", "1.00"]
    with pytest.raises(ValueError, match=r"has 18 values in 20 cells.*column out.*min_items=2"):
        attributes_of(prices, items)
    found = attributes_of(prices, items, min_items=2)
    assert found == {str(item): {"x: 1.00"} if item in (0, 18, 19) else set() for item in items}


def test_rare_values_are_left_out_counted_over_the_items_that_stay():
    """As the released code does: an item that the k-core drops gives no value its count."""
    rare = pd.DataFrame({"user": [0], "item": ["rare"], "timestamp": [9]})
    frame = pd.concat([ring(ITEMS), rare])
    lists = {"a": ["y", "z", "y"], "b": ["y"], "c": ["w"], "rare": ["z", "w"]}
    data = SequenceDataset.from_interactions(frame, attributes=lists, min_items=2)
    assert data.attribute_names == ("[padding]", "y")
    with pytest.raises(ValueError, match="min_items must be a whole number of at least 1, not 0"):
        SequenceDataset.from_interactions(frame, attributes=lists, min_items=0)


def test_a_table_that_would_not_fit_in_memory_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(tables, "MOST_BYTES", 27)
    assert values_of(["y", "z", "y", "z", "y"])  # 7 rows of 3
    with pytest.raises(ValueError, match="5 items and 3 attributes would not fit in memory"):
        values_of(["w", "y", "z", "y", "z"])


def test_what_is_not_sold_is_left_out_and_counted():
    catalogue = pd.DataFrame({"item": [*ITEMS, "unsold", "unsold", "other"],
                              "x": list("yyzzy") + ["only here"] * 3})
    with pytest.warns(UserWarning, match=r"2 of the 7 items with .*\['unsold', 'other'\]"):
        data = SequenceDataset.from_interactions(ring(ITEMS), attributes=catalogue)
    assert data.attribute_names == ("[padding]", "x: y", "x: z")


def test_a_report_says_what_came_in():
    counts = dict(zip("tuvwxyz", [1, 2, 3, 4, 5, 6, 7], strict=True))
    items = [f"item {number}" for number in range(8)]
    lists = {item: [f"letter: {letter}" for letter, count in counts.items() if number < count]
             + ["flag"] * (number < 2) for number, item in enumerate(items)}
    data = SequenceDataset.from_interactions(ring(items), attributes=lists)
    assert tables.attribute_report(data).splitlines() == [
        "without a field: 1 values, flag (2)",
        "letter: 7 values, z (7), y (6), x (5), w (4), v (3)",
        "1 of 8 items have no attribute"]
    assert tables.attribute_report(make_data([[1, 2, 3]], 3, 0)) == "3 of 3 items have no attribute"


def test_nothing_is_said_where_there_is_nothing_to_say():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values_of(["y", "z", "y", "z", None]) == [{"y"}, {"z"}, {"y"}, {"z"}, set()]
