"""The explorers as documents: their numbers, what they say without a script, what they refuse."""

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_data, make_model

from s3rec_mini.looking.explorers import explore_attention, explore_embeddings, explore_info_nce

SEQUENCES = [[1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5], [3, 1, 2, 4, 9, 10]]
HOSTILE = ["</script><b>bold</b>", '"><img src=x onerror=alert(1)>', "<!-- & ' \\u003c"]


@pytest.fixture(scope="module")
def data():
    return make_data(SEQUENCES, num_items=12)


@pytest.fixture(scope="module")
def model():
    return make_model(max_length=6)


def frames(count=7):
    """Places of `count` items that grow from epoch to epoch."""
    draw = np.random.default_rng(0)
    return {epoch: (epoch + 1) * draw.normal(size=(count, 2)) for epoch in (0, 1, 4)}


def names(count=7):
    return [f"film {i}" for i in range(count)]


def genres(count=7):
    return {"genre": ["Drama", "Comedy", "other"] * (count // 3) + ["Drama"] * (count % 3)}


def estimates():
    """Values that name their own place in the grid."""
    rows = [{"rho": rho, "K": K, "critic": critic, "value": rho / 4 + K / 1000 + squeezed / 7}
            for rho in (0.0, 0.5, 0.9) for K in (1, 3, 7) for squeezed, critic in
            enumerate(("best", "sigma"))]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def explorers(data, model):
    return [explore_attention(model, data, [2, 0]), explore_info_nce(estimates()),
            explore_embeddings(frames(), names(), genres() | {"size": ["big"] * 7})]


class Document(HTMLParser):
    """Tags with their attributes, and the text within each kind of tag."""

    def __init__(self, explorer):
        super().__init__()
        self.tags, self.text, self.open = [], {}, []
        self.feed(explorer._repr_html_())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, text):
        if self.open:
            self.text.setdefault(self.open[-1], []).append(text)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)

    def numbers(self):
        """The JSON, as a browser would hand it to the script."""
        return json.loads(self.text["script"][0])


# ---- numbers


def test_the_attention_explorer_holds_the_weights_of_the_model(data, model):
    shown = explore_attention(model, data, [2, 0], length=4).numbers["users"]
    assert [user["name"] for user in shown] == ["2", "0"]  # as the caller calls them
    for user, row in zip(shown, (2, 0), strict=True):
        items = torch.tensor(SEQUENCES[row][:-2][-4:])  # training items, the newest four
        assert user["items"] == [data.item_names[i] for i in items]
        for mode, causal in (("causal", True), ("bidirectional", False)):
            with torch.no_grad():
                _, attention = model(items[None], causal=causal, return_attention=True)
            drawn = torch.tensor(user[mode]) / 1000
            assert drawn.shape == (2, 2, 4, 4)
            assert torch.allclose(drawn.double(), attention[:, 0], atol=0.000501)


def test_the_items_held_out_for_validation_and_test_are_not_shown(data, model):
    (user,) = explore_attention(model, data, [1]).numbers["users"]
    assert user["items"] == ["9", "8", "7"]


def test_no_more_items_are_shown_than_the_model_reads(data):
    (user,) = explore_attention(make_model(max_length=3), data, [0], length=5).numbers["users"]
    assert user["items"] == ["4", "5", "6"]


def test_the_map_holds_the_places_that_it_was_given():
    given = frames()
    numbers = explore_embeddings(given, names(), genres()).numbers
    assert numbers["epochs"] == [0, 1, 4]
    drawn = np.array(numbers["frames"])  # (F, N, 2)
    places = np.array(numbers["origin"]) + np.array(numbers["unit"]) * drawn
    step = abs(numbers["unit"][0])
    assert np.abs(places - np.stack(list(given.values()))).max() < 0.51 * step + 1e-4
    assert drawn.min() == 0 and drawn.max() == 1000 == max(numbers["size"])
    assert (drawn.max((0, 1)) == numbers["size"]).all()


def test_a_label_of_the_map_is_found_again_by_its_number():
    labels = genres()
    held = explore_embeddings(frames(), names(), labels).numbers["labels"]["genre"]
    assert held["groups"] == ["Comedy", "Drama", "other"]
    assert [held["groups"][i] for i in held["of"]] == labels["genre"]


