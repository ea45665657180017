"""Take the answers out of a submitted notebook and put them into a fresh student version.

Whatever else was done to the notebook (cells deleted, moved or edited, metadata changed, outputs
pasted in) is then undone. Cells that the student added stay behind the cell they followed.
"""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell
from nbgrader.utils import is_solution

LARGEST = 20 * 2**20  # bytes of a notebook


def read_submission(path: Path):
    """Read a notebook that somebody handed in.

    Raises
    ------
    ValueError
        If it is too large or no notebook; the message is meant for the student.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"the notebook has {size / 2**20:.0f} MB, more than {LARGEST >> 20}: "
                         f"clear its outputs and hand it in again")
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        for cell in notebook.cells:
            kinds = ("code", "markdown", "raw")
            if not isinstance(cell.source, str) or cell.cell_type not in kinds:
                raise ValueError("a cell without text")
        return notebook
    except Exception as wrong:  # whatever a foreign file makes the reader raise
        raise ValueError(f"this is no notebook that can be read ({str(wrong)[:200]}): download it "
                         f"again as .ipynb and hand it in anew") from None


def merged(release, submission):
    """Return the student version `release` with the answers and added cells of `submission`."""
    known = by_name(release)
    answers, added, place = {}, {}, None
    for cell in submission.cells:
        name = grade_id(cell)
        if name not in known:
            added.setdefault(place, []).append(cell)
            continue
        if is_solution(known[name]) and name not in answers:
            answers[name] = cell.source
        place = name
    cells = [*_plain(added.get(None, []))]
    for cell in release.cells:
        name = grade_id(cell)
        if is_solution(cell):
            cell.source = answers.get(name, "")
        cells += [cell, *_plain(added.get(name, []))]
    release.cells = cells
    return release


def grade_id(cell) -> str | None:
    """Return the name that nbgrader knows a cell by."""
    metadata = cell.metadata.get("nbgrader", {})
    return metadata.get("grade_id") if isinstance(metadata, dict) else None


def by_name(notebook) -> dict:
    """Return the cells that nbgrader knows, by their names."""
    return {grade_id(cell): cell for cell in notebook.cells if grade_id(cell)}


def _plain(cells):
    """Make the student's own cells anew, so that nothing but their text is taken over."""
    return [new_code_cell(cell.source) if cell.cell_type == "code" else
            new_markdown_cell(cell.source) for cell in cells]
