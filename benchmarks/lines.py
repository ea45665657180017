"""Count the package's lines of code, docstrings and comments, file by file.

    python benchmarks/lines.py

A line that holds code counts as code, whatever stands behind it; blank lines within a docstring
belong to it.
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
           tokenize.ENDMARKER)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
ROOMS = {
    "the method": ("datasets", "batches", "encoder", "objectives", "training", "evaluation"),
    "tools": ("tools/*", ), "looking": ("looking/*", "looking/*/*"), "names": ("__init__", ),
}


def counted(path: Path) -> dict[str, int]:
    """Return how many lines of each kind a file has."""
    text = path.read_text(encoding="utf8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
    code, comments = code - docstrings, comments - code
    blank = len(text.splitlines()) - len(code | docstrings | comments)
    return {"code": len(code), "docstrings": len(docstrings), "comments": len(comments),
            "blank": blank}


def main():
    """Print a line a file and the sums of each room."""
    package = Path(sys.argv[1] if sys.argv[1:] else "s3rec_mini")
    print(f"{'':34}{'code':>8}{'docstrings':>12}{'comments':>10}{'blank':>8}")
    for room, names in ROOMS.items():
        paths = [path for name in names for path in sorted(package.glob(f"{name}.py"))]
        rows = {str(path.relative_to(package)): counted(path) for path in paths}
        total = {kind: sum(row[kind] for row in rows.values())
                 for kind in ("code", "docstrings", "comments", "blank")}
        for name, row in [*rows.items(), (room.upper(), total)]:
            print(f"{name:34}{row['code']:8}{row['docstrings']:12}{row['comments']:10}"
                  f"{row['blank']:8}")


if __name__ == "__main__":
    main()
