"""The assignments and their grading: planted submissions lose exactly the points they should."""

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nbgrader", reason="needs the extra grading")
nbformat = pytest.importorskip("nbformat")

from bs4 import BeautifulSoup  # noqa: E402
from conftest import ROOT, run  # noqa: E402
from nbconvert.filters.markdown_mistune import markdown2html_mistune  # noqa: E402
from nbgrader.api import Gradebook  # noqa: E402
from nbgrader.utils import is_grade  # noqa: E402

from grading import sandbox, wire  # noqa: E402
from grading.clean import merged  # noqa: E402
from grading.course import NOTEBOOKS, build, by_name, grade_id, key  # noqa: E402
from grading.examiner import STORED, Examination, StudentError, answers_of  # noqa: E402
from grading.planted import (  # noqa: E402
    ATTACKED,
    automatic,
    blank,
    filled,
    hand_in,
    hand_in_hostile,
    lost,
    planted,
    solved,
)
from grading.tables import canvas_table, grade_table  # noqa: E402

ASSIGNMENTS = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))

@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """Every assignment, built with another seed than the one in the sources."""
    return build(tmp_path_factory.mktemp("course"), seed=2031)


def grade(course, folder, *options):
    """Grade a folder as `make grade` does; return grades.csv."""
    # By a path that holds from here alone, as a teacher types it.
    command = [sys.executable, "-m", "grading", "grade", os.path.relpath(folder, ROOT), "--course",
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


def test_a_function_that_changes_what_it_is_given_is_told_so():
    asked = wire.dumps([torch.zeros(2), [1, 2], np.random.default_rng(0)])
    space = {"adds": lambda tensor, *_: tensor.add_(1), "pops": lambda _, items, __: items.pop(),
             "draws": lambda _, __, generator: generator.random(), "reads": lambda *_: 1}
    draws, reads = (wire.examined(space, name, asked) for name in ("draws", "reads"))
    assert wire.loads(reads["value"], {}) == 1
    assert wire.loads(draws["value"], {}) == np.random.default_rng(0).random()
    for name in ("adds", "pops"):
        with pytest.raises(ValueError, match=f"{name} changes what it is given"):
            wire.examined(space, name, asked)


def test_functions_are_carried_by_a_name_the_other_side_knows():
    text = wire.dumps([wire.dumps])
    assert wire.loads(text, {"dumps": len}) == [len]
    with pytest.raises(KeyError):
        wire.loads(text, {})


def test_a_course_is_never_built_over_with_another_seed(tmp_path):
    build(tmp_path / "course", 1, notebooks=tmp_path)
    build(tmp_path / "course", 1, notebooks=tmp_path)
    with pytest.raises(ValueError, match="has the seed 1,"):
        build(tmp_path / "course", 2, notebooks=tmp_path)


def test_a_student_may_be_enrolled_twice(course):
    course.enrol({"ada", "bob"})
    course.enrol({"ada", "eve"})
    with Gradebook(course.gradebook) as gradebook:
        names = [student.id for student in gradebook.students]
    assert {"ada", "bob", "eve"} <= set(names) and len(names) == len(set(names))


def test_importing_the_grader_leaves_the_environment_as_it_is(tmp_path):
    script = ("import os; before = dict(os.environ); import grading.__main__\n"
              "print(set(before.items()) ^ set(os.environ.items()))")
    environment = {"HOME": str(tmp_path), "PATH": os.defpath}  # this process's is touched
    assert run(sys.executable, "-c", script, cwd=ROOT, env=environment) == "set()\n"


def test_there_is_no_sandbox_only_where_the_teacher_wants_none(monkeypatch):
    monkeypatch.setenv("PATH", "")  # so that there can be none
    monkeypatch.setenv("UNSANDBOXED", "0")
    assert issubclass(sandbox.kernel_manager("", True), sandbox.SandboxedKernelManager)
    with pytest.raises(OSError, match=r"missing here, bwrap, .*apt-get install bubblewrap"):
        sandbox.check()
    monkeypatch.setenv("UNSANDBOXED", "1")
    assert not issubclass(sandbox.kernel_manager("", True), sandbox.SandboxedKernelManager)
    sandbox.check()


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
    release = nbformat.read(course.notebook("release", ATTACKED), as_version=4)
    submission = solved(course, ATTACKED)
    own = nbformat.v4.new_code_cell("helper = 1")
    answer = next(cell for cell in submission.cells if grade_id(cell) == "info-nce")
    submission.cells.insert(submission.cells.index(answer) + 1, own)
    for cell in submission.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source = "assert True"
    submission.cells.reverse()
    got, _ = merged(nbformat.read(course.notebook("release", ATTACKED), as_version=4), submission)
    known = [cell for cell in got.cells if grade_id(cell)]
    assert [grade_id(cell) for cell in known] == [grade_id(cell) for cell in release.cells]
    for cell, fresh in zip(known, release.cells, strict=True):
        if not fresh.metadata.nbgrader.solution:
            assert cell.source == fresh.source and cell.metadata == fresh.metadata
    assert answer.source in [cell.source for cell in known]
    assert [cell.source for cell in got.cells if not grade_id(cell) and cell.cell_type == "code"
            ] == ["helper = 1"]


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


def lost_here(notebook, source):
    """Run a notebook and its tests in this process; return the tests that fail.

    What `Examine` does with a kernel in a sandbox, without both: a moment a notebook.
    """
    space = {"__name__": "__main__", "display": print}

    def ask(*arguments):
        try:
            with torch.enable_grad():  # a gradient is asked for within a backward pass
                return wire.examined(space, *arguments)
        except Exception as wrong:
            raise StudentError(f"{type(wrong).__name__}: {wrong}") from None

    setup = by_name(source)["setup"].source
    examination = Examination(setup, answers_of(source), ask)
    tests = {grade_id(cell): cell.source for cell in source.cells if is_grade(cell)}
    failed = set()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a kernel only shows them
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
    assert len(wrong) >= 10
    found = {name: lost_here(filled(course, assignment, answers), source)
             for name, (answers, _) in wrong.items()}
    assert found == {name: expected for name, (_, expected) in wrong.items()}


@pytest.mark.slow
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_solutions_written_differently_pass_every_test(course, assignment):
    source = nbformat.read(course.notebook("source", assignment), as_version=4)
    right = planted(assignment).RIGHT
    assert len(right) >= 4
    failed = {name: lost_here(filled(course, assignment, answers), source)
              for name, answers in right.items()}
    assert not any(failed.values()), failed


@pytest.mark.slow
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_a_solved_student_version_runs_on_colab(course, on_colab, assignment):
    on_colab(solved(course, assignment))


@pytest.fixture(scope="session")
def graded(course, tmp_path_factory):
    """Some students who hand in all assignments, graded together as `make grade` does.

    What each planted submission loses is tested above; here it is how that becomes points.
    """
    folder = tmp_path_factory.mktemp("submitted")
    for assignment in ASSIGNMENTS:
        cases = planted(assignment)
        wrong = [answers for answers, _ in cases.WRONG.values()]
        for student, notebook in {
                "solution": solved(course, assignment),
                "blank": blank(course, assignment),
                "right": filled(course, assignment, list(cases.RIGHT.values())[-1]),
                "wrong-first": filled(course, assignment, wrong[0]),
                "wrong-last": filled(course, assignment, wrong[-1])}.items():
            hand_in(folder, student, assignment, notebook)
    return grade(course, folder)


@pytest.mark.slow
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_right_notebooks_get_all_points_and_blank_ones_none(course, graded, assignment):
    points = automatic(course, assignment)
    for student in ("solution", "right"):
        assert lost(graded.loc[student], assignment, points) == set()
        assert graded.loc[student, f"{assignment}: total"] == sum(points.values())
    assert graded.loc["blank", f"{assignment}: total"] == 0
    assert graded.loc["blank"].filter(like=f"{assignment}: ").fillna(-1).eq(0).all()


@pytest.mark.slow
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_misconceptions_lose_exactly_the_points_they_should(course, graded, assignment):
    points = automatic(course, assignment)
    expected = [questions for _, questions in planted(assignment).WRONG.values()]
    for student, questions in (("wrong-first", expected[0]), ("wrong-last", expected[-1])):
        assert lost(graded.loc[student], assignment, points) == questions
        total = sum(value for name, value in points.items() if name not in questions)
        assert graded.loc[student, f"{assignment}: total"] == total


@pytest.mark.slow
def test_points_given_by_hand_stand_when_a_notebook_is_graded_again_with_a_note(course, tmp_path):
    hand_in(tmp_path, "judy", "attention", solved(course, "attention"))
    row = grade(course, tmp_path).loc["judy"]
    written = next(name for name in row.index if name.startswith("attention: q7-written"))
    assert np.isnan(row[written]) and "attention: to be graded by hand" in row["note"]
    with Gradebook(course.gradebook) as gradebook:
        mark = gradebook.find_grade("q7-written", "attention", "attention", "judy")
        mark.manual_score, mark.needs_manual_grade = 3.0, False
        gradebook.db.commit()
    once, _ = grade_table(course)
    assert once.loc["judy", written] == 3 and "hand" not in once.loc["judy", "note"]
    again = grade(course, tmp_path).loc["judy"]
    assert again[written] == 3 and "points by hand are from before" in again["note"]
    assert again["attention: total"] == row["attention: total"] + 3


@pytest.mark.slow
def test_what_the_grader_could_not_grade_is_noted_too(course, graded):
    course.enrol({"eve"})
    course.write_note("attention", "eve", "not graded: why")
    with Gradebook(course.gradebook) as gradebook, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gradebook.update_or_create_submission("attention", "eve")  # so far nbgrader came
    frame, totals = grade_table(course)
    assert frame.loc["eve", "note"] == "attention: not graded: why"
    assert frame.loc["eve"].drop("note").isna().all()  # no 0 beside it
    assert "eve" not in totals.index or totals.loc["eve"].isna().all()


@pytest.fixture(scope="session")
def attacked(course, tmp_path_factory):
    """All hostile and broken submissions, graded together with one good one."""
    cases, folder = planted("hostile"), tmp_path_factory.mktemp("hostile")
    hand_in_hostile(folder, course, [*cases.ATTACKS, *cases.FILES])
    for name in ("zoe", "*", "=1+1", "Zoë O'Neil"):
        hand_in(folder, name, ATTACKED, solved(course, ATTACKED))
    hand_in(folder, "zoe", "Copy of attention", solved(course, "attention"))
    hand_in(folder, "mallory", f"zoe_{ATTACKED}", blank(course, ATTACKED))
    hand_in(folder, "other", ATTACKED, solved(course, "attention"))
    for name in ("", " (1)"):
        hand_in(folder, "Bob_222_assignsubmission_file_", ATTACKED + name, blank(course, ATTACKED))
    hand_in(folder, "__MACOSX", f"._{ATTACKED}", blank(course, ATTACKED))
    return cases, grade(course, folder, "--cell-seconds", "20")


@pytest.mark.slow
def test_attacks_win_nothing_and_cost_nobody_else_anything(course, attacked):
    cases, frame = attacked
    points = automatic(course, ATTACKED)
    found = {name: lost(frame.loc[name], ATTACKED, points) for name in cases.ATTACKS}
    assert found == {name: expected for name, (_, expected) in cases.ATTACKS.items()}
    for name in ("zoe", "*", "'=1+1", "Zoë O'Neil"):
        assert lost(frame.loc[name], ATTACKED, points) == set()
    assert lost(frame.loc["zoe"], "attention", automatic(course, "attention")) == set()
    assert frame.loc["mallory", f"{ATTACKED}: total"] == 0


@pytest.mark.slow
def test_whatever_was_odd_or_not_graded_stands_in_the_table_with_its_reason(attacked):
    cases, frame = attacked
    said = {name: frame.loc[name, "note"] for name in cases.NOTED}
    assert {name: cases.NOTED[name] in note for name, note in said.items()} == dict.fromkeys(
        said, True), said
    assert "this is the notebook of attention" in frame.loc["other", "note"]
    assert "handed in more than once: leave one" in frame.loc["222", "note"]
    (nobodys,) = frame.loc[frame.index.isna(), "note"]
    assert f"__MACOSX/._{ATTACKED}.ipynb: not graded" in nobodys
    assert not {".", "Copy of", "__MACOSX", "zoe_"} & set(frame.index)


@pytest.mark.slow
def test_broken_files_get_no_points_and_a_note(course, attacked):
    cases, frame = attacked
    rows = frame.loc[list(cases.FILES)]
    assert rows[f"{ATTACKED}: total"].eq(0).all()
    assert rows["note"].str.contains("hand it in").all()


@pytest.mark.slow
def test_the_sandbox_shows_no_other_file_and_lets_nothing_out(course, attacked):
    def printed(student):
        path = course.notebook("autograded", ATTACKED, student)
        return "".join(output.get("text", "") for cell in nbformat.read(path, 4).cells
                       for output in cell.get("outputs", []))

    assert "FOUND []" in printed("reads_the_disk")
    assert "DONE []" in printed("writes_outside")
    assert "GAINED []" in printed("becomes_root_of_its_own_world")
    assert "FILES []" in printed("reads_the_package")
    assert "STOPPED" in printed("starts_processes_without_end")
    (written,) = re.findall(r"WROTE (\d+)", printed("fills_every_folder"))
    assert int(written) <= sandbox.SCRATCH


@pytest.mark.slow
def test_what_is_kept_of_all_outputs_together_is_small(course, attacked):
    for name in ("large_outputs", "many_pictures", "prints_without_end"):
        path = course.notebook("autograded", ATTACKED, name)
        assert path.stat().st_size < STORED + 2**20
        assert "PrintedTooMuch" in path.read_text()


@pytest.mark.slow
def test_hidden_inputs_reach_the_teacher_and_no_feedback_page(course, attacked):
    for name in ("prints_hidden_inputs", "raises_hidden_inputs", "raises_hidden_inputs_later"):
        seen = course.notebook("autograded", ATTACKED, name).read_text()
        page = (course.folder / "feedback" / name / ATTACKED / f"{ATTACKED}.html").read_text()
        text = BeautifulSoup(page, "html.parser").get_text()
        assert "SPY [[" in seen and "SPY [[" not in text, name
        assert not re.search(r"SPY\d", text) and "SPYSPY" not in page, name


@pytest.mark.slow
def test_no_earlier_output_and_no_message_of_a_test_tells_of_hidden_inputs(course, attacked):
    texts = {}
    for name in ("changes_an_earlier_output", "says_hidden_inputs_in_its_answers",
                 "gives_back_its_input", "answers_from_a_table"):
        page = (course.folder / "feedback" / name / ATTACKED / f"{ATTACKED}.html").read_text()
        texts[name] = BeautifulSoup(page, "html.parser").get_text()
        assert "in your own notebook" in texts[name] or name == "changes_an_earlier_output"
    log = course.folder / "logs" / f"{ATTACKED}-writes_to_the_log-grade.txt"
    assert log.stat().st_mode & 0o7777 == 0o600 and "LOGGED" not in log.read_text()
    hides = course.folder / "feedback" / "hides_a_cell" / ATTACKED / f"{ATTACKED}.html"
    assert "HIDDEN_CELL" in hides.read_text()
    kept = nbformat.read(course.notebook("autograded", ATTACKED, "changes_an_earlier_output"), 4)
    (earlier,) = (cell for cell in kept.cells if "nothing yet" in cell.source)
    assert [output.data for output in earlier.outputs] == [{"text/plain": "'nothing yet'"}]
    assert "SPY [[" not in texts["changes_an_earlier_output"]
    assert (course.folder / "logs" / f"{ATTACKED}-changes_an_earlier_output-grade.txt"
            ).stat().st_size < 2**20
    assert not re.search(r"\(1, 77, \d", texts["says_hidden_inputs_in_its_answers"])
    # The first test with hidden inputs may say what is wrong with those that can be seen.
    for name in ("gives_back_its_input", "answers_from_a_table"):
        assert len(re.findall(r"off by up to \d", texts[name])) <= 1


def test_there_are_forty_hostile_hand_ins_each_named_after_the_harm_it_tries():
    cases = planted("hostile")
    assert len({*cases.ATTACKS, *cases.FILES}) >= 40
    assert len({*cases.RUNS, *cases.LOADS, *cases.LEADS}) >= 20


@pytest.fixture(scope="session")
def browser():
    """A browser that is offline; or skip what needs one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra site")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def looked_at(browser):
    """Return what opens a page; say what it ran, and whom it asked for something."""
    page, seen = browser.new_page(), []
    page.on("dialog", lambda dialog: (seen.append("ran"), dialog.dismiss()))
    page.on("request", lambda request: seen.append(request.url))
    page.on("requestfailed", lambda request: "CSP" in request.failure.upper()
            and seen.remove(request.url))  # the page's policy stopped it here
    page.route(re.compile("evil"), lambda route: route.abort())

    def look(address, own):
        seen.clear()
        page.goto(address)
        page.wait_for_timeout(100)
        return page, [what for what in seen if not what.startswith((own, "data:", "blob:"))]

    yield look
    page.close()


@pytest.mark.slow
def test_a_page_with_what_students_wrote_would_run_and_load_it(looked_at, tmp_path):
    cases = planted("hostile")
    found = {}
    for number, text in enumerate([*cases.RUNS, *cases.LOADS]):
        path = tmp_path / f"{number}.html"
        path.write_text(f"<!DOCTYPE html><p>{markdown2html_mistune(text)}</p>")
        found[text] = bool(looked_at(path.as_uri(), path.as_uri())[1])
    assert sum(found.values()) >= 20, [text for text, seen in found.items() if not seen]


@pytest.mark.slow
def test_no_feedback_page_of_a_hostile_notebook_runs_or_loads_anything(
        course, attacked, looked_at, tmp_path):
    cases, _ = attacked
    for name in cases.ATTACKS:
        path = course.folder / "feedback" / name / ATTACKED / f"{ATTACKED}.html"
        page, seen = looked_at(path.as_uri(), path.as_uri())
        assert seen == [] and page.locator("script").count() == 0, name
        assert page.locator("a:not([href^='#'])[href]").count() == 0, name
        assert page.locator("math").count() > 10, name

    missed = tmp_path / "missed.html"  # by the cleaning: the page's policy would let nothing run
    missed.write_text(path.read_text().replace("<body>", f"<body>{''.join(cases.RUNS)}", 1))
    page, seen = looked_at(missed.as_uri(), missed.as_uri())
    assert page.locator("details").count() == 1 and "ran" not in seen


@pytest.fixture(scope="session")
def formgrader(course, tmp_path_factory):
    """The address of nbgrader's formgrader, started in the course as the guide says."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("formgrader") / "log.txt").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--port",
         str(port), "--IdentityProvider.token="], cwd=course.folder, stdout=log, stderr=log,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"})
    address = f"http://localhost:{port}/"
    for _ in range(600):
        with contextlib.suppress(OSError), urlopen(f"{address}formgrader") as page:
            assert page.status == 200
            break
        time.sleep(0.1)
    yield address
    server.terminate()
    server.wait()
    log.close()


