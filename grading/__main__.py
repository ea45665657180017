"""The commands behind `make assignments`, `make grade` and `make grades`."""

import os
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import nbformat
import typer

from . import sandbox
from .autograde import CELL_SECONDS, SECONDS, autograde
from .collect import merged, read_submission
from .course import ROOT, Course, build, questions
from .tables import write_tables

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
                  help="Build and grade the assignments.")
COURSE = ROOT / "course"  # not below _build, which is thrown away: it holds the gradebook
# How Canvas names the files, and Moodle the folders, of submissions; the number is the student's.
CANVAS = re.compile(r"[^_]+(?:_LATE)?_(\d+)_\d+_.*")
MOODLE = re.compile(r".+_(\d+)_assignsubmission_file_?.*")

Folder = Annotated[Path, typer.Option("--course", help="Where nbgrader keeps the course.")]
Roster = Annotated[Path | None, typer.Option(
    help="The gradebook that Canvas exports; writes canvas.csv for its import.")]


@app.command("build")
def build_command(
    seed: Annotated[int, typer.Option(help="Of this course: it varies data and numbers.")] = 2026,
    course: Folder = COURSE,
    output: Annotated[Path, typer.Option(help="Where the student versions go.")] =
    ROOT / "_build" / "assignments",
):
    """Build the student versions: no solutions, no hidden tests, no outputs."""
    made = build(course, seed)
    output.mkdir(parents=True, exist_ok=True)
    for name in made.assignments:
        shutil.copy(made.notebook("release", name), output / f"{name}.ipynb")
        points = questions(made, name)
        typer.echo(f"{output / name}.ipynb: {sum(points.values()):g} points")


@app.command()
def grade(
    submitted: Annotated[Path, typer.Argument(
        help="A folder of notebooks: STUDENT/ASSIGNMENT.ipynb, STUDENT_ASSIGNMENT.ipynb, or as "
             "Canvas and Moodle name what they let you download.")],
    roster: Roster = None,
    course: Folder = COURSE,
    jobs: Annotated[int, typer.Option(help="Submissions graded at a time.")] = 2,
    cell_seconds: Annotated[int, typer.Option(help="Seconds that a cell may run.")] = CELL_SECONDS,
    seconds: Annotated[int, typer.Option(help="Seconds that a submission may run.")] = SECONDS,
):
    """Grade a folder of notebooks; one bad submission costs nobody else anything."""
    made = _built(course)
    sandbox.check()
    found = submissions(submitted, made.assignments)
    made.enrol({student for student, _ in found})

    def graded(key):
        return grade_one(made, *key, found[key], cell_seconds, seconds)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(graded, found))
    _export(made, roster, sorted({assignment for _, assignment in found}))


@app.command()
def export(roster: Roster = None, course: Folder = COURSE):
    """Write tables and feedback again, with what was graded by hand since."""
    made = _built(course)
    shutil.rmtree(made.folder / "feedback", ignore_errors=True)
    _export(made, roster, made.assignments)


def submissions(folder: Path, assignments: list[str]) -> dict[tuple[str, str], Path]:
    """Find who handed in what, by the names of folders and files.

    Raises
    ------
    ValueError
        If the folder holds no notebook of an assignment, or two of a student and assignment.
    """
    found = {}
    for path in sorted(folder.rglob("*.ipynb")):
        assignment = next((name for name in assignments if name in path.stem), None)
        if assignment is None or ".ipynb_checkpoints" in path.parts:
            typer.echo(f"{path}: not graded, its name holds none of {', '.join(assignments)}",
                       err=True)
            continue
        by_system = CANVAS.fullmatch(path.stem) or MOODLE.fullmatch(path.parent.name)
        own = path.stem.split(assignment)[0].strip("_- ")
        student = by_system[1] if by_system else own or path.parent.name
        if (student, assignment) in found:
            raise ValueError(f"{student} handed in {assignment} twice: {path} and "
                             f"{found[student, assignment]}")
        found[student, assignment] = path
    if not found:
        raise ValueError(f"no notebook in {folder} is named after one of {', '.join(assignments)}")
    return found


def grade_one(course: Course, student: str, assignment: str, path: Path, *limits: int) -> None:
    """Grade one submission with nbgrader, and note what was wrong with it."""
    start = time.monotonic()
    place = course.notebook("submitted", assignment, student)
    place.parent.mkdir(parents=True, exist_ok=True)
    release = nbformat.read(course.notebook("release", assignment), as_version=4)
    note = ""
    try:
        submission = read_submission(path)
    except ValueError as wrong:
        submission, note = nbformat.v4.new_notebook(), str(wrong)
    nbformat.write(merged(release, submission), place)
    if wrong := autograde(course, assignment, student, *limits):
        note = f"not graded: {wrong}"
    shutil.rmtree(course.notebook("feedback", assignment, student).parent, ignore_errors=True)
    course.write_note(assignment, student, note)
    seconds = time.monotonic() - start
    typer.echo(f"{student} {assignment}: {note or 'graded'} ({seconds:.0f} s)", err=True)


def _built(folder: Path) -> Course:
    course = Course(folder.resolve())
    if not course.assignments:
        raise ValueError("there is no course yet: run make assignments first")
    return course


def _export(course: Course, roster: Path | None, assignments: list[str]) -> None:
    for name in assignments:
        course.nbgrader("generate_feedback", name)  # pages that are there are left alone
    for path in write_tables(course, roster):
        typer.echo(f"written: {path}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the graders it starts, two at a time
    try:
        app()
    except (ValueError, OSError) as error:
        sys.exit(f"grading: {error}")
