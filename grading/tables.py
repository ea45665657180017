"""Turn nbgrader's gradebook into grades.csv and the files that Canvas and Moodle import."""

from pathlib import Path

import pandas as pd
from nbgrader.api import Gradebook, MissingEntry

from .course import Course, questions

IDENTITY = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]  # what Canvas wants back


def write_tables(course: Course, roster: Path | None) -> list[Path]:
    """Write the tables into the course's folder and return their paths.

    Parameters
    ----------
    course : Course
        Graded.
    roster : Path or None
        A gradebook exported from Canvas, whose column "SIS Login ID" (or "ID") names the students.
    """
    grades, totals = grade_table(course)
    tables = {"grades.csv": grades.reset_index(),
              "moodle.csv": moodle_table(totals, grades["note"])}
    if roster:
        tables["canvas.csv"] = canvas_table(pd.read_csv(roster, dtype=str), totals)
    for name, table in tables.items():
        table.to_csv(course.folder / name, index=False)
    return [course.folder / name for name in tables]


def grade_table(course: Course) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return all scores, a row a student and a column a question, and the totals by assignment.

    A question that waits to be graded by hand is empty, and counts nothing yet.
    """
    rows, totals = {}, {}
    points = {assignment: questions(course, assignment) for assignment in course.assignments}
    with Gradebook(course.gradebook) as gradebook:
        for student in sorted(student.id for student in gradebook.students):
            row, notes = {}, []
            for assignment in course.assignments:
                if note := course.note(assignment, student):
                    notes.append(f"{assignment}: {note}")  # also where nothing could be graded
                try:
                    submission = gradebook.find_submission_notebook(assignment, assignment, student)
                except MissingEntry:
                    continue
                scores = {grade.name: None if grade.needs_manual_grade else grade.score
                          for grade in submission.grades}
                row |= {f"{assignment}: {name} ({most:g})": scores[name]
                        for name, most in points[assignment].items()}
                total = sum(score or 0 for score in scores.values())
                row[f"{assignment}: total"] = totals[student, assignment] = total
                if None in scores.values():
                    notes.append(f"{assignment}: to be graded by hand")
            rows[student] = row | {"note": "; ".join(notes)}
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("student")
    order = [f"{assignment}: {column}" for assignment, known in points.items()
             for column in [*(f"{name} ({most:g})" for name, most in known.items()), "total"]]
    return frame[[*(name for name in order if name in frame), "note"]], pd.Series(totals).unstack()


def moodle_table(totals: pd.DataFrame, notes: pd.Series) -> pd.DataFrame:
    """Return what Moodle's grade import reads: username, a column an assignment, feedback.

    Students known by Moodle's number of a participant are named as in its grading worksheet.
    """
    table = totals.assign(feedback=notes).rename_axis("username").reset_index()
    numbers = table["username"].str.fullmatch(r"\d+")
    identifier = ("Participant " + table["username"]).where(numbers, "")
    return table.assign(Identifier=identifier)


def canvas_table(roster: pd.DataFrame, totals: pd.DataFrame) -> pd.DataFrame:
    """Return the roster's students with a column an assignment, as Canvas imports it.

    A column of the roster that is named after an assignment, as in "Attention (12345)", lends its
    name, so that Canvas fills the assignment it has and makes no second one.

    Raises
    ------
    ValueError
        If the roster lacks the columns that Canvas exports, or holds none of the students.
    """
    missing = [name for name in ("Student", "ID", "SIS Login ID", "Section") if name not in roster]
    if missing:
        raise ValueError(f"the roster lacks the columns {missing}: export the gradebook of Canvas")
    students = roster["SIS Login ID"].where(roster["SIS Login ID"].isin(totals.index), roster["ID"])
    if not students.isin(totals.index).any():
        logins = ", ".join(roster["SIS Login ID"].dropna()[:3])
        raise ValueError(f"no student of the roster handed in: name folders or files after the SIS "
                         f"Login ID ({logins}, …), or leave them as Canvas names them")
    table = roster[[name for name in IDENTITY if name in roster]].copy()
    for assignment in totals:
        words = assignment.replace("_", " ")
        named = [name for name in roster if name.lower().replace("_", " ").startswith(words)]
        table[named[0] if named else assignment] = students.map(totals[assignment])
    return table
