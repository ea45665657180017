"""Plots: what is drawn stands where the numbers say, in the colours of the book's language."""

import itertools

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb

from s3rec_mini import load_results
from s3rec_mini.looking import plots
from s3rec_mini.looking.plots import COLOURS


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def lines(ax):
    """Return the lines of a picture by their labels, those of one label in a list."""
    found = {}
    for line in ax.lines:
        found.setdefault(line.get_label(), []).append(line)
    return found


# ---- attention

FILMS = ["Heat", "Alien", "Brazil"]
CAUSAL = np.array([[1, 0, 0], [0.25, 0.75, 0], [0.5, 0.2, 0.3]])


def test_the_picture_of_attention_shows_the_weights_and_names_and_leaves_the_future_empty():
    ax = plots.plot_attention(CAUSAL, FILMS)
    drawn = ax.images[0].get_array()
    assert np.ma.filled(drawn, 0) == pytest.approx(CAUSAL)
    assert drawn.mask.tolist() == (CAUSAL == 0).tolist()
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert rows == ["Heat (1)", "Alien (2)", "Brazil (3)"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3"]
    assert "key" in ax.get_xlabel() and "query" in ax.get_ylabel()
    assert ax.yaxis_inverted()  # the first query on top, as a matrix is written
    assert any(other.get_ylabel() == "attention weight" for other in ax.figure.axes)


def test_the_scale_of_attention_ends_where_it_is_told_and_shows_that_more_lies_beyond():
    for end, limit, tip in ((None, 1, "neither"), (0.5, 0.5, "max"), (2, 2, "neither")):
        square = plots.plot_attention(CAUSAL, FILMS, end=end).images[0]
        assert square.get_clim() == (0, limit) and square.colorbar.extend == tip
    assert plots.plot_attention(CAUSAL, FILMS, bar=False).images[0].colorbar is None


def test_a_grid_of_attention_has_a_square_for_each_map_on_one_scale():
    maps = {f"head {h}": np.roll(CAUSAL, h, axis=1) * 0.9**h for h in range(3)}
    fig = plots.plot_attention_grid(maps, FILMS)
    squares = [ax for ax in fig.axes if ax.images]
    assert [ax.get_title() for ax in squares] == list(maps)
    for ax, weights in zip(squares, maps.values(), strict=True):
        assert np.ma.filled(ax.images[0].get_array(), 0) == pytest.approx(weights)
        assert ax.images[0].get_clim() == (0, 1)
    fig.canvas.draw()
    assert not fig.axes[3].axison  # the fourth place is empty


def distances(causal, shift=0.0):
    """Weights that name their own place: two layers, two heads, three places."""
    rows = [{"layer": layer, "head": head, "query": query, "distance": query - key,
             "weight": layer + head / 10 + query / 100 + key / 1000 + shift}
            for layer in (1, 2) for head in (1, 2) for query in (1, 2, 3) for key in (1, 2, 3)
            if key <= query or not causal]
    return pd.DataFrame(rows)


def test_what_one_item_looks_at_is_a_bar_for_each_name_beside_equal_weights():
    ax = plots.plot_attention_bars({"layer 1": CAUSAL[2], "layer 2": CAUSAL[1]}, FILMS)
    assert [label.get_text() for label in ax.get_yticklabels()] == FILMS and ax.yaxis_inverted()
    for bars, row in zip(ax.containers, CAUSAL[[2, 1]], strict=True):
        assert [bar.get_width() for bar in bars] == row.tolist()
        assert [round(bar.get_y() + bar.get_height() / 2) for bar in bars] == [0, 1, 2]
    assert legend(ax) == ["layer 1", "layer 2"]
    assert ax.lines[0].get_xdata() == pytest.approx([1 / 3] * 2)
    assert plots.plot_attention_bars({"": CAUSAL[2]}, FILMS).get_legend() is None


def test_attention_by_distance_is_drawn_as_means_by_a_loop_beside_equal_weights():
    frames = {"scratch": distances(True), "pretrained": distances(False, shift=5)}
    drawn = lines(plots.plot_attention_by_distance(frames))
    for name, frame in frames.items():
        for layer in (1, 2):
            line, = drawn[f"{name}, layer {layer}"]
            assert to_hex(line.get_color()) == COLOURS[name]
            for distance, weight in zip(*line.get_data(), strict=True):
                rows = [r.weight for r in frame.itertuples()
                        if r.layer == layer and r.distance == distance]
                assert weight == pytest.approx(sum(rows) / len(rows))
    (causal,), (both,) = drawn["_"], drawn["equal weights"]
    assert dict(zip(*causal.get_data(), strict=True)) == pytest.approx(
        {0: (1 + 1 / 2 + 1 / 3) / 3, 1: (1 / 2 + 1 / 3) / 2, 2: 1 / 3})
    assert both.get_ydata() == pytest.approx([1 / 3] * 5)


def test_attention_by_distance_of_one_model_needs_no_name():
    frame = distances(True)
    ax = plots.plot_attention_by_distance(frame[frame["query"] == 3])
    assert legend(ax) == ["layer 1", "layer 2", "equal weights"]
    assert lines(ax)["equal weights"][0].get_ydata() == pytest.approx([1 / 3] * 3)


# ---- embeddings

POINTS = np.random.default_rng(0).normal(size=(6, 2))


def test_the_picture_of_embeddings_shows_each_point_in_the_colour_of_its_label():
    labels = list("abacab")
    ax = plots.plot_embeddings(POINTS, labels, names={4: "Heat (1995)"}, title="genre")
    drawn = ax.collections[0]
    assert np.asarray(drawn.get_offsets()) == pytest.approx(POINTS)
    assert [to_hex(colour) for colour in drawn.get_facecolors()] == [
        plots.KINDS["abc".index(label)] for label in labels]
    assert legend(ax) == ["a", "b", "c"] and ax.get_legend().get_title().get_text() == "genre"
    text, = ax.texts
    assert text.get_text() == "Heat (1995)" and text.xy == pytest.approx(POINTS[4])
    assert ax.get_xlabel() and ax.get_ylabel()


def test_the_kinds_of_a_categorical_have_its_order_and_numbers_a_scale():
    ordered = pd.Categorical(list("abacab"), ["c", "b", "a"])
    ax = plots.plot_embeddings(POINTS, ordered)
    assert legend(ax) == ["c", "b", "a"]
    assert to_hex(ax.collections[0].get_facecolors()[0]) == plots.KINDS[2]
    ax = plots.plot_embeddings(POINTS, 10.0 ** np.arange(6), log=True, title="users")
    dots = ax.collections[0]
    assert dots.get_array().tolist() == [1, 10, 100, 1000, 10**4, 10**5]
    assert dots.norm(1000) == pytest.approx(3 / 5) and dots.colorbar.ax.get_ylabel() == "users"


def test_a_name_stands_left_of_its_point_at_the_right_edge_or_before_another_name():
    points = np.array([[0, 0], [1, 0.01], [5, 5], [10, 10]])
    texts = plots.plot_embeddings(points, list("aaaa"), dict(enumerate("wxyz"))).texts
    assert [text.get_ha() for text in texts] == ["right", "left", "left", "right"]


# ---- training

HISTORY = [{"epoch": e, "loss": 3.0 - e, "mip": 1.0 / (e + 1), "validation": {"MRR": 0.1 * e}}
           for e in range(3)]


def test_the_picture_of_a_history_is_its_columns_against_the_epoch():
    ax = plots.plot_history(HISTORY)
    line, = ax.lines
    assert line.get_xdata().tolist() == [1, 2, 3] and line.get_ydata().tolist() == [3, 2, 1]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_legend()) == ("epoch", "loss", None)
    ax = plots.plot_history(HISTORY, ["validation.MRR"])
    assert ax.lines[0].get_ydata() == pytest.approx([0, 0.1, 0.2])
    assert ax.get_ylabel() == "validation MRR"
    ax = plots.plot_history(HISTORY, ["loss", "mip"])
    assert legend(ax) == ["loss", "mip"]
    assert ax.lines[1].get_ydata() == pytest.approx([1, 1 / 2, 1 / 3])


