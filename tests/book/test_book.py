"""The chapters as files, and as programs that run on a machine like Colab's.

Labels, links and citations are checked by the strict build (`make book`).
"""

import base64
import importlib
import os
import re
import subprocess
import sys
import types
import warnings

import nbformat
import pytest
import yaml
from conftest import ROOT

BOOK = ROOT / "book"
TOOLS = BOOK / "_tools"
CHAPTERS = sorted(p for p in BOOK.rglob("*.ipynb")
                  if not {".ipynb_checkpoints", "assignments"} & set(p.parts))
ASSIGNMENTS = sorted((BOOK / "assignments").glob("*.ipynb"))
FIRST_CELL = (TOOLS / "first_cell.py").read_text(encoding="utf8").strip()
SCALE_CELL = (TOOLS / "scale_cell.py").read_text(encoding="utf8").strip()
TRAINING_CHAPTERS = [path for path in CHAPTERS if "FULL = False" in path.read_text(encoding="utf8")]
LONGEST_CELL = 12  # lines of code
FOLDED = {"set-up", "hide-cell", "check", "deeper"}  # tags of cells whose code is folded
WIDEST_CELL = 86  # columns, what a page on a wide screen shows without scrolling
every_chapter = pytest.mark.parametrize(
    "path", CHAPTERS, ids=lambda path: path.relative_to(BOOK).with_suffix("").as_posix()
)


