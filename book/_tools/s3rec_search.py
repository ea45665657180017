"""Search finds what readers look for: every word of the glossary, on the pages that build it.

* A glossary's term is an index entry of each page that its definition names by ``{doc}``; search
  ranks those first, and the general index lists them.
* ``search.js`` shows no TeX in what search quotes, and says which word of the glossary was found.
"""

from __future__ import annotations

from docutils import nodes
from sphinx import addnodes

GLOSSARY = "book/reference/glossary"
SPELLINGS = (("finetun", "fine" "-tun"), ("pretrain", "pre" "-train"))  # what others write


def words_by_page(app, env):
    """Note for each page the words that it builds, and list them in the general index."""
    env.words_by_page = words = {}
    if GLOSSARY not in env.found_docs:
        return
    for entry in env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        terms = [term.astext() for term in entry.findall(nodes.term)]
        terms += [term.replace(*pair) for term in terms for pair in SPELLINGS if pair[0] in term]
        for link in entry.findall(addnodes.pending_xref):
            if link["reftype"] == "doc":
                page = env.relfn2path(link["reftarget"], GLOSSARY)[0]
                words.setdefault(page, []).extend(terms)
    listed = env.get_domain("index").entries
    for page in words.keys() & listed.keys():
        listed[page][:] = dict.fromkeys([*listed[page], *map(entry_of, words[page])])


def entry_of(word):
    return "single", word, "", "main", None


def add_words(app, doctree, page):
    """Let the search index know the words of a page, as of an ``index`` directive."""
    if words := app.env.words_by_page.get(page):
        doctree.append(addnodes.index(entries=[entry_of(word) for word in words]))


def add_script(app, page, template, context, doctree):
    if page == "search":
        app.add_js_file("search.js", loading_method="defer")  # it changes Sphinx's own


def setup(app):
    app.connect("env-updated", words_by_page)
    app.connect("doctree-resolved", add_words)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
