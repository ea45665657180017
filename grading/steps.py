"""Do one step for one submission in a process of its own, with a limit of time and memory.

Processes are forked from a server that has imported nbgrader, torch and scipy once, which takes
longer than grading does.
"""

import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import nbformat

from . import sandbox
from .clean import cleaned
from .collect import HandIn
from .course import Course, key

CELL_SECONDS = 150  # for a cell, or a test's call of a student's function
SECONDS = 900  # for a submission
PAGE_SECONDS = 120  # for its feedback page

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["nbgrader.apps", "grading.examiner", "grading.steps", "scipy.stats"])


def limited(seconds: int, step, course: Course, one: HandIn, *options) -> str:
    """Do a step; return what went wrong, or "". Its output goes to the course's folder `logs`."""
    log = course.folder / "logs" / f"{one.assignment}-{key(one.student)}-{step.__name__}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="s3rec-") as folder:
        process = _context.Process(target=_logged, args=(log, folder, step, course, one, *options))
        process.start()
        end = time.monotonic() + seconds
        while process.is_alive() and time.monotonic() < end:
            process.join(min(1, seconds))
            sandbox.watch(process.pid)
        late = process.is_alive()
        process.kill()  # and with it the sandbox, which dies with its parent
        process.join()
        sandbox.leave(process.pid)
    failed = f"the grader failed, see logs/{log.name}" if process.exitcode else ""
    return f"it ran for more than {seconds} seconds" if late else failed


def grade(folder: str, course: Course, one: HandIn, cell_seconds: int) -> None:
    """Clean what was handed in, run it and judge it."""
    from nbgrader.apps import AutogradeApp

    notebook, note = cleaned(course, one.assignment, one.path)
    course.write_note(one.assignment, one.student, note, "clean")
    place = course.notebook("submitted", one.assignment, one.student)
    place.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, place)
    source = course.notebook("source", one.assignment)
    AutogradeApp.launch_instance(
        [one.assignment, "--student", key(one.student), "--force", f"--Examine.source={source}",
         f"--Examine.folder={folder}", f"--Examine.timeout={cell_seconds}"])
    graded = nbformat.read(course.notebook("autograded", one.assignment, one.student), as_version=4)
    shown = str([cell.get("outputs") for cell in graded.cells])
    note = "; ".join([note] * bool(note) + [f"{kind}, see its page" for kind in (
        "KernelDied", "TookTooLong", "PrintedTooMuch") if kind in shown])
    course.write_note(one.assignment, one.student, note, "clean")


def page(_: str, course: Course, one: HandIn) -> None:
    """Write the feedback page of what was graded."""
    from nbgrader.apps import GenerateFeedbackApp

    shutil.rmtree(course.notebook("feedback", one.assignment, one.student).parent,
                  ignore_errors=True)
    GenerateFeedbackApp.launch_instance([one.assignment, "--student", key(one.student), "--force"])


def _logged(log: Path, folder: str, step, course: Course, *arguments) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (sandbox.MEMORY, sandbox.MEMORY))  # a kernel may send
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1), os.dup2(output, 2)
    os.chdir(course.folder)
    if not sandbox.left_out():
        sandbox.enter(folder)
    step(folder, course, *arguments)