def test_the_seeds_of_a_run_share_a_colour_and_a_line_of_the_legend():
    results = load_results("movielens-small")
    runs = {start: [run["finetuning_history"] for run in results[f"{start}-pairwise"]]
            for start in ("scratch", "pretrained")}
    ax = plots.plot_history(runs, ["validation.MRR"])
    assert legend(ax) == ["scratch", "pretrained"]
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    for line, (name, seed) in zip(drawn, itertools.product(runs, range(3)), strict=True):
        assert line.get_ydata().tolist() == runs[name][seed]["validation.MRR"]
        assert line.get_xdata()[0] == 1 and to_hex(line.get_color()) == COLOURS[name]


def test_histories_of_several_names_can_have_several_columns():
    ax = plots.plot_history({"scratch": HISTORY, "pretrained": HISTORY[:2]}, ["loss", "mip"])
    drawn = [line.get_ydata().tolist() for line in ax.lines if len(line.get_xdata())]
    assert sorted(drawn, key=len) == [[3, 2], [1, 1 / 2], [3, 2, 1], [1, 1 / 2, 1 / 3]]
    assert {"scratch", "pretrained", "loss", "mip"} <= set(legend(ax))


# ---- evaluation


def measured():
    """Three seeds of two starts with two losses, each value in a place of its own."""
    rows = [{"loss": loss, "start": start, "MRR": 1 + i + j / 10 + seed / 100}
            for i, loss in enumerate(("pairwise", "softmax"))
            for seed in range(3) for j, start in enumerate(("scratch", "pretrained"))]
    frame = pd.DataFrame(rows)
    return frame.assign(low=frame["MRR"] - 0.5, high=frame["MRR"] + 0.25)


