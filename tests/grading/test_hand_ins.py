"""Who handed in what, what is taken over of it, and what the tables say: nothing is lost."""

import base64
import glob
import json
import os
import subprocess

import pandas as pd
import pytest

pytest.importorskip("nbgrader", reason="needs the extra grading")
nbformat = pytest.importorskip("nbformat")

from bs4 import BeautifulSoup  # noqa: E402
from nbconvert.filters.markdown_mistune import markdown2html_mistune  # noqa: E402
from nbformat.v4 import (  # noqa: E402
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
    new_raw_cell,
)

from grading import sandbox, steps  # noqa: E402
from grading.__main__ import _each, grade  # noqa: E402
from grading.clean import MATH, cleaned, read_submission, rendered  # noqa: E402
from grading.collect import HandIn, hand_ins, reasons  # noqa: E402
from grading.course import Course, by_name, grade_id, key, name_of  # noqa: E402
from grading.examiner import plain  # noqa: E402
from grading.tables import canvas_columns, canvas_table, inert, moodle_table  # noqa: E402

KNOWN = ["attention", "mutual_information", "new_dataset"]
PICTURE = base64.b64encode(b"\x89PNG and so on, pasted by an honest student").decode()
MOODLE = "Ada Lovelace_99_assignsubmission_file_"


