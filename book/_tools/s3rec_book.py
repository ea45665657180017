"""What this book asks of Sphinx beyond its extensions.

* MathJax is copied from an installed package, so that the pages need no network.
* The nine equations of ``reference/notation`` must carry the numbers 1 to 9.
* Thebe's scripts are left out, and the built pages are checked: no request may leave the site, no
  page may hold a widget, each names its licence.
* Lines break well on a phone: not between a formula and its punctuation, in code after a dot, an
  underscore or a slash, not at all where a cell prints columns; lines of code by their indent.
* Launch and repository buttons appear once the project's address is one of GitHub's.
"""

from __future__ import annotations

import html
import importlib.resources
import os
import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)

EQUATIONS = (
    "eq-mutual-information",
    "eq-info-nce",
    "eq-softmax-cross-entropy",
    "eq-encoder",
    "eq-aap",
    "eq-mip",
    "eq-map",
    "eq-sp",
    "eq-pairwise",
)
# A text that stands before a formula, up to and with an opening bracket; one that stands behind it.
OPENING = re.compile(r"(.*?)([(\[“]*)", re.DOTALL)
CLOSING = re.compile(r"([^\s\w(\[“—–]*)(.*)", re.DOTALL)
COLUMNS = re.compile(r"\S {3,}\S.* {3,}\S")
CODE = re.compile(r'<code class="[^"]*\bliteral\b.*?</code>', re.DOTALL)
BREAK = re.compile(r"(?<=[a-z0-9\])][._/])(?=[a-z])", re.IGNORECASE)
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*)")
LISTING = re.compile(r'(<div class="highlight-(?!none|myst-ansi)[\w-]+ notranslate">'
                     r'<div class="highlight"><pre>)(.*?)(</pre>)', re.DOTALL)
DEEPEST = 16  # columns that a line of code may be indented on a phone
SPACES = re.compile(rf"( {{{DEEPEST}}})( +)")
TAG = re.compile(r"<[^>]*>")
REPEATED = re.compile(r'(<section) id="(?:exercise|solution)-content"')
LICENCE = "https://creativecommons.org/licenses/by/4.0/"
# What a browser fetches by itself: scripts, pictures, frames, style sheets, fonts. An <a> is the
# reader's to follow.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b"""
    r"""[^>]*?\ssrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|icon|preconnect))"""
    r"""[^>]*?\shref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|(?:@import\s+|url\()["']?((?:https?:)?//[^"'\s)]+)""",
    re.IGNORECASE,
)


def show_repository_buttons(app, config):
    options = config.html_theme_options
    if options.get("repository_url", "").startswith("https://github.com/"):
        options.update(use_repository_button=True, use_issues_button=True)
        options["launch_buttons"] = {"colab_url": "https://colab.research.google.com"}
    else:
        for name in ("repository_url", "repository_branch", "path_to_docs", "launch_buttons"):
            options.pop(name, None)


def keep_first_line(app, what, name, obj, options, lines):
    """Stop napoleon from taking a property's first line, up to a colon, for its type."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment: a first line without a colon


def write_matplotlibrc(folder):
    """Give the chapters the style of the package's plots, sharp on a screen of two dots a pixel."""
    style = importlib.resources.files("s3rec_mini.looking") / "book.mplstyle"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "matplotlibrc"
    path.write_text(style.read_text(encoding="utf8") + "figure.dpi: 200\n", encoding="utf8")
    return path


def share_html_handlers(app):
    """Let the one page that is printed know what the site knows.

    Sphinx takes a builder's own handlers alone, and one extension registers a few for `singlehtml`.
    """
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = handlers["html"] | handlers.get("singlehtml", {})


# In formulas \phone is a new line where the window is no wider than a phone's, else nothing.
PHONE = r"""window.MathJax = Object.assign(window.MathJax || {}, {tex: {macros: {
phone: matchMedia("(max-width: 600px)").matches ? "\\\\ & \\quad " : ""}}})"""