def scores(course):
    with Gradebook(course.gradebook) as gradebook:
        return {(grade.notebook.student.id, grade.name): (grade.score, grade.needs_manual_grade)
                for submission in gradebook.assignment_submissions(ATTACKED)
                for notebook in submission.notebooks for grade in notebook.grades}


@pytest.mark.slow
def test_hand_grading_of_hostile_notebooks_runs_loads_and_changes_nothing(
        course, attacked, looked_at, formgrader):
    cases, _ = attacked
    with Gradebook(course.gradebook) as gradebook:
        pages = {submission.student.id: notebook.id
                 for submission in gradebook.assignment_submissions(ATTACKED)
                 for notebook in submission.notebooks}
    before = scores(course)
    for name in dict.fromkeys([*[*cases.ATTACKS][:33], "script_in_a_cell", "sends_what_it_likes",
                               "labels_lost", "takes_long_to_render", "scripts_in_text"]):
        page, seen = looked_at(f"{formgrader}formgrader/submissions/{pages[name]}/", formgrader)
        assert seen == [], name
        assert page.locator("input.score").count() == 12, name
        assert page.locator(".rendered_html a[href]").count() == 0, name
    assert scores(course) == before
    page.locator("span.name-hidden").click()  # its own scripts still run
    assert page.locator("a.name-shown").is_visible()

    # Even if the cleaning had missed all of it, the page's policy would let nothing run.
    missed = "".join(cases.RUNS)
    page.route(re.compile("/submissions/"), lambda route: route.fulfill(  # codespell:ignore
        response=(page := route.fetch()), body=page.text().replace("<body>", f"<body>{missed}", 1)))
    page, seen = looked_at(page.url, formgrader)
    assert page.locator("details").count() == 1 and "ran" not in seen
    assert scores(course) == before


