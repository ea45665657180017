"""Pictures: each said in words too, and of a third of its weight.

A chart has few colours, and a palette of 256 holds them.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.util import logging

logger = logging.getLogger(__name__)

ALT, CAPTION = 60, 40  # characters, at least
EXPLORER = 'class="s3-explorer"'


def shrink(path):
    """Write an opaque picture again with a palette; leave one that has it, or is transparent."""
    with Image.open(path) as picture:
        if picture.mode == "P" or picture.convert("RGBA").getextrema()[3][0] < 255:
            return
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def shrink_all(app, error):
    if not error and app.builder.format == "html":
        for path in Path(app.outdir, app.builder.imagedir).glob("*.png"):
            shrink(path)


def missing_words(cell):
    """Say what a cell lacks, going by the pictures that it gave and not by its code.

    An explorer says itself in words; like a picture it has a caption and a number.
    """
    pictures = list(cell.findall(nodes.image))
    shown = pictures or [raw for raw in cell.findall(nodes.raw) if EXPLORER in raw.astext()]
    figure = cell["cell_metadata"].get("mystnb", {}).get("figure")
    if any(len(picture.get("alt", "")) < ALT for picture in pictures):
        return f"shows a picture without alternative text (image: alt, {ALT} characters)"
    if shown and len((figure or {}).get("caption", "")) < CAPTION:
        return f"shows a picture without a caption (figure: caption, {CAPTION} characters)"
    if shown and not figure.get("name", "").startswith("fig-"):
        return "shows a picture without a name (figure: name, fig-…)"
    if figure and not shown:
        return "has a caption and shows no picture (figure)"
    return None


def check_words(app, doctree):
    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") == "cell_code" and (wrong := missing_words(cell)):
            logger.warning("%s: cell %d %s", app.env.docname, cell["cell_index"] + 1, wrong)


def setup(app):
    app.connect("doctree-read", check_words)
    app.connect("build-finished", shrink_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
