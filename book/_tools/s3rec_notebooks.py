"""Where a reader gets the chapters as notebooks: the set that `export.py` makes of the built pages.

The buttons of a page give the student's notebook, and ``{notebooks}`` lists both sets. On GitHub
they lie on the branch `notebooks`, which the workflow that publishes the book pushes.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

import nbformat
import yaml
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

DOWNLOADS = {"download-notebook-button", "download-source-button"}


def point_to_exported(app, page, template, context, doctree):
    """Let the download and Colab buttons of a chapter give its exported notebook."""
    if not app.env.doc2path(page).endswith(".ipynb"):
        return
    file = f"{page.rpartition('/')[2]}.ipynb"
    for group in context["header_buttons"]:
        for button in group.get("buttons", ()):
            if button["label"] in DOWNLOADS:
                button["url"] = context["pathto"](f"notebooks/students/{file}", 1)
            elif button["label"] == "launch-colab-button":
                ours = f"/blob/notebooks/students/{file}"
                button["url"] = re.sub("/blob/.*", ours, button["url"])


class Notebooks(SphinxDirective):
    """``{notebooks}`` lists the chapters' notebooks, for students and teachers, and the wheel."""

    def run(self):
        toc = Path(self.env.srcdir, "_toc.yml")
        self.env.note_dependency(str(toc))
        up = "../" * self.env.docname.count("/")
        rows = []
        for part in yaml.safe_load(toc.read_text(encoding="utf8"))["parts"]:
            for page in (chapter["file"] for chapter in part["chapters"]):
                file = Path(self.env.srcdir, f"{page}.ipynb")
                if file.exists():
                    title = nbformat.read(file, as_version=4).cells[0].source.splitlines()[0]
                    cells = "".join(
                        f'<td><a download href="{up}notebooks/{kind}/{file.name}">{kind}</a></td>'
                        for kind in ("students", "teachers"))
                    rows.append(f"<tr><td>{escape(title.lstrip('# '))}</td>{cells}</tr>")
        head = "<tr><th>Chapter</th><th>without solutions</th><th>with solutions</th></tr>"
        return [nodes.raw("", f'<table class="table"><thead>{head}</thead>'
                              f'<tbody>{"".join(rows)}</tbody></table>', format="html")]


def setup(app):
    app.add_directive("notebooks", Notebooks)
    app.connect("html-page-context", point_to_exported, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
