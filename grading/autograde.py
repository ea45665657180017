"""Run nbgrader's autograder on one submission, in a process of its own.

Processes are forked from a server that has imported nbgrader, torch and scipy once, which takes
longer than grading does.
"""

import multiprocessing
import os
import resource
import sys
from pathlib import Path

from .course import Course
from .sandbox import MEMORY

CELL_SECONDS = 150  # for a cell, or a test's call of a student's function
SECONDS = 900  # for a submission

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["nbgrader.apps", "grading.examiner", "scipy.stats"])


def autograde(course: Course, assignment: str, student: str, cell_seconds: int = CELL_SECONDS,
              seconds: int = SECONDS) -> str:
    """Grade what lies in the course's folder `submitted`; return what went wrong, or "".

    The log of nbgrader is written to the course's folder `logs`.
    """
    log = course.folder / "logs" / f"{assignment}-{student}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    process = _context.Process(target=_autograde, args=(
        course, assignment, student, cell_seconds, log))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()  # and with it the sandbox, which dies with its parent
        process.join()
        return f"it ran for more than {seconds} seconds"
    return f"the grader failed, see {log}" if process.exitcode else ""


def _autograde(course: Course, assignment: str, student: str, cell_seconds: int, log: Path):
    from nbgrader.apps import AutogradeApp

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))  # a kernel may send without end
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(course.folder)
    source = course.notebook("source", assignment)
    sys.exit(AutogradeApp.launch_instance(
        [assignment, "--student", student, "--force", f"--Examine.source={source}",
         f"--Examine.timeout={cell_seconds}"]))