@pytest.mark.slow
def test_feedback_explains_and_holds_neither_hidden_tests_nor_scripts(course, attacked):
    cases, _ = attacked
    pages = {path.parts[-3]: path.read_text()
             for path in (course.folder / "feedback").rglob(f"{ATTACKED}.html")}
    assert "took longer than a cell may" in pages["endless_loop"]
    assert "ended Python itself" in pages["exits"]
    assert "printed more than" not in pages["prints_without_end"]  # by which it might tell
    printed = course.notebook("autograded", ATTACKED, "prints_without_end").read_text()
    assert "printed more than 20 MB" in printed
    for name, page in pages.items():
        assert "BEGIN HIDDEN" not in page and "looped(" not in page, name
        assert "Assignment 1: mutual information" in page, name
    assert {"zoe", key("*"), key("=1+1"), *cases.ATTACKS, *cases.FILES} <= set(pages)
    for name in ("script_in_a_cell", "scripts_in_text", "sends_what_it_likes"):
        page = BeautifulSoup(pages[name].partition("<body>")[2], "html.parser")
        assert not page.find_all("script") and not page.find_all(onerror=True), name
        assert not page.find_all(src=re.compile("evil|^x$")), name
    assert "SCRIPT" in pages["script_in_a_cell"]
    assert "The first half." in pages["cut_in_two"] and "The second half." in pages["cut_in_two"]


