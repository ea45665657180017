"""Tables on disk, in the layouts in which people hold them, read into data frames.

A cell is the text that it is, so that ids lose nothing, and only an empty one is missing. Every
row has as many cells as the first. What is found out rather than told, such as which column holds
the users, is said in a warning.
"""

import csv
import gzip
import io
import json
import re
import warnings
from array import array
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import count, islice
from pathlib import Path

import numpy as np
import pandas as pd

from .settings import Settings, setting

# Names of columns in public files, without signs and capitals, first of all this package's own;
# names of those that tell items apart; and the columns, by separator or ending and number, of
# MovieLens' files, which name none and begin with a number.
LAYOUTS = json.loads((Path(__file__).parents[1] / "data" / "layouts.json").read_text("utf8"))
ROLES = ("user", "item", "time")
SEPARATORS = ("\t", "::", ",", ";", "|", " ")
TYPE = re.compile(r":(token|float)(_seq)?$")  # with which RecBole's names end
NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?[ \t]*")
INTEGER = re.compile(r"0|-?[1-9][0-9]*")  # as str(int(…)) writes it
OFFSET = r"[T :].*(?:Z|[+-][0-9]{2}:?[0-9]{0,2})$"
csv.field_size_limit(2**31 - 1)  # a review is longer than what the module takes for a mistake
# With signs between them, or eight digits and no more.
DAY_OR_MONTH = (r"^([0-9]{1,2}(?=[./-])|[0-9]{2}(?=[0-9]{6}(?![0-9])))[./-]?"
                r"([0-9]{1,2}(?=[./-])|[0-9]{2}(?=[0-9]{4}(?![0-9])))[./-]?((?:19|20)[0-9]{2}),?")
DAY, MONTH = r"(0[1-9]|[12]\d|3[01])", r"(0[1-9]|1[0-2])"
# Days that are no numbers: 31122024, with a clock too, 1012024 (to be refused), 311224, 12.2024.
COMPACT = re.compile(r"[0-3]?\d{3}(19|20)\d\d([0-2]\d([0-5]\d){1,2})?|[01]?\d\.(19|20)\d\d"
                     rf"|{DAY}{MONTH}\d\d|{MONTH}{DAY}\d\d")
ORDERS = {"day-first": r"\3-\2-\1", "month-first": r"\3-\1-\2"}


@dataclass(frozen=True)
class Reading(Settings):
    """How tables on disk are read; what is left out here is found in the file."""

    user: str | None = setting(None, "Column of the users, by name or, from 1, by number.")
    item: str | None = setting(None, "Column of the items, by name or, from 1, by number.")
    time: str | None = setting(None, "Column of the times, by name or, from 1, by number.")
    time_format: str | None = setting(None, "day-first, month-first, or such as '%d.%m.%Y %H:%M'.")
    separator: str | None = setting(None, r"What stands between cells; \t is a tab.")
    encoding: str | None = setting(None, "Of the text; UTF-8 without it.")
    min_count: int = setting(5, "Interactions that a user or an item needs.", least=3)
    fields: str | None = setting(None, "Attribute columns to take, with ',' between them.")
    list_separator: str | None = setting(None, "Between the values in a cell; '' if it is one.")
    min_items: int = setting(1, "Items that an attribute needs.", least=1)


def read_interactions(path, reading: Reading) -> pd.DataFrame:
    """Read who chose what, and when.

    Returns
    -------
    pandas.DataFrame
        The columns user, item and timestamp, in the file's order. Keys are int64 where that loses
        nothing, else text in an ordered Categorical, by number where all are numbers; times are
        numbers, or datetimes in UTC.

    Raises
    ------
    ValueError, OSError
        If the file cannot be read, or can be read in two ways. The message names file and line.
    """
    table, given = _Table(Path(path), reading), {role: getattr(reading, role) for role in ROLES}
    places = {role: _place(table, role, text) for role, text in given.items()}
    floats = [table.names[places[role]].endswith(":float") for role in ("user", "item")]
    if len(set(places.values())) < 3 or any(floats):
        raise ValueError(f"{path}: user=, item= and time= need a column each, and ids no floats, "
                         "which may have lost digits")
    if all((text or "").isdecimal() for text in given.values()):  # is there a header? Times have
        numbers = [str(at) for at in range(len(table.first))]  # digits; pandas numbers its columns
        word = re.fullmatch("[^0-9]+", table.first[places["time"]])
        table.header = bool(word) or table.first == numbers
    said = [table.first[at] if table.header else f"column {at + 1}" for at in places.values()]
    known = [name for name in table.names if any(_plain(name) in LAYOUTS[role] for role in ROLES)]
    if said != [LAYOUTS[role][0] for role in ROLES] or len(known) > 3:  # some may be meant instead
        warnings.warn("{}: users are {}, items {}, times {}".format(path, *said)
                      + "; its first line is no header" * (not table.header), stacklevel=2)
    frame = table.columns(places)
    times = _times(path, frame["time"].cat.categories, reading.time_format)
    table.refuse(frame["time"], times.isna(), "has the time {text!r}, which cannot be read: say "
                 "how times are written, such as time_format='%d.%m.%Y %H:%M'")
    return pd.DataFrame({"user": _keys(table, frame["user"]), "item": _keys(table, frame["item"]),
                         "timestamp": times.array.take(frame["time"].cat.codes)})


