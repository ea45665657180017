"""What the explorers share: the HTML around their numbers, words and table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

LIMIT = 120_000  # bytes of HTML: a page of the book has room for one large explorer and a small


@dataclass(frozen=True, repr=False)
class Explorer:
    """A picture with controls, shown by a notebook when it is the value of a cell.

    Attributes
    ----------
    kind : str
        Names its script: "attention", "embeddings" or "info_nce".
    title, use : str
        What it is, and what to do with it, in a sentence or two.
    numbers : dict
        All that the script reads, ready for JSON.
    words : str
        What the first picture says, in a sentence.
    table : list of list
        The numbers of the first picture, heads in the first row and the first column.

    Raises
    ------
    ValueError
        If it weighs more than 120 kB.
    """

    kind: str
    title: str
    use: str
    numbers: dict
    words: str
    table: list[list]

    def __post_init__(self):
        if (weight := len(self._repr_html_().encode())) > LIMIT:
            raise ValueError(f"this explorer would weigh {weight / 1000:.0f} kB, more than the "
                             f"{LIMIT // 1000} kB that a page has room for: show fewer users, "
                             "items, epochs or values")

    def __repr__(self):
        return f"<Explorer of {self.kind}: a notebook shows it>"

    def _repr_html_(self) -> str:
        title = escape(self.title)
        # The last attribute keeps JupyterLab from taking the arrow keys for a move to another cell.
        return f"""<form class="s3-explorer" data-explorer="{self.kind}" aria-label="{title}"
  data-lm-suppress-shortcuts="true">
<style>{_part("explorer.css")}</style>
<p><strong>{title}.</strong> {escape(self.use)}</p>
<p class="s3-hint">Scripts do not run here: you see the first state in words and numbers, without
its picture. In Jupyter, trust the notebook or run the cell.</p>
<div class="s3-controls"></div>
<div class="s3-picture"></div>
<p role="status">{escape(self.words)}</p>
<details><summary>The numbers as a table</summary>
<div class="s3-scroll" tabindex="0" role="group" aria-label="Table">{_table(*self.table)}</div>
</details>
<script type="application/json">{_json(self.numbers)}</script>
<script>(() => {{ "use strict";
{_part("explorer.js")}{_part(self.kind + ".js")}}})();</script>
</form>"""


def _part(name: str) -> str:
    """Read a file of this folder."""
    return (resources.files(__package__) / name).read_text(encoding="utf8")


def _json(numbers: dict) -> str:
    """Write JSON without "<", so that no title can end the script that holds it."""
    return json.dumps(numbers, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _table(heads: Sequence, *rows: Sequence) -> str:
    """Write a table with heads above and, in the first column, beside."""
    above = "".join(f'<th scope="col">{escape(str(head))}</th>' for head in heads)
    body = "".join(f'<tr><th scope="row">{escape(str(first))}</th>'
                   + "".join(f"<td>{escape(str(cell))}</td>" for cell in others) + "</tr>"
                   for first, *others in rows)
    return f"<table><thead><tr>{above}</tr></thead><tbody>{body}</tbody></table>"