def test_a_forest_plot_has_a_dot_an_interval_and_a_row_for_each_value():
    frame = measured()
    ax = plots.plot_intervals(frame, "MRR", "loss", group="start", reference=0.5)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["pairwise", "softmax"]
    assert legend(ax) == ["scratch", "pretrained"]
    assert ax.yaxis_inverted() and ax.get_xlabel() == "MRR"
    heights = {}
    for name, bars in zip(("scratch", "pretrained"), ax.collections, strict=True):
        part = frame[frame["start"] == name]
        dots, = lines(ax)[name]
        assert dots.get_xdata() == pytest.approx(part["MRR"])
        ends = np.array([bar.vertices for bar in bars.get_paths()])  # (values, 2 ends, x and y)
        assert ends[:, :, 0] == pytest.approx(part[["low", "high"]].to_numpy())
        assert ends[:, 0, 1] == pytest.approx(dots.get_ydata())
        assert np.rint(dots.get_ydata()).tolist() == [0, 0, 0, 1, 1, 1]
        assert to_hex(dots.get_color()) == COLOURS[name]
        heights[name] = dots.get_ydata()
    assert heights["scratch"][:3].max() < heights["pretrained"][:3].min()  # a group lies together
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    means = frame.groupby(["start", "loss"], sort=False)["MRR"].mean()
    assert sorted(float(t.get_xdata()[0]) for t in ticks) == pytest.approx(sorted(means))
    assert ax.lines[0].get_xdata() == [0.5, 0.5]


def test_a_forest_plot_without_groups_gives_each_row_its_colour_and_needs_no_intervals():
    one = measured().query("loss == 'softmax'").drop(columns=["low", "high"])
    ax = plots.plot_intervals(one.drop_duplicates("start"), "MRR", "start")
    assert not ax.collections and ax.get_legend() is None
    for row, (name, line) in enumerate(zip(("scratch", "pretrained"), ax.lines, strict=True)):
        assert to_hex(line.get_color()) == COLOURS[name]
        assert line.get_ydata() == pytest.approx([row])