def read_attributes(path, reading: Reading, items: pd.Series) -> pd.DataFrame:
    """Read what items are like: the column item, its keys those of `items`, and the fields.

    Columns of free text are left out, with a warning, unless `reading.fields` asks for them.
    ValueError and OSError are as in `read_interactions`.
    """
    table = _Table(Path(path), reading)
    names = [TYPE.sub("", name) for name in table.names]
    typed = dict(zip(names, table.names, strict=True))
    # What the option says may be a column of the interactions alone; a number is one of theirs.
    said = reading.item in names and not reading.item.isdecimal()
    place = _place(table, "item", reading.item if said else None)
    fields = [name for name in names if name != names[place]]
    none = LAYOUTS["free"] + LAYOUTS["user"] + LAYOUTS["time"]  # where one file is given twice
    free = [name for name in fields if _plain(name) in none or ":float" in typed[name]]
    if reading.fields:
        fields = [name.strip() for name in reading.fields.split(",")]
    elif free:
        fields = [name for name in fields if name not in free]
        warnings.warn(f"{path}: columns {free} are left out, as items hardly share such values; "
                      "fields= takes those that it names", stacklevel=2)
    wrong = [name for name in fields if names.count(name) != 1 or name == "item"]
    if wrong:
        raise ValueError(f"{path} has {names.count(wrong[0])} columns of attributes {wrong[0]!r} "
                         f"among {names}: choose others with fields=, or rename them")
    frame = table.columns({"item": place} | {name: names.index(name) for name in fields})
    keys = {str(key): key for key in items.unique()}
    frame = frame.astype(object).assign(item=[keys.get(text, text) for text in frame["item"]])
    lists = [name for name in fields if typed[name].endswith(":token_seq")]
    mark = reading.list_separator or None
    return frame.assign(**{name: frame[name].str.split(mark) for name in lists})


def _place(table, role: str, given: str | None) -> int:
    """Find the column of that name or number, or the one whose name is known to mean this."""
    if given is None:
        plain = [_plain(name) for name in table.names]
        known = [at for at, name in enumerate(plain) if name in LAYOUTS[role]]
        hits = [at for at in known if plain[at] == LAYOUTS[role][0]] or known
    elif given.isdecimal():
        hits = [int(given) - 1][:0 < int(given) <= len(table.names)]
    else:
        hits = [at for at, name in enumerate(table.names) if given in (name, TYPE.sub("", name))]
    if len(hits) != 1:
        found = " and ".join(table.names[at] for at in hits) or "none"
        raise ValueError(f"{table.path}: which of {table.names} is the {role}? {found} could be: "
                         f"name it with {role}=, or number it, {role}=1, where no line names it; "
                         f"or let a first line there call it {LAYOUTS[role][0]}")
    return hits[0]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", TYPE.sub("", name).lower())


def _keys(table, column: pd.Series) -> pd.Series:
    """Sort the keys of a column, by number where all are numbers, and lose nothing of them."""
    texts = column.cat.categories.tolist()
    table.refuse(column, ["\n" in text or "\r" in text for text in texts],
                 "has a line break in its {name}, {text!r}: is a quote open?")
    if blank := [text for text in texts if text != text.strip()]:
        warnings.warn(f"{table.path}: some {column.name}s begin or end with a blank, such as "
                      f"{blank[0]!r}: it is kept", stacklevel=3)
    if all(map(INTEGER.fullmatch, texts)):
        with suppress(OverflowError):
            return pd.Series(np.fromiter(map(int, texts), np.int64)[column.cat.codes])
    numbers = all(map(NUMBER.fullmatch, texts))
    texts.sort(key=(lambda text: (Decimal(text), text)) if numbers else None)
    return column.cat.set_categories(texts, ordered=True)


