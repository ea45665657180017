"""The exported notebooks: plain Markdown, folded where the page folds, and they run elsewhere."""

import base64
import math
import re
from xml.etree import ElementTree

import nbformat
import pytest
from conftest import ROOT
from jupyter_cache import get_cache

BUILD = ROOT / "_build"
RAN = BUILD / "jupyter_execute"
EXECUTED = {path.stem: path for path in sorted((RAN / "book").rglob("*.ipynb"))
            if (ROOT / path.relative_to(RAN)).exists()}
NOTEBOOKS = BUILD / "html" / "notebooks"

pytestmark = pytest.mark.skipif(not EXECUTED, reason="no built site: `make book` makes one")
every_chapter = pytest.mark.parametrize("chapter", EXECUTED)


def executed(chapter):
    """Return the notebook that ran for a page, in this build or, if nothing changed, before."""
    notebook = nbformat.read(EXECUTED[chapter], as_version=4)
    return get_cache(BUILD / ".jupyter_cache").merge_match_into_notebook(notebook)[1]


def read(chapter, kind="students"):
    return nbformat.read(NOTEBOOKS / kind / f"{chapter}.ipynb", as_version=4)


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@every_chapter
@pytest.mark.parametrize("kind", ["students", "teachers"])
def test_text_is_plain_markdown_with_nothing_unresolved(chapter, kind):
    notebook = read(chapter, kind)
    nbformat.validate(notebook)
    text = re.sub(r"```\w*\n.*?```|`[^`\n]*`", "", prose(notebook), flags=re.DOTALL)
    assert re.findall(r"\{[a-z:-]+\}`|```\{|^:::|\{\{|\[\^|\\\(|\\\[", text, re.MULTILINE) == []
    assert "href=\"#" not in text and "](#" not in text and text.startswith("# ")


@every_chapter
def test_the_page_and_the_notebook_hold_the_same_code_with_its_outputs(chapter):
    ran = [cell for cell in executed(chapter).cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in ran)
    teachers = read(chapter, "teachers")
    shown = [cell for cell in teachers.cells if cell.cell_type == "code"]
    text = prose(teachers)
    left = iter(ran)
    for cell in shown:
        source = re.sub(r"^#@title .*\n", "", cell.source)
        original = next(each for each in left if each.source == source)
        shows = [each for each in original.outputs if each.output_type != "stream"]
        printed = "".join(each.text for each in original.outputs if each.get("name") == "stdout")
        texts = [each.text for each in cell.outputs if each.output_type == "stream"]
        assert [each for each in cell.outputs if each.output_type != "stream"] == shows
        assert len(texts) <= 1 and "".join(texts).split() == printed.split()
    missing = [cell for cell in ran if cell.source not in text
               and cell.source not in [re.sub(r"^#@title .*\n", "", c.source) for c in shown]]
    assert missing == []


@every_chapter
def test_what_the_page_folds_is_a_form(chapter):
    for cell in read(chapter).cells:
        if cell.cell_type == "code" and cell.source.startswith("#@title"):
            assert cell.metadata.cellView == "form" and cell.metadata.jupyter.source_hidden
    first = next(cell for cell in read(chapter).cells if cell.cell_type == "code")
    assert "On Colab only" in first.source


@every_chapter
def test_students_get_no_solution_and_teachers_get_each(chapter):
    exercises = set(re.findall(r"\*\*Exercise ([\d.]+)", prose(read(chapter))))
    solved = set(re.findall(r"<summary>Solution to Exercise ([\d.]+)",
                            prose(read(chapter, "teachers"))))
    assert "Solution to" not in prose(read(chapter))
    assert solved == exercises


@every_chapter
def test_where_a_class_can_stop_is_told_to_teachers_alone(chapter):
    page = BUILD / "html" / EXECUTED[chapter].relative_to(RAN).with_suffix(".html")
    marks = re.findall(r'<p class="stop">(.*?)</p>', page.read_text(encoding="utf8"))
    told = [re.sub(r"<[^>]+>", "", mark) for mark in marks]
    assert re.findall(r"^> \*\*(.*for a class.*)\*\*$", prose(read(chapter, "teachers")),
                      re.MULTILINE) == told
    assert not any(mark in prose(read(chapter)) for mark in told)
    assert 'class="stop"' not in prose(read(chapter)) + prose(read(chapter, "teachers"))


STOPS = ("sequential_recommendation", "leaks_and_clocks", "self_attention", "mutual_information",
         "information_deeper", "associated_attributes", "masked_items", "masked_attributes",
         "segments")  # the front page promises these


@pytest.mark.parametrize("chapter", STOPS)
def test_a_long_chapter_says_where_a_class_can_stop(chapter):
    assert prose(read(chapter, "teachers")).count("Half-time for a class of 90 minutes.") == 1


@every_chapter
def test_a_drawing_is_whole_and_alone_as_it_is_on_the_page(chapter):
    """A browser that draws an image reads it as XML, where viewbox is no viewBox."""
    page = (BUILD / "html" / EXECUTED[chapter].relative_to(RAN)).with_suffix(".html").read_text()
    names = set(re.findall(r"\b[a-z]+[A-Z]\w*(?==)", "".join(
        re.findall(r"<svg.*?</svg>", page, re.DOTALL))))
    for drawn in re.findall(r"svg\+xml;base64,([\w+/=]+)", prose(read(chapter))):
        drawing = ElementTree.fromstring(base64.b64decode(drawn))
        assert drawing.get("viewBox").count(" ") == 3
        assert b"var(" not in base64.b64decode(drawn)  # no theme is there to name a colour
        found = {name for element in drawing.iter() for name in element.attrib}
        assert not {name for name in found if name not in names} & {each.lower() for each in names}


@every_chapter
def test_a_picture_keeps_its_caption(chapter):
    pictures = sum("image/png" in output.get("data", {}) for cell in read(chapter).cells
                   if cell.cell_type == "code" for output in cell.outputs)
    captions = len(re.findall(r"^\*?Fig\. \d", prose(read(chapter)), re.MULTILINE))
    assert captions >= pictures


FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$([^$\n]+(?:\n[^$\n]+)?)\$", re.DOTALL)
DECIMAL = re.compile(r"(?<![\d.\w])\d*\.\d{2,}(?![\d.\w])")


def printed(cell):
    """What the reader can see of a code cell: its source and its text outputs."""
    shown = [cell.source]
    for output in cell.outputs:
        shown.append(output.get("text", ""))
        shown.append(output.get("data", {}).get("text/plain", ""))
    return "\n".join(shown)


def unsourced_numbers(notebook):
    """Decimal numbers of the prose that no code cell shows, not even rounded."""
    cells = [printed(cell) for cell in notebook.cells if cell.cell_type == "code"]
    shown = [float(number) for number in re.findall(r"\d*\.\d+(?:e-?\d+)?", "\n".join(cells))]
    prose = FORMULA.sub(" ", "\n".join(
        cell.source for cell in notebook.cells if cell.cell_type == "markdown"))
    return [number for number in DECIMAL.findall(prose)
            if not any(math.isclose(round(value, len(number.split(".")[1])), float(number))
                       for value in shown)]


@every_chapter
def test_no_number_stands_in_the_prose_that_no_cell_shows(chapter):
    assert unsourced_numbers(executed(chapter)) == []


@pytest.mark.slow
@every_chapter
def test_a_students_notebook_runs_on_colab_with_the_wheel_beside_it(chapter, on_colab):
    on_colab(read(chapter))