def test_the_sandbox_shows_no_environment_and_opens_nothing_of_the_system_for_writing(monkeypatch):
    monkeypatch.setenv("TOKEN", "PLANTED")
    code = ("import os\n"
            "found = []\n"
            "for folder, _, files in [*os.walk('/proc'), *os.walk('/sys')]:\n"
            "    for path in [os.path.join(folder, file) for file in files]:\n"
            "        try:\n"
            "            if path.endswith('/environ') and b'PLANTED' in open(path, 'rb').read():\n"
            "                found.append(path)\n"
            "            if '/fd/' not in path:\n"
            "                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))\n"
            "                found.append(path)\n"
            "        except OSError: pass\n"
            "print(open('/proc/1/environ').read(), found)")
    assert run(*sandbox.command(["python", "-c", code])).strip() == "[]"


def test_code_in_the_sandbox_is_nobody_of_importance_and_cannot_become_more():
    code = ("import os, subprocess\n"
            "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
            "print(os.geteuid(), os.getgroups(), *{int(status[f'Cap{kind}'], 16) for kind in\n"
            "      ('Inh', 'Prm', 'Eff', 'Bnd', 'Amb')}, status['NoNewPrivs'].strip(),\n"
            "      subprocess.run(['unshare', '-U', 'true'], capture_output=True).returncode)\n"
            "print(open('/proc/self/uid_map').read())")
    told, outside = run(*sandbox.command(["python", "-c", code])).strip().split("\n")
    user = os.geteuid() or sandbox.NOBODY
    refused = int("--disable-userns" in run("bwrap", "--help"))  # where it knows how
    assert told in [f"{user} {groups} 0 1 {refused}" for groups in ([], [os.getegid()])]
    assert outside.split()[0] == str(user)


