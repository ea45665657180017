"""Find out who handed in what, before anything is opened.

The first folder, or the name that Canvas or Moodle gave, says whose a file is; the rest of a file's
name, which the student chose, says only which assignment. Nothing is passed over: a file that will
not be graded has a reason.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from .course import key

# How Canvas and Moodle name the files, and Moodle the folders, of submissions: the number is the
# student's, and what stands behind it in a file's name is the student's choice.
FILE = re.compile(r"(?:[^_]+(?:_LATE)?_(\d+)_\d+|.+?_(\d+)_assignsubmission_[a-z]+)_(.*)",
                  re.ASCII)
FOLDER = re.compile(r".+_(\d+)_assignsubmission_[a-z]+_?", re.ASCII)
LITTER = re.compile(r"\..*|__MACOSX|Thumbs\.db|desktop\.ini")


@dataclass(frozen=True)
class HandIn:
    """A file that was handed in: its place, whose it is, what it answers, why it is not graded."""

    path: Path
    name: str
    student: str
    assignment: str
    reason: str = ""

    def __str__(self):
        """Return a line of the table that the teacher sees."""
        line = f"{self.name} → {self.student or '?'} → {self.assignment or '?'}"
        return f"{line}: not graded, {self.reason}" if self.reason else line


def hand_ins(folder: Path, assignments: list[str]) -> list[HandIn]:
    """Return every file below a folder as a hand-in.

    Raises
    ------
    ValueError
        If there is none.
    """
    files, folders = [], [folder]
    for place in folders:  # which grows on the way; recursion would end where folders lie too deep
        try:
            for path in sorted(place.iterdir()):
                (folders if path.is_dir() and not path.is_symlink() else files).append(path)
        except OSError:
            files.append(place)  # and is then no file
    found = [_hand_in(path, folder, assignments) for path in files if path != folder]
    if not found:
        raise ValueError(f"there is nothing to grade in {folder}")
    often = Counter((one.student, one.assignment) for one in found if not one.reason)
    return [replace(one, reason=one.reason or "handed in more than once: leave one")
            if one.reason or often[one.student, one.assignment] > 1 else one for one in found]


def reasons(found: list[HandIn]) -> dict[tuple[str, str], str]:
    """Return by student and assignment what is to be noted, "" where all is well."""
    notes = {(one.student, one.assignment): {} for one in found}
    for one in found:
        if one.reason:
            notes[one.student, one.assignment].setdefault(one.reason, []).append(one.name)
    return {who: "; ".join(
        f"{', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)}: not graded, "
        f"{reason}" for reason, names in groups.items()) for who, groups in notes.items()}


def printable(text: str) -> str:
    """Write out what would move a cursor, turn text around or not be text at all."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode()
                   for sign in unicodedata.normalize("NFC", text))


def _hand_in(path: Path, folder: Path, assignments: list[str]) -> HandIn:
    parts = [printable(part) for part in path.relative_to(folder).parts]
    name = "/".join(parts)
    if parts[0] in assignments and len(parts) > 1:
        parts = parts[1:]  # a folder for each assignment, as a teacher sorts downloads
    first, last = parts[0], parts[-1]
    by_system = (FOLDER if len(parts) > 1 else FILE).fullmatch(first)
    if by_system and first is last:
        last = by_system[3]
    spelled = "|".join(re.escape(known).replace("_", "[ _-]") for known in assignments)
    named = list(re.finditer(spelled, last, re.IGNORECASE | re.ASCII))
    known = {re.sub("[ -]", "_", found[0].lower()) for found in named}
    student = "" if LITTER.fullmatch(first) else first
    if by_system:
        student = by_system[1] or by_system[2]
    elif student and len(parts) == 1:
        before = last[:named[0].start()] if named else ""
        own = re.fullmatch(r"(?:Copy of )*(.+?) *[_-][ _-]*", before)
        student = own[1] if own else ""
    student = student if len(key(student).encode()) <= 200 else ""  # more is no file's name
    return HandIn(path, name, student, "".join(known) if len(known) == 1 else "",
                  _reason(path, parts, student, len(known)))


def _reason(path: Path, parts: list[str], student: str, known: int) -> str:
    """Return why a file is not graded, or ""."""
    if any(LITTER.fullmatch(part) for part in parts):
        return "a program left it there"
    if path.is_symlink() or not path.is_file():
        return "no file that can be opened"
    if not parts[-1].lower().endswith(".ipynb"):
        return "no notebook, whose name ends in .ipynb"
    if known != 1:
        return "its name holds no assignment's, or several"
    return "" if student else "nobody knows whose it is: put it into a folder with a student's name"
