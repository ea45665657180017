"""Planted submissions, and how they are made from the student versions of a course."""

import importlib
import itertools
import json

import nbformat

from grading.course import Course, by_name, grade_id, questions

ATTACKED = "mutual_information"  # the assignment that hostile submissions are made from


def planted(name):
    """Return the module with the planted submissions to an assignment, or the hostile ones."""
    return importlib.import_module(f".{name}", __package__)


def blank(course: Course, assignment):
    """Return the student version as it is handed out."""
    return nbformat.read(course.notebook("release", assignment), as_version=4)


def solved(course: Course, assignment):
    """Return the student version with the solutions filled in."""
    notebook = blank(course, assignment)
    source = nbformat.read(course.notebook("source", assignment), as_version=4)
    answers = {grade_id(cell): cell.source for cell in source.cells
               if cell.metadata.nbgrader.solution}
    for cell in notebook.cells:
        cell.source = answers.get(grade_id(cell), cell.source)
    return notebook


def filled(course: Course, assignment, answers):
    """Return a solved notebook with other answers in the cells that `answers` names."""
    notebook = solved(course, assignment)
    cells = by_name(notebook)
    for name, source in answers.items():
        cells[name].source = source.strip("\n")
    return notebook


def hand_in(folder, student, assignment, notebook):
    """Write a notebook where `make grade` finds it; return its path."""
    path = folder / student / f"{assignment}.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(notebook))  # as JSON may be, half signs and all
    return path


def hand_in_hostile(folder, course: Course, names):
    """Hand in these attacks and broken files of `hostile.py`, each under its name as a student.

    The written answer of each tries something on whoever opens it.
    """
    cases = planted("hostile")
    written = itertools.cycle([*cases.RUNS, *cases.LOADS, *cases.LEADS])
    for name in names:
        notebook = filled(course, ATTACKED, {"q6-written": f"An answer.\n\n{next(written)}"})
        if name in cases.ATTACKS:
            cells = by_name(notebook)
            cases.ATTACKS[name][0](cells)
            notebook.cells = list(cells.values())
        path = hand_in(folder, name, ATTACKED, notebook)
        if name in cases.FILES:
            cases.FILES[name](path)


def automatic(course: Course, assignment):
    """Return the points of the questions that no person grades, by their name."""
    source = nbformat.read(course.notebook("source", assignment), as_version=4)
    by_hand = {grade_id(cell) for cell in source.cells if cell.metadata.nbgrader.solution}
    return {name: points for name, points in questions(course, assignment).items()
            if name not in by_hand}


def lost(row, assignment, points):
    """Return the questions that a row of grades.csv has no points for, all others being whole."""
    scores = {name: row[f"{assignment}: {name} ({value:g})"] for name, value in points.items()}
    assert set(scores.values()) <= {0.0, *points.values()}
    return {name for name, value in points.items() if scores[name] != value}
