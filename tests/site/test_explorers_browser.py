"""The explorers in a browser, moved by mouse and keys, two of each on one page."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import make_data, make_model

from s3rec_mini.looking.explorers import explore_attention, explore_embeddings, explore_info_nce

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed")

BOLD = "</script><b>bold</b>"
FRAMES = {epoch: np.array([[0.0, 0], [1, 0], [0, 1], [1, 1], [0.4, 0.6]]) * (epoch + 1)
          for epoch in (0, 2)}
FRAMES[2][4] = 2.9, 0.1  # the last item ends near the second
NAMES = ["south west", "south east", "north west", "north east", BOLD]
LABELS = {"side": ["west", "east", "west", "east", "none"], "end": ["south"] * 2 + ["north"] * 3}
ESTIMATES = pd.DataFrame(
    [{"rho": rho, "K": K, "critic": critic, "value": rho / 4 + K / 1000 + 0.1 * (critic == "best")}
     for rho in (0.0, 0.6, 0.8) for K in (1, 3, 7) for critic in ("best", "sigma")])
# The colours of a page, said outright: where none are, axe-core takes the ground for white, by
# night too, and can judge no words.
COLOURS = """
    :root { color-scheme: light dark; color: #222832; background: #fff }
    @media (prefers-color-scheme: dark) { :root { color: #ced6dd; background: #14181e } }
"""


@pytest.fixture(scope="module")
def explorers():
    data = make_data([[1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5]], num_items=12)
    return {
        "attention": explore_attention(make_model(max_length=6), data, [0, 1]),
        "embeddings": explore_embeddings(FRAMES, NAMES, LABELS, shown="north west"),
        "info_nce": explore_info_nce(ESTIMATES),
    }


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(explorers, tmp_path_factory):
    """A page on which each explorer stands twice, as a notebook that ran a cell twice has it."""
    twice = "".join(2 * explorer._repr_html_() for explorer in explorers.values())
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Explorers</title>'
        f'<meta name="viewport" content="width=device-width"><style>{COLOURS}</style>'
        f"<main><h1>Explorers</h1>{twice}</main></html>", encoding="utf8")
    return path


def opened(browser, path, **settings):
    """Open the page; what the console says and what is asked of others becomes `tab.trouble`."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, **settings)
    tab, trouble = context.new_page(), []
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("request", lambda request: trouble.append(request.url))
    tab.goto(path.as_uri())
    assert trouble.pop(0) == path.as_uri()
    return tab, trouble


@pytest.fixture
def tab(browser, path):
    """The page at the width of a phone; a test fails if it causes any trouble."""
    tab, trouble = opened(browser, path)
    yield tab
    assert trouble == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.context.close()


def explorer(tab, kind, which=0):
    return tab.locator(f'[data-explorer="{kind}"]').nth(which)


def words(root):
    return root.get_by_role("status").text_content()


def choice(root, name):
    return root.get_by_role("combobox", name=name, exact=True)


def shares(root):
    return root.locator(".s3-row .s3-value").all_text_contents()


def percents(weights):
    return [f"{weight / 10:.1f}\N{NO-BREAK SPACE}%" for weight in weights]


def table(root):
    """Open the table and read it, once a script, where one runs, has heard of it and written it."""
    details, runs = root.locator("details"), root.get_attribute("data-ready") is not None
    if runs:  # the browser tells the script later than it tells us that the click is done
        details.evaluate("""each => { each.told = new Promise(
            done => each.addEventListener("toggle", () => done(), { once: true })); }""")
    root.locator("summary").click()
    if runs:
        details.evaluate("each => each.told")
    return [line.locator("th, td").all_text_contents() for line in root.locator("tr").all()]


def test_the_script_begins_with_the_sentence_and_table_of_the_document_and_adds_the_picture(
        browser, path, explorers):
    with_script, _ = opened(browser, path)
    without, _ = opened(browser, path, java_script_enabled=False)
    for kind, made in explorers.items():
        told, first = explorer(with_script, kind), explorer(without, kind)
        assert words(told) == words(first) == made.words
        assert first.locator(".s3-hint").count() == 1 and told.locator(".s3-hint").count() == 0
        assert told.locator(".s3-picture svg").first.is_visible()
        assert first.locator("svg").count() == 0
        assert table(told) == table(first)
    with_script.context.close()
    without.context.close()


INSERT = """markup => {
  const host = document.querySelector("main").appendChild(document.createElement("div"));
  host.innerHTML = markup;  // scripts that come this way do not run …
  for (const script of host.querySelectorAll("script")) {
    const twin = document.createElement("script");  // … until each is replaced by a new one
    for (const { name, value } of script.attributes) twin.setAttribute(name, value);
    twin.textContent = script.textContent;
    script.replaceWith(twin);
  }
}"""


def test_an_explorer_runs_where_a_notebook_inserts_it_later(tab, explorers):
    before = words(explorer(tab, "attention"))
    tab.evaluate(INSERT, explorers["attention"]._repr_html_())
    inserted = explorer(tab, "attention", 2)
    choice(inserted, "Layer").select_option("2")
    assert words(inserted).startswith("Layer 2, head 1, causal: 6 looks most at ")
    assert words(explorer(tab, "attention")) == before


def test_every_control_has_a_name_and_can_be_reached_by_key(tab):
    controls = tab.locator("select, input")
    assert controls.count() == 2 * (4 + 6 + 4 + 3)  # of attention also six films
    for control in controls.all():
        assert control.evaluate("c => c.labels.length === 1 && c.labels[0].textContent.length > 0")
        assert control.evaluate("c => c.tabIndex") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, path, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab, _ = opened(browser, path, color_scheme=scheme)
    for summary in tab.locator("summary").all():
        summary.click()
    found = axe.Axe().run(tab).response["violations"]
    tab.context.close()
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []


# ---- attention


def test_arrow_keys_move_from_film_to_film(tab, explorers):
    user = explorers["attention"].numbers["users"][0]
    root = explorer(tab, "attention")
    assert shares(root) == percents(user["causal"][0][0][-1])
    root.get_by_role("radio", name="6").focus()
    tab.keyboard.press("ArrowUp")
    assert root.get_by_role("radio").nth(4).is_checked()
    assert shares(root) == [*percents(user["causal"][0][0][4][:5]), "hidden"]
    assert words(root).startswith("Layer 1, head 1, causal: 5 looks most at ")
    assert "Equal weights would be 20.0" in words(root)


def test_a_notebook_hears_of_the_keys_in_an_explorer_those_that_save_it_and_no_other(tab):
    tab.evaluate("""window.heard = [];
        document.addEventListener("keydown", event => heard.push(event.key))""")
    explorer(tab, "attention").get_by_role("radio").nth(5).focus()
    for keys in ("ArrowUp", "d", "d", "Control+s"):
        tab.keyboard.press(keys)
    assert tab.evaluate("heard") == ["Control", "s"]


def test_each_choice_shows_its_own_weights(tab, explorers):
    first, second = explorers["attention"].numbers["users"]
    root = explorer(tab, "attention")
    choice(root, "Layer").select_option("2")
    assert shares(root) == percents(first["causal"][1][0][-1])
    choice(root, "Head").select_option("2")
    assert shares(root) == percents(first["causal"][1][1][-1])
    choice(root, "Reads").select_option("bidirectional")
    root.get_by_role("radio").nth(0).check()
    assert shares(root) == percents(first["bidirectional"][1][1][0])
    tab.mouse.move(0, 0)  # else it would point at a film
    choice(root, "User").select_option("1")
    assert shares(root) == percents(second["bidirectional"][1][1][-1])
    assert table(root) == [["looks ↓ at →", *second["items"]]] + [
        [film, *percents(row)] for film, row in
        zip(second["items"], second["bidirectional"][1][1], strict=True)]


def test_pointing_shows_a_film_and_leaving_goes_back(tab, explorers):
    weights = explorers["attention"].numbers["users"][0]["causal"][0][0]
    root = explorer(tab, "attention")
    root.locator(".s3-row").nth(2).hover()
    assert shares(root) == [*percents(weights[2][:3]), *["hidden"] * 3]
    tab.mouse.move(0, 0)
    assert shares(root) == percents(weights[5])


def test_a_bar_is_as_long_as_its_weight_up_to_a_half(tab, explorers):
    weights = explorers["attention"].numbers["users"][0]["causal"][0][0][-1]
    drawn = [float(bar.get_attribute("width")) for bar in
             explorer(tab, "attention").locator(".s3-bar").all()]
    assert drawn == pytest.approx([min(100, weight / 5) for weight in weights])


def test_two_explorers_on_one_page_move_by_themselves(tab):
    one, other = explorer(tab, "attention"), explorer(tab, "attention", 1)
    before = words(other), shares(other)
    choice(one, "Layer").select_option("2")
    one.get_by_role("radio").nth(1).check()
    assert (words(other), shares(other)) == before
    assert other.get_by_role("radio").nth(5).is_checked()


def test_what_a_causal_item_may_not_see_is_hidden_in_bars_and_table_alike(tab, explorers):
    first = explorers["attention"].numbers["users"][0]
    root = explorer(tab, "attention")
    listed = table(root)[1:]
    for item, row in enumerate(listed):
        root.get_by_role("radio").nth(item).check()
        tab.mouse.move(0, 0)  # else it would point at a film
        assert row == [first["items"][item], *shares(root)]
        assert row.count("hidden") == 5 - item


# ---- tables


@pytest.mark.parametrize("kind", ["attention", "embeddings"])
def test_the_heads_of_a_table_leave_room_and_stay_while_it_scrolls(browser, kind):
    long = [f"A film whose title is of uncommon length, part {i} (1999)" for i in range(22)]
    data = make_data([list(range(1, 21))], num_items=20)
    data = type(data)(data.name, data.sequences, data.item_attributes, long,
                      data.attribute_names, ("1",))
    made = {"attention": lambda: explore_attention(make_model(20), data, [0]),
            "embeddings": lambda: explore_embeddings(
                {0: np.arange(44.0).reshape(22, 2)}, long, {"side": ["a"] * 22})}[kind]()
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.set_content(f"<!doctype html>{made._repr_html_()}")
    root = tab.locator("form")
    root.locator("summary").click()
    box = root.locator(".s3-scroll")
    assert box.evaluate("box => box.scrollHeight > box.clientHeight")
    box.evaluate("box => box.scrollTo(50, 100)")
    edge = box.bounding_box()
    beside = root.locator("tbody th").nth(8)
    above = root.locator("thead th").nth(2)
    assert beside.bounding_box()["x"] == pytest.approx(edge["x"], abs=1)
    assert beside.bounding_box()["width"] < edge["width"] / 2
    assert above.bounding_box()["y"] == pytest.approx(edge["y"], abs=1)
    assert beside.evaluate("head => getComputedStyle(head).backgroundColor") not in (
        "transparent", "rgba(0, 0, 0, 0)")
    tab.close()


# ---- embeddings


def test_the_slider_moves_the_dots_to_the_epoch(tab, explorers):
    numbers = explorers["embeddings"].numbers
    root = explorer(tab, "embeddings")

    def drawn():
        return root.locator(".s3-map .s3-dot").evaluate_all(
            "dots => dots.map(dot => dot.style.transform)")

    def wanted(frame):
        return [f"translate({x}px, {y}px)" for x, y in numbers["frames"][frame]]

    assert drawn() == wanted(1)
    root.get_by_role("slider", name="Epoch").focus()
    tab.keyboard.press("ArrowLeft")
    assert drawn() == wanted(0)
    assert words(root) == ("After epoch 0, north west (west, north) is nearest on the map, among "
                           f"all items, to {BOLD}; south west; north east.")
    rows = table(root)[1:]
    assert [line[:3] for line in rows] == [list(line) for line in zip(
        NAMES, LABELS["side"], LABELS["end"], strict=True)]
    listed = np.array([line[3:] for line in rows], float)
    assert listed == pytest.approx(FRAMES[0], abs=0.003)  # the picture has steps of 0.003


def test_a_film_is_found_by_name_or_by_a_click_near_its_dot(tab):
    root = explorer(tab, "embeddings")
    choice(root, "Find").select_option("south west")
    assert words(root).startswith("After epoch 2, south west (west, south)")
    tab.wait_for_timeout(500)  # until the dots have arrived
    dot = root.locator(".s3-map .s3-dot").nth(4)
    dot.scroll_into_view_if_needed()
    box = dot.bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 + 3)
    assert words(root).startswith(f"After epoch 2, {BOLD} (none, north) is nearest on the map, "
                                  "among all items, to south east;")
    assert root.locator("b").count() == 0  # the title is text


def test_a_mouse_near_a_dot_sees_its_name_until_it_leaves(tab):
    root = explorer(tab, "embeddings")  # north west is singled out
    plane, near = root.locator(".s3-map"), root.locator(".s3-map .s3-near")
    tab.wait_for_timeout(500)  # until the dots have arrived
    plane.scroll_into_view_if_needed()
    for item in (1, 0):
        box = root.locator(".s3-map .s3-dot").nth(item).bounding_box()
        tab.mouse.move(box["x"] + box["width"] / 2 + 2, box["y"] + box["height"] / 2 + 2)
        assert near.text_content() == NAMES[item]
        edges, map_ = near.bounding_box(), plane.bounding_box()
        assert map_["x"] - 1 <= edges["x"]
        assert edges["x"] + edges["width"] <= map_["x"] + map_["width"] + 1
    tab.mouse.move(0, 0)
    assert near.text_content() == ""


def test_one_group_of_a_colour_can_be_shown_alone(tab):
    root = explorer(tab, "embeddings")
    choice(root, "Colour").select_option("end")
    assert root.locator(".s3-key li").all_text_contents() == ["north", "south"]
    choice(root, "Find").select_option("south west")
    choice(root, "Show").select_option("south")
    opacities = root.locator(".s3-map .s3-dot").evaluate_all(
        "dots => dots.map(d => Number(d.style.opacity) > 0.5)")
    assert opacities == [True, True, False, False, False]


def test_the_film_singled_out_stays_when_its_group_is_not_shown(tab):
    root = explorer(tab, "embeddings")  # north west, of the west
    choice(root, "Show").select_option("east")
    opacities = root.locator(".s3-map .s3-dot").evaluate_all(
        "dots => dots.map(d => Number(d.style.opacity) > 0.5)")
    assert opacities == [False, True, True, True, False]


def test_films_are_listed_in_the_order_of_the_alphabet(tab):
    listed = choice(explorer(tab, "embeddings"), "Find").locator("option")
    assert listed.all_text_contents() == [
        BOLD, "north east", "north west", "south east", "south west"]
    assert listed.evaluate_all("options => options.map(o => o.value)") == list("43210")


def test_the_name_of_the_film_stays_on_the_map(browser):
    corners = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5]])
    films = [f"Film {i} whose title goes on and on, {'part two, ' * 9}(1999)" for i in range(5)]
    made = explore_embeddings({0: corners, 1: corners}, films, {"side": ["a"] * 5})
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.set_content(f"<!doctype html>{made._repr_html_()}")
    for film in films:
        choice(tab.locator("form"), "Find").select_option(film)
        name = tab.locator(".s3-map > text:not(.s3-near)")
        place, plane = name.bounding_box(), tab.locator(".s3-map").bounding_box()
        assert name.text_content()[:12] == film[:12]
        assert place["x"] >= plane["x"] and place["y"] >= plane["y"]
        assert place["x"] + place["width"] <= plane["x"] + plane["width"]
        assert words(tab.locator("form")).startswith(f"After epoch 1, {film} ")
    tab.close()