def copy_mathjax(app):
    if app.builder.format != "html":
        return
    # The package's name (sphinx-mathjax-offline) is no identifier; import_module does not mind.
    package = Path(importlib.import_module("sphinx-mathjax-offline").__file__).parent
    target = Path(app.outdir, "_static", app.config.mathjax_path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(package / "static" / app.config.mathjax_path, target)


def drop_thebe(app, page, template, context, doctree):
    """Leave out Jupyter Book's live-code scripts: unused, from another site, and loaded twice."""
    for kind in ("script_files", "css_files"):
        files = context[kind]
        files[:] = [f for f in files if "thebe" not in f"{f} {f.attributes}".lower()]


def drop_list_role(app, page, template, context, doctree):
    """Call a bibliography no list: its entries have a role of their own, which no list may hold."""
    listed, plain = '<div role="list" class="citation-list">', '<div class="citation-list">'
    context["body"] = context.get("body", "").replace(listed, plain)


def drop_repeated_ids(app, page, template, context, doctree):
    """Take an id from the bodies of exercises and solutions, which all have the same."""
    context["body"] = REPEATED.sub(r"\1", context.get("body", ""))


def keep_together(app, doctree):
    """Wrap a formula and the brackets and punctuation around it: lines would break at its ends."""
    for formula in list(doctree.findall(nodes.math)):
        parent = formula.parent
        place = parent.index(formula)
        before, after = parent[:place], parent[place + 1:]
        opening, closing = "", ""
        if before and isinstance(before[-1], nodes.Text):
            rest, opening = OPENING.fullmatch(before[-1]).groups()
            before[-1] = nodes.Text(rest)
        if after and isinstance(after[0], nodes.Text):
            closing, rest = CLOSING.fullmatch(after[0]).groups()
            after[0] = nodes.Text(rest)
        if opening or closing:
            kept = nodes.inline(classes=["together"])
            kept += [nodes.Text(opening), formula, nodes.Text(closing)]
            parent[:] = [*before, kept, *after]


def mark_columns(app, doctree):
    """Mark what a cell prints in three columns or more; other lines wrap on a phone."""
    for printed in doctree.findall(nodes.literal_block):
        if "output" in printed["classes"] and COLUMNS.search(printed.astext()):
            printed["classes"].append("columns")


def let_code_break(app, page, template, context, doctree):
    """Mark in the code of a line, after a dot, an underscore or a slash, where it may break.

    An option, ``--pretraining-epochs``, may break nowhere.
    """
    def marked(code):
        return OPTION.sub(r'<span class="option">\1</span>', BREAK.sub("<wbr>", code[0]))

    context["body"] = CODE.sub(marked, context.get("body", ""))


def mark_lines(app, page, template, context, doctree):
    """Wrap each line of code and say how far it is indented: on a phone it wraps by that."""
    def marked(block):
        lines = block[2].removeprefix("<span></span>").splitlines(keepends=True)
        return block[1] + "".join(map(mark_line, lines)) + block[3]

    context["body"] = LISTING.sub(marked, context.get("body", ""))


def mark_line(line):
    text = html.unescape(TAG.sub("", line))
    indent = len(text) - len(text.lstrip(" ")) if text.strip() else 0
    if indent > DEEPEST:  # what is aligned far to the right has no room on a phone
        line = SPACES.sub(r'\1<span class="deep">\2</span>', line, count=1)
        indent = DEEPEST
    style = f' style="--indent:{indent}"' if indent else ""
    return f'<span class="line"{style}>{line}</span>'


def check_equation_numbers(app, env):
    domain = env.get_domain("math")
    for expected, label in enumerate(EQUATIONS, start=1):
        if label not in domain.equations:
            logger.warning("the notation page defines no equation labelled %s", label)
            continue
        page, number = domain.equations[label]
        if app.config.math_numfig and app.config.numfig:
            numbers = env.toc_fignumbers.get(page, {}).get("displaymath", {})
            number = ".".join(map(str, numbers.get(f"equation-{label}", (number,))))
        if str(number) != str(expected):
            logger.warning("equation %s is numbered %s, not %d", label, number, expected)


def check_built_pages(app, error):
    if error or app.builder.format != "html":
        return
    for page in sorted(Path(app.outdir).rglob("*.html")):
        text = page.read_text(encoding="utf8")
        name = page.relative_to(app.outdir)
        for match in FETCHED.finditer(text):
            address = next(filter(None, match.groups()))
            logger.warning("%s fetches %s from another site", name, address)
        if "application/vnd.jupyter.widget" in text:
            logger.warning("%s holds a widget, whose scripts come from another site", name)
        if name.parts[0] == "book" and LICENCE not in text:
            logger.warning("%s does not name the licence of its text", name)


def setup(app):
    # Kernels inherit these: no progress bars; one thread, as models this small gain nothing from a
    # second, and lose much beside other programs; the style of figures.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MATPLOTLIBRC", str(write_matplotlibrc(Path(app.doctreedir))))
    app.add_js_file(None, body=PHONE, priority=900)  # after Sphinx's settings of MathJax
    app.connect("config-inited", show_repository_buttons, priority=100)
    app.connect("builder-inited", share_html_handlers)
    app.connect("builder-inited", copy_mathjax)
    app.connect("autodoc-process-docstring", keep_first_line, priority=100)  # before napoleon's
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", drop_list_role)
    app.connect("html-page-context", drop_repeated_ids)
    app.connect("html-page-context", let_code_break)
    app.connect("html-page-context", mark_lines)
    app.connect("doctree-read", keep_together)
    app.connect("doctree-read", mark_columns)
    app.connect("env-check-consistency", check_equation_numbers)
    app.connect("build-finished", check_built_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
