"""Grade a notebook with nbgrader, the tests outside the student's reach.

nbgrader runs tests in the kernel that ran the student's code, where they can be read, patched and
hooked. Here the kernel runs, in its sandbox, everything but the tests; each test runs in the
grader's own process. A name that the student defined stands there for a thing in the kernel: a
value is fetched when the test begins, a function is called there with the test's arguments, and its
result (and gradient) comes back as plain numbers. So expected values never enter the student's
process, and what is patched there stays there.
"""

import ast
import asyncio
import json
import re
from pathlib import Path

import nbformat
import torch
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import from_dict
from nbformat.v4 import new_code_cell, new_output
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from nbgrader.utils import is_grade, is_solution
from traitlets import Unicode

from . import sandbox, wire
from .clean import page
from .course import by_name, grade_id

ANSWER = "application/x-s3rec-answer+json"
OUTPUT = 20 * 2**20  # bytes that a cell may print
STORED = 10 * 2**20  # bytes of what a notebook's cells put out that are kept
HIDDEN = "### BEGIN HIDDEN TESTS"
IMPORT = re.compile(r"^(import|from) s3rec_mini", re.MULTILINE)  # where an assignment needs it
BASE64 = re.compile(r"[A-Za-z0-9+/\n]*=*\n?")
SHOWN = ("text/plain", "image/png")  # no script of a student's reaches the teacher's browser
PRINTS = ("stream", "display_data", "execute_result", "error")  # messages of a kernel
STUB = f"""import types
_wire = types.ModuleType("_wire")
exec({Path(wire.__file__).read_text()!r}, _wire.__dict__)
def _examined(*asked):
    from IPython.display import display
    display({{"{ANSWER}": _wire.examined(get_ipython().user_ns, *asked)}}, raw=True)"""


class Examine(Execute):
    """nbgrader's `Execute`, with the kernel in a sandbox and the tests outside it."""

    source = Unicode(help="The teacher's notebook, solutions and all.").tag(config=True)
    folder = Unicode(help="The temporary folder of the kernel.").tag(config=True)

    def preprocess(self, nb, resources, km=None):
        """Run a submission; called by nbgrader."""
        self.dead, self.examination, self.room = False, None, STORED
        self.error_on_timeout = {key: LATE[key] for key in ("ename", "evalue", "traceback")}
        teacher = nbformat.read(self.source, as_version=4)
        package = any(IMPORT.search(cell.source) for cell in teacher.cells)
        self.kernel_manager_class = sandbox.kernel_manager(self.folder, package)
        self.answers = answers_of(teacher)
        self.setup = by_name(teacher)["setup"].source
        return super().preprocess(nb, resources, km)

    def preprocess_cell(self, cell, resources, index):
        """Run one cell in the kernel, or, if it is a test, here."""
        if cell.cell_type != "code":
            if grade_id(cell) and not is_solution(cell):  # a teacher's; the others are clean
                cell.source = page(cell)
            return cell, resources
        if self.examination is None:
            self._execute(new_code_cell(STUB), index)
            self.examination = Examination(self.setup, self.answers, self._ask)
        if is_grade(cell) and not is_solution(cell):
            cell.outputs = self.examination.outputs_of(cell.source)
        else:
            self._execute(cell, index)
        cell.outputs = [self._stored(plain(output)) for output in cell.outputs]
        cell.execution_count = None  # a kernel may send anything for a number
        return cell, resources

    def process_message(self, msg, cell, cell_index):
        """Keep an output, unless the cell has printed too much: then stop it."""
        if msg["msg_type"] in PRINTS:
            msg["content"].pop("transient", None)  # by which it would change an earlier output
            before, self.printed = self.printed, self.printed + len(json.dumps(msg["content"]))
            if self.printed > OUTPUT:
                if before <= OUTPUT:  # it would print until its time is up, and fill the memory
                    self.stopping = asyncio.ensure_future(self.km.interrupt_kernel())
                return None
        counted = msg["msg_type"] in (*PRINTS, "status", "clear_output")
        return super().process_message(msg, cell, cell_index) if counted else None

    def _execute(self, cell, index):
        """Run a cell in the kernel; a kernel that is dead leaves an error in the cell."""
        self.printed, there = 0, self.nb.cells[index]
        if self.dead:
            cell.outputs = [NOT_RUN]
            return
        try:
            self.execute_cell(cell, index, store_history=False)
        except CellTimeoutError:  # its output did not end when it was stopped
            cell.outputs = [*cell.outputs[:1], LATE]
        except DeadKernelError:
            self.dead = True
            cell.outputs = [ENDED]
        self.nb.cells[index] = there  # nbclient may have put this one there
        if self.printed > OUTPUT:
            cell.outputs = [*cell.outputs[:1], TOO_MUCH]

    def _stored(self, output):
        """Return an output if there is room for it; an error is an error, there or not."""
        if (size := len(json.dumps(output))) > self.room:
            return NO_ROOM
        self.room -= size
        return output

    def _ask(self, *arguments) -> dict:
        """Call `_examined` in the kernel."""
        cell = new_code_cell(f"_examined(*{arguments!r})")
        self._execute(cell, 0)
        for output in cell.outputs:
            if ANSWER in output.get("data", {}):
                return output["data"][ANSWER]
        failed = [withheld(output) if self.examination.secret else output
                  for output in cell.outputs if output.output_type == "error"]
        raise StudentError(f"{failed[-1].ename}: {failed[-1].evalue}" if failed else
                           "it hid its result")


