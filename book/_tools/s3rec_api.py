"""The page of the package: each module once, its names in a table, their details folded.

* ``{documented} s3rec_mini.datasets`` gives the first sentences of a module's docstring, a table of
  those of its names that ``s3`` gives, each with its first sentence, and below a bar the rest:
  all names with signatures and parameters. ``:members:`` names those to show.
* Defaults that a factory makes are shown as what it makes.
* ``{command-line} module:app`` documents the commands of a typer application from the application
  itself, the options of each below a bar.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from s3rec_form import fold
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

import s3rec_mini as s3


def table(header, rows, widths, name):
    """Make a table of paragraphs; a row is a list of lists of nodes."""
    group = nodes.tgroup(cols=len(header))
    group += [nodes.colspec(colwidth=width) for width in widths]
    head, body = nodes.thead(), nodes.tbody()
    head += cells([[nodes.Text(text)] for text in header])
    body += [cells(row) for row in rows]
    group += [head, body]
    return nodes.table("", group, classes=[name])


def cells(contents):
    row = nodes.row()
    row += [nodes.entry("", nodes.paragraph("", "", *content)) for content in contents]
    return row


class Documented(SphinxDirective):
    """``{documented} NAME`` documents a module, most of it folded."""

    required_arguments = 1
    option_spec: ClassVar = {"members": directives.unchanged}

    def run(self):
        name = self.arguments[0]
        members = self.options.get("members", "")
        text = ["```{eval-rst}", f".. automodule:: {name}", f"   :members: {members}", "```"]
        parsed = nodes.container()
        self.state.nested_parse(StringList(text, self.env.docname), self.content_offset, parsed)
        first = next(place for place, node in enumerate(parsed)
                     if isinstance(node, nodes.paragraph))
        above, rest = parsed[:first + 1], parsed[first + 1:]
        short = name.rpartition(".")[2]
        above[-1][:0] = [nodes.strong("", "", nodes.literal("", short)), nodes.Text(" ")]
        described = [each for each in rest if isinstance(each, addnodes.desc)]
        given = {*s3.__all__}
        module = importlib.import_module(name)
        if short in given and getattr(s3, short) is module:  # which `s3` gives as a whole
            given.update(module.__all__)
        rows = [self.row(each) for each in described if self.name_of(each) in given]
        if rows:
            above.append(table(("Name", "What it does"), rows, (30, 70), "names"))
        number = f"{len(described)} name{'s' * (len(described) > 1)}"
        return [*above, fold("", *rest, name=f"{short} in full: {number}")]

    def name_of(self, described):
        return next(described[0].findall(addnodes.desc_name)).astext()

    def row(self, described):
        signature, content = described[0], described[-1]
        link = nodes.reference("", "", nodes.literal("", self.name_of(described)), internal=True,
                               refid=signature["ids"][0])
        said = next(content.findall(nodes.paragraph), nodes.paragraph())
        return [link], [each.deepcopy() for each in said.children]


def show_defaults(app, what, name, obj, options, signature, returned):
    """Show what a default's factory makes, in the place of ``<factory>``."""
    if signature and dataclasses.is_dataclass(obj):
        for field in dataclasses.fields(obj):
            if field.default_factory is not dataclasses.MISSING:
                signature = signature.replace("<factory>", repr(field.default_factory()), 1)
    return signature, returned


class CommandLine(SphinxDirective):
    """``{command-line} module:app`` lists each command, its help and its options."""

    required_arguments = 1

    def run(self):
        import typer

        module, _, name = self.arguments[0].partition(":")
        group = typer.main.get_command(getattr(importlib.import_module(module), name))
        self.env.note_dependency(importlib.import_module(module).__file__)
        return [self.section(key, command) for key, command in group.commands.items()]

    def section(self, name, command):
        section = nodes.section(ids=[nodes.make_id(f"s3rec-{name}")], names=[f"s3rec {name}"])
        section += nodes.title("", "", nodes.literal("", f"s3rec {name}"))
        for paragraph in re.split(r"\n\s*\n", command.help or ""):
            section += nodes.paragraph("", " ".join(paragraph.replace("\f", "").split()))
        shown = [each for each in command.params if not getattr(each, "hidden", False)]
        header = ("Argument or option", "Meaning", "Default")
        options = table(header, map(self.row, shown), (30, 55, 15), "options")
        section += fold("", options, name=f"s3rec {name}: {len(shown)} arguments and options")
        return section

    def row(self, parameter):
        if parameter.param_type_name == "argument":
            spelled = [nodes.literal("", parameter.name.upper())]
        else:
            spelled = [nodes.literal("", " / ".join([*parameter.opts, *parameter.secondary_opts]))]
        default = "required" if parameter.required else parameter.default
        default = "" if default is None or callable(default) else str(default)
        if isinstance(said := getattr(parameter, "show_default", None), str):
            default = said  # of pairs, NAME=VALUE
        meaning = getattr(parameter, "help", None) or ""
        if "|" in (choices := getattr(parameter, "metavar", None) or ""):
            meaning += f" One of {', '.join(choices.split('|'))}."
        return spelled, [nodes.Text(meaning)], [nodes.Text(default)]


def setup(app):
    app.add_directive("documented", Documented)
    app.add_directive("command-line", CommandLine)
    app.connect("autodoc-process-signature", show_defaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