def code_cells(path):
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def lines_of_code(source):
    lines = (line.strip() for line in source.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def test_every_page_is_in_the_table_of_contents_and_the_other_way_round():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    listed = [toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"])]
    pages = [*CHAPTERS, *BOOK.rglob("*.md")]
    pages = [p for p in pages if ".ipynb_checkpoints" not in p.parts]
    found = [page.relative_to(ROOT).with_suffix("").as_posix() for page in pages]
    assert sorted(listed) == sorted(found)


@every_chapter
def test_a_chapter_is_a_valid_notebook_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_cells(path):
        assert cell.outputs == []
        assert cell.execution_count is None


@every_chapter
def test_a_chapter_begins_with_a_title_and_the_install_cell(path):
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert code_cells(path)[0].source == FIRST_CELL


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=lambda path: path.stem)
def test_an_assignment_begins_with_the_install_cell(path):
    assert code_cells(path)[0].source == FIRST_CELL


@pytest.mark.parametrize("modules", [(), ("google.colab",)], ids=["elsewhere", "on Colab"])
def test_the_install_cell_leaves_a_machine_alone_that_has_the_package(modules, monkeypatch):
    for name in modules:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something is installed"))
    exec(FIRST_CELL, {})


def test_the_install_cell_says_when_the_book_has_no_address(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cell = re.sub(r"(?<=https://)[^/]+", "example.org", FIRST_CELL)  # as before `make repository`
    with pytest.raises(SystemExit, match="Upload the file s3rec_mini-"):
        exec(cell, {})


@pytest.mark.parametrize(("said", "holds"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_the_install_cell_lets_threads_sleep_unless_the_reader_says_otherwise(
        said, holds, monkeypatch):
    monkeypatch.setattr(os, "environ", {} if said is None else {"OMP_WAIT_POLICY": said})
    exec(FIRST_CELL, {})
    assert os.environ == {"OMP_WAIT_POLICY": holds}


@pytest.mark.parametrize(
    "path", [path for path in CHAPTERS if path.stem not in ("reproduction", "tour")],
    ids=lambda path: path.stem
)
def test_a_chapter_that_trains_says_where_and_can_train_at_full_scale(path):
    """The same cell in each, before any training; not where two epochs are shown."""
    sources = [cell.source for cell in code_cells(path)]
    trains = [bool(re.search(r"\bs3\.(pretrain|finetune)\(|\bto\(device\)", s)) for s in sources]
    if any(trains):
        assert SCALE_CELL in sources[:trains.index(True)]
        assert any("scale(" in source for source in sources if source != SCALE_CELL)
    else:
        assert SCALE_CELL not in sources


@every_chapter
def test_a_cell_of_a_chapter_is_short(path):
    """At most 12 lines of code, unless the cell shows a figure, or stands folded."""
    for cell in code_cells(path):
        exempt = cell.metadata.get("mystnb") or FOLDED & set(cell.metadata.get("tags", ()))
        length = len(lines_of_code(cell.source))
        assert length <= LONGEST_CELL or exempt, f"{length} lines:\n{cell.source}"


@every_chapter
def test_a_cell_of_a_chapter_is_no_wider_than_the_page(path):
    for cell in code_cells(path):
        wide = [line for line in cell.source.splitlines() if len(line) > WIDEST_CELL]
        assert wide == []


@every_chapter
def test_a_chapter_asserts_something(path):
    assert any(re.search(r"^\s*assert\b", cell.source, re.MULTILINE) for cell in code_cells(path))


def markdown(path):
    """The prose of a page: a notebook's markdown cells, or the whole file."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf8")
    notebook = nbformat.read(path, as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_every_numbered_equation_is_referred_to():
    pages = [*CHAPTERS, *BOOK.rglob("*.md")]
    text = "\n".join(map(markdown, pages))
    labelled = re.findall(r"^\$\$ \((eq-[\w-]+)\)", text, re.MULTILINE)
    assert len(labelled) == len(set(labelled)) > 9
    referred = set(re.findall(r"\{eq\}`(eq-[\w-]+)`", text))
    assert sorted(set(labelled) - referred) == []
    assert sorted(referred - set(labelled)) == []


FENCE = re.compile(r"^```\w*\n.*?^```", re.DOTALL | re.MULTILINE)  # code, not directives
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$([^$\n]+(?:\n[^$\n]+)?)\$", re.DOTALL)
LIST_ITEM = re.compile(r"\n *(?:[-+*]|\d+[.)]) ")
WORDS = re.compile(r"\\(?:text|operatorname|mathrm|begin|end)\*?\{[^}]*\}")
DRESSED = re.compile(r"\\(?:mathbf|mathcal|boldsymbol|mathbb)\{?\s*\\?[A-Za-z]+\}?")
GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|lambda|mu|nu|xi|pi|rho|sigma|"
    r"tau|phi|varphi|chi|psi|omega|ell|imath|jmath|Gamma|Delta|Theta|Lambda|Pi|Sigma|Phi|Psi|Omega)"
    r"(?![A-Za-z])"
)
LETTER = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])")


@every_chapter
def test_no_formula_breaks_where_markdown_begins_a_list(path):
    formulas = FORMULA.findall(FENCE.sub("", markdown(path)))
    assert [inline for _, inline in formulas if LIST_ITEM.search(inline)] == []


def symbols(text):
    """The letters of all formulas, bold and script ones apart, whatever their indices."""
    found = set()
    for display, inline in FORMULA.findall(FENCE.sub("", text)):
        formula = WORDS.sub(" ", display or inline)
        dressed = DRESSED.findall(formula)
        found.update(re.sub(r"[{}\s]", "", name).replace("boldsymbol", "mathbf")
                     for name in dressed)
        formula = DRESSED.sub(" ", formula)
        found.update(GREEK.findall(formula))
        found.update(LETTER.findall(re.sub(r"\\[A-Za-z]+", " ", formula)))
    return found


@every_chapter
def test_every_symbol_of_a_chapter_is_in_the_notation_page(path):
    listed = symbols(markdown(BOOK / "reference" / "notation.md"))
    assert sorted(symbols(markdown(path)) - listed) == []


def half_time(path):
    """The last section before a chapter's half-time mark, None where it has no mark."""
    before, mark, _ = markdown(path).partition('<p class="stop">')
    return re.findall(r"^#+ (.*)$", before, re.MULTILINE)[-1] if mark else None


def test_the_guide_names_the_section_before_each_half_time_mark():
    guide = markdown(BOOK / "assignments" / "guide.md")
    named = dict(re.findall(r"\{doc\}`\.\./([\w/]+)`,? to \*([^*]+)\*", guide))
    marked = {path.relative_to(BOOK).with_suffix("").as_posix(): half_time(path)
              for path in CHAPTERS if half_time(path)}
    assert named == marked


PICTURE = nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(
    (BOOK / "picture.png").read_bytes()).decode()})
TOLD = {"image": {"alt": "Four bars, one for each objective, of which the last is the longest."},
        "figure": {"name": "fig-bars", "caption": "The last bar is the longest of all four."}}


EXPLORER = nbformat.v4.new_output(
    "display_data", {"text/html": '<form class="s3-explorer" data-explorer="attention"></form>'})


def without(part, name):
    return TOLD | {part: {key: value for key, value in TOLD[part].items() if key != name}}


def test_the_build_warns_of_a_picture_without_words_whatever_drew_it(tmp_path):
    """`make book` takes a warning for an error."""
    cells = {  # what a cell says of its picture, and what the build says of the cell
        "good": (TOLD, [PICTURE], None),
        "plain": (None, [], None),
        "silent": (None, [PICTURE], "shows a picture without alternative text"),
        "no alt": (without("image", "alt"), [PICTURE],
                   "shows a picture without alternative text"),
        "short": (TOLD | {"image": {"alt": "A plot."}}, [PICTURE],
                  "shows a picture without alternative text"),
        "no caption": (without("figure", "caption"), [PICTURE],
                       "shows a picture without a caption"),
        "no name": (without("figure", "name"), [PICTURE], "shows a picture without a name"),
        "explorer": ({"figure": TOLD["figure"] | {"name": "fig-explorer"}}, [EXPLORER], None),
        "bare explorer": (None, [EXPLORER], "shows a picture without a caption"),
        "empty": (TOLD, [], "has a caption and shows no picture"),
    }
    notebook = nbformat.v4.new_notebook(
        metadata={"language_info": {"name": "python", "pygments_lexer": "ipython3"}},
        cells=[nbformat.v4.new_markdown_cell("# A page")] + [
            nbformat.v4.new_code_cell(f"# {name}", outputs=outputs,
                                      metadata={"mystnb": about} if about else {})
            for name, (about, outputs, _) in cells.items()])
    nbformat.write(notebook, tmp_path / "page.ipynb")
    settings = ("nb_execution_mode=off", "extensions=myst_nb,s3rec_pictures", "master_doc=page")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-C", "-b", "html", *map("-D{}".format, settings),
         tmp_path, tmp_path / "html"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(TOOLS)})
    found = re.findall(r"WARNING: page: cell (\d+) (.*) \(", done.stderr)
    assert found == [(str(place), complaint) for place, (*_, complaint)
                     in enumerate(cells.values(), start=2) if complaint], done.stderr