def entered(code, folder, before=""):
    """Run Python in the sandbox as a submission's kernel runs; return its status and output."""
    trial = (f"import os; from grading import sandbox as s; {before}\n"
             f"s.enter({str(folder)!r})\n"
             f"os.execvp('env', s.command(['python', '-c', {code!r}], {str(folder)!r}))")
    started = subprocess.Popen([sys.executable, "-c", trial], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE)
    printed, _ = started.communicate()
    sandbox.leave(started.pid)
    return started.returncode, printed


def test_the_one_folder_to_write_to_is_small_in_all_and_leaves_nothing_behind(tmp_path):
    code = (f"import os; written = 0\n"
            f"for name, place in enumerate(['/tmp', os.getcwd(), {str(tmp_path)!r}, '/dev/shm']):\n"
            f"    try:\n"
            f"        for number in range(20):\n"
            f"            with open(f'{{place}}/{{name}}-{{number}}', 'wb') as file:\n"
            f"                for _ in range(48): written += file.write(bytes(2**20))\n"
            f"    except OSError: pass\n"
            f"print(written)")
    status, written = entered(code, tmp_path)
    assert status == 0 and os.listdir(tmp_path) == []
    assert 0.9 * sandbox.SCRATCH < int(written) <= sandbox.SCRATCH


