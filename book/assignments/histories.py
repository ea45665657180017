"""Draw the histories that assignment 4 stores, and write them into its notebook.

    python book/assignments/histories.py

The process is `probabilities` in the notebook's hidden tests, which grade recommendations by it.
Student versions hold the histories alone: who reads how they came about needs no model.
"""

import base64
import json
import re
import textwrap
from pathlib import Path

import numpy as np

NOTEBOOK = Path(__file__).with_name("new_dataset.ipynb")
USERS, SEED = 420, 4
STEADY_SHARE = 0.65  # of the users: these seldom leave the usual order of departments
SHORTEST, LONGEST = 6, 14  # items of a history


def draw(probabilities) -> tuple[list[list[int]], int]:
    """Draw histories, items counted from 0, and the number whose bits say which user is steady.

    Parameters
    ----------
    probabilities : callable
        Returns the probability of each next item, given the history and whether its user is steady.
    """
    generator = np.random.default_rng(SEED)
    histories, steady = [], 0
    for user in range(USERS):
        steadily = bool(generator.random() < STEADY_SHARE)
        steady |= steadily << user
        history = [int(generator.integers(160))]  # for the first to follow; left out below
        while len(history) <= SHORTEST + user % (LONGEST - SHORTEST + 1):
            chances = probabilities(history, steadily)
            history.append(int(generator.choice(len(chances), p=chances)))
        histories.append(history[1:])
    return histories, steady


def written(notebook: dict) -> dict:
    """Return the notebook with histories drawn anew, where they and their users' kinds stand."""
    cells = {cell["metadata"]["nbgrader"]["grade_id"]: cell for cell in notebook["cells"]}
    tests = "".join(cells["q6-popularity"]["source"])
    space = {"np": np}
    exec(re.search(r"def probabilities.*?return chances\n", tests, re.DOTALL)[0], space)
    histories, steady = draw(space["probabilities"])
    stored = b"\0".join(bytes(item + 1 for item in history) for history in histories)
    lines = textwrap.wrap(base64.b64encode(stored).decode(), 100)
    bits = "\n".join(f'    "{line}"' for line in textwrap.wrap(f"{steady:x}", 80))
    for name, pattern, text in (
            ("setup", r'(STORED = """\n).*?(\n""")', "\n".join(lines)),
            ("q6-popularity", r"(STEADY = int\(\n).*?(, 16\))", bits),
            ("q6-model", r"(STEADY = int\(\n).*?(, 16\))", bits)):
        source, times = re.subn(pattern, rf"\g<1>{text}\2", "".join(cells[name]["source"]),
                                flags=re.DOTALL)
        assert times == 1, f"the cell {name} does not look as it did"
        cells[name]["source"] = source.splitlines(keepends=True)
    return notebook


if __name__ == "__main__":
    made = written(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    NOTEBOOK.write_text(text, encoding="utf-8")
