"""The commands behind `make assignments`, `make grade` and `make grades`."""

import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from . import sandbox, steps
from .collect import HandIn, hand_ins, reasons
from .course import ROOT, Course, build, name_of, questions
from .tables import canvas_columns, write_tables

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
                  help="Build and grade the assignments.")
COURSE = ROOT / "course"  # not below _build, which is thrown away: it holds the gradebook

Folder = Annotated[Path, typer.Option("--course", help="Where nbgrader keeps the course.")]
Roster = Annotated[Path | None, typer.Option(help="Canvas's gradebook; canvas.csv is written.")]
Columns = Annotated[list[str], typer.Option("--column", help="ASSIGNMENT=COLUMN of the roster.")]
Jobs = Annotated[int, typer.Option(help="Submissions graded at a time.")]


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
        help="A folder: STUDENT/ASSIGNMENT.ipynb, or as Canvas and Moodle name downloads.")],
    roster: Roster = None,
    column: Columns = [],  # noqa: B006
    course: Folder = COURSE,
    jobs: Jobs = 2,
    cell_seconds: Annotated[int, typer.Option(help="For a cell.")] = steps.CELL_SECONDS,
    seconds: Annotated[int, typer.Option(help="For a submission.")] = steps.SECONDS,
):
    """Grade a folder of notebooks; one bad submission costs nobody else anything."""
    made = _built(course)
    sandbox.check()
    found = hand_ins(submitted.resolve(), made.assignments)  # graders work elsewhere
    graded = [one for one in found if not one.reason]
    known = pd.read_csv(roster, dtype=str, keep_default_na=False) if roster else None
    if known is not None:  # what Canvas lacks is to be known before, not after grading
        earlier = {path.stem for path in (made.folder / "submitted").glob("*/*/*.ipynb")}
        canvas_columns(known, sorted(earlier | {one.assignment for one in graded}), column)
    typer.echo("\n".join(["file → student → assignment", *map(str, found)]))
    notes = reasons(found)
    made.enrol({student for student, _ in notes} - {""})
    for path in (made.folder / "notes").glob("*/-*.txt"):  # of files that answer no assignment
        path.unlink()
    for (student, assignment), note in notes.items():
        made.write_note(assignment, student, note, "collect")
        made.write_note(assignment, student, "", "clean")  # until it is cleaned anew
    _each(made, graded, jobs, "not graded", seconds, steps.grade, cell_seconds)
    _export(made, graded, jobs, known, column)


@app.command()
def export(roster: Roster = None, column: Columns = [], course: Folder = COURSE,  # noqa: B006
           jobs: Jobs = 2):
    """Write tables and feedback again, with what was graded by hand since."""
    made = _built(course)
    paths = (made.folder / "autograded").glob("*/*/*.ipynb")
    graded = [HandIn(path, path.name, name_of(path.parts[-3]), path.stem) for path in paths]
    known = pd.read_csv(roster, dtype=str, keep_default_na=False) if roster else None
    _export(made, graded, jobs, known, column)


def _each(course: Course, found: list[HandIn], jobs: int, failure: str, seconds: int, step,
          *options) -> None:
    """Do a step for several submissions, some at a time, and note where it fails."""
    def done(one):
        start = time.monotonic()
        wrong = steps.limited(seconds, step, course, one, *options)
        course.write_note(one.assignment, one.student, wrong and f"{failure}: {wrong}",
                          step.__name__)
        typer.echo(f"{step.__name__} {one.student} {one.assignment}: {wrong or 'done'} "
                   f"({time.monotonic() - start:.0f} s)", err=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(done, found))


def _built(folder: Path) -> Course:
    course = Course(folder.resolve())
    if not course.assignments:
        raise ValueError("there is no course yet: run make assignments first")
    return course


def _export(course: Course, graded: list[HandIn], jobs: int, roster: pd.DataFrame | None,
            columns: list[str]) -> None:
    """Write the tables, then the pages, then the tables with what happened to a page."""
    write_tables(course, None, columns)
    there = [one for one in graded
             if course.notebook("autograded", one.assignment, one.student).exists()]
    _each(course, there, jobs, "no feedback page", steps.PAGE_SECONDS, steps.page)
    for path in write_tables(course, roster, columns):
        typer.echo(f"written: {path}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the graders it starts, two at a time
    sys.stdout.reconfigure(errors="backslashreplace")  # where a terminal lacks a student's letters
    try:
        app()
    except (ValueError, OSError) as error:
        sys.exit(f"grading: {error}")
