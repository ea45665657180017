"""What the head of a page tells those who do not read it: search engines, previews of a link.

A description (the page's first paragraph), the canonical address, and a preview (Open Graph) with
the page's first picture. Addresses are absolute once the project's own is one of GitHub's, whose
pages lie at https://OWNER.github.io/NAME/, or `html: baseurl:` is set in `_config.yml`; until then
they are relative to the page.
"""

from __future__ import annotations

import re
import textwrap
from html import escape
from urllib.parse import urljoin

from docutils import nodes

LENGTH = 160  # characters: search engines show no more of a description
ABOUT = "S3-Rec, self-supervised sequential recommendation: derived, built and tested in a book."
COVER = "book/foundations/tour"  # lends its first picture to pages that have none


def set_address(app, config):
    repository = config.html_theme_options.get("repository_url", "")
    ours = re.fullmatch(r"https://github\.com/(.+)/(.+)", repository)
    if ours and not config.html_baseurl:
        owner, name = ours.groups()
        host = f"{owner}.github.io".lower()
        config.html_baseurl = f"https://{host}/" + ("" if name.lower() == host else f"{name}/")


def describe(title, doctree):
    """The first paragraph below a heading, in plain text, cut at a word."""
    paragraphs = doctree.findall(nodes.paragraph) if doctree else ()
    first = (each.astext() for each in paragraphs if isinstance(each.parent, nodes.section))
    return textwrap.shorten(next(first, f"{title}. {ABOUT}"), LENGTH, placeholder=" …")


def first_picture(env, doctree):
    """The file name and the alternative text of the first picture of a page, if it has one."""
    for picture in doctree.findall(nodes.image) if doctree else ():
        for file in picture["candidates"].values():  # its "uri" is the page's by now
            if file in env.images:
                return env.images[file][1], picture.get("alt", "")
    return None


def add_tags(app, page, template, context, doctree):
    base = app.config.html_baseurl
    target = app.builder.get_target_uri(page)
    here = urljoin(base, target) if base else target.split("/")[-1]
    # A title may hold <code>, and its text is escaped already; the general index has none.
    title = re.sub("<.*?>", "", context.get("title", page))
    description = escape(describe(title, doctree))
    tags = [
        f'<meta name="description" content="{description}" />',
        f'<meta property="og:title" content="{title}" />',
        f'<meta property="og:type" content="{"article" if doctree else "website"}" />',
        f'<meta property="og:url" content="{here}" />',
        f'<meta property="og:site_name" content="{escape(app.config.html_title)}" />',
        f'<meta property="og:description" content="{description}" />',
    ]
    shown = first_picture(app.env, doctree) or first_picture(app.env, app.env.get_doctree(COVER))
    if shown:
        picture = f"{app.builder.imagedir}/{shown[0]}"
        picture = urljoin(base, picture) if base else context["pathto"](picture, 1)
        tags += [
            f'<meta property="og:image" content="{picture}" />',
            f'<meta property="og:image:alt" content="{escape(shown[1])}" />',
            '<meta name="twitter:card" content="summary_large_image" />',
        ]
    context["pageurl"] = here
    context["metatags"] = "\n".join([context.get("metatags", ""), *tags, ""])


def setup(app):
    app.connect("config-inited", set_address, priority=90)  # before s3rec_book drops a placeholder
    app.connect("html-page-context", add_tags)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
