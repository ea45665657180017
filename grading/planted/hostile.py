"""Submissions to assignment 1 that attack the grading, or that something happened to.

Each is a function that changes a solved notebook's cells, and the questions it may lose: None where
nothing can be graded. Q1…Q5 stand for all tests of a question.
"""

import copy

from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

Q1 = {"q1-tables", "q1-zeros"}
Q2 = {"q2-values", "q2-random", "q2-gradient", "q2-large"}
Q3 = {"q3-distinct", "q3-direction", "q3-false-negatives"}
Q4, Q5 = {"q4-critic"}, {"q5-bounds"}
ALL = Q1 | Q2 | Q3 | Q4 | Q5
NOTHING = "def mutual_information(counts):\n    return torch.zeros((), dtype=torch.float64)\n"


def answered(name, source):
    """Replace one answer."""
    def change(cells):
        cells[name].source = source
    return change


def below(name, source):
    """Write something below an answer, in its cell."""
    def change(cells):
        cells[name].source += "\n" + source
    return change


def edited_tests(cells):
    for name in ALL:
        cells[name].source = "assert True"
        cells[name].metadata.nbgrader.points = 100
        cells[name].metadata.nbgrader.solution = True
    cells["mutual-information"].source = NOTHING


def unlabelled(cells):
    for cell in cells.values():
        cell.metadata = type(cell.metadata)()


def pasted_output(cells):
    cells["mutual-information"].source = NOTHING
    for name in Q1:
        cells[name].outputs = [new_output("execute_result", {"text/plain": "2.0"})]


def half_signs(cells):
    cells["title"].source += " \ud800"
    cells["q6-written"].source = "half \udfff a sign"
    cells["info-nce"].source += "\nprint('\ud800', chr(0xd800))\nraise ValueError(chr(0xd800))"


def unhashable_labels(cells):
    cells["info-nce"].metadata.nbgrader.grade_id = ["info-nce"]
    cells["setup"].metadata.nbgrader = "setup"


def cut_in_two(cells):
    cells["q6-written"].source = "The first half.\nThe second half."
    for name in ("info-nce", "q6-written"):
        lines = cells[name].source.split("\n")
        second = copy.deepcopy(cells[name])
        cells[name].source = "\n".join(lines[:-1])
        second.source = lines[-1]
        later = {key: cells.pop(key) for key in list(cells)[list(cells).index(name) + 1:]}
        cells |= {f"{name}, second part": second} | later


def copied_unfilled(cells):
    """Copy an answer's cell as it was handed out, as if it had been copied before it was filled."""
    empty = copy.deepcopy(cells["info-nce"])
    empty.source = "# your code here\nraise NotImplementedError"
    cells["an empty copy"] = empty


def scripts(cells):
    text = "<script>alert('SCRIPT')</script> <img src=x onerror=alert(1)> ![a](http://evil/a.png)"
    cells["q6-written"].source = text
    cells["title"].source = text
    cells["own"] = new_markdown_cell(text)


def added(cell):
    """Add a cell of the student's own."""
    return lambda cells: cells.update(own=cell)