def collected(folder, *names, known=KNOWN):
    """Hand in empty files of these names; return by file what is said of each."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return {one.name: one for one in hand_ins(folder, known)}


@pytest.mark.parametrize(("file", "student", "assignment"), [
    ("ada/attention.ipynb", "ada", "attention"),
    ("ada/Copy of attention.ipynb", "ada", "attention"),
    ("ada/Kopie von New Dataset (1).ipynb", "ada", "new_dataset"),
    ("ada/attention/attention.ipynb", "ada", "attention"),
    ("attention/ada/attention.ipynb", "ada", "attention"),
    ("mallory/zoe_mutual_information.ipynb", "mallory", "mutual_information"),
    ("mallory/zoe_41_9001_attention.ipynb", "mallory", "attention"),
    ("mallory/Zoe_99_assignsubmission_file_/attention.ipynb", "mallory", "attention"),
    ("ada_attention.ipynb", "ada", "attention"),
    ("bob_b-attention (1).ipynb", "bob_b", "attention"),
    ("ada - _attention.ipynb", "ada", "attention"),
    ("Copy of ada_attention.IPYNB", "ada", "attention"),
    ("lovelaceada_41_9001_attention.ipynb", "41", "attention"),
    ("curiemarie_LATE_42_9002_attention-1.ipynb", "42", "attention"),
    ("mallory_41_9001_zoe_42_9002_attention.ipynb", "41", "attention"),
    ("attention_41_9001_mutual_information.ipynb", "41", "mutual_information"),
    (f"{MOODLE}/attention.ipynb", "99", "attention"),
    (f"{MOODLE}/bob_222_9_attention.ipynb", "99", "attention"),
    (f"{MOODLE}/Bob_222_assignsubmission_file_/attention.ipynb", "99", "attention"),
    (f"Eve_222_assignsubmission_file_x_{MOODLE}/attention.ipynb", "99", "attention"),
    (f"{MOODLE}Bob_222_assignsubmission_file_attention.ipynb", "99", "attention"),
])
def test_the_folder_or_the_platform_says_whose_it_is_and_the_file_never(
        tmp_path, file, student, assignment):
    one = collected(tmp_path, file)[file]
    assert (one.student, one.assignment, one.reason) == (student, assignment, "")
    assert str(one) == f"{file} → {student} → {assignment}"


@pytest.mark.parametrize(("file", "student", "reason"), [
    ("attention.ipynb", "", "nobody knows whose"),
    ("Copy of attention.ipynb", "", "nobody knows whose"),
    ("ada/homework.ipynb", "ada", "holds no assignment's, or several"),
    ("ada/attention and new dataset.ipynb", "ada", "or several"),
    ("ada/attention.pdf", "ada", "no notebook"),
    ("ada/attention.ipynb.txt", "ada", "no notebook"),
    ("__MACOSX/ada/._attention.ipynb", "", "a program left it"),
    ("ada/._attention.ipynb", "ada", "a program left it"),
    ("._attention.ipynb", "", "a program left it"),
    ("ada/.ipynb_checkpoints/attention-checkpoint.ipynb", "ada", "a program left it"),
    ("x" * 210 + "/attention.ipynb", "", "nobody knows whose"),  # no file may have that name
    ("!" * 100 + "/attention.ipynb", "", "nobody knows whose"),
    ("好" * 70 + "_attention.ipynb", "", "nobody knows whose"),
])
def test_what_is_not_graded_has_a_reason(tmp_path, file, student, reason):
    one = collected(tmp_path, file)[file]
    assert one.student == student and reason in one.reason
    assert f"{file}: not graded, " in reasons([one])[student, one.assignment]


def test_a_file_that_is_there_twice_costs_nobody_else_anything(tmp_path):
    found = collected(tmp_path, f"{MOODLE}/attention.ipynb", f"{MOODLE}/attention (1).ipynb",
                      "ada/Copy of attention.ipynb", "bob/Copy of attention.ipynb")
    graded = {(one.student, one.assignment) for one in found.values() if not one.reason}
    assert graded == {("ada", "attention"), ("bob", "attention")}
    note = reasons(list(found.values()))["99", "attention"]
    assert "attention.ipynb" in note and "attention (1).ipynb" in note and "leave one" in note


def test_links_deep_folders_and_empty_ones_do_not_stop_the_others(tmp_path):
    (tmp_path / "eve").mkdir()
    os.symlink("/etc/passwd", tmp_path / "eve" / "attention.ipynb")
    os.symlink("/", tmp_path / "loop")
    os.mkfifo(tmp_path / "eve" / "new_dataset.ipynb")
    deep = tmp_path / "deep"
    deep.mkdir()
    for _ in range(1200):
        deep /= "d"
        os.mkdir(deep)
    (deep / "attention.ipynb").touch()
    found = collected(tmp_path, "ada/attention.ipynb")
    subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)  # pytest's recursion is no help
    assert sum(not one.reason for one in found.values()) == 2
    for name in ("eve/attention.ipynb", "eve/new_dataset.ipynb", "loop"):
        assert found[name].reason == "no file that can be opened"
    with pytest.raises(ValueError, match="nothing to grade"):
        hand_ins(tmp_path / "nowhere", KNOWN)


ODD = ["*", "[a-z]*", "?", "=cmd|' /C calc'!A0", "+1", "-rf", "--force", "~", "@x", "<script>",
       "a;b", "$(id)", "`id`", "Zoë", "%2A", "ada lovelace ", "ada.lovelace@uni.edu", "𝕏", "O'Neil",
       '"q"']


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_a_name_and_no_pattern_option_or_formula(name):
    assert name_of(key(name)) == name
    assert glob.escape(key(name)) == key(name)
    assert not set(key(name)) & set("<>&\"'`$;|(){}~!\\\n") and key(name)[0] not in "-. ~"
    assert key(name).strip() == key(name)
    assert str(inert(name)) in (name, f"'{name}") and inert(name)[0] not in "=+-@"


def test_names_that_are_no_text_are_written_out(tmp_path):
    folder = os.fsencode(tmp_path) + b"/z\xff\x1b[2J\n"
    os.mkdir(folder)
    open(folder + b"/attention.ipynb", "w").close()
    (one,) = hand_ins(tmp_path, KNOWN)
    assert one.student.isprintable() and one.student.encode() and not one.reason


def label(cell, name, **flags):
    kinds = {"grade": False, "solution": False, "locked": True, "task": False, "schema_version": 3}
    cell.metadata["nbgrader"] = kinds | {"grade_id": name} | flags
    return cell


@pytest.fixture
def course(tmp_path):
    """A course of two assignments, as far as cleaning needs it."""
    made = Course(tmp_path / "course")
    for name, other in (("attention", "softmax"), ("mutual_information", "info-nce")):
        notebook = new_notebook(cells=[
            label(new_markdown_cell("# Title"), "title"),
            label(new_code_cell("import torch"), "setup"),
            label(new_code_cell("# your code here\nraise NotImplementedError"), other,
                  solution=True),
            label(new_code_cell("check()"), f"q-{other}", grade=True, points=1),
            label(new_markdown_cell("*Your answer here.*"), "written", solution=True, grade=True,
                  points=4)])
        path = made.notebook("release", name)
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    return made


@pytest.fixture
def handed(course, tmp_path):
    """Change a copy of the student version, hand it in; return what is graded, and the note."""
    def hand_in(change=lambda cells: None, assignment="mutual_information", under=None):
        notebook = nbformat.read(course.notebook("release", assignment), as_version=4)
        change(notebook.cells)
        path = tmp_path / "handed.ipynb"
        path.write_text(json.dumps(notebook))  # as JSON may be, half signs and all
        merged, note = cleaned(course, under or assignment, path)
        nbformat.validate(merged)
        nbformat.writes(merged).encode()
        return merged, note
    return hand_in


def source(notebook, name):
    return by_name(notebook)[name].source


def test_an_untouched_notebook_comes_back_as_it_was_without_a_note(course, handed):
    notebook, note = handed()
    release = nbformat.read(course.notebook("release", "mutual_information"), as_version=4)
    assert note == "" and [cell.source for cell in notebook.cells] == [
        cell.source for cell in release.cells]


@pytest.mark.parametrize(("parts", "joined"), [
    (["def f():\n    a = 1", "    return a"], "def f():\n    a = 1\n    return a"),  # cut in two
    (["def f(): return 1", "# your code here\nraise NotImplementedError"], "def f(): return 1"),
    (["# your code here\nraise NotImplementedError", "def f(): return 1"], "def f(): return 1"),
    (["def f(): return 1", "", "def f(): return 1"], "def f(): return 1"),
    (["def f(): return 1", "def g(: broken"], None),  # cells that ran alone go on doing so
    (["def f(): return 1", "1 / 0", "def g(): return 2"], None),
])
def test_all_parts_of_an_answer_that_was_split_or_copied_are_taken(handed, parts, joined):
    def change(cells):
        cells[2:3] = [label(new_code_cell(part), "info-nce", solution=True) for part in parts]
    notebook, note = handed(change)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code == ["import torch", *([joined] if joined else parts), "check()"]
    assert ("the answer info-nce stands in several cells" in note) == (
        joined != "def f(): return 1")  # where but one was filled, nothing is to be said


def test_both_halves_of_a_written_answer_are_kept_and_shown(handed):
    def change(cells):
        cells[4].source = "The *first* half."
        cells.append(label(new_markdown_cell("The second half."), "written", solution=True))
    notebook, note = handed(change)
    text = source(notebook, "written")
    assert "<em>first</em> half" in text and "second half" in text
    assert "the answer written stands in several cells" in note
    assert "stands in several cells" in notebook.cells[0].source  # the student sees it, too


def test_an_answer_counts_whatever_kind_of_cell_it_stands_in(handed):
    def change(cells):
        cells[2] = label(new_markdown_cell("def f(): return 1"), "info-nce", solution=True)
        cells[4] = label(new_code_cell("An *answer*."), "written", solution=True)
    notebook, _ = handed(change)
    assert source(notebook, "info-nce") == "def f(): return 1"
    assert "An <em>answer</em>." in source(notebook, "written")
    assert by_name(notebook)["written"].cell_type == "markdown"


def test_a_note_says_where_text_stands_whose_label_is_gone(handed):
    def change(cells):
        cells[4].source = "An answer."
        cells[4].metadata.clear()
    notebook, note = handed(change)
    assert "no cell has the label of the answer written" in note
    assert "cells without a label stand below q-info-nce" in note
    assert "An answer." in notebook.cells[-2].source and source(notebook, "written") == ""


def test_what_was_written_into_other_cells_is_put_back_kept_in_sight_and_noted(handed):
    def change(cells):
        cells[0].source = "My **answer**"
        cells[3].source = "assert True  # <script>"
    notebook, note = handed(change)
    assert source(notebook, "title") == "# Title" and source(notebook, "q-info-nce") == "check()"
    assert "title, q-info-nce: no place for an answer" in note
    own = [cell.source for cell in notebook.cells[1:] if not grade_id(cell)]
    assert "My <strong>answer</strong>" in own[0] and "assert True  # &lt;script&gt;" in own[1]


def test_the_notebook_of_another_assignment_says_so(handed):
    notebook, note = handed(assignment="attention", under="mutual_information")
    assert "this is the notebook of attention, not mutual_information" in note
    assert "softmax" not in by_name(notebook)


def halves(cells):
    cells[2].source = "print('\ud800')"
    cells[4].source = "half \udfff a sign"
    cells.append(new_markdown_cell("\ud83d"))


def unhashable(cells):
    cells[2].metadata["nbgrader"]["grade_id"] = ["a", {"b": 1}]
    cells[3].metadata["nbgrader"] = "none"
    cells.append(label(new_code_cell("1"), None))


def attached(cells):
    cells[4].source = "![x](attachment:a.png) ![y](attachment&#58;b.png) ![z](attachment:\udc00)"
    cells[4].attachments = {"a.png": "no bundle", "\udc00": {"image/png": ["no text"]},
                            "b.png": {"text/html": "<script>", "image/png": "\"onerror=x"}}


def endless(cells):
    cells.append(new_markdown_cell("\\begin{a}" * 110_000))


def much_code(cells):
    cells.append(new_code_cell("x = 1\n" * 1_400_000))


@pytest.mark.parametrize(("change", "noted"), [
    (halves, "cells without a label"), (unhashable, "label of the answer info-nce"),
    (attached, ""), (endless, "is shown as it is"), (much_code, "characters of code"),
    (lambda cells: cells.append(new_raw_cell("<script>alert(1)</script>")), "is shown as it is"),
    (lambda cells: cells.clear(), "no cell has the label"),
])
def test_whatever_a_notebook_holds_is_cleaned_in_seconds(handed, change, noted):
    notebook, note = handed(change)
    assert noted in note
    assert all(cell.cell_type == "code" or "<script" not in cell.source for cell in notebook.cells)


def test_pictures_in_a_written_answer_are_kept_and_shown(handed):
    def change(cells):
        cells[4].source = (
            "See ![my pic (1).png](attachment:my%20pic%20(1).png), "
            '<img src="attachment:b.png" width="300">, '
            f"![as Colab does](data:image/jpeg;base64,{PICTURE}), and ![gone](attachment:gone.png)")
        cells[4].attachments = {"my pic (1).png": {"image/png": PICTURE},
                                "b.png": {"image/gif": PICTURE}}
    notebook, note = handed(change)
    text = source(notebook, "written")
    assert note == "" and "attachments" not in by_name(notebook)["written"]
    for kind in ("png", "gif", "jpeg"):
        assert f'src="data:image/{kind};base64,{PICTURE}"' in text
    assert 'width="300"' in text and 'alt="gone"' in text and "gone.png" not in text


BAD = "<script>alert(1)</script>"


def test_two_pictures_of_one_name_and_one_in_a_question_are_kept(handed):
    def change(cells):
        for data in ("AAAA", "BBBB"):
            cells.append(label(new_markdown_cell("![x](attachment:x.png)"), "written"))
            cells[-1].attachments = {"x.png": {"image/png": data}}
        cells[0].source += " ![x](attachment:x.png)"
        cells[0].attachments = {"x.png": {"image/png": "CCCC"}}
    notebook, _ = handed(change)
    assert "base64,AAAA" in source(notebook, "written")
    assert "base64,BBBB" in source(notebook, "written")
    assert any("base64,CCCC" in cell.source for cell in notebook.cells)


@pytest.mark.parametrize("text", [
    BAD, "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "[a](javascript:alert(1))",
    "<a href='JaVaScRiPt:alert(1)'>a</a>", "<iframe src=//evil></iframe>", "![a](//evil/a.png)",
    "<img src='http://evil/a.png'>", "<p style='background:url(//evil)'>", "<base href=//evil>",
    "<form action=/api/contents><input name=a></form>", "<meta http-equiv=refresh content=0>",
    "<link rel=stylesheet href=//evil>", "<object data=//evil>", "<div id=x class=y>",
    "\\!\\[a\\]\\(//evil/a.png\\)", "a\n\n&#10;&#10;\\[a\\]\\(javascript:alert(1)\\)",
    f"<pre>\n\n</pre>{BAD}", "$\\href{javascript:alert(1)}{x}$",
    "$`\\\\\\href{a}`$ `\\\\href` &#92;href&#123;a&#125;", "<a href='/api/contents'>a</a>",
    "<!-- --><style>*{}</style>", f"```\n</pre>{BAD}\n```", f"<math><mtext>{BAD}</mtext></math>",
    "$\\style{a}{b} \\class{c}{d} \\text{<script>}$", "![$\\text{\" onerror=x src=y}$](z)",
    f"$\\text{{</mtext></math>{BAD}}}$", f"$$</math>{BAD}$$", "<code>$x$</code><img alt='$x$'>",
    "![a](data:image/svg+xml;base64,AAAA)", '![a](data:image/png;base64,AA"onerror=alert(1))',
])
def test_what_a_student_writes_runs_and_loads_nothing(text):
    page = rendered(text, {})
    assert "\n" not in page and not page.isspace()
    for shown in (page, markdown2html_mistune(page)):  # as nbconvert shows it
        for element in BeautifulSoup(shown, "html.parser").find_all(True):
            assert element.name not in ("script", "iframe", "object", "form", "input", "meta",
                                        "base", "link", "style", "svg", "embed")
            assert set(element.attrs) <= {"href", "src", "alt", "rel", "width"} | MATH, element
            assert not element.get("src") and not element.get("href"), element


def test_a_picture_that_is_shown_again_and_again_fills_no_page():
    address = "data:image/png;base64," + "A" * 2**20
    page = rendered("![x](attachment:a) " * 1000, {"a": address})
    assert page.count(address) == 19 and len(page) < 22 * 2**20


@pytest.mark.parametrize("text", ["<b>" * 28_000, "<div>" * 15_000, "> " * 5000 + "x",
                                  "${{" * 900 + "x" + "}}" * 900 + "$"])
def test_no_text_makes_a_page_that_takes_long_to_draw(text):
    page = rendered(text, {})
    assert page.count("<") < 10_010
    assert ("x" in text) == ("x" in page) and page.startswith("<div>")


@pytest.mark.parametrize(("tex", "shown"), [
    ("$x^2$", "<msup><mi>x</mi><mn>2</mn></msup>"), ("$$\\sum_i a_i$$", 'display="block"'),
    ("\\begin{align}a&=b\\\\c&=d\\end{align}", "<mtable"), ("$a < b$", "<mo>&lt;</mo>"),
    ("$x^$", "<code>x^</code>"), ("$" + "\\text{" * 15_000 + "$", "<code>"),
    ("$$\\begin{aligned}a&=b\\end{aligned}$$", "<mtable"), ("`$x$`", "<code>$x$</code>")])
def test_formulas_are_made_when_a_page_is_and_need_no_script(tex, shown):
    assert shown in rendered(tex, {})


def test_colours_of_a_terminal_are_left_out():
    output = plain(new_output("stream", text="\x1b[0;31mred\x1b[0m and \x1b[" + "\x1b[0m" * 9))
    assert output.text == "red and ["


def test_of_a_file_of_any_size_no_more_is_read_than_a_notebook_may_have(tmp_path):
    path = tmp_path / "large.ipynb"
    with path.open("wb") as file:
        file.truncate(2**40)  # and takes no room
    with pytest.raises(ValueError, match="more than 20 MB: clear outputs"):
        read_submission(path)


def test_a_file_that_cannot_be_opened_is_no_fault_of_the_students(tmp_path):
    with pytest.raises(OSError, match="gone"):
        read_submission(tmp_path / "gone.ipynb")


def test_outputs_are_text_and_pictures_and_can_be_written():
    output = plain(new_output("display_data", {
        "text/html": "<script>", "text/plain": "half \ud800 a sign", "image/png": PICTURE},
        metadata={"image/png": {"width": '1" onload="alert(1)'}}))
    assert output.data == {"text/plain": "half ? a sign", "image/png": PICTURE}
    assert not output.metadata
    assert "image/png" not in plain(new_output("display_data", {"image/png": '"><script>'})).data
    assert plain(new_output("stream", text="\udfff")).text == "?"
    assert plain(new_output("error", ename="\ud800", evalue="", traceback=[])).ename == "?"


def test_a_step_that_fails_or_does_not_end_is_noted_for_that_student_alone(course):
    for student, seconds in (("slow", 0), ("failing", 60)):
        one = HandIn(course.folder / "none.ipynb", "none.ipynb", student, "attention")
        _each(course, [one], 1, "no feedback page", seconds, steps.page)
    assert course.note("attention", "slow") == "no feedback page: it ran for more than 0 seconds"
    assert "no feedback page: the grader failed, see " in course.note("attention", "failing")
    assert course.note("attention", "honest") == ""


def roster(*columns):
    return pd.DataFrame({"Student": ["Lovelace, Ada"], "ID": ["1"], "SIS Login ID": ["ada"],
                         "Section": ["A"]} | {name: [""] for name in columns})


def test_canvas_columns_are_matched_whole():
    totals = pd.DataFrame({"attention": {"ada": 17.0}})
    table = canvas_table(roster("Attention reading quiz (771)", "Attention (772)"), totals)
    assert list(table)[4:] == ["Attention (772)"] and table["Attention (772)"].tolist() == [17.0]
    assert canvas_columns(roster("New dataset (5)"), ["new_dataset"], []) == ["New dataset (5)"]
    assert canvas_columns(roster("Quiz (7)"), ["attention"], []) == ["attention"]


@pytest.mark.parametrize("columns", [
    ["Attention reading quiz (771)"], ["Week 2: Attention (1)"],
    ["Attention (1)", "attention (2)"]])
def test_where_a_column_of_canvas_may_be_meant_or_several_are_the_teacher_is_asked(columns):
    with pytest.raises(ValueError, match="the column of attention"):
        canvas_columns(roster(*columns), ["attention"], [])
    said = [f"attention={columns[0]}"]
    assert canvas_columns(roster(*columns), ["attention"], said) == columns[:1]
    assert canvas_columns(roster(*columns), ["attention"], ["attention="]) == ["attention"]
    with pytest.raises(ValueError, match="no column Attentive"):
        canvas_columns(roster(*columns), ["attention"], ["attention=Attentive"])
    with pytest.raises(ValueError, match="wants ASSIGNMENT=COLUMN"):
        canvas_columns(roster(*columns), ["attention"], ["Attention (1)"])


def test_canvas_is_asked_before_grading_for_what_was_graded_before_too(
        course, tmp_path, monkeypatch):
    (tmp_path / "submitted" / "ada").mkdir(parents=True)
    (tmp_path / "submitted" / "ada" / "mutual_information.ipynb").touch()
    earlier = course.notebook("submitted", "attention", "ada")
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    roster("Week 2: Attention (1)").to_csv(tmp_path / "roster.csv")
    monkeypatch.setattr(sandbox, "check", lambda: None)
    monkeypatch.setattr(Course, "enrol", lambda *_: pytest.fail("this comes after the question"))
    with pytest.raises(ValueError, match="the column of attention"):
        grade(tmp_path / "submitted", tmp_path / "roster.csv", [], course.folder)


def test_there_are_tables_where_nothing_could_be_graded():
    assert list(moodle_table(pd.DataFrame({}), pd.Series({"ada": "why"})))[-1] == "Identifier"


def test_no_cell_of_a_table_is_a_formula():
    for text in ("=1+1", "+1", "-1", "@A1", "\t=1", "\r=1"):
        assert inert(text) == f"'{text}"
    assert inert("ada") == "ada" and inert(-1.5) == -1.5 and inert("") == ""