def test_a_forest_plot_of_a_frame_in_another_order_has_every_dot_in_its_row():
    """Its index is then no longer 0, 1, 2, …"""
    shuffled = measured().sample(frac=1, random_state=1)
    ax = plots.plot_intervals(shuffled, "MRR", "loss", group="start")
    names = [label.get_text() for label in ax.get_yticklabels()]
    of = dict(zip(shuffled["MRR"], shuffled["loss"], strict=True))
    dots = [dot for line in ax.lines if line.get_marker() == "o"
            for dot in zip(*line.get_data(), strict=True)]
    assert len(dots) == len(of) == len(shuffled)
    assert [names[round(y)] for _, y in dots] == [of[x] for x, _ in dots]


def test_the_share_within_k_is_counted_by_hand():
    draw = np.random.default_rng(0)
    ranks = {name: draw.integers(1, 400, 200) for name in ("scratch", "pretrained")}
    ax = plots.plot_ranks(ranks)
    assert legend(ax) == ["scratch", "pretrained"] and ax.get_xscale() == "log"
    by_colour = {to_hex(line.get_color()): line for line in ax.lines}
    for name, each in ranks.items():
        x, height = by_colour[COLOURS[name]].get_data()
        for k in (1, 10, 57, 399):
            reached = height[np.searchsorted(x, k + 0.5) - 1]  # steps stand at whole ranks
            assert reached == pytest.approx((each <= k).mean())


# ---- views


def test_a_view_is_a_row_of_boxes_in_the_colours_of_what_they_are():
    views = {"masked": [("A", "item"), ("", "mask"), ("C", "positive")],
             "foreign": [("", "padding"), ("X", "negative")]}
    ax = plots.plot_views(views)
    boxes = {(round(box.get_center()[0]), round(box.get_center()[1])): box for box in ax.patches}
    assert set(boxes) == {(0, 0), (1, 0), (2, 0), (0, -1), (1, -1)}
    for place, kind in (((0, 0), "item"), ((1, 0), "mask"), ((2, 0), "positive"),
                        ((1, -1), "negative")):
        assert to_hex(boxes[place].get_facecolor()) == COLOURS[kind]
        assert bool(boxes[place].get_hatch()) == (kind == "mask")
    assert boxes[0, -1].get_facecolor()[3] == 0  # padding is empty
    assert [label.get_text() for label in ax.get_yticklabels()] == ["masked", "foreign"]
    assert {text.get_text(): text.get_position() for text in ax.texts if text.get_text()} == {
        "A": (0, 0), "C": (2, 0), "X": (1, -1)}


# ---- lists


def boxes_of(ax):
    """Say for each text of boxes which colour is below it, and whether it is hatched."""
    under = {tuple(np.round(box.get_center(), 6)): box for box in ax.patches}
    return {text.get_position(): (text.get_text(), to_hex(under[text.get_position()]
                                  .get_facecolor()), bool(under[text.get_position()].get_hatch()))
            for text in ax.texts}


def test_lists_stand_side_by_side_and_what_was_chosen_is_a_positive_wherever_it_is():
    lists = {"PopRec": ["Heat", "Alien"], "yours": [], "S3-Rec": ["Brazil"]}
    blue, green = COLOURS["item"], COLOURS["positive"]
    fig = plots.plot_lists(list("abcdefg"), lists, chosen="Alien")
    above, below = fig.axes
    assert boxes_of(above) == {(t, 0): (name, blue, False) for t, name in enumerate("cdefg")} | {
        (5, 0): ("Alien", green, False)}
    found = boxes_of(below)
    assert found[0, 0] == ("Heat", blue, False) and found[0, -1] == ("Alien", green, False)
    assert found[2, 0] == ("Brazil", blue, False) and found[2, -1][0] == ""
    assert found[1, 0][::2] == found[1, -1][::2] == ("?", True)  # not asked yet
    assert [label.get_text() for label in below.get_xticklabels()] == list(lists)
    assert [label.get_text() for label in below.get_yticklabels()] == ["1", "2"]


def test_lists_do_not_tell_what_was_chosen_unless_they_are_told():
    lists = {"x": ["Heat"], "y": ["A title that is far too long for its box"]}
    fig = plots.plot_lists(["a"], lists)
    above, below = map(boxes_of, fig.axes)
    assert above[1, 0][::2] == ("?", True)
    assert {colour for _, colour, _ in below.values()} == {COLOURS["item"]}
    assert below[1, 0][0].endswith("…") and len(below[1, 0][0]) <= 27
    fig.canvas.draw()
    for box, text in zip(fig.axes[1].patches, fig.axes[1].texts, strict=True):
        assert text.get_window_extent().width < box.get_window_extent().width
    with pytest.raises(ValueError, match="all are empty"):
        plots.plot_lists(["a"], {"x": []})


