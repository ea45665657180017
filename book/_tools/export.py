"""Make notebooks that read well anywhere of the built book: two sets, for students and teachers.

    python book/_tools/export.py _build          # into _build/html/notebooks, with the wheel

Text is taken from the built pages, where every link, number, citation and caption is resolved, and
turned into plain Markdown; code and outputs are those of the run that made the page. What the page
folds is a form in Colab and hidden in JupyterLab. Students get the exercises, teachers the
solutions as well, as text that opens, and the places where a class can stop.
"""

import base64
import copy
import itertools
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from urllib.parse import urljoin

import nbformat
from bs4 import BeautifulSoup, NavigableString, Tag
from jupyter_cache import get_cache
from markdownify import MarkdownConverter
from myst_nb.core.utils import coalesce_streams

CSS = Path(__file__).with_name("static") / "book.css"
# The light theme's values of what the pictures' style sheet leaves to the theme.
LIGHT = {"text-base": "#222832", "text-muted": "#48566b", "surface": "#f3f4f5",
         "border": "#c9c9c9", "primary": "#176de8", "background": "#ffffff"}
SETS = ("students", "teachers")
# HTML does not care how these are written, and its parser writes them small; SVG does.
SVG_NAMES = {name.lower(): name for name in (
    "lengthAdjust", "markerHeight", "markerUnits", "markerWidth", "patternTransform",
    "patternUnits", "preserveAspectRatio", "refX", "refY", "textLength", "viewBox")}


class Markdown(MarkdownConverter):
    """Plain Markdown; formulas and pictures are kept as they were marked by `prepared`."""

    def convert_math(self, element, text, parent_tags):
        """Return a formula between dollars, whatever Markdown makes of its signs."""
        return element["source"]


def exported(page: BeautifulSoup, ran, teachers: bool):
    """Make a notebook of a built page and of the notebook that ran for it."""
    code = iter([cell for cell in ran.cells if cell.cell_type == "code"])
    made = nbformat.v4.new_notebook(metadata={
        "kernelspec": ran.metadata.kernelspec, "colab": {"toc_visible": True}})
    here = page.select_one('meta[property="og:url"]')["content"]
    base = here if here.startswith("http") else ""  # links need the book's public address
    text: list[str] = []

    def write_text() -> None:
        joined = "\n\n".join(part for part in text if part.strip())
        if joined:
            made.cells.append(nbformat.v4.new_markdown_cell(joined))
        text.clear()

    for kind, element in pieces(page.select_one("article.bd-article section")):
        if kind == "solution":
            cells = [next(code) for _ in element.select("div.cell")]
            if teachers:
                text.append(solution(element, cells, base))
        elif kind == "cell":
            write_text()
            made.cells.append(code_cell(next(code), element))
            text += [markdown(caption, base) for caption in element.select("figcaption")]
        elif kind == "stop":
            text += [f"> **{element.get_text()}**"] * teachers
        else:
            text.append(markdown(element, base))
    write_text()
    assert next(code, None) is None, f"{here}: a cell of the notebook is not on the page"
    return made


def pieces(element: Tag) -> Iterator[tuple[str, Tag]]:
    """Yield what a page is made of, in order: text, code cells, solutions, places to stop."""
    for child in list(element.children):
        if not isinstance(child, Tag):
            continue
        classes = child.get("class", [])
        if "cell" in classes:
            yield "cell", child
        elif "solution" in classes:
            yield "solution", child
        elif "stop" in classes:
            yield "stop", child
        elif child.name == "section" or child.select_one("div.cell"):
            yield from pieces(child)
        elif child.name != "summary":
            yield "text", child


def code_cell(cell, element: Tag):
    """Return a code cell as it ran; what the page folds is folded here too."""
    cell = copy.deepcopy(cell)
    fold = element.find_parent("details", class_="fold") or element.select_one("details.fold")
    cell.metadata = nbformat.from_dict({})
    if fold:
        cell.source = f"#@title {fold.summary.get_text()}\n{cell.source}"
        cell.metadata.update(cellView="form", jupyter={"source_hidden": True})
    cell.outputs = outputs(cell)
    return cell


def outputs(cell) -> list:
    """Return what a cell printed, in one piece as on the page, and what it showed."""
    kept = [each for each in cell.outputs if each.get("name") != "stderr"]
    return coalesce_streams(copy.deepcopy(kept))  # which writes into what it is given


def solution(element: Tag, cells: list, base: str) -> str:
    """Return a solution as text that opens, its code and what that printed included."""
    parts, code = [], iter(cells)
    for kind, piece in pieces(element):
        if kind == "text" and "admonition-title" not in piece.get("class", []):
            parts.append(markdown(piece, base))
        elif kind == "cell":
            cell = next(code)
            printed = "".join(each.get("text", "") for each in outputs(cell))
            parts.append(f"```python\n{cell.source}\n```")
            parts += [f"```text\n{printed.rstrip()}\n```"] * bool(printed)
            parts += [markdown(each, base) for each in piece.select("figcaption")]
    title = element.select_one(".admonition-title").get_text(" ", strip=True)
    return "\n\n".join([f"<details>\n<summary>{title}</summary>", *parts, "</details>"])


