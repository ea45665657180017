"""Turn nbgrader's gradebook into grades.csv and the files that Canvas and Moodle import."""

import re
from pathlib import Path

import pandas as pd
from nbgrader.api import Gradebook, MissingEntry

from .course import Course, key, name_of, questions

IDENTITY = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]  # what Canvas wants back


def write_tables(course: Course, roster: pd.DataFrame | None, columns: list[str]) -> list[Path]:
    """Write the tables into the course's folder and return their paths.

    Parameters
    ----------
    course : Course
        Graded.
    roster : pandas.DataFrame or None
        The gradebook of Canvas, whose column "SIS Login ID" (or "ID") names the students.
    columns : list of str
        "ASSIGNMENT=COLUMN" for columns of the roster that are not named after their assignment.
    """
    grades, totals = grade_table(course)
    written = [_write(course, "grades.csv", grades.reset_index()),
               _write(course, "moodle.csv", moodle_table(totals, grades["note"]))]
    if roster is not None:  # last: it may stop
        written.append(_write(course, "canvas.csv", canvas_table(roster, totals, columns)))
    return written


def inert(value):
    """Return what a table shows, so that no spreadsheet takes a text for a formula."""
    begins = isinstance(value, str) and value.startswith(tuple("=+-@＝＋－＠\t\r"))
    return f"'{value}" if begins else value


def _write(course: Course, name: str, table: pd.DataFrame) -> Path:
    table.rename(columns=inert).map(inert).to_csv(course.folder / name, index=False)
    return course.folder / name


def grade_table(course: Course) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return all scores, a row a student and a column a question, and the totals by assignment.

    A question that waits to be graded by hand is empty, and counts nothing yet. Points that were
    given by hand stand when a notebook is graded again, with a note. The last row, of nobody, says
    which files were not graded since nobody knows whose they are.
    """
    rows, totals = {}, {name: {} for name in course.assignments}
    points = {assignment: questions(course, assignment) for assignment in course.assignments}
    with Gradebook(course.gradebook) as gradebook:
        for student in [*sorted(name_of(student.id) for student in gradebook.students), ""]:
            row, notes = {}, [course.note("", student)]
            for assignment in course.assignments:
                if note := course.note(assignment, student):
                    notes.append(f"{assignment}: {note}")  # also where nothing could be graded
                try:
                    submission = gradebook.find_submission_notebook(
                        assignment, assignment, key(student))
                except MissingEntry:
                    continue
                by_hand = {grade for grade in submission.grades if grade.manual_score is not None}
                scores = {grade.name: None if grade not in by_hand and (
                    grade.needs_manual_grade or grade.auto_score is None) else grade.score
                    for grade in submission.grades}
                there = course.notebook("autograded", assignment, student).exists()
                if not there and set(scores.values()) == {None}:  # its grading failed
                    continue
                row |= {f"{assignment}: {name} ({most:g})": scores[name]
                        for name, most in points[assignment].items()}
                total = sum(score or 0 for score in scores.values())
                row[f"{assignment}: total"] = totals[assignment][student] = total
                if None in scores.values():
                    notes.append(f"{assignment}: to be graded by hand")
                if any(grade.needs_manual_grade for grade in by_hand):  # it was graded again since
                    notes.append(f"{assignment}: points by hand are from before, look again")
            if student or any(notes):
                rows[student] = row | {"note": "; ".join(note for note in notes if note)}
    if not rows:
        raise ValueError("nobody has handed in anything yet: run make grade first")
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("student")
    order = [f"{assignment}: {column}" for assignment, known in points.items()
             for column in [*(f"{name} ({most:g})" for name, most in known.items()), "total"]]
    totals = pd.DataFrame({name: scores for name, scores in totals.items() if scores})
    return frame[[*(name for name in order if name in frame), "note"]], totals


def moodle_table(totals: pd.DataFrame, notes: pd.Series) -> pd.DataFrame:
    """Return what Moodle's grade import reads: username, a column an assignment, feedback.

    Students known by Moodle's number of a participant are named as in its grading worksheet.
    """
    table = totals.assign(feedback=notes).rename_axis("username").reset_index()
    numbers = table["username"].astype(str).str.fullmatch(r"\d+")
    identifier = ("Participant " + table["username"]).where(numbers, "")
    return table.assign(Identifier=identifier)


def canvas_table(roster: pd.DataFrame, totals: pd.DataFrame, columns: list[str] = ()):
    """Return the roster's students with a column an assignment, as Canvas imports it.

    Raises
    ------
    ValueError
        If the roster lacks the columns that Canvas exports, holds none of the students, or leaves
        open which column is an assignment's.
    """
    missing = [name for name in ("Student", "ID", "SIS Login ID", "Section") if name not in roster]
    if missing:
        raise ValueError(f"the roster lacks the columns {missing}: export the gradebook of Canvas")
    students = roster["SIS Login ID"].where(roster["SIS Login ID"].isin(totals.index), roster["ID"])
    if not students.isin(totals.index).any():
        logins = ", ".join(roster["SIS Login ID"][:3])
        raise ValueError(f"no student of the roster handed in: name folders or files after the "
                         f"SIS Login ID ({logins}, …), or leave them as Canvas names them")
    table = roster[[name for name in IDENTITY if name in roster]].copy()
    names = canvas_columns(roster, list(totals), columns)
    for assignment, column in zip(totals, names, strict=True):
        table[column] = students.map(totals[assignment])
    return table


def canvas_columns(roster: pd.DataFrame, assignments: list[str], columns: list[str]) -> list[str]:
    """Return each assignment's column of Canvas, which makes anew what it lacks.

    Raises
    ------
    ValueError
        If no column is named after an assignment, as in "New dataset (12345)", but several are, or
        some are that hold its name.
    """
    if wrong := [column for column in columns if "=" not in column]:
        raise ValueError(f"--column wants ASSIGNMENT=COLUMN, not {wrong[0]}")
    chosen = dict(column.split("=", 1) for column in columns)
    if unknown := {*chosen.values()} - {*roster, ""}:
        raise ValueError(f"the roster has no column {', '.join(sorted(unknown))}")
    for assignment in assignments:
        plain = {name: re.sub(r" \(\d+\)$", "", name.lower()).replace(" ", "_") for name in roster}
        named = [name for name, text in plain.items() if text == assignment]
        similar = named or [name for name, text in plain.items() if assignment in text]
        if assignment not in chosen and similar and len(named) != 1:
            raise ValueError(f"is {' or '.join(similar)} the column of {assignment}? Say "
                             f"--column '{assignment}={similar[0]}', or '{assignment}=' for none")
        chosen.setdefault(assignment, named[0] if named else "")
    return [chosen[assignment] or assignment for assignment in assignments]