def test_neighbours_stand_in_a_row_beside_their_item_and_what_is_right_is_a_positive():
    found = {"Heat": ["Alien", "Brazil"], "Alien": ["A title that is far too long for its box"]}
    ax = plots.plot_neighbours(found, right=["Brazil"])
    rows = {0: [], -1: []}
    for box, text in zip(ax.patches, ax.texts, strict=True):
        assert box.get_center() == pytest.approx(text.get_position())
        rows[text.get_position()[1]].append((text.get_text(), box))
    assert [text for text, _ in rows[0]] == ["Heat", "Alien", "Brazil"]
    asked, first, second = (box for _, box in rows[0])
    assert to_hex(asked.get_facecolor()) == COLOURS["item"]
    assert first.get_facecolor()[3] == 0 and to_hex(second.get_facecolor()) == COLOURS["positive"]
    assert asked.get_x() < first.get_x() < second.get_x()
    assert rows[-1][1][0].endswith("…")
    ax.figure.canvas.draw()
    for box, text in zip(ax.patches, ax.texts, strict=True):
        assert text.get_window_extent().width < box.get_window_extent().width


@pytest.mark.parametrize(("chosen", "green"),
                         [("Heat", [1]), (("Alien", "Heat"), [0, 1]), ((), [])])
def test_recommendations_are_bars_as_long_as_their_scores_green_where_they_are_right(chosen, green):
    found = pd.DataFrame({"name": ["Alien", "Heat", "Brazil"], "score": [3.0, 2.5, 0.5]})
    seen = ["Ran", "Jaws", "Star Wars", "Back to the Future", "Up", "Clue"]
    fig = plots.plot_recommendations(seen, found, chosen)
    above, bars = (part.axes[0] for part in fig.subfigs)
    boxes = boxes_of(above)
    assert [boxes[t, 0][0].replace("\n", " ") for t in range(6)] == [*seen[-5:], "?"]
    assert {boxes[t, 0][1] for t in range(5)} == {COLOURS["item"]} and boxes[5, 0][2]  # hatched
    assert [bar.get_width() for bar in bars.patches] == [3.0, 2.5, 0.5] and bars.yaxis_inverted()
    drawn = [to_hex(bar.get_facecolor()) for bar in bars.patches]
    assert [n for n, colour in enumerate(drawn) if colour == COLOURS["positive"]] == green
    assert set(drawn) <= {COLOURS["positive"], COLOURS["item"]}
    labels = [label.get_text() for label in bars.get_yticklabels()]
    assert labels == ["Alien  1", "Heat  2", "Brazil  3"]


# ---- all of them

