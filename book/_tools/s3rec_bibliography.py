"""A bibliography whose entries are named as the text cites them: "Zhou et al., 2020"."""

from __future__ import annotations

from collections import Counter

from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style.formatting.plain import Style
from pybtex.style.labels import BaseLabelStyle


def surname(person):
    return str(Text.from_latex(" ".join([*person.prelast_names, *person.last_names])))


class AuthorYear(BaseLabelStyle):
    """The surnames of one or two authors, of more the first and "et al.", and the year."""

    def format_labels(self, sorted_entries):
        labels = [self.label(entry) for entry in sorted_entries]
        if twice := [label for label, times in Counter(labels).items() if times > 1]:
            raise ValueError(f"two entries of the bibliography would be cited as {twice[0]}: give "
                             "the year of one a letter")
        return labels

    def label(self, entry):
        names = [surname(person) for person in entry.persons["author"]]
        if len(names) > 2:
            names = [f"{names[0]} et al."]
        return f"{' and '.join(names)}, {entry.fields['year']}"


class AuthorYearStyle(Style):
    default_label_style = AuthorYear


def setup(app):
    register_plugin("pybtex.style.formatting", "author_year", AuthorYearStyle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