def test_the_colours_of_a_map_follow_the_order_that_categories_have():
    labels = genres()["genre"]
    ordered = pd.Categorical(labels, ["Horror", "Drama", "other", "Comedy"])
    held = explore_embeddings(frames(), names(), {"genre": ordered}).numbers["labels"]["genre"]
    assert held["groups"] == ["Horror", "Drama", "other", "Comedy"]
    assert [held["groups"][i] for i in held["of"]] == labels


def test_the_info_nce_explorer_holds_each_estimate_in_its_place():
    numbers = explore_info_nce(estimates()).numbers
    assert numbers["rhos"] == [0, 0.5, 0.9] and numbers["negatives"] == [1, 3, 7]
    for row in estimates().itertuples():
        place = numbers["rhos"].index(row.rho), numbers["negatives"].index(row.K)
        held = np.array(numbers["values"][row.critic])[place]
        assert held == pytest.approx(row.value, abs=0.5001e-4)


# ---- documents


def test_the_page_holds_the_numbers_as_json(explorers):
    for explorer in explorers:
        assert Document(explorer).numbers() == explorer.numbers


def test_an_explorer_fetches_nothing_and_names_no_place_elsewhere(explorers):
    for explorer in explorers:
        html = explorer._repr_html_().replace("http://www.w3.org/2000/svg", "")  # only a name
        asks = r"//[a-z]|\bsrc=|\bhref|url\(|@import|\bimport\b|fetch\(|XMLHttp"
        assert not re.search(asks, html)


def test_an_explorer_has_no_id_that_a_second_one_could_repeat(explorers):
    for explorer in explorers:
        assert not [a for _, a in Document(explorer).tags if {"id", "for", "list"} & a.keys()]


def test_without_a_script_there_is_a_sentence_and_a_table_with_headers(explorers):
    for explorer in explorers:
        page = Document(explorer)
        assert explorer.words in "".join(page.text["p"])
        assert any(a.get("role") == "status" for _, a in page.tags)
        scopes = [a.get("scope") for tag, a in page.tags if tag == "th"]
        assert scopes.count("col") >= 4 and scopes.count("row") >= 3
        assert None not in scopes
        assert page.count("td") == (scopes.count("col") - 1) * scopes.count("row")


def test_the_first_sentence_says_what_the_numbers_say(data, model):
    explorer = explore_attention(model, data, [0], length=5)
    user = explorer.numbers["users"][0]
    weights = user["causal"][0][0][-1]
    best = max(range(5), key=weights.__getitem__)
    assert explorer.words.startswith("Layer 1, head 1, causal: 6 looks most at ")
    assert f"{'itself' if best == 4 else user['items'][best]}, {weights[best] / 10:.1f}" in (
        explorer.words)
    assert "Equal weights would be 20.0" in explorer.words
    words = explore_info_nce(estimates()).words  # ρ = 0.9, K = 3
    assert f"{0.9 / 4 + 3 / 1000:.3f} of the true {-math.log(1 - 0.81) / 2:.3f}" in words
    assert words.endswith(f"The ceiling is {math.log(4):.3f} for any critic, "
                          f"{math.log(4) - math.log(1 + 3 / math.e):.3f} with σ.")


def test_the_first_sentence_of_the_map_names_the_nearest_by_hand():
    given = frames()
    words = explore_embeddings(given, names(), genres(), shown="film 3").words
    away = np.linalg.norm(given[4] - given[4][3], axis=1)
    nearest = [f"film {i}" for i in away.argsort()[1:4]]
    assert words == (f"After epoch 4, film 3 (Drama) is nearest on the map, among all items, to "
                     f"{'; '.join(nearest)}.")


