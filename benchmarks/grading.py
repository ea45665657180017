"""Grade 30 planted submissions, hostile ones among them, as `make grade` does, and time it.

    python -m benchmarks.grading                 # from the project's folder

The student versions are built first, untimed, into a temporary folder. Each assignment gets four
submissions: the solutions, another right one, two with a misconception. One is blank; thirteen
attack the grading or are broken files. All are graded in one call, two at a time, with the limits
that hold where nobody asks for others.

Prints one line of JSON: the number of submissions and of hostile ones among them; the seconds in
all; the mean seconds a submission by assignment, each run beside another; which submissions got
other points than they should; of which hostile ones `grades.csv` says nothing; the machine, and its
load over the last minute.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pandas as pd
import typer

from grading.course import ROOT, build
from grading.planted import (
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

# One of each kind: what never ends, what takes all it can get, what ends the kernel, what cheats,
# what runs in a browser, what is no notebook.
HOSTILE = ["endless_loop", "prints_without_end", "large_outputs", "exits", "edits_tests",
           "scripts_in_text", "deletes_cells", "patches_helpers", "takes_long_to_render",
           "eight_megabytes_of_code", "cut_in_two", "random_bytes", "two_hundred_megabytes"]
DONE = re.compile(r"^grade (\S+) (\S+): .* \((\d+) s\)$", re.MULTILINE)


def hand_in_all(folder: Path, course) -> dict[tuple[str, str], set[str]]:
    """Hand in all submissions; return by student and assignment which questions each may lose."""
    expected = {}
    for assignment in course.assignments:
        cases, every = planted(assignment), set(automatic(course, assignment))
        *_, another = cases.RIGHT.items()
        wrong, *_, other = cases.WRONG.items()
        notebooks = {"solution": (solved(course, assignment), set())}
        notebooks |= {f"right-{name}": (filled(course, assignment, answers), set())
                      for name, answers in (another,)}
        notebooks |= {f"wrong-{name}": (filled(course, assignment, answers), questions)
                      for name, (answers, questions) in (wrong, other)}
        if assignment == ATTACKED:
            notebooks["blank"] = blank(course, assignment), every
        for student, (notebook, questions) in notebooks.items():
            hand_in(folder, student, assignment, notebook)
            expected[student, assignment] = questions
    hand_in_hostile(folder, course, HOSTILE)
    every = set(automatic(course, ATTACKED))
    attacks = planted("hostile").ATTACKS
    return expected | {(name, ATTACKED): attacks[name][1] if name in attacks else every
                       for name in HOSTILE}


def main():
    """Build, hand in, grade and print."""
    with tempfile.TemporaryDirectory() as made:
        course, folder = build(Path(made) / "course", seed=2031), Path(made) / "submitted"
        folder.mkdir()
        expected = hand_in_all(folder, course)
        start = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, "-m", "grading", "grade", folder, "--course", course.folder],
            cwd=ROOT, stderr=subprocess.PIPE, stdout=sys.stderr, text=True, check=True)
        seconds = time.perf_counter() - start
        grades = pd.read_csv(course.folder / "grades.csv", index_col="student")
        found = {(student, assignment): lost(grades.loc[student], assignment,
                                             automatic(course, assignment))
                 for student, assignment in expected}
    each = defaultdict(list)
    for _, assignment, taken in DONE.findall(ran.stderr):
        each[assignment].append(int(taken))
    typer.echo(json.dumps({
        "submissions": len(expected), "hostile": len(HOSTILE), "seconds": round(seconds),
        "seconds a submission": {name: round(sum(all_) / len(all_), 1)
                                 for name, all_ in each.items()},
        "graded otherwise than planted": sorted(" ".join(key) for key in expected
                                                if found[key] != expected[key]),
        "hostile without a note": [
            name for name in HOSTILE
            if grades.loc[name, "note"] == f"{ATTACKED}: to be graded by hand"],
        "machine": {"system": platform.platform(), "python": platform.python_version(),
                    "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}}))


if __name__ == "__main__":
    typer.run(main)