def test_a_cgroup_limits_the_memory_of_all_processes_together(tmp_path):
    if not os.access(sandbox.cgroup_of(1).parent, os.W_OK):
        pytest.skip("here nobody may make a cgroup")
    code = ("import mmap, os\n"
            "kept = [mmap.mmap(-1, 100 * 2**20) for _ in range(6)]  # no process's own\n"
            "for shared in kept:\n"
            "    if not os.fork():\n"
            "        for _ in range(100): shared.write(bytes(2**20))\n"
            "        os._exit(0)\n"
            "    os.wait()\n")
    assert entered(code, tmp_path)[0] == 0
    limit = "s.CAPS = dict.fromkeys(s.CAPS, 300 * 2**20)"
    assert entered(code, tmp_path, limit)[0] == 128 + signal.SIGKILL


def test_where_no_cgroup_limits_memory_one_look_ends_the_largest_until_the_rest_fit(monkeypatch):
    large = "kept = bytearray(200 * 2**20); print('large', flush=True); input()"
    parent = ("import subprocess, sys\n"
              "small = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)\n"
              f"two = [subprocess.Popen([sys.executable, '-c', {large!r}], stdin=-1)\n"
              "       for _ in range(2)]\n"
              "print({one.wait() for one in two})\n"
              "print(small.poll()); small.kill()")
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE,
                          text=True) as started:
        assert [started.stdout.readline() for _ in range(2)] == ["large\n"] * 2
        sandbox.watch(started.pid)  # of 6 GiB it is a small part, and all of them wait
        monkeypatch.setattr(sandbox, "MEMORY", 150 * 2**20)
        sandbox.watch(started.pid)
        try:
            ended, others = started.communicate(timeout=60)[0].split()
        finally:
            started.kill()
    assert (ended, others) == ("{-9}", "None")


