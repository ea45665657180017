"""The form of a chapter: bars that fold, the map of where you are.

* A code cell with the tag ``set-up``, ``check``, ``plot-code`` or ``deeper`` stands folded under a
  bar of that name: its code, while what it prints stays in view, and of ``set-up`` all. Bars of one
  name that follow each other are one.
* A section whose heading begins with "Deeper: " is folded below its heading.
* Where a page's head says ``folded_sections: true``, what stands below its third-level headings is
  folded too; with headings in the place of ``true``, "; " between them, below those of these.
* The first page has its numbers, ``{{ gain_low }}`` and others, from the results files.
* ``{here} encoder`` draws the way from a history to a list of films, the named part of it lit;
  without a name, the whole way.
"""

from __future__ import annotations

from html import escape

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

BARS = {"set-up": "Set-up", "check": "Check", "plot-code": "Plot code", "deeper": "Deeper"}
DEEPER = "Deeper: "
# The parts of the way, each with the lines of its label.
WAY = {
    "history": ("history",),
    "prefixes": ("prefixes",),
    "views": ("views",),
    "encoder": ("encoder",),
    "losses": ("four", "losses"),
    "finetuning": ("fine-", "tuning"),
    "list": ("ranked", "list"),
}


class fold(nodes.General, nodes.Element):
    """What a reader opens: `name` stands on the bar."""


def visit_fold(self, node):
    self.body.append(f'<details class="fold"><summary>{escape(node["name"])}</summary>\n')


def depart_fold(self, node):
    self.body.append("</details>\n")


def fold_cells(app, doctree):
    """Put the code of marked cells below a bar; set-up cells that follow each other share one."""
    cells = [each for each in doctree.findall(nodes.container) if "cell" in each["classes"]]
    for cell in cells:
        kind = next((kind for kind in BARS if f"tag_{kind}" in cell["classes"]), None)
        if kind == "set-up":
            place, parent = cell.parent.index(cell), cell.parent
            before = parent[place - 1] if place else None
            parent.remove(cell)
            if isinstance(before, fold) and before["name"] == BARS[kind]:
                before.append(cell)
            else:
                parent.insert(place, fold("", cell, name=BARS[kind]))
        elif kind:
            code = next(each for each in cell if "cell_input" in each["classes"])
            place = cell.index(code)
            cell.remove(code)
            cell.insert(place, fold("", code, name=BARS[kind]))


def fold_sections(app, doctree):
    """Fold what stands below a heading that begins with "Deeper: "."""
    for section in doctree.findall(nodes.section):
        title = section[0]
        if title.astext().startswith(DEEPER):
            body = section[1:]
            section[:] = [title, fold("", *body, name="Deeper")]
    below = str(app.env.metadata[app.env.docname].get("folded_sections", ""))
    for section in doctree.findall(nodes.section):
        above = section.parent, section.parent.parent
        if (all(isinstance(each, nodes.section) for each in above)
                and (below.lower() == "true" or above[0][0].astext() in below.split("; "))):
            section[:] = [section[0], fold("", *section[1:], name="Details")]


class Here(SphinxDirective):
    """``{here} PART`` draws the way, with one part of it lit."""

    optional_arguments = 1

    def run(self):
        part = self.arguments[0] if self.arguments else None
        if part not in (None, *WAY):
            raise self.error(f"{part!r} is no part of the way: {', '.join(WAY)}")
        words = {name: " ".join(lines).replace("- ", "") for name, lines in WAY.items()}
        caption = f"The way: {' → '.join(words.values())}."
        if part:
            caption = f"You are here: {words[part]}. {caption}"
        return [nodes.raw("", drawn(part, caption), format="html")]


def drawn(part: str | None, caption: str) -> str:
    """The way as an SVG of a fixed size: its text is 10 px at any width."""
    width, gap, height = 46, 6, 30
    boxes = []
    for number, (name, lines) in enumerate(WAY.items()):
        x = number * (width + gap)
        first = height / 2 + 3.5 - 5.5 * (len(lines) - 1)
        text = "".join(f'<text x="{x + width / 2}" y="{first + 11 * line}">{escape(words)}</text>'
                       for line, words in enumerate(lines))
        boxes.append(f'<g{" class=lit" * (name == part)}><rect x="{x + 0.5}" y="0.5" '
                     f'width="{width - 1}" height="{height - 1}" rx="4"/>{text}</g>')
        if number:
            boxes.append(f'<path d="M{x - gap},{height / 2} h{gap}"/>')
    total = len(WAY) * (width + gap) - gap
    size = f'width="{total}" height="{height}" viewBox="0 0 {total} {height}"'
    return (f'<svg class="here" role="img" {size}><title>{escape(caption)}</title>'
            f'{"".join(boxes)}</svg>')


def findings() -> dict[str, str]:
    """Compute the numbers of the first page from the results files."""
    from math import e, log

    import numpy as np

    import s3rec_mini as s3

    def mean(name, run, protocol, metric):
        return np.mean([each[protocol]["metrics"][metric] for each in s3.load_results(name)[run]])

    gains = [mean(name, "pretrained-pointwise", "sampled", "MRR")
             / mean(name, "scratch-pointwise", "sampled", "MRR") - 1
             for name in ("Beauty", "Sports_and_Outdoors", "Toys_and_Games", "Yelp", "LastFM")]
    losses = {loss: mean("Beauty", f"pretrained-{loss}", "full", "NDCG@10")
              for loss in ("pointwise", "softmax")}
    return {"gain_low": f"{100 * min(gains):.0f}", "gain_high": f"{100 * max(gains):.0f}",
            **{loss: f"{value:.3f}" for loss, value in losses.items()},
            "ceiling": f"{log(2) - log(1 + 1 / e):.2f}"}


def add_findings(app, config):
    config.myst_substitutions = {**config.myst_substitutions, **findings()}


def setup(app):
    app.add_node(fold, html=(visit_fold, depart_fold), singlehtml=(visit_fold, depart_fold))
    app.add_directive("here", Here)
    app.connect("config-inited", add_findings)
    app.connect("doctree-read", fold_cells, priority=400)
    app.connect("doctree-read", fold_sections, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
