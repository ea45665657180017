"""The course on disk, as nbgrader lays it out, and the commands of nbgrader that work on it."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import nbformat
import nbgrader
from nbgrader.api import Gradebook

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "book" / "assignments"
SEED_LINE = "COURSE_SEED = 2026"  # in the cell "setup" of every notebook
CONFIG = ROOT / "grading" / "templates" / "nbgrader_config.txt"
ROOMS = ("collect", "clean", "grade", "page")  # that a submission passes, and that note something


@dataclass(frozen=True)
class Course:
    """A folder in which nbgrader finds everything.

    Parameters
    ----------
    folder : Path
        Holds `source`, `release`, `submitted`, `autograded`, `feedback` and the gradebook.
    """

    folder: Path

    @property
    def gradebook(self) -> str:
        """The address of nbgrader's database."""
        return f"sqlite:///{self.folder / 'gradebook.db'}"

    @property
    def assignments(self) -> list[str]:
        """Names of the assignments that were built."""
        return sorted(path.name for path in (self.folder / "release").glob("*") if path.is_dir())

    def notebook(self, step: str, assignment: str, student: str = "") -> Path:
        """Return where a notebook lies in one of nbgrader's steps."""
        return self.folder / step / key(student) / assignment / f"{assignment}.ipynb"

    def enrol(self, students: set[str]) -> None:
        """Enter students into the gradebook, before two processes try to enter the same one."""
        with Gradebook(self.gradebook) as gradebook:
            for student in sorted(students):
                gradebook.update_or_create_student(key(student))

    def note(self, assignment: str, student: str) -> str:
        """Return what was noted about a submission, or ""."""
        paths = [self._note(assignment, student, room) for room in ROOMS]
        notes = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
        return "; ".join(note for note in notes if note)

    def write_note(self, assignment: str, student: str, note: str, room: str = "grade") -> None:
        """Note something about a submission, instead of what this room noted before."""
        path = self._note(assignment, student, room)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(note, encoding="utf-8", errors="backslashreplace")

    def _note(self, assignment: str, student: str, room: str) -> Path:
        return self.folder / "notes" / room / f"{assignment}-{key(student)}.txt"


def build(folder: Path, seed: int, notebooks: Path = NOTEBOOKS) -> Course:
    """Build the student version of every notebook, with a course's seed, and its gradebook.

    Raises
    ------
    ValueError
        If the folder holds a course with another seed, a notebook lacks the line with the seed, or
        nbgrader refuses it.
    """
    course, kept = Course(folder.resolve()), folder / "seed.txt"
    folder.mkdir(parents=True, exist_ok=True)
    if kept.exists() and kept.read_text() != str(seed):
        raise ValueError(f"the course in {folder} has the seed {kept.read_text()}, as has what was "
                         f"handed out: build it with that one, or move the folder away")
    kept.write_text(str(seed))
    theirs = Path(nbgrader.__file__).parent / "server_extensions" / "formgrader" / "templates"
    (folder / "nbgrader_config.py").write_text(CONFIG.read_text().format(
        folder=str(course.folder), templates=[str(CONFIG.parent), str(theirs)]))
    # nbgrader imports this package, and calls alembic, which lies beside this Python.
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTER_CONFIG_DIR": str(course.folder / "config")}
    for path in sorted(notebooks.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        setup = by_name(notebook).get("setup")
        if setup is None or SEED_LINE not in setup.source:
            raise ValueError(f'{path} has no cell "setup" with the line {SEED_LINE}')
        setup.source = setup.source.replace(SEED_LINE, f"COURSE_SEED = {seed}")
        source = course.notebook("source", path.stem)
        source.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, source)
        done = subprocess.run([sys.executable, "-m", "nbgrader", "generate_assignment", path.stem,
                               "--force"], cwd=course.folder, env=environment, text=True,
                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        if done.returncode:
            raise ValueError(f"nbgrader refuses {path}: {done.stderr}")
    return course


def key(student: str) -> str:
    """Return a student's name as folders and nbgrader know it, where no sign means anything."""
    return re.sub(r"^[ .-]|[^\w .@-]| $", lambda sign: "".join(
        f"%{byte:02X}" for byte in sign[0].encode()), student)


name_of = unquote  # of a key


def grade_id(cell) -> str | None:
    """Return the name that nbgrader knows a cell by."""
    metadata = cell.metadata.get("nbgrader", {})
    name = metadata.get("grade_id") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else None


def by_name(notebook) -> dict:
    """Return the cells that nbgrader knows, by their names."""
    return {grade_id(cell): cell for cell in notebook.cells if grade_id(cell)}


def questions(course: Course, assignment: str) -> dict[str, float]:
    """Return the points of every question, in the notebook's order."""
    with Gradebook(course.gradebook) as gradebook:
        points = {cell.name: cell.max_score
                  for cell in gradebook.find_notebook(assignment, assignment).grade_cells}
    source = nbformat.read(course.notebook("source", assignment), as_version=4)
    return {name: points[name] for name in by_name(source) if name in points}
