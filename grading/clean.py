"""Make a foreign notebook harmless, and put its answers into a fresh student version.

Of what was handed in, text, pictures and the names of cells are taken over. Code stays text;
Markdown becomes HTML that an allow-list has passed, before any page or gradebook sees it. Whatever
else was done to the notebook (cells deleted, moved or edited, metadata changed, outputs pasted in)
is undone, and what was written in places that do not count is kept in sight and noted.
"""

import html
import re
import secrets
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import nbformat
import nh3
from latex2mathml.converter import convert_to_element
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell
from nbgrader.utils import is_solution

from .course import Course, by_name, grade_id

LARGEST = 20 * 2**20  # bytes of a notebook
CODE = 2**20  # characters of code
TEXT = 100_000  # characters of Markdown: more may take minutes, and stays text
FORMULA = 5000  # characters of TeX: more may take minutes, too
TAGS = 10_000  # of a cell: more, one in another, take minutes, too
PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+=*")
MATH = {"display", "mathvariant", "stretchy", "form", "accent", "columnalign", "linethickness"}
REACHES = re.compile(r"\b(get_ipython|_wire|_getframe|builtins|ctypes|socket|subprocess)\b")
LINK = re.compile(r"(https?|mailto):", re.IGNORECASE)


def cleaned(course: Course, assignment: str, path: Path):
    """Return a student version with the answers of the notebook at `path`, and a note on it.

    What cannot be read gives an empty one. The note stands in the first cell too.
    """
    released = {name: nbformat.read(course.notebook("release", name), as_version=4)
                for name in course.assignments}
    try:
        submission = read_submission(path)
        shared = {name: len(by_name(submission).keys() & by_name(release).keys())
                  for name, release in released.items()}
        likely = max(shared, key=shared.get)
        if shared[likely] > shared[assignment]:
            raise ValueError(f"this is the notebook of {likely}, not {assignment}: look for that")
        notebook, notes = merged(released[assignment], submission)
    except ValueError as wrong:
        notebook, notes = merged(released[assignment], new_notebook())[0], [str(wrong)]
    if notes:
        text = "**Noted when this was graded**\n\n" + "\n".join(f"- {note}" for note in notes)
        notebook.cells.insert(0, _own(new_markdown_cell(text)))
    return notebook, "; ".join(notes)


def read_submission(path: Path):
    """Read a notebook that somebody handed in; keep of its cells what a student may bring.

    Raises
    ------
    ValueError
        If it is too large or no notebook; the message is meant for the student.
    OSError
        If the file cannot be opened, which is no fault of the student's.
    """
    with path.open("rb") as file:
        raw = file.read(LARGEST + 1)  # it may be of any size
    try:
        if len(raw) > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 20} MB: clear outputs")
        foreign = nbformat.reads(raw.decode("utf-8-sig"), as_version=4)
        notebook = new_notebook(cells=[_foreign(cell) for cell in foreign.cells])
    except Exception as wrong:  # whatever a foreign file makes the reader raise
        why = re.sub(r"[^\w .,:]+", " ", str(wrong))[:100]  # which may be theirs, and no link
        raise ValueError(f"this is no notebook that can be read ({why}): download it again as "
                         f".ipynb and hand it in anew") from None
    written = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    if sum(len(PICTURE.sub("", cell.source)) for cell in written) > TEXT:
        for cell in written:
            cell.cell_type = "raw"
    if sum(len(cell.source) for cell in notebook.cells if cell.cell_type == "code") > CODE:
        raise ValueError(f"it has more than {CODE:,} characters of code: take out what is none")
    return notebook


def merged(release, submission):
    """Return the student version `release` with what `submission` holds, and notes on that."""
    known = by_name(release)
    answers, added, changed = _by_place(known, submission)
    filled = {name: _filled(cell, answers.get(name, []))
              for name, cell in known.items() if is_solution(cell)}
    notes = _notes(answers, filled, added, changed)
    theirs = str([cell for part in (answers, added) for cells in part.values() for cell in cells])
    if words := sorted({*REACHES.findall(theirs)}):
        notes.append(f"its code has {', '.join(words)}, which no answer needs: look at it")
    if any(cell.cell_type == "raw" for cell in submission.cells):
        notes.append(f"raw text, or {TEXT:,} characters of text and more, is shown as it is")
    cells = [_own(cell) for cell in added.get(None, [])]
    for cell in release.cells:
        name = grade_id(cell)
        if name in filled:
            *before, cell.source = _sources(cell, answers.get(name, []), filled[name])
            cells += [new_code_cell(source) for source in before]
        cells += [cell, *(_own(cell) for cell in added.get(name, []))]
    release.cells = cells
    return release, notes