def _times(path, texts, time_format: str | None) -> pd.Series:
    """Read the distinct times of a column; those that cannot be read are missing."""
    numbers = np.array([bool(NUMBER.fullmatch(text)) for text in texts])
    numbers &= not all(map(COMPACT.fullmatch, texts))
    if time_format is None and numbers.all():
        with suppress(ValueError, OverflowError):
            return pd.Series(np.fromiter(map(int, texts), np.int64))
        exact = max(map(len, texts)) > 16  # more digits than a float holds
        return pd.Series([*map(Decimal, texts)], dtype=object if exact else float)
    texts = pd.Series(texts, dtype=object).str.strip()
    if time_format not in (None, *ORDERS):
        if "%" not in time_format:
            raise ValueError(f"time_format={time_format!r} is none of {list(ORDERS)}, nor has it %")
        return pd.to_datetime(texts, format=time_format, utc=True, errors="coerce")
    iso = texts.where(texts.str.match("[0-9]"), "")  # pandas knows "now"
    iso = iso.str.replace(r"\s*(UTC|GMT)$", "Z", regex=True)
    iso = iso.str.replace(r"(:[0-9]{2}),", r"\1.", regex=True)  # a decimal comma
    offset = iso.str.contains(OFFSET)
    if offset.any() and not offset.all():
        raise ValueError(f"{path}: some times have an offset, {texts[offset].iloc[0]!r}, and some "
                         f"have none, {texts[~offset].iloc[0]!r}: write all in one way")
    readings = {order: pd.to_datetime(iso.str.replace(DAY_OR_MONTH, parts, regex=True), utc=True,
                                      format="ISO8601", errors="coerce")
                for order, parts in ORDERS.items()}
    if time_format:
        return readings[time_format]
    day, month = readings.values()
    at = (day != month).argmax()
    if day.notna().all() and month.notna().all() and day[at] != month[at]:
        raise ValueError(f"{path}: is {texts[at]!r} {day[at].day} {day[at]:%B} (time_format="
                         f"day-first) or {month[at].day} {month[at]:%B} (time_format=month-first)?")
    return min(day, month, texts.where(numbers), key=lambda times: times.isna().sum())


