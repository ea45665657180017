"""How much of each chapter is on its core path: words, visible code cells, displayed formulas.

    python book/_tools/measure.py

The core path is what a reader sees before opening anything, without the exercises: no cell with a
tag of `s3rec_form`, no section that begins with "Deeper: ". Beside it, the lines of folded code.
"""

import re
from pathlib import Path

import nbformat

BOOK = Path(__file__).parents[1]
FOLDED = {"set-up", "check", "plot-code", "deeper", "hide-cell", "hide-input"}
MOST = {"words": 2000, "cells": 18, "displays": 6}
HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)
DISPLAY = re.compile(r"\$\$.*?\$\$", re.DOTALL)
# What is no prose: displays, drawings and listings, fences of directives, formulas, roles, rules.
NO_WORDS = re.compile(r"""
    \$\$[^$]*\$\$ | ^```(?:\{raw\}|\w).*\n[\s\S]*?^```$ | ^(?:`{3,}|:{3,}).*$ | \$[^$]*\$
    | \{\w+\} | ^\|[-|:\ ]+\|$ | [^\w'’\ -]""", re.MULTILINE | re.VERBOSE)


def measured(path: Path) -> dict[str, int]:
    """Count what is on the core path of a chapter, and the lines that are folded."""
    found = {"words": 0, "cells": 0, "displays": 0, "folded lines": 0}
    deeper = 0  # the level of the folded section that a cell stands in
    exercises = False
    for cell in nbformat.read(path, as_version=4).cells:
        lines = len(cell.source.splitlines())
        if cell.cell_type == "code":
            if exercises:
                continue
            folded = deeper or FOLDED & set(cell.metadata.get("tags", ()))
            found["folded lines" if folded else "cells"] += lines if folded else 1
            continue
        for text in re.split(r"(?m)^(?=#+ )", cell.source):
            if heading := HEADING.match(text):
                level = len(heading[1])
                if not deeper or level <= deeper:
                    deeper = level if heading[2].startswith("Deeper: ") else 0
                if level <= 2:
                    exercises = heading[2] == "Exercises"
            if not (deeper or exercises):
                found["displays"] += len(DISPLAY.findall(text))
                found["words"] += len(NO_WORDS.sub(" ", text).split())
    return found


def main() -> None:
    """Print a line for each chapter; a number over the limit has a star."""
    print(f"{'':44}{'words':>8}{'cells':>8}{'displays':>10}{'folded lines':>14}")
    for path in sorted(BOOK.rglob("*.ipynb")):
        if {"assignments", ".ipynb_checkpoints"} & set(path.parts):
            continue
        counts = measured(path)
        stars = {name: "*" if counts[name] > MOST.get(name, 10**9) else " " for name in counts}
        name = path.relative_to(BOOK).with_suffix("").as_posix()
        print(f"{name:44}" + "".join(f"{counts[each]:>{width}}{stars[each]}" for each, width in (
            ("words", 7), ("cells", 7), ("displays", 9), ("folded lines", 13))))


if __name__ == "__main__":
    main()
