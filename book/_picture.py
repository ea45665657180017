"""Draw the README's picture, which is a figure of the book: `make picture`."""

import hashlib
import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from PIL import Image, PngImagePlugin

import s3rec_mini as s3

HERE = Path(__file__).resolve().parent
CHAPTER, FIGURE = HERE / "training" / "pretraining.ipynb", "fig-four-questions"
PICTURE = HERE / "picture.png"


def source():
    """Return the code of the cell that draws the figure."""
    for cell in json.loads(CHAPTER.read_text(encoding="utf8"))["cells"]:
        if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == FIGURE:
            return "".join(cell["source"])
    raise SystemExit(f"{CHAPTER} has no figure {FIGURE}: name another one in {__file__}")


def fingerprint():
    """Say which code drew the picture; the file holds it, so that a test sees when it is stale."""
    return hashlib.sha256(source().encode()).hexdigest()


if __name__ == "__main__":
    with s3.plots.style():
        exec(source(), {"plt": plt, "s3": s3})
        plt.savefig(PICTURE, dpi=200)
    drawn_by = PngImagePlugin.PngInfo()
    drawn_by.add_text("Source", fingerprint())
    with Image.open(PICTURE) as picture:  # 64 colours: a quarter of the bytes
        picture.convert("RGB").quantize(64).save(PICTURE, optimize=True, pnginfo=drawn_by)