class _Table:
    """A text file: how its cells stand in it, its first row, and what its columns are called."""

    def __init__(self, path: Path, reading: Reading):
        text = _text(path, reading.encoding)
        lines = [*filter(str.strip, islice(io.StringIO(text[:10**6], newline=None), 100))]
        if not lines or "\0" in text:
            raise ValueError(f"{path} is {'no text, as it holds zero bytes' if lines else 'empty'}")
        if lines[0][0] in "{[":
            raise ValueError(f"{path} is JSON, not a table: pandas' read_json, to_csv make it one")
        separator = _separator(path, lines, reading.separator)
        mark = separator if len(separator) == 1 else "\x1f"  # the csv module takes one character
        self.path, self.raw = path, text.replace(separator, mark).encode()
        edge = re.escape(separator)  # a quoted cell: "a ""b""" or "a, b", of pandas or Excel
        cell = f'(^|{edge})"[^\n{edge}]*(""|,)[^\n{edge}]*"({edge}|$)'
        quoted = separator in ",;|" or lines[0][0] == '"' or re.search(f"(?m){cell}", text)
        spaced = lines[0].count(separator) == lines[0].count(f"{separator} ") > 0
        self.form = {"delimiter": mark, "skipinitialspace": spaced, "strict": True,
                     "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE}
        self.first = [cell.strip() for cell in next(self.rows())[1]]
        signs = (separator, _ending(path)) if self.first[0].isdecimal() else ()
        known = [LAYOUTS["headerless"].get(f"{sign}{len(self.first)}") for sign in signs]
        self.names = next(filter(None, known), self.first)
        self.header = self.names is self.first

    def rows(self):
        """Yield (line, cells); ValueError at a row that is malformed, or longer or shorter."""
        text = io.TextIOWrapper(io.BytesIO(self.raw), "utf-8", newline="")
        reader, line, width = csv.reader(text, **self.form), 1, None
        try:
            for cells in reader:
                width = width or len(cells)
                if cells and len(cells) != width:
                    raise ValueError(f"{self.path}, line {line}, has {len(cells)} cells, the first "
                                     f"{width}: is a cell lost, or unquoted? Or say separator=")
                if cells:  # a blank line has none
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {line}: {error}: is a quote open?") from None

    def columns(self, places: dict[str, int]) -> pd.DataFrame:
        """Read some columns, by name, each as a Categorical of its texts."""
        texts = {name: defaultdict(count().__next__) for name in places}  # each with its code
        codes = {name: array("q") for name in places}
        for _, cells in islice(self.rows(), int(self.header), None):
            for name, at in places.items():
                codes[name].append(texts[name][cells[at]])
        if not codes["item"]:
            raise ValueError(f"{self.path} has no rows")
        frame = pd.DataFrame({name: pd.Categorical.from_codes(codes[name], [*texts[name]])
                              for name in places})
        for name in frame.columns.intersection(ROLES):
            self.refuse(frame[name], frame[name].cat.categories == "", "has no {name}")
            if short := [text for text in texts[name] if re.fullmatch(r"\d\.\d+E\+\d+", text)]:
                warnings.warn(f"{self.path}: {name}s such as {short[0]!r} have lost digits, if it "
                              "was Excel that wrote them: write them in full", stacklevel=4)
        return frame

    def refuse(self, column: pd.Series, wrong, because: str) -> None:
        """Raise ValueError, naming the line, if some texts of a column are wrong (bool, texts)."""
        for row in np.flatnonzero(np.asarray(wrong)[column.cat.codes]):
            line, _ = next(islice(self.rows(), int(row) + self.header, None))
            because = because.format(text=column.iloc[row], name=column.name)
            raise ValueError(f"{self.path}, line {line}, {because}")


def _ending(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _text(path: Path, given: str | None) -> str:
    """Read a text file in the encoding that is given, or in the one that is found."""
    raw = _unpacked(path)
    encoding = given or ("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    try:
        text = raw.decode(encoding)
    except (LookupError, UnicodeError) as error:
        if given or _ending(path) not in (".dat", ".item"):  # MovieLens'
            raise ValueError(f"{path} is no text in {encoding} ({error}): name its encoding=, such "
                             "as encoding=cp1252, or unpack it, or save it as CSV") from None
        warnings.warn(f"{path} is not UTF-8, and is read as latin-1", stacklevel=4)
        text = raw.decode("latin-1")
    text = text.removeprefix("\ufeff")
    with suppress(UnicodeError):
        if given and "\0" not in (plain := raw.decode("utf-8-sig")) and plain != text:
            warnings.warn(f"{path} is read as {given}, but its bytes are UTF-8: is encoding= meant "
                          "for the other file?", stacklevel=4)
    return text


def _unpacked(path: Path) -> bytes:
    """Read a file without gzip around it; Parquet becomes CSV."""
    raw = b"PAR1" if path.is_dir() else path.read_bytes()  # Spark's are folders
    try:
        raw = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
        if raw.startswith(b"PAR1"):  # floats are no ids, and marked as RecBole marks them
            file = path if path.is_dir() else io.BytesIO(raw)
            frame = pd.read_parquet(file, dtype_backend="numpy_nullable")
            floats = {name: f"{name}:float" for name in frame.select_dtypes("float")}
            texts = frame.select_dtypes("object").map(_as_text)
            frame = frame.assign(**texts).rename(columns=floats)
            raw = frame.to_csv(index=any(frame.index.names)).encode()
    except Exception as error:  # a damaged file fails in a dozen ways
        reason = "pip install pyarrow" if isinstance(error, ImportError) else error
        raise ValueError(f"{path} cannot be read, or is damaged ({reason})") from None
    return raw


def _as_text(cell):
    """Write a list of Parquet as JSON does, and bytes as what they say."""
    cell = cell.decode(errors="backslashreplace") if isinstance(cell, bytes) else cell
    return json.dumps(cell.tolist(), default=str) if isinstance(cell, np.ndarray) else cell


def _separator(path: Path, lines: list[str], given: str | None) -> str:
    """Find what separates cells: what parts each line into as many as the first."""
    given = "\t" if given in (r"\t", "tab") else given
    if given and given in lines[0]:  # it may be said of the other file alone
        return given
    widths = {mark: [len(next(csv.reader([line.replace(mark, "\x1f")], delimiter="\x1f")))
                     for line in lines] for mark in SEPARATORS}
    widths = {mark: counts for mark, counts in widths.items() if counts[0] > 1}
    fit = [mark for mark, counts in widths.items() if len(set(counts)) == 1] or list(widths)
    if not fit or fit[:2] == [",", ";"]:
        raise ValueError(f"{path}: what separates the cells of {lines[0].strip()!r}? {fit} could: "
                         "say it with separator=")
    return fit[0]