def markdown(element: Tag, base: str) -> str:
    """Turn a piece of a page into plain Markdown."""
    element = prepared(copy.copy(element), base)
    converter = Markdown(heading_style="ATX", bullets="-", escape_misc=False,
                         code_language_callback=language)
    return re.sub(r"\n{3,}", "\n\n", converter.convert(str(element))).strip()


def language(element: Tag) -> str:
    """Name the language of a listing by the class that Sphinx gave it."""
    around = " ".join(element.parent.parent.get("class", [])) if element.parent else ""
    found = re.search(r"highlight-(\w+)", around)
    return {"ipython3": "python", "sh": "sh", "python": "python"}.get(found[1], "") if found else ""


def prepared(element: Tag, base: str) -> Tag:
    """Mark formulas, draw pictures, complete links, and make boxes quotations."""
    soup = BeautifulSoup(str(element), "html.parser")
    for each in soup.select("a.headerlink, button, .eqno a"):
        each.decompose()
    for each in soup.select("span.math, div.math"):
        each.replace_with(formula(soup, each))
    for each in soup.select("svg"):
        each.replace_with(picture(soup, each))
    for each in soup.select("a[href]"):
        if base:
            each["href"] = urljoin(base, each["href"])
        elif not each["href"].startswith("http"):
            each.unwrap()  # no address yet: the words alone
    for each in soup.select("div.admonition, div.exercise, div.proof"):
        each.name = "blockquote"
        if title := each.select_one(".admonition-title"):
            title.name = "p"
            title.string = title.get_text(" ", strip=True)
            title.insert(0, soup.new_tag("b"))
            title.b.append(title.contents[1].extract())
    return soup


def formula(soup: BeautifulSoup, element: Tag) -> Tag:
    """Return a formula as Markdown knows it; a numbered one keeps its number."""
    number = element.select_one(".eqno")
    tag = f" \\tag{{{number.get_text().strip('()')}}}" if number else ""
    if number:
        number.decompose()
    source = element.get_text().strip().replace("\\phone ", "")  # the book's own macro
    found = re.fullmatch(r"\\[(\[](.*)\\[)\]]", source, re.DOTALL)
    body = found[1].strip() if found else source
    made = soup.new_tag("math")
    made["source"] = f"\n\n$$\n{body}{tag}\n$$\n\n" if element.name == "div" else f"${body}$"
    made.append(NavigableString("."))
    return made


def picture(soup: BeautifulSoup, element: Tag) -> Tag:
    """Return an inline drawing as an image that carries its colours, or the way as a line."""
    title = element.title.get_text()
    if "here" in element.get("class", []):
        made = soup.new_tag("em")
        made.string = title
        return made
    rules = "\n".join(re.findall(r"^(?:svg|\.chapter-map)[^{]*\{[^}]*\}",
                                 CSS.read_text(encoding="utf8"), re.MULTILINE))
    style = soup.new_tag("style")
    style.string = rules
    element.insert(0, style)
    for each in [element, *element.find_all(True)]:
        each.attrs = {SVG_NAMES.get(name, name): value for name, value in each.attrs.items()}
    element["xmlns"] = "http://www.w3.org/2000/svg"
    drawing = re.sub(r"var\(--pst-color-([\w-]+)[^)]*\)", lambda name: LIGHT[name[1]], str(element))
    drawn = base64.b64encode(drawing.encode()).decode()
    return soup.new_tag("img", src=f"data:image/svg+xml;base64,{drawn}", alt=title)


def main(build: Path) -> None:
    """Export every page that has a notebook, as many at a time as there are cores."""
    executed = sorted((build / "jupyter_execute" / "book").rglob("*.ipynb"))
    with ProcessPoolExecutor() as pool:
        list(pool.map(export, itertools.repeat(build), executed))  # raises what one of them raised


def export(build: Path, executed: Path) -> None:
    """Write both notebooks of a page, if it is one.

    Of a page that ran in an earlier build, the outputs stand in the cache alone.
    """
    name = executed.relative_to(build / "jupyter_execute").with_suffix("")
    html = build / "html" / f"{name}.html"
    if not html.exists():
        return
    page = BeautifulSoup(html.read_text(encoding="utf8"), "html.parser")
    cache = get_cache(build / ".jupyter_cache")
    _, ran = cache.merge_match_into_notebook(nbformat.read(executed, as_version=4))
    for kind in SETS:
        where = build / "html" / "notebooks" / kind / f"{name.name}.ipynb"
        where.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(exported(page, ran, kind == "teachers"), where)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