def test_hostile_titles_stay_text(data, model):
    spoilt = type(data)(data.name, data.sequences, data.item_attributes,
                        (*HOSTILE * 4, "x", "y"), data.attribute_names, ("<i>", "2", "3"))
    labels = {HOSTILE[1]: [*HOSTILE, "a", "b", "c"]}
    for explorer, plain in (
        (explore_attention(model, spoilt, [0]), explore_attention(model, data, [0])),
        (explore_embeddings(frames(6), HOSTILE * 2, labels),
         explore_embeddings(frames(6), names(6), {"genre": list("abcdef")})),
    ):
        page = Document(explorer)
        assert sorted(tag for tag, _ in page.tags) == sorted(tag for tag, _ in Document(plain).tags)
        assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
        assert page.numbers() == explorer.numbers
        assert HOSTILE[0] in "".join(page.text["th"])


def test_only_the_script_draws(explorers):
    for explorer in explorers:
        assert Document(explorer).count("svg") == 0


def test_an_explorer_says_in_a_terminal_that_a_notebook_shows_it(explorers):
    assert repr(explorers[0]) == "<Explorer of attention: a notebook shows it>"


def test_explorers_of_the_size_of_a_chapter_leave_room_on_its_page():
    films = [f"A film whose title is of middling length {i} (1999)" for i in range(300)]
    draw = np.random.default_rng(0)
    six = {epoch: draw.normal(size=(300, 2)) for epoch in range(6)}
    labels = {kind: list(draw.choice(list("abcdef"), 300)) for kind in ("genre", "decade")}
    html = explore_embeddings(six, films, labels)._repr_html_()
    data = make_data([list(range(1, 21))] * 5, num_items=20)
    attention = explore_attention(make_model(20), data, range(5))._repr_html_()
    assert len((html + attention).encode()) < 150_000


# ---- errors


@pytest.mark.parametrize("users, length, complaint", [
    ([], 4, "one or more users"), ([3], 4, r"no user 3: rows are 0…2"), ([0, -1], 4, "no user -1"),
    ([0], 1, "length must be 2 or more, not 1"),
])
def test_attention_of_nobody_or_of_too_little_is_an_error(data, model, users, length, complaint):
    with pytest.raises(ValueError, match=complaint):
        explore_attention(model, data, users, length)


@pytest.mark.parametrize("change, complaint", [
    (dict(frames={}), "one or more frames"), (dict(labels={}), "sets of labels"),
    (dict(names=names(6)), r"epoch 0 must be \(N, 2\) for N = 6 names, not \(7, 2\)"),
    (dict(frames={3: np.ones((7, 3))}), r"epoch 3 .* not \(7, 3\)"),
    (dict(frames={2: np.full((7, 2), np.nan)}), "epoch 2 holds NaN"),
    (dict(labels={"genre": ["a"] * 6}), "genre must hold a label for each of 7 names, not 6"),
    (dict(labels={"genre": list("abcdefg")}), "7 kinds of labels, but only 6 colours"),
    (dict(labels={"genre": pd.Categorical([*"abcabc", None])}), "lacks the label of some"),
    (dict(shown="film 9"), "'film 9' is none of the 7 names"),
])
def test_a_map_of_what_does_not_fit_is_an_error(change, complaint):
    right = dict(frames=frames(), names=names(), labels=genres())
    with pytest.raises(ValueError, match=complaint):
        explore_embeddings(**right | change)


@pytest.mark.parametrize("spoil, complaint", [
    (lambda e: e.drop(columns="K"), r"\['K'\] are missing"),
    (lambda e: pd.concat([e, e[:1]]), "twice"),
    (lambda e: e[1:], "finite value for each"),
    (lambda e: e.assign(value=np.nan), "finite value for each"),
    (lambda e: e[e["critic"] == "best"], '"best" and "sigma"'),
    (lambda e: e[e["K"] == 1], "two or more K"),
    (lambda e: e.assign(rho=e["rho"] + 0.1), "rho must lie between"),
    (lambda e: e.assign(K=e["K"] - 1), "K be 1 or more"),
])
def test_estimates_that_are_no_grid_are_an_error(spoil, complaint):
    with pytest.raises(ValueError, match=complaint):
        explore_info_nce(spoil(estimates()))


def test_an_explorer_that_is_too_heavy_for_a_page_is_an_error():
    count = 3000
    with pytest.raises(ValueError, match=r"weigh \d+ kB, more than the 120 kB"):
        explore_embeddings(frames(count), names(count), genres(count))