# ---- InfoNCE


def test_sliders_and_the_tick_show_the_estimate_that_was_given(tab):
    root = explorer(tab, "info_nce")
    root.get_by_role("slider", name="correlation ρ").focus()
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowRight")  # ρ = 0.6
    root.get_by_role("slider", name="negatives K").focus()
    tab.keyboard.press("End")  # K = 7
    truth, ceiling = -math.log(1 - 0.36) / 2, math.log(8)
    ends = (f"of the true {truth:.3f} nat. The ceiling is {ceiling:.3f} for any critic, "
            f"{ceiling - math.log(1 + 7 / math.e):.3f} with σ.")
    assert words(root) == f"ρ = 0.6, K = 7, best critic: the estimate is 0.257 {ends}"
    root.get_by_role("checkbox", name="σ on the critic").focus()
    tab.keyboard.press("Space")
    assert words(root) == f"ρ = 0.6, K = 7, critic with σ: the estimate is 0.157 {ends}"
    assert root.get_by_role("slider", name="correlation ρ").get_attribute("aria-valuetext") == "0.6"
    last = table(root)[-1]
    assert last == ["7", "0.257", "0.157", f"{truth:.3f}", f"{ceiling:.3f}",
                    f"{ceiling - math.log(1 + 7 / math.e):.3f}"]


