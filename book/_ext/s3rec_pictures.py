"""Pictures of a third of their weight: a chart has few colours, and a palette of 256 holds them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


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


def setup(app):
    app.connect("build-finished", shrink_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