class StudentError(Exception):
    """What went wrong in the student's code, as the examiner says it."""


class Examination:
    """Runs tests on what `ask` finds in a student's kernel.

    Parameters
    ----------
    setup : str
        The notebook's cell "setup", which tests may rely on.
    answers : set of str
        The names that a student is asked to define.
    ask : callable
        Asks the kernel, as `_examined` there answers.
    """

    def __init__(self, setup: str, answers: set[str], ask):
        self.setup, self.answers, self.ask = setup, answers, ask
        self.secret = False  # whether the student's code may have seen hidden inputs
        self.space = {"__name__": "examination"}
        exec(compile(setup, "setup", "exec"), self.space)

    def outputs_of(self, test: str) -> list:
        """Run a test; return a notebook cell's outputs, none if it passed."""
        used = {node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
        shown, hidden, _ = test.partition(HIDDEN)
        try:
            space = self.space | {name: self._fetched(name) for name in sorted(used & self.answers)}
            exec(compile(shown, "test", "exec"), space)
            self.secret |= bool(hidden)
            exec(compile(test[len(shown):], "test", "exec"), space)
        except Exception as wrong:  # its message alone: a traceback would show the hidden test
            told = error(type(wrong).__name__, str(wrong) or "the test failed")
            # What is put into a message may be hidden inputs; what stands in the cells is not.
            ours = isinstance(wrong, StudentError) or str(wrong) in self.setup + test
            return [told if ours or not self.secret else withheld(told)]
        return []

    def _fetched(self, name: str):
        answer = self.ask(name)
        if answer.get("missing"):
            raise StudentError(f"{name} is not defined: is its cell there, and did it run?")
        if answer.get("function"):
            return self._function(name)
        return wire.loads(answer["value"], {})

    def _function(self, name: str):
        def function(*arguments):
            if any(isinstance(a, torch.Tensor) and a.requires_grad for a in arguments):
                return _Remote.apply(function, *arguments)
            return function.call(*arguments)

        def call(*arguments, gradient=None):
            asked = [name, wire.dumps(list(arguments))]
            try:
                answer = self.ask(*asked, *([] if gradient is None else [wire.dumps(gradient)]))
            except StudentError as wrong:
                raise StudentError(f"{name}(…) raised {wrong}") from None
            return wire.loads(answer["value"], {})

        function.__name__, function.call = name, call
        return function


class _Remote(torch.autograd.Function):
    """A student's function as a node of the examiner's graph."""

    @staticmethod
    def forward(context, function, *arguments):
        context.function, context.arguments = function, arguments
        return function.call(*arguments)

    @staticmethod
    def backward(context, gradient):
        slopes = iter(context.function.call(*context.arguments, gradient=gradient))
        return (None, *(next(slopes) if isinstance(a, torch.Tensor) and a.is_floating_point()
                        else None for a in context.arguments))


def answers_of(teacher) -> set[str]:
    """Return the names that a student is asked to define: those that the solutions define."""
    return {name for cell in teacher.cells if is_solution(cell) and cell.cell_type == "code"
            for name in defined_names(cell.source)}


def defined_names(source: str) -> set[str]:
    """Return the names that a cell defines at its top level."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {part.id for target in targets for part in ast.walk(target)
                      if isinstance(part, ast.Name)}
    return names


def error(name: str, message: str):
    """Return an error as a notebook shows it."""
    return new_output("error", ename=name, evalue=message, traceback=[f"{name}: {message}"])


TOO_MUCH = error("PrintedTooMuch", f"this printed more than {OUTPUT >> 20} MB, and was stopped")
NO_ROOM = error("PrintedTooMuch", f"left out: the notebook prints more than {STORED >> 20} MB")
ENDED = error("KernelDied", "this cell ended Python itself: too much memory, or an exit")
NOT_RUN = error("KernelDied", "not run: an earlier cell had ended Python")
LATE = error("TookTooLong", "this took longer than a cell may take when it is graded")
WITHHELD = error("Failed", "run the cells above in your own notebook, or try other inputs")
NOT_SHOWN = new_output("stream", text="Not shown, since hidden tests had run: see your notebook.\n")


class Withhold(NbGraderPreprocessor):
    """Leaves out of a page what a student's code put out once it could know hidden inputs."""

    def preprocess(self, nb, resources):
        """Change a graded notebook; called by nbgrader."""
        seen = False
        for cell in nb.cells:
            if seen and cell.cell_type == "code" and (is_solution(cell) or not is_grade(cell)):
                # Not even whether it failed, but where it ended Python or did not end.
                cell.outputs = [a for a in cell.outputs if a in (ENDED, LATE)] or [NOT_SHOWN]
            seen |= HIDDEN in cell.source
        return nb, resources


def withheld(output):
    """Return an error without what a student's code may have written into it, its kind too."""
    return output if output in (TOO_MUCH, NO_ROOM, ENDED, NOT_RUN, LATE) else WITHHELD


def plain(output):
    """Return an output as text and pictures, without what a browser would run or no file takes."""
    written = re.sub(r"\\u001b(\[[0-9;]*m)?", "", json.dumps(output, ensure_ascii=False))  # colours
    written = written.encode(errors="replace")  # half signs
    output = from_dict(json.loads(written))
    if "data" in output:
        output.metadata = {}  # becomes attributes of a picture
        output.data = {kind: output.data[kind] for kind in SHOWN if kind in output.data}
        if not BASE64.fullmatch(str(output.data.get("image/png", ""))):
            del output.data["image/png"]
    return output