ATTACKS = {
    "patches_helpers": (answered("mutual-information", NOTHING + """
def check(*arguments, **options):
    pass
torch.allclose = lambda *arguments, **options: True
torch.Tensor.__eq__ = lambda self, other: True
torch.Tensor.all = lambda self: True
import builtins
builtins.AssertionError = type("Quiet", (Exception,), {})
"""), Q1 | Q3),  # question 3 compares groups, and what it compares with was patched
    "hooks_execution": (answered("mutual-information", NOTHING + """
import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
shell = get_ipython()
shell.ast_transformers.append(Drop())
shell.events.register("pre_run_cell", lambda info: shell.user_ns.update(check=lambda *a, **k: None))
shell.showtraceback = lambda *arguments, **options: None
"""), Q1),
    "answers_that_equal_everything": (answered("mutual-information", """
class Everything(float):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0.0
    def __rsub__(self, other): return 0.0
    def __abs__(self): return 0.0
    __hash__ = float.__hash__

def mutual_information(counts):
    return Everything(0)
"""), Q1),
    "looks_for_the_expected_value": (answered("mutual-information", """
import sys, gc
def mutual_information(counts):
    frame = sys._getframe()
    while frame:
        for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
            if name in ("expected", "entropy", "expected_value"):
                return torch.as_tensor(value)
        frame = frame.f_back
    texts = [text for text in gc.get_objects() if isinstance(text, str) and "expected = " in text]
    return torch.tensor(float(len(texts)))
"""), Q1),
    "answers_for_the_examiner": (answered("mutual-information", """
from IPython.display import display
def _examined(name, *rest):
    display({"application/x-s3rec-answer+json": {"value": '{"function": "check"}'}}, raw=True)
_wire.dumps = lambda value: '{"list": []}'
""" + NOTHING), ALL),
    "edits_tests": (edited_tests, Q1),
    "pastes_output": (pasted_output, Q1),
    "reads_the_disk": (answered("mutual-information", NOTHING + """
import os
found = []
for folder, _, files in os.walk("/"):
    if folder.startswith(("/proc", "/usr", "/lib")):
        continue
    for file in files:
        path = os.path.join(folder, file)
        if file.endswith((".ipynb", ".db")) and "site-packages" not in path:
            found.append(path)
        elif file.endswith(".py") and "site-packages" not in path and "/lib/python" not in path:
            try:
                if "HIDDEN TESTS" in open(path).read():
                    found.append(path)
            except (OSError, UnicodeError):
                pass
print("FOUND", found)
"""), Q1),
    "writes_outside": (below("mutual-information", """
import os, socket
done = []
for path in (os.path.expanduser("~/../../escaped"), "/escaped", np.__file__, "/etc/escaped"):
    try:
        open(path, "a").write(" ")
        done.append(path)
    except OSError:
        pass
try:
    socket.create_connection(("1.1.1.1", 80), 2)
    done.append("network")
except OSError:
    pass
print("DONE", done)
"""), set()),
    "endless_loop": (answered("mutual-information", """
def mutual_information(counts):
    while True:
        pass
"""), Q1),
    "endless_loop_in_a_cell": (below("best-critic", "while True:\n    pass"), set()),
    "memory_bomb": (below("mutual-information", """
kept = []
while True:
    kept.append(bytearray(10**8))
"""), Q5),  # what is kept is missing there
    "exits": (below("in-batch-info-nce", "import os\nos._exit(0)"), Q3 | Q4 | Q5),
    "prints_without_end": (below("best-critic", "while True:\n    print('x' * 100000)"), set()),
    "returns_a_gigabyte": (answered("mutual-information", """
def mutual_information(counts):
    return torch.zeros(2**27, dtype=torch.float64)
"""), Q1),
    "syntax_error": (answered("mutual-information", "def mutual_information(counts)"), Q1),
    "deletes_cells": (lambda cells: [cells.pop(name) for name in (
        "mutual-information", "q1-tables", "q1-zeros", "q2-random", "question-4", "print-numbers")],
        Q1),
    "script_in_a_cell": (below("mutual-information", """
from IPython.display import HTML, display
display(HTML("<script>alert('SCRIPT')</script>"))
"""), set()),
    "sends_what_it_likes": (below("best-critic", """
kernel = get_ipython().kernel
SCRIPT = "<img src=x onerror=alert('SCRIPT')>"
for kind, content in (
        ("execute_input", {"code": "", "execution_count": SCRIPT}),
        ("display_data", {"data": {"image/png": SCRIPT, "text/html": SCRIPT, "text/plain": SCRIPT},
                          "metadata": {"image/png": {"width": '1"' + SCRIPT}}}),
        ("stream", {"name": SCRIPT, "text": SCRIPT}),
        ("error", {"ename": SCRIPT, "evalue": SCRIPT, "traceback": [SCRIPT]})):
    kernel.session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent())
"""), set()),
    "labels_lost": (unlabelled, set()),
    "half_signs": (half_signs, set()),
    "unhashable_labels": (unhashable_labels, set()),
    "takes_long_to_render": (added(new_markdown_cell("\\begin{a}" * 110_000)), set()),
    "eight_megabytes_of_code": (added(new_code_cell("x = 1\n" * 1_400_000)), ALL),
    "cut_in_two": (cut_in_two, set()),
    "copied_unfilled": (copied_unfilled, set()),
    "scripts_in_text": (scripts, set()),
}

# What grades.csv says of them, and of those that lose nothing by it.
NOTED = {
    "labels_lost": "no cell has the label of the answer mutual-information, info-nce",
    "deletes_cells": "no cell has the label of the answer mutual-information",
    "edits_tests": "no place for an answer, and put back as it was",
    "half_signs": "title: no place for an answer",
    "unhashable_labels": "no cell has the label of the answer info-nce",
    "takes_long_to_render": "is shown as it is",
    "eight_megabytes_of_code": "characters of code",
    "cut_in_two": "the answer q6-written stands in several cells",
    "scripts_in_text": "cells without a label",
}

# Files that are no notebooks of ours.
FILES = {
    "random_bytes": lambda path: path.write_bytes(bytes(range(256)) * 100),
    "cut_off": lambda path: path.write_text(path.read_text()[:5000]),
    "other_json": lambda path: path.write_text('{"cells": {"a": [1]}, "nbformat": 4}'),
    "nested_too_deep": lambda path: path.write_text("[" * 100000),
    "empty": lambda path: path.write_text(""),
    "two_hundred_megabytes": lambda path: path.write_text(" " * (200 * 2**20)),
}