def test_a_watch_ends_what_keeps_more_processors_busy_than_one_submission_may(monkeypatch):
    parent = ("import subprocess, sys\n"
              "two = [subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
              "       for _ in range(2)]\n"
              "print('begun', flush=True)\n"
              "print({one.wait() for one in two})")
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE,
                          text=True) as started:
        assert started.stdout.readline() == "begun\n"
        sandbox.watch(started.pid)  # twenty seconds are free
        time.sleep(1)
        children = sandbox.psutil.Process(started.pid).children()
        assert len(children) == 2
        monkeypatch.setattr(sandbox, "BUSY", -1000.0)
        sandbox.watch(started.pid)
        try:
            assert started.communicate(timeout=60)[0] == "{-9}\n"
        finally:
            for each in [started, *children]:
                with contextlib.suppress(sandbox.psutil.Error, ProcessLookupError):
                    each.kill()


KEYS = {"x86_64": (248, 250), "aarch64": (217, 219)}  # add_key(2), keyctl(2)


@pytest.mark.skipif(os.uname().machine not in KEYS, reason="calls the system by number")
def test_code_in_the_sandbox_meets_no_key_of_the_teachers_login(tmp_path):
    add, keyctl = KEYS[os.uname().machine]
    read = (f"import ctypes; room = ctypes.create_string_buffer(99); "
            f"found = ctypes.CDLL(None).syscall({keyctl}, 10, -3, b'user', b'ours', 0); "
            f"print('SECRET' if found > 0 else 'NOTHING')")
    script = (f"import ctypes, subprocess; from grading import sandbox as s\n"
              f"system = ctypes.CDLL(None)\n"
              f"assert system.syscall({keyctl}, 1, None) > 0  # a login has a keyring of its own\n"
              f"assert system.syscall({add}, b'user', b'ours', b'secret', 6, -3) > 0\n"
              f"exec({read!r})\n"
              f"s.enter({str(tmp_path)!r})\n"
              f"subprocess.run(s.command(['python', '-c', {read!r}], {str(tmp_path)!r}))")
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    if "AssertionError" in ran.stderr:
        pytest.skip("this system keeps no keys")
    assert sorted(ran.stdout.split()) == ["NOTHING", "SECRET"], ran.stderr