def at_full_scale_in_miniature(notebook):
    """Switch a chapter to full scale, but for one epoch of one prefix a user."""
    once = 'return {k: 1 for k in short if k in ("epochs", "prefixes_per_user")}'
    miniature = {"FULL = False": "FULL = True", "return {} if FULL": f"{once} if FULL",
                 "100 if FULL": "2 if FULL"}
    for cell in notebook.cells:
        for written, instead in miniature.items() if cell.cell_type == "code" else ():
            cell.source = cell.source.replace(written, instead)


@pytest.mark.slow
@pytest.mark.parametrize("path", TRAINING_CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_gets_to_its_end_at_full_scale_whatever_its_runs_give(path, tmp_path):
    """The sizes are the paper's; the runs are so short that little of what the text says holds."""
    client = pytest.importorskip("nbclient", reason="needs the extra book")
    notebook = nbformat.read(path, as_version=4)
    at_full_scale_in_miniature(notebook)
    resources = {"metadata": {"path": str(tmp_path)}}
    client.NotebookClient(notebook, timeout=600, resources=resources).execute()


def test_a_claim_stops_a_short_run_and_warns_at_full_scale():
    short, full = {}, {}
    exec(SCALE_CELL, short)
    exec(SCALE_CELL.replace("FULL = False", "FULL = True"), full)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short["claim"](1 < 2), full["claim"](1 < 2)
    with pytest.raises(AssertionError):
        short["claim"](1 > 2)
    with pytest.warns(UserWarning, match="not so at full scale") as shown:
        full["claim"](1 > 2)
    assert shown[0].filename == __file__  # the line shown is the chapter's, not the helper's