def rendered(text: str, pictures: dict[str, str]) -> str:
    """Return Markdown as HTML that runs and loads nothing, in one line.

    Parameters
    ----------
    text : str
        Written by a student.
    pictures : dict
        Of the cell's attachments, the address that holds a picture's data, by the picture's name.
    """
    pictures = {unquote(name): address for name, address in pictures.items()}
    formulas, shown, mark = [], [], secrets.token_hex(16)

    def pasted(found):  # as Colab does
        name = f"pasted-{len(pictures)}"
        pictures[name] = found[0]
        return f"attached/{name}"

    def marked(tex, display):  # where a formula comes once all else is clean
        formulas.append(mathml(tex, display))
        return f"<code>{mark}-{len(formulas) - 1}</code>"

    def passed(tag, attribute, value):
        if attribute == "src":
            shown.append(pictures.get(unquote(value.removeprefix("attached/"))))
            return shown[-1] if sum(map(len, filter(None, shown))) < LARGEST else None
        return value if attribute not in ("href", "cite") or LINK.match(value) else None

    # nbconvert stops at an attachment that is missing.
    text = PICTURE.sub(pasted, re.sub(r"attachment:(?=\S)", "attached/", text))
    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
    renderer.inline_math = lambda body: marked(body, "inline")
    renderer.block_math = lambda body: marked(body, "block")
    renderer.latex_environment = lambda name, body: marked(
        f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")
    try:
        page = MarkdownWithMath(renderer).render(text)
    except Exception:  # text may be anything, and is still to be read
        page = f"<pre>{html.escape(text)}</pre>"
    safe = nh3.clean(page, attribute_filter=passed)
    # In an attribute, which shows no formula, a mark has no element.
    safe = re.sub(f"(<code>)?{mark}-([0-9]+)(</code>)?", lambda found: (
        formulas[int(found[2])] if found[1] and found[3] else ""), safe)
    safe = safe if safe.count("<") < TAGS else f"<pre>{html.escape(text[:TEXT])}</pre>"
    # In one line, since Markdown goes on behind an empty one, and reads what was safe anew.
    return "<div>" + re.sub(r"[^\S ]", lambda space: f"&#{ord(space[0])};", safe) + "</div>"


def mathml(tex: str, display: str) -> str:
    """Return TeX as MathML, or as it is if it is unknown."""
    try:
        assert len(tex) <= FORMULA
        root = convert_to_element(tex.replace("{aligned}", "{align*}"), display=display)
        for part in root.iter():
            part.text = html.unescape(part.text or "")
            part.attrib = {name: part.attrib[name] for name in MATH & part.attrib.keys()}
        return ElementTree.tostring(root, "unicode")
    except Exception:  # the text may be anything
        return f"<code>{html.escape(tex)}</code>"


def _foreign(cell):
    """Make a cell anew of its text, its pictures and its name."""
    made = getattr(nbformat.v4, f"new_{cell.cell_type}_cell")(_text(cell.source))
    made.metadata["nbgrader"] = {"grade_id": grade_id(cell)}
    files = cell.get("attachments")
    if made.cell_type == "markdown" and isinstance(files, dict):
        made.attachments = {_text(name): kinds for name, kinds in files.items()}
    return made


def _text(foreign: str) -> str:
    """Return text that can be written: JSON may hold halves of signs, which no file takes."""
    return foreign.encode(errors="replace").decode()


def _own(cell):
    """Return a cell of the student's own, code as code and all else as safe HTML."""
    if cell.cell_type == "code":
        return new_code_cell(cell.source)
    return new_markdown_cell(page(cell))


def page(cell) -> str:
    """Return a cell that is no code as safe HTML."""
    if cell.cell_type == "raw":
        return rendered(f"<pre>{html.escape(cell.source)}</pre>", {})
    addresses = {name: f"data:{kind};base64,{''.join(data.split())}"
                 for name, kinds in cell.get("attachments", {}).items() if isinstance(kinds, dict)
                 for kind, data in kinds.items() if isinstance(data, str)}
    return rendered(cell.source, {name: address for name, address in addresses.items()
                                  if name and PICTURE.fullmatch(address)})


def _by_place(known: dict, submission) -> tuple[dict, dict, list[str]]:
    """Return the cells of each answer, those added below each known cell, and what was changed."""
    answers, added, changed, place = {}, {}, [], None
    for cell in submission.cells:
        name = grade_id(cell)
        if name in known and is_solution(known[name]):
            answers.setdefault(name, []).append(cell)
        elif name not in known:
            added.setdefault(place, []).append(cell)
        elif cell.source.split() != known[name].source.split():
            text = cell if cell.cell_type == "markdown" else new_raw_cell(cell.source)
            added.setdefault(name, []).append(text)
            changed.append(name)
        place = name if name in known else place
    return answers, added, changed


def _notes(answers: dict, filled: dict, added: dict, changed: list[str]) -> list[str]:
    """Return what teacher and student should know of answers, and of text that is none."""
    notes = [f"the answer {name} stands in several cells: all were taken"
             for name, parts in filled.items() if len(parts) > 1]
    if missing := [name for name in filled if name not in answers]:
        notes.append(f"no cell has the label of the answer {', '.join(missing)}")
    if changed:
        notes.append(f"{', '.join(changed)}: no place for an answer, and put back as it was; what "
                     f"was written there stands below, and does not count")
    written = [place for place, cells in added.items() if missing or (
        place not in changed and any(cell.cell_type != "code" for cell in cells))]
    if written:
        elsewhere = ", ".join(f"below {place}" if place else "at the top" for place in written)
        notes.append(f"cells without a label stand {elsewhere}: what is written there is no "
                     f"answer, unless whoever grades by hand takes it for one")
    return notes


def _filled(blank, parts: list) -> list:
    """Return the different cells of an answer in which something was written."""
    texts = {(part.source.strip(), str(part.get("attachments"))): part for part in parts}
    return [part for (text, _), part in texts.items() if text not in ("", blank.source.strip())]


def _sources(blank, parts: list, filled: list) -> list[str]:
    """Return an answer's text, a part for each cell that it needs: cells that ran alone do so."""
    if not filled:  # as it was handed out, or emptied, or missing
        return [blank.source if any(part.source.strip() for part in parts) else ""]
    if blank.cell_type == "markdown":
        return ["\n".join(page(part) for part in filled)]
    sources = [part.source for part in filled]
    joined = "\n".join(sources)
    cut = _runs(joined) and not all(_runs(source) for source in sources)
    return [joined] if cut else sources


def _runs(source: str) -> bool:
    try:
        compile(source, "answer", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