@pytest.mark.slow
def test_the_sandbox_limits_its_own_processes_and_not_what_else_the_teacher_runs():
    code = ("import json, os, resource, threading\n"
            "limit, wait = resource.getrlimit(resource.RLIMIT_NPROC), threading.Event().wait\n"
            "threads = [threading.Thread(target=wait, daemon=True) for _ in range(300)]\n"
            "try:\n"
            "    for thread in threads: thread.start()\n"
            "except RuntimeError: pass\n"
            "print(json.dumps([limit, threading.active_count()]), flush=True)\n"
            "os._exit(0)")
    done, others = threading.Event(), []
    try:
        for _ in range(sandbox.PROCESSES):
            others.append(threading.Thread(target=done.wait))
            others[-1].start()
        ran = subprocess.run(sandbox.command(["python", "-c", code]), capture_output=True)
    finally:
        done.set()
    limit, threads = json.loads(ran.stdout)
    assert limit == [sandbox.PROCESSES] * 2 and threads < sandbox.PROCESSES


def test_the_histories_are_drawn_by_the_process_that_the_hidden_tests_know():
    spec = importlib.util.spec_from_file_location("histories", NOTEBOOKS / "histories.py")
    histories = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(histories)
    text = histories.NOTEBOOK.read_text(encoding="utf-8")
    assert histories.written(json.loads(text)) == json.loads(text)
