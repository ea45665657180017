"""Icons as a font of the few that the pages show.

The theme brings a script with every icon of Font Awesome, 1.5 MB on each page (our template
``layout.html`` leaves it out), and the same icons as fonts of 150 kB, which Firefox does not load
from a folder. The glyphs in use take a few kB and stand in a style sheet.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

FONTS = "_static/vendor/fontawesome/webfonts"  # below the built site; the theme's
FAMILIES = {  # file: the family and weight under which the theme's style sheet knows it
    "fa-solid-900.ttf": ("Font Awesome 6 Free", 900),
    "fa-brands-400.ttf": ("Font Awesome 6 Brands", 400),
}
STYLE_SHEET = "icons.css"
RULE = """@font-face {{
  font-family: "{family}";
  font-weight: {weight};
  font-display: block;
  src: url(data:font/woff;base64,{data}) format("woff");
}}
"""


def names_in(pages):
    """The icons that the pages name: ``<i class="fa-solid fa-bars">`` names ``bars``."""
    classes = re.findall(r'<i class="([^"]*)"', "\n".join(pages))
    return {name[3:] for each in classes for name in each.split() if name.startswith("fa-")}


def subset(path, names):
    """The font `path` with the glyphs `names` alone, as the bytes of a WOFF file."""
    font = TTFont(path)
    options = Options(flavor="woff", notdef_outline=False, layout_features=[])
    subsetter = Subsetter(options)
    subsetter.populate(glyphs=names)
    subsetter.subset(font)
    font.flavor = "woff"
    written = io.BytesIO()
    font.save(written)
    return written.getvalue()


def write_style_sheet(app, error):
    if error or app.builder.format != "html":
        return
    built = Path(app.outdir)
    names = names_in(page.read_text(encoding="utf8") for page in built.rglob("*.html"))
    rules = []
    for file, (family, weight) in FAMILIES.items():
        path = built / FONTS / file
        shown = names & set(TTFont(path).getGlyphOrder())
        if shown:
            data = base64.b64encode(subset(path, sorted(shown))).decode()
            rules.append(RULE.format(family=family, weight=weight, data=data))
    (built / "_static" / STYLE_SHEET).write_text("".join(rules), encoding="utf8")


def setup(app):
    app.add_css_file(STYLE_SHEET, priority=900)  # after the theme's own @font-face rules
    app.connect("build-finished", write_style_sheet)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
