"""The assignments and their grading: planted submissions lose exactly the points they should."""

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nbgrader", reason="needs the extra grading")
nbformat = pytest.importorskip("nbformat")

from nbgrader.utils import is_grade  # noqa: E402

from grading import wire  # noqa: E402
from grading.__main__ import submissions  # noqa: E402
from grading.collect import by_name, grade_id, merged  # noqa: E402
from grading.course import NOTEBOOKS, build, questions  # noqa: E402
from grading.examiner import ANSWER, STUB, Examination, StudentError, answers_of  # noqa: E402
from grading.tables import canvas_table  # noqa: E402

ROOT = Path(__file__).parents[1]
ASSIGNMENTS = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
ASSIGNMENT = "mutual_information"  # which the hostile submissions are made from


def planted(assignment):
    """Return the planted submissions, RIGHT and WRONG, of an assignment."""
    path = Path(__file__).parent / "submissions" / f"{assignment}.py"
    spec = importlib.util.spec_from_file_location(f"submissions_{assignment}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """Every assignment, built with another seed than the one in the sources."""
    return build(tmp_path_factory.mktemp("course"), seed=2031)


def solved(course, assignment):
    """Return the student version with the solutions filled in."""
    notebook = nbformat.read(course.notebook("release", assignment), as_version=4)
    source = nbformat.read(course.notebook("source", assignment), as_version=4)
    answers = {grade_id(cell): cell.source for cell in source.cells
               if cell.metadata.nbgrader.solution}
    for cell in notebook.cells:
        cell.source = answers.get(grade_id(cell), cell.source)
    return notebook


def filled(course, assignment, answers):
    """Return a solved notebook with other answers in the cells that `answers` names."""
    notebook = solved(course, assignment)
    cells = by_name(notebook)
    for name, source in answers.items():
        cells[name].source = source.strip("\n")
    return notebook


def grade(course, folder, *options):
    """Grade a folder as `make grade` does; return grades.csv."""
    command = [sys.executable, "-m", "grading", "grade", str(folder), "--course",
               str(course.folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(course.folder / "grades.csv", index_col="student").fillna({"note": ""})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda part: st.lists(part) | st.tuples(part, part)
    | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), part),
    max_leaves=20)


@given(VALUES)
def test_what_is_carried_arrives_unchanged(value):
    assert wire.loads(wire.dumps(value), {}) == value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_tensors_arrays_sets_and_generators_are_carried(dtype):
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    arrived = wire.loads(wire.dumps([tensor, tensor.numpy(), {1, 2}]), {})
    assert arrived[0].dtype == dtype and torch.equal(arrived[0], tensor)
    np.testing.assert_array_equal(arrived[1], tensor.numpy())
    assert arrived[2] == {1, 2}
    generator = np.random.default_rng(3)
    generator.random()
    assert wire.loads(wire.dumps(generator), {}).random() == generator.random()


@pytest.mark.parametrize("value", [object(), np.array([object()]), torch.zeros(2**22)])
def test_what_cannot_be_carried_is_refused(value):
    with pytest.raises((TypeError, ValueError)):
        wire.dumps(value)


def test_functions_are_carried_by_a_name_the_other_side_knows():
    text = wire.dumps([wire.dumps])
    assert wire.loads(text, {"dumps": len}) == [len]
    with pytest.raises(KeyError):
        wire.loads(text, {})


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_student_versions_hold_no_solution_no_hidden_test_and_no_output(course, assignment):
    source = nbformat.read(course.notebook("source", assignment), as_version=4)
    release = nbformat.read(course.notebook("release", assignment), as_version=4)
    assert [grade_id(cell) for cell in source.cells] == [grade_id(cell) for cell in release.cells]
    assert all(grade_id(cell) for cell in source.cells)
    hidden = re.compile("### BEGIN (SOLUTION|HIDDEN TESTS)\n(.*?)### END", re.DOTALL)
    for before, after in zip(source.cells, release.cells, strict=True):
        assert not after.get("outputs")
        assert "BEGIN" not in after.source
        for _, secret in hidden.findall(before.source):
            lines = {line for line in secret.splitlines() if len(line.strip()) > 25}
            assert not lines & set(after.source.splitlines())
    assert any("COURSE_SEED = 2031" in cell.source for cell in release.cells)


def test_answers_are_taken_out_and_everything_else_is_put_back(course):
    release = nbformat.read(course.notebook("release", ASSIGNMENT), as_version=4)
    submission = solved(course, ASSIGNMENT)
    own = nbformat.v4.new_code_cell("helper = 1")
    answer = next(cell for cell in submission.cells if grade_id(cell) == "info-nce")
    submission.cells.insert(submission.cells.index(answer) + 1, own)
    for cell in submission.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source = "assert True"
    submission.cells.reverse()
    got = merged(nbformat.read(course.notebook("release", ASSIGNMENT), as_version=4), submission)
    known = [cell for cell in got.cells if grade_id(cell)]
    assert [grade_id(cell) for cell in known] == [grade_id(cell) for cell in release.cells]
    for cell, fresh in zip(known, release.cells, strict=True):
        if not fresh.metadata.nbgrader.solution:
            assert cell.source == fresh.source and cell.metadata == fresh.metadata
    assert answer.source in [cell.source for cell in known]
    assert [cell.source for cell in got.cells if not grade_id(cell)] == ["helper = 1"]


def test_canvas_gets_its_own_columns_back_and_grades_by_login():
    totals = pd.DataFrame({"attention": {"ada": 17.0, "bob": 3.0}})
    roster = pd.DataFrame({
        "Student": ["    Points Possible", "Lovelace, Ada", "Curie, Marie"], "ID": [None, "1", "2"],
        "SIS Login ID": [None, "ada", "marie"], "Section": ["", "A", "A"],
        "Quiz (7)": ["", "1", "2"], "Attention (123)": ["20", "", ""]})
    table = canvas_table(roster, totals)
    assert list(table) == ["Student", "ID", "SIS Login ID", "Section", "Attention (123)"]
    assert table["Attention (123)"].tolist()[1] == 17.0
    assert table["Attention (123)"].isna().tolist() == [True, False, True]
    by_number = canvas_table(roster, totals.rename({"ada": "1"}))
    assert by_number["Attention (123)"].tolist()[1] == 17.0
    with pytest.raises(ValueError, match="export the gradebook"):
        canvas_table(roster.drop(columns="Section"), totals)
    with pytest.raises(ValueError, match="SIS Login ID"):
        canvas_table(roster.iloc[2:], totals)


@pytest.mark.parametrize(("files", "expected"), [
    (["ada/attention.ipynb", "bob/attention.ipynb"], {"ada", "bob"}),
    (["ada_attention.ipynb", "bob_b-attention (1).ipynb"], {"ada", "bob_b"}),
    (["lovelaceada_41_9001_attention.ipynb", "curiemarie_LATE_42_9002_attention-1.ipynb"],
     {"41", "42"}),
    (["Ada Lovelace_99_assignsubmission_file_/attention.ipynb"], {"99"}),
])
def test_submissions_are_found_by_the_names_of_files_and_folders(tmp_path, files, expected):
    for name in [*files, "readme.ipynb"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert {student for student, _ in submissions(tmp_path, ["attention"])} == expected


def test_two_submissions_of_one_student_are_an_error(tmp_path):
    for name in ("ada_attention.ipynb", "ada_attention (1).ipynb"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="twice"):
        submissions(tmp_path, ["attention"])
    with pytest.raises(ValueError, match="no notebook"):
        submissions(tmp_path / "nowhere", ["attention"])


def lost_here(notebook, source):
    """Run a notebook and its tests in this process; return the tests that fail.

    What `Examine` does with a kernel in a sandbox, without both: a second a notebook.
    """
    space, shown = {"__name__": "__main__", "_wire": wire}, []
    space["get_ipython"] = lambda: SimpleNamespace(user_ns=space)
    exec(STUB.replace("from IPython.display import display", ""), space)
    space["display"] = lambda data, raw: shown.append(data[ANSWER])

    def ask(*arguments):
        try:
            with torch.enable_grad():  # a gradient is asked for within a backward pass
                space["_examined"](*arguments)
        except Exception as wrong:
            raise StudentError(f"{type(wrong).__name__}: {wrong}") from None
        return shown.pop()

    setup = by_name(source)["setup"].source
    examination = Examination(setup, answers_of(source), ask)
    tests = {grade_id(cell): cell.source for cell in source.cells if is_grade(cell)}
    failed = set()
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in notebook.cells:
            if cell.cell_type == "code" and grade_id(cell) in tests:
                if examination.outputs_of(tests[grade_id(cell)]):
                    failed.add(grade_id(cell))
            elif cell.cell_type == "code":
                with contextlib.suppress(Exception):
                    exec(compile(cell.source, "cell", "exec"), space)
    return failed


@pytest.mark.slow
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_every_misconception_fails_exactly_the_tests_it_should(course, assignment):
    source = nbformat.read(course.notebook("source", assignment), as_version=4)
    wrong = planted(assignment).WRONG
    found = {name: lost_here(filled(course, assignment, answers), source)
             for name, (answers, _) in wrong.items()}
    assert found == {name: expected for name, (_, expected) in wrong.items()}


@pytest.fixture(scope="session", params=ASSIGNMENTS)
def graded(request, course, tmp_path_factory):
    """One assignment's planted submissions, graded together."""
    assignment, folder = request.param, tmp_path_factory.mktemp("submitted")
    cases = planted(assignment)
    notebooks = {f"right-{name}": filled(course, assignment, answers)
                 for name, answers in cases.RIGHT.items()}
    notebooks |= {f"wrong-{name}": filled(course, assignment, cases.WRONG[name][0])
                  for name in some(cases.WRONG)}
    notebooks["solution"] = solved(course, assignment)
    notebooks["blank"] = nbformat.read(course.notebook("release", assignment), as_version=4)
    for name, notebook in notebooks.items():
        path = folder / name / f"{assignment}.ipynb"
        path.parent.mkdir()
        nbformat.write(notebook, path)
    frame = grade(course, folder)
    return assignment, cases, frame.loc[list(notebooks)]


def some(cases):
    """Return ten names, spread over all: nbgrader takes seconds for each."""
    return [list(cases)[place * len(cases) // 10] for place in range(10)]


def automatic(course, assignment):
    """Return the points of the questions that no person grades, by their name."""
    source = nbformat.read(course.notebook("source", assignment), as_version=4)
    by_hand = {grade_id(cell) for cell in source.cells if cell.metadata.nbgrader.solution}
    return {name: points for name, points in questions(course, assignment).items()
            if name not in by_hand}


def lost(row, assignment, points):
    """Return the questions that a student has no points for, all others being whole."""
    scores = {name: row[f"{assignment}: {name} ({value:g})"] for name, value in points.items()}
    assert set(scores.values()) <= {0.0, *points.values()}
    return {name for name, value in points.items() if scores[name] != value}


@pytest.mark.slow
def test_solutions_get_all_points_and_blank_notebooks_none(course, graded):
    assignment, _, frame = graded
    points = automatic(course, assignment)
    assert lost(frame.loc["solution"], assignment, points) == set()
    assert frame.loc["blank", f"{assignment}: total"] == 0
    assert frame.loc["blank"].filter(like=f"{assignment}: ").fillna(-1).eq(0).all()


@pytest.mark.slow
def test_solutions_written_differently_get_all_points(course, graded):
    assignment, cases, frame = graded
    points = automatic(course, assignment)
    assert len(cases.RIGHT) >= 4
    wrong = {name: lost(frame.loc[f"right-{name}"], assignment, points) for name in cases.RIGHT}
    assert not any(wrong.values()), wrong


@pytest.mark.slow
def test_misconceptions_lose_exactly_the_points_they_should(course, graded):
    assignment, cases, frame = graded
    points = automatic(course, assignment)
    chosen = some(cases.WRONG)
    found = {name: lost(frame.loc[f"wrong-{name}"], assignment, points) for name in chosen}
    assert found == {name: cases.WRONG[name][1] for name in chosen}


@pytest.fixture(scope="session")
def attacked(course, tmp_path_factory):
    """All hostile and broken submissions, graded together with one good one."""
    cases, folder = planted("hostile"), tmp_path_factory.mktemp("hostile")
    for name, (change, _) in cases.ATTACKS.items():
        notebook = solved(course, ASSIGNMENT)
        cells = by_name(notebook)
        change(cells)
        notebook.cells = list(cells.values())
        nbformat.write(notebook, folder / f"{name.replace('_', '')}_{ASSIGNMENT}.ipynb")
    for name, spoil in cases.FILES.items():
        path = folder / f"{name.replace('_', '')}_{ASSIGNMENT}.ipynb"
        nbformat.write(solved(course, ASSIGNMENT), path)
        spoil(path)
    nbformat.write(solved(course, ASSIGNMENT), folder / f"zoe_{ASSIGNMENT}.ipynb")
    return cases, grade(course, folder, "--cell-seconds", "20")


@pytest.mark.slow
def test_attacks_win_nothing_and_cost_nobody_else_anything(course, attacked):
    cases, frame = attacked
    points = automatic(course, ASSIGNMENT)
    found = {name: lost(frame.loc[name.replace("_", "")], ASSIGNMENT, points)
             for name in cases.ATTACKS}
    assert found == {name: expected for name, (_, expected) in cases.ATTACKS.items()}
    assert lost(frame.loc["zoe"], ASSIGNMENT, points) == set()


@pytest.mark.slow
def test_broken_files_get_no_points_and_a_note(course, attacked):
    cases, frame = attacked
    rows = frame.loc[[name.replace("_", "") for name in cases.FILES]]
    assert rows[f"{ASSIGNMENT}: total"].eq(0).all()
    assert rows["note"].str.contains("hand it in").all()


@pytest.mark.slow
def test_the_sandbox_shows_no_other_file_and_lets_nothing_out(course, attacked):
    def printed(student):
        path = course.notebook("autograded", ASSIGNMENT, student)
        return "".join(output.get("text", "") for cell in nbformat.read(path, 4).cells
                       for output in cell.get("outputs", []))

    assert "FOUND []" in printed("readsthedisk")
    assert "DONE []" in printed("writesoutside")


@pytest.mark.slow
def test_feedback_explains_and_holds_neither_hidden_tests_nor_scripts(course, attacked):
    pages = {path.parts[-3]: path.read_text()
             for path in (course.folder / "feedback").rglob("*.html")}
    assert "took longer than 20 seconds" in pages["endlessloop"]
    assert "ended Python itself" in pages["exits"]
    for name, page in pages.items():
        assert "BEGIN HIDDEN" not in page and "looped(" not in page, name
    assert "SCRIPT" in pages["scriptinacell"] and "<script>alert" not in pages["scriptinacell"]