DRAWINGS = {
    "attention": lambda ax: plots.plot_attention(np.eye(2), "ab", ax),
    "bars": lambda ax: plots.plot_attention_bars({"a": [0.5, 0.5]}, "ab", ax),
    "distance": lambda ax: plots.plot_attention_by_distance(distances(True), ax),
    "embeddings": lambda ax: plots.plot_embeddings(np.eye(2), "ab", ax=ax),
    "history": lambda ax: plots.plot_history(HISTORY, ax=ax),
    "intervals": lambda ax: plots.plot_intervals(measured(), "MRR", "loss", ax=ax),
    "neighbours": lambda ax: plots.plot_neighbours({"A": "bc"}, ax=ax),
    "ranks": lambda ax: plots.plot_ranks({"a": np.array([1, 5])}, ax),
    "views": lambda ax: plots.plot_views({"a": [("A", "item")]}, ax),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_picture_is_drawn_on_the_axes_given_or_on_new_ones(draw):
    _, ax = plt.subplots()
    assert draw(ax) is ax
    first, second = draw(None), draw(None)
    assert first.figure is not second.figure
    first.figure.canvas.draw()


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_picture_has_the_style_of_the_book_and_leaves_that_of_others_alone(draw):
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before = dict(plt.rcParams)
        ax = draw(None)
        assert dict(plt.rcParams) == before
    assert ax.figure.get_figwidth() == 5 and not ax.spines["top"].get_visible()
    ax.figure.canvas.draw()
    for text in (ax.title, ax.xaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()):
        assert 9 <= text.get_size() <= 12  # pixels on a phone, whose column is as wide


@pytest.mark.parametrize("draw, complaint", [
    (lambda: plots.plot_attention(np.ones((2, 3)), "ab"), r"\(L, L\) for L = 2 .*not \(2, 3\)"),
    (lambda: plots.plot_attention(np.eye(3), "ab"), r"L = 2 names, not \(3, 3\)"),
    (lambda: plots.plot_attention_grid({"a": np.eye(3)}, "ab"), r"L = 2 names, not \(3, 3\)"),
    (lambda: plots.plot_attention_bars({"a": [1, 0, 0]}, "ab"), r"'a' .* 2 names, not .*\(3,\)"),
    (lambda: plots.plot_neighbours({"A": []}), "an item with a neighbour"),
    (lambda: plots.plot_embeddings(np.ones((3, 2)), "ab"), r"N = 2 labels, not \(3, 2\)"),
    (lambda: plots.plot_embeddings(np.ones((2, 3)), "ab"), r"\(N, 2\) .* labels, not \(2, 3\)"),
    (lambda: plots.plot_embeddings(np.ones((7, 2)), "abcdefg"), "7 kinds .* only 6 .*other"),
    (lambda: plots.plot_history([]), "no .*loss"),
    (lambda: plots.plot_history(HISTORY, ["loss", "accuracy"]), "no .*accuracy.*validation.MRR"),
    (lambda: plots.plot_history({"a": HISTORY, "b": [HISTORY, []]}), "no .*loss"),
    (lambda: plots.plot_intervals(measured(), "HR@1", "loss"), r"no \['HR@1'\], only .*MRR"),
    (lambda: plots.plot_intervals(measured(), "MRR", "loss", "seed"), r"no \['seed'\]"),
    (lambda: plots.plot_views({"a": [("A", "film")]}), "a box is no 'film'"),
])
def test_what_cannot_be_drawn_is_an_error_before_a_figure_is_opened(draw, complaint):
    with pytest.raises(ValueError, match=complaint):
        draw()
    assert not plt.get_fignums()


# ---- the language of colours

# Machado, Oliveira and Fernandes (2009), of linear RGB: the three kinds of colour blindness.
SEEN = {
    "all colours": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                 [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900]],
}


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """Lightness and two opponent colours, (3,), in which equal steps look equal (Ottosson 2020)."""
    cones = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    opponents = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506],
                          [0.0259, 0.7828, -0.8087]])
    return opponents @ np.cbrt(np.clip(cones @ rgb, 0, None))


@pytest.mark.parametrize("eye", SEEN)
def test_any_two_colours_of_the_language_can_be_told_apart(eye):
    distinct = sorted(set(COLOURS.values()))
    assert len(distinct) == 11
    seen = {colour: oklab(np.array(SEEN[eye]) @ linear(colour)) for colour in distinct}
    for one, other in itertools.combinations(distinct, 2):
        # A just visible step is 0.02; blue and yellow lie 0.7 apart.
        assert np.linalg.norm(seen[one] - seen[other]) > 0.05, (one, other)


def test_names_of_one_thing_have_one_colour():
    for names in (("item", "pretrained", "shipped", "S3-Rec"), ("scratch", "SASRec")):
        assert len({COLOURS[name] for name in names}) == 1


def test_the_colours_of_lines_stand_out_from_white():
    for name in COLOURS.keys() - {"mask", "train", "validation"}:  # those are surfaces
        luminance = linear(COLOURS[name]) @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) > 2.7, name


def test_the_style_gives_lines_without_a_name_the_colours_of_kinds():
    with plots.style():
        cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    assert tuple(map(to_hex, cycle)) == plots.KINDS
