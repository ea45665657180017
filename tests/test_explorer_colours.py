"""The colours of the explorers' style sheet, by arithmetic: what no browser need be asked."""

import re

import pandas as pd
import pytest
from s3rec_mini.explorers import explore_info_nce

PAGES = {  # what the text and the ground of a page are
    "the book by day": ("#222832", "#ffffff"), "the book by night": ("#ced6dd", "#14181e"),
    "Jupyter by day": ("#212121", "#ffffff"), "Jupyter by night": ("#ffffff", "#111111"),
}
every_page = pytest.mark.parametrize(("text", "ground"), PAGES.values(), ids=PAGES)
# Grounds on which words keep the contrast that they have on the page: its own, or a pair of the
# system's with the words' colour.
SAFE = {"transparent", "var(--paper)", "Canvas"}


@pytest.fixture(scope="module")
def sheet():
    estimates = pd.DataFrame([{"rho": 0.5, "K": K, "critic": critic, "value": 0.1}
                              for K in (1, 3) for critic in ("best", "sigma")])
    html = explore_info_nce(estimates)._repr_html_()
    return re.sub(r"/\*.*?\*/", "", re.search("<style>(.*?)</style>", html, re.DOTALL)[1])


def luminance(colour):
    """As WCAG 2 defines it, of a colour like #2b9085."""
    channels = [int(colour[place:place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_contrast_runs_from_one_to_twenty_one():
    assert contrast("#777777", "#777777") == 1
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#ffffff", "#767676") == pytest.approx(4.54, abs=0.005)  # a known threshold


@every_page
def test_the_hues_stand_out_by_day_and_by_night(sheet, text, ground):
    hues = re.findall(r"--hue-\d: (#[0-9a-f]{6});", sheet)
    assert len(hues) == 6
    assert {hue: contrast(hue, ground) for hue in hues if contrast(hue, ground) < 3} == {}


@every_page
def test_words_stand_out_on_the_black_or_white_of_a_page_that_names_no_ground(sheet, text, ground):
    (middle,) = re.findall(r"oklch\(from currentColor calc\(\((.+) - l\) \* 99\) 0 0\)", sheet)
    lightness = luminance(text) ** (1 / 3)  # Oklab's, of a colour that is almost grey
    painted = "#ffffff" if float(middle) > lightness else "#000000"
    assert contrast(text, painted) >= 7


def test_words_have_the_colours_of_the_page_and_no_mixed_ground(sheet):
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", sheet)
    grounds, colours = {}, {}
    for selector, body in rules:
        for name, value in re.findall(r"(?<![\w-])(background(?:-color)?|color): ([^;}]+)", body):
            (colours if name == "color" else grounds)[selector.strip()] = value.strip()
    assert {selector: value for selector, value in colours.items()
            if value not in ("inherit", "CanvasText")} == {}
    assert {selector: value for selector, value in grounds.items()
            if value not in SAFE and not selector.endswith("svg")} == {}  # no words in a bar
    system = {selector for selector, value in grounds.items() if value == "Canvas"}
    assert system == {s for s, value in colours.items() if value == "CanvasText"}