def test_the_curve_passes_through_its_estimates_on_the_scale_of_the_axis(tab):
    root = explorer(tab, "info_nce")  # ρ = 0.8, K = 3
    circle = root.locator("circle")
    heights = dict(zip(root.locator("text[text-anchor=end]").all_text_contents(),
                       root.locator("text[text-anchor=end]").evaluate_all(
                           "texts => texts.map(t => Number(t.getAttribute('y')) - 4)"),
                       strict=True))
    half = heights["0.0"] - heights["0.5"]  # the length of half a nat
    value = (heights["0.0"] - float(circle.get_attribute("cy"))) / half / 2
    assert value == pytest.approx(0.8 / 4 + 3 / 1000 + 0.1, abs=1e-6)


def test_the_axis_is_the_same_for_every_correlation(tab):
    root = explorer(tab, "info_nce")
    marks = []
    for key in ("Home", "End"):
        root.get_by_role("slider", name="correlation ρ").focus()
        tab.keyboard.press(key)
        marks.append(root.locator("text[text-anchor=end]").evaluate_all(
            "texts => texts.map(t => [t.textContent, t.getAttribute('y')])"))
    assert marks[0] == marks[1]


def test_controls_keep_their_places_while_values_grow_longer(tab):
    tab.set_viewport_size({"width": 1280, "height": 844})  # the sliders stand side by side
    root = explorer(tab, "info_nce")
    places = []
    for key in ("Home", "End"):
        for name in ("correlation ρ", "negatives K"):
            root.get_by_role("slider", name=name).focus()
            tab.keyboard.press(key)
        places.append([control.bounding_box() for control in root.locator("input").all()])
    assert places[0] == places[1]
    tab.set_viewport_size({"width": 390, "height": 844})


def test_the_ceiling_with_sigma_is_faint_until_sigma_is_on(tab):
    root = explorer(tab, "info_nce")
    seen = "lines => lines.map(line => Number(getComputedStyle(line).opacity))"
    ceilings = root.locator(".s3-dashdot")  # in the key and in the drawing
    assert max(ceilings.evaluate_all(seen)) < 0.5 and ceilings.count() == 2
    root.get_by_role("checkbox").check()
    assert ceilings.evaluate_all(seen) == [1, 1]


def test_the_truth_is_drawn_over_the_estimate(tab):
    lines = explorer(tab, "info_nce").locator(".s3-picture > svg path:not(.s3-thin)")
    styles = [line.get_attribute("class") for line in lines.all()]
    assert styles[-2:] == ["s3-line hue-4", "s3-mark s3-dashed"] and len(styles) == 4
