"""Files of other people: every layout gives the sequences that were written, or a sentence."""

import gzip
import json
import re
import warnings
from pathlib import Path

import numbering_one
import numpy as np
import pandas as pd
import pytest
from conftest import LAYOUTS

from s3rec_mini import movielens_interactions
from s3rec_mini.tools import readers
from s3rec_mini.tools.readers import Reading
from s3rec_mini.tools.sources import open_dataset

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Write and read in a folder of the test's own, so that messages name the bare file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ring(users=15, items=10, user="u{}".format, item="i{}".format, time=str):
    """Rows of cells: user n chose items n, n + 1, ... at times 0, 1, ..."""
    return [(user(n), item((n + step) % items), time(step))
            for n in range(users) for step in range(8)]


def write(rows, name="shop.csv", header="user,item,timestamp", separator=",", encoding="utf-8"):
    lines = [header] * bool(header) + [separator.join(row) for row in rows]
    Path(name).write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return name


def read(name, attributes=None, **reading):
    """Read a file of which nothing must be said."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return open_dataset(name, attributes, Reading(**reading))


def read_and_hear(name, said, attributes=None, **reading):
    """Read a file of which this, and whatever else, is said."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        data = open_dataset(name, attributes, Reading(**reading))
    assert re.search(said, "\n".join(str(each.message) for each in heard), re.DOTALL)
    return data


def refused(message, name="shop.csv", attributes=None, **reading):
    with pytest.raises(ValueError, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        open_dataset(name, attributes, Reading(**reading))


def by_name(data):
    """{user: [item, ...]}."""
    return {user: [data.item_names[item] for item in items]
            for user, items in zip(data.user_names, data.sequences, strict=True)}


def expected(rows):
    """What `by_name` must give of rows that are in time order."""
    chosen = {}
    for user, item, *_ in rows:
        chosen.setdefault(user, []).append(item)
    return chosen


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(numbering_one.KEYS))
def test_users_and_items_keep_the_numbers_that_the_first_edition_gave_them(kind, folder):
    stored = json.loads((HERE / "reference" / "numbering.json").read_text(encoding="utf8"))
    path = numbering_one.written(numbering_one.KEYS[kind], folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers in blanks
        data = open_dataset(str(path))
    assert numbering_one.sequences(data) == stored[kind]
    assert set(data.item_names[1:-1]) == set(numbering_one.KEYS[kind])  # to the letter


@pytest.mark.parametrize("keys", [
    [str(n) for n in range(15)] + [f"0{n}" for n in range(15)],
    ["12e3", "12000", "1.2e4", "12000.0", "+12000", "1", "2"],
    ["0108775015", "108775015", "10", "9", "B00X"],
    ["NA", "N/A", "None", "null", "nan", "NaN", "NULL", "n/a", "<NA>", "#N/A"],
    ["a", "A", "ä", "Ä", "ａ", "a\u0308"],
    ["True", "true", "TRUE", "False", "1", "0"],
    ["9007199254740993", "9007199254740992", "9007199254740993.0"],
    ["user", "item", "timestamp", "1", "2"],
])
def test_no_two_keys_of_a_file_become_one(keys):
    rows = ring(len(keys), len(keys), keys.__getitem__, keys.__getitem__)
    assert by_name(read(write(rows), min_count=3)) == expected(rows)


def test_numbers_long_before_a_word_do_not_settle_what_ids_are():
    rows = ring(30_000, 1000, str, str) + ring(5, 8, "B003{}".format, "B{}".format)
    assert by_name(read(write(rows))) == expected(rows)


def test_whole_numbers_become_integers_and_other_keys_stay_text():
    plain = readers.read_interactions(write(ring(user=str, item=str)), Reading())
    assert plain.dtypes[["user", "item"]].tolist() == [np.int64, np.int64]
    zeros = readers.read_interactions(write(ring(item="0{}".format)), Reading())
    assert zeros["item"].cat.ordered and zeros["item"].iloc[3] == "03"


def test_numbers_that_are_equal_come_in_the_order_of_their_texts():
    keys = ["7.0", "7", "07", "6", "007", "8"]
    data = read(write(ring(6, 6, item=keys.__getitem__)), min_count=3)
    assert data.item_names[1:-1] == ("6", "007", "07", "7", "7.0", "8")


def test_keys_that_differ_in_blanks_alone_are_told():
    rows = ring(item=["a", "a ", "b", "c", "d", "e", "f", "g", "h", "i"].__getitem__)
    data = read_and_hear(write(rows), "shop.csv: some items begin or end with a blank.*'a '")
    assert by_name(data) == expected(rows)
    data = read_and_hear(write(rows := ring(item=" {}".format), header="user, item,timestamp"),
                         "some items begin or end with a blank, such as ' 0'")
    assert by_name(data) == expected(rows)


def test_blanks_behind_every_separator_are_no_part_of_a_key():
    rows = ring()
    assert by_name(read(write(rows, header="user, item, timestamp", separator=", "))
                   ) == expected(rows)


# --- cells ---------------------------------------------------------------------------------------


def test_a_cell_too_many_under_three_headers_is_refused():
    refused("shop.csv, line 2, has 4 cells, the first 3",
            write([(*row, "x") for row in ring()]))


@pytest.mark.parametrize("cells", [["u1", "i1"], ["u1", "i1", "2", "x"], ["u1"],
                                   ["", "u1", "i1", "2"]])
def test_one_row_with_a_cell_too_many_or_too_few_is_named_by_its_line(cells):
    rows = ring()
    refused(f"shop.csv, line 52, has {len(cells)} cells, the first 3",
            write([*rows[:50], cells, *rows[51:]]))


def test_a_missing_cell_among_columns_that_are_not_read_is_refused():
    header = "timestamp,visitorid,event,itemid,transactionid"
    rows = [(time, user, "view", item, "") for user, item, time in ring()]
    rows[7] = ("7", "u0", "i7", "")
    refused("shop.csv, line 9, has 4 cells, the first 5", write(rows, header=header))


def test_lines_are_counted_as_an_editor_shows_them():
    """Blank lines count, and cells that go over several lines too."""
    header = "user,item,note,timestamp"
    rows = [(user, item, '"two\nlines"', time) for user, item, time in ring()]
    rows[3] = (*rows[3][:2], "short")
    refused("shop.csv, line 10, has 3 cells",
            write(rows, header="\n" + header + "\n"))  # 3 + 2 * 3 + 1
    rows[3] = (*rows[0][:3], "")
    refused("shop.csv, line 10, has no time", write(rows, header="\n" + header + "\n"))


@pytest.mark.parametrize("place, role", [(0, "user"), (1, "item"), (2, "time")])
def test_an_empty_cell_is_missing_and_named_by_its_line(place, role):
    rows = [list(row) for row in ring()]
    rows[50][place] = ""
    refused(f"shop.csv, line 52, has no {role}", write(rows))


@pytest.mark.parametrize("spoilt, message", [
    ('"i3', "line 5: "), ('"i3"x', "line 5: ',' expected after"),
    ('i3,"', "line 5: unexpected end"), ('"i3\n"', "line 5, has a line break in its item, 'i3.n'"),
])
def test_a_quote_out_of_place_is_refused_where_it_stands(spoilt, message):
    rows = ring()
    rows[3] = (rows[3][0], spoilt, rows[3][2])
    refused("shop.csv, " + message, write(rows))


def test_a_quote_that_swallows_whole_rows_is_found():
    rows = ring()
    rows[3], rows[6] = ("u0", '"i3', "3"), ("u0", 'i6"', "6")
    refused('shop.csv, line 5, has .* cells|line 5, has a line break', write(rows))


def test_quoted_cells_may_hold_separators_and_quotes():
    rows = ring(item='a "{}", b'.format)
    quoted = [(user, '"' + item.replace('"', '""') + '"', time) for user, item, time in rows]
    assert by_name(read(write(quoted))) == expected(rows)
    every = [[f'"{cell}"' for cell in row] for row in ring()]  # as R writes
    assert by_name(read(write(every, header='"user"\t"item"\t"timestamp"', separator="\t"))
                   ) == expected(ring())
    tabs = [(user, item, time) for user, item, time in ring(item='"{}" is a title'.format)]
    assert by_name(read(write(tabs, header="user\titem\ttimestamp", separator="\t"))
                   ) == expected(tabs)  # a file with tabs quotes nothing


# --- times ---------------------------------------------------------------------------------------


def stamped(times, **reading):
    """Read a ring whose steps are at these times, and give the order of the first user's items."""
    rows = ring(time=list(times).__getitem__)
    return by_name(read(write(rows, separator=";", header="user;item;timestamp"), **reading))["u0"]


IN_ORDER = [f"i{n}" for n in range(8)]
START = pd.Timestamp("2024-03-30T23:30:00")


@pytest.mark.parametrize("times", [
    [(START + pd.Timedelta(hours=n, microseconds=n % 2)).isoformat() for n in range(8)],
    [str((START + pd.Timedelta(minutes=20 * n)).tz_localize("UTC").tz_convert("Europe/Berlin"))
     for n in range(8)],  # an hour comes twice in autumn, and is left out in spring
    ["2024-01-01T12:00+05:00", "2024-01-01T08:00+00:00", "2024-01-01T05:00-04",
     "2024-01-01T11:00+01", "2024-01-01T20:00+0900", "2024-01-01T12:00Z",
     "2024-01-01T07:30-05:30", "2024-01-01T14:00Z"],
    [f"2024-01-01T00:00:0{n}Z" for n in range(8)],
    [f"2024-01-01 00:00:0{n} UTC" for n in range(8)],
    [f"2024-01-01T00:00:00,{n}" for n in range(8)],
    [f"{13 + n}.01.2024" for n in range(8)],
    [f"01/{13 + n}/2024" for n in range(8)],
    [f"{n + 1}-{12 + n}-2024 10:0{n}" for n in range(8)],
    [f"2024/1/{n + 8}" for n in range(8)],
    [f"{day}122023" for day in range(28, 32)] + [f"{day}012024" for day in range(13, 17)],
    [f"202312{day}" for day in range(28, 32)] + [f"202401{day}" for day in range(13, 17)],
    [f"202401{n + 10}T101010" for n in range(8)],
    [str(1577836800123456789 + n) for n in range(8)],  # nanoseconds: a float holds 53 bits
    [f"1577836800.{1234567 + n}" for n in range(8)],
    [f"157783680012345678901234567890{n}" for n in range(8)],
    ["1e3", "1001", "1002.5", "1.003e3", "1e4", "10001", "2e4", "30000"],
    ["-3", "-2", "-1", "0", "+1", "2", "10", "11"],
])
def test_times_are_read_in_their_order(times):
    assert stamped(times) == IN_ORDER
    shuffled = [times[n] for n in (3, 1, 2, 0, 7, 6, 5, 4)]
    assert stamped(shuffled) == [f"i{n}" for n in (3, 1, 2, 0, 7, 6, 5, 4)]


def test_equal_times_written_otherwise_keep_the_order_of_the_file():
    for times in (["5", "5.0", "5e0", "+5", "05", "5.", " 5", "5.00"],
                  ["2024-01-01T12:00Z", "2024-01-01T13:00+01:00", "2024-01-01T11:00:00.0-01:00",
                   "2024-01-01 12:00:00 UTC"] * 2):
        assert stamped(times) == IN_ORDER


def test_a_day_that_may_be_a_month_is_asked_and_read_as_is_said():
    times = [f"0{n + 1}/02/2024 10:00" for n in range(8)]
    refused(r"is '01/02/2024 10:00' 1 February \(time_format=day-first\) or 2 January \(time_form",
            write(ring(time=times.__getitem__)))
    assert stamped(times, time_format="day-first") == IN_ORDER
    assert stamped(times, time_format="%m/%d/%Y %H:%M") == IN_ORDER
    compact = [f"0{n + 1}022024" for n in range(8)]
    refused("is '01022024' 1 February", write(ring(time=compact.__getitem__)))
    compact[3] = "00022024"
    refused("line 5, has the time '00022024'", write(ring(time=compact.__getitem__)))
    mixed = ["01.12.2023", "12.01.2023", "02.12.2023", "03.12.2023", "04.12.2023", "05.12.2023",
             "06.12.2023", "07.12.2023"]
    assert stamped(mixed, time_format="day-first") == ["i1", "i0", *IN_ORDER[2:]]
    assert stamped(mixed, time_format="month-first") == ["i0", *IN_ORDER[2:], "i1"]


@pytest.mark.parametrize("time, message", [
    ("yesterday", "line 9, has the time 'yesterday', which cannot be read.*time_format="),
    ("now", "line 9, has the time 'now'"), ("NA", "line 9, has the time 'NA'"),
    ("2024-02-30", "line 9, has the time '2024-02-30'"),
    ("5", "line 9, has the time '5'"),
    ("2024-01-01 soon", "line 9, has the time '2024-01-01 soon'"),
    ("2024-01-01T10:00+01:00", "some times have an offset, '2024-01-01T10:00.01:00', and some h"),
])
def test_a_time_unlike_the_others_is_named(time, message):
    rows = ring(time="2024-01-0{}".format)[8:]  # no 0th of January
    rows = [(user, item, day.replace("-00", "-09")) for user, item, day in rows]
    rows[7] = (*rows[7][:2], time)
    refused(message, write(rows))


def test_one_word_among_numbers_is_named_and_not_the_numbers():
    rows = ring()
    rows[7] = (*rows[7][:2], "soon")
    refused("line 9, has the time 'soon'", write(rows))


def test_seconds_and_milliseconds_in_one_file_are_not_sorted():
    times = [str(1577836800 + n) for n in range(6)] + [str((1577836800 + n) * 1000) for n in (6, 7)]
    refused("goes from 1577836800 to 1577836807000: are some times in seconds and some in",
            write(ring(time=times.__getitem__)))
    assert stamped([str(100_000_001), "4102444800", *[str(4102444801 + n) for n in range(6)]]
                   ) == IN_ORDER  # 1973 to 2100


@pytest.mark.parametrize("form", ["ago", "mixed", "ISO8601", "%Q"])
def test_a_time_format_that_is_none_is_refused(form):
    refused("time_format=|bad directive", write(ring(time="2024-01-1{}".format)), time_format=form)


def test_time_formats_are_those_of_strftime():
    assert stamped([f"{n}. Jan 2024, {n} PM" for n in range(1, 9)],
                   time_format="%d. %b %Y, %I %p") == IN_ORDER


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_header(encoding):
    rows = ring(item="é{}".format)
    assert by_name(read(write(rows, encoding=encoding))) == expected(rows)
    if encoding == "utf-8-sig":
        assert by_name(read("shop.csv", encoding="utf-8")) == expected(rows)


def test_text_that_is_not_utf8_is_asked_for_and_movielens_is_known():
    rows = ring(item="é{}".format)
    refused("shop.csv is no text in utf-8.*0xe9.*encoding=", write(rows, encoding="cp1252"))
    assert by_name(read("shop.csv", encoding="cp1252")) == expected(rows)
    refused("shop.csv is no text in nonsense.*unknown encoding", encoding="nonsense")
    films = write([(f"é{n}", "ab"[n % 2]) for n in range(10)], "items.csv", "item,kind")
    with pytest.warns(UserWarning, match="items.csv is read as cp1252, but its bytes are UTF-8: "
                      r"is encoding= meant for the other"), pytest.raises(ValueError):
        open_dataset("shop.csv", films, Reading(encoding="cp1252"))
    rows = ring()
    assert by_name(read(write(rows, encoding="utf-16-le"), encoding="utf-16-le")) == expected(rows)
    rows = [(user, item, "4", time) for user, item, time in ring(user=str, item="é{}".format)]
    name = write(rows, "ratings.dat", header="", separator="::", encoding="latin-1")
    assert by_name(read_and_hear(name, "not UTF-8, and is read as latin-1")) == expected(rows)


@pytest.mark.parametrize("content, message", [
    (b"", "x.csv is empty"), (b"\n \n", "x.csv is empty"), (b"\xef\xbb\xbf", "x.csv is empty"),
    (b"user,item,timestamp\n", "x.csv has no rows"), (b"user,item,timestamp", "x.csv has no rows"),
    (b"a\0b,c,d\n", "x.csv is no text, as it holds zero bytes"),
    (b'{"reviewerID": "A", "asin": "B"}\n', "x.csv is JSON, not a table"),
    (b"\x1f\x8b\x08", "x.csv cannot be read, or is damaged"),
    (b"PAR1", "x.csv cannot be read, or is damaged"),
    (b"user\n1\n", "x.csv: what separates the cells of 'user'. .* could"),
    (b"user;item,timestamp;a,b\n1;2,3;4,5\n", r"what separates the cells.*\[',', ';'\] could"),
    (b"user,item\n1,2\n", r"x.csv: which of \['user', 'item'\] is the time. none could be"),
])
def test_a_file_that_is_no_table_is_named(content, message):
    Path("x.csv").write_bytes(content)
    refused(message, "x.csv")


def test_a_gzipped_file_is_known_by_its_content_and_a_truncated_one_is_named():
    rows = ring()
    packed = gzip.compress(Path(write(rows)).read_bytes())
    for name in ("shop.csv.gz", "SHOP.CSV.GZ", "shop.csv"):
        Path(name).write_bytes(packed)
        assert by_name(read(name)) == expected(rows)
        Path(name).write_bytes(packed[:len(packed) // 2])
        refused(f"{name} cannot be read, or is damaged", name)
        Path(name).write_bytes(packed[:-9] + bytes(9))
        refused(f"{name} cannot be read, or is damaged", name)


def test_a_missing_file_and_a_folder_are_named():
    with pytest.raises(OSError, match=r"'none\.csv'"):
        read("none.csv")
    Path("ml-1m").mkdir()
    Path("ml-1m/ratings.dat").write_text("1::2::3::4")
    refused("ml-1m cannot be read, or is damaged", "ml-1m")


@pytest.mark.parametrize("separator, ending", [
    (",", "csv"), (";", "csv"), ("\t", "tsv"), ("\t", "txt"), ("|", "csv"), (" ", "txt"),
    ("::", "dat"), ("\t", "CSV"), (";", "TXT"),
])
def test_separators_are_found(separator, ending):
    rows = ring()
    header = separator.join(["user", "item", "timestamp"])
    assert by_name(read(write(rows, f"shop.{ending}", header, separator))) == expected(rows)


def test_the_separator_that_parts_all_lines_alike_is_the_one():
    rows = [(user, item, "a,b" if item == "i3" else "a", time) for user, item, time in ring()]
    name = write(rows, header="user;item;note, if any;timestamp", separator=";")
    assert by_name(read(name)) == expected(ring())


def test_a_cell_may_be_as_long_as_a_review():
    rows = [(user, item, "good " * 40_000 if time == "3" else "bad", time)
            for user, item, time in ring(5, 5)]
    assert by_name(read(write(rows, header="user,item,review,timestamp"), min_count=3)
                   ) == expected(ring(5, 5))


def test_separators_are_named():
    rows = ring()
    for separator, said in (("^", "^"), ("\t", r"\t"), ("\t", "tab"), ("<>", "<>")):
        name = write(rows, header=separator.join(["user", "item", "timestamp"]),
                     separator=separator)
        assert by_name(read(name, separator=said)) == expected(rows)


def test_line_endings_of_other_systems_are_read():
    rows = ring()
    content = Path(write(rows)).read_bytes()
    for ending in (b"\r\n", b"\r", b"\n\n"):
        Path("shop.csv").write_bytes(content.replace(b"\n", ending))
        assert by_name(read("shop.csv")) == expected(rows)


# --- columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [
    "userId,movieId,rating,timestamp", "user_id,parent_asin,rating,timestamp",
    "reviewerID,asin,overall,unixReviewTime", "visitorid,itemid,event,timestamp",
    "user_id:token,item_id:token,rating:float,timestamp:float", "USER,ITEM,x,TIMESTAMP",
    "customer_id,article_id,price,t_dat", "user_id,product_id,event_type,event_time",
    "User-ID,Item ID,x,Date",
])
def test_known_headers_are_recognised_and_said(header):
    rows = ring()
    written = write([(user, item, "4", time) for user, item, time in rows], header=header)
    user, item, _, time = header.split(",")
    time_said = {} if time != "t_dat" else {"time": time}
    assert by_name(read_and_hear(written, f"shop.csv: users are {user}, items {item}, times {time}",
                                 **time_said)) == expected(rows)


def test_our_own_names_come_first_and_of_two_others_one_is_asked_for():
    rows = [(user, "x", item, time) for user, item, time in ring()]
    columns = expected(ring())
    name = write(rows, header="user,item_id,item,timestamp")
    assert by_name(read_and_hear(name, "users are user, items item, times timestamp")) == columns
    name = write(rows, header="user,asin,item_id,timestamp")
    refused(r"which of .* is the item. asin and item_id could be.*item=", name)
    assert by_name(read_and_hear(name, "items item_id", item="item_id")) == columns
    refused("asin and asin could be", write(rows, header="user,asin,asin,timestamp"))


def test_columns_are_named_or_numbered():
    rows = [(time, user, item) for user, item, time in ring()]
    name = write(rows, header="when,who,what")
    columns = dict(user="who", item="what", time="when")
    assert by_name(read_and_hear(name, "users are who", **columns)) == expected(ring())
    numbers = dict(user="2", item="3", time="1")
    assert by_name(read_and_hear(name, "users are who", **numbers)) == expected(ring())
    name = write(rows, header="")
    said = "users are column 2, items column 3, times column 1; its first line is no header"
    assert by_name(read_and_hear(name, said, **numbers)) == expected(ring())
    for wrong, message in [
            (dict(user="whom"), "which of .*'who'.* is the user. none could be"),
            (dict(user="4", item="3", time="1"), "is the user. none could be"),
            (dict(user="0", item="3", time="1"), "is the user. none could be"),
            (dict(user="2", item="2", time="1"), "need a column each")]:
        refused(message, write(rows, header="when,who,what"), **wrong)


def test_a_first_row_that_holds_a_number_like_those_given_is_no_header():
    """MovieLens' first user is 1, and so is the column that holds the users."""
    rows = [("1", "1193", "5", "978300760"), *[(str(n % 5), str(n % 4), "3", str(n))
                                              for n in range(200)]]
    name = write(rows, "ratings.dat", header="", separator="::")
    data = read_and_hear(name, "no header", user="1", item="2", time="4", min_count=3)
    kept = [row for row in rows if row[1] != "1193"]
    assert {user: len(items) for user, items in by_name(data).items()} == {
        user: len(items) for user, items in expected(kept).items()}


def test_the_numbers_that_pandas_gives_columns_without_names_are_a_header():
    rows = [(user, item, "5", time) for user, item, time in ring(user=str, item=str)]
    name = write(rows, header="0,1,2,3")
    numbers = dict(user="1", item="2", time="4")
    assert by_name(read_and_hear(name, "users are 0, items 1, times 3", **numbers)
                   ) == expected(ring(user=str, item=str))


def test_floats_are_no_ids():
    rows = [(user, "12000.0", time) for user, item, time in ring()]
    refused("ids no floats, which may have lost digits",
            write(rows, header="user_id:token,item_id:float,timestamp:float"))


def test_readings_are_for_files():
    refused("movielens-small is no file.*: leave out min_count=, attributes=", "movielens-small",
            "items.csv", min_count=3)


# --- Parquet -------------------------------------------------------------------------------------


def parquet_of(monkeypatch, frame):
    """Let a file be read as this frame, whether or not pyarrow is installed."""
    Path("shop.parquet").write_bytes(b"PAR1 and so on")
    monkeypatch.setattr(pd, "read_parquet", lambda stream, dtype_backend: frame)
    return "shop.parquet"


@pytest.mark.parametrize("times", [
    range(8), [START + pd.Timedelta(hours=n) for n in range(8)],
    [(START + pd.Timedelta(milliseconds=n)).tz_localize("Asia/Tokyo") for n in range(8)],
    [str(START + pd.Timedelta(hours=n)) for n in range(8)], [n / 8 for n in range(8)],
])
def test_a_parquet_file_is_the_table_it_holds(monkeypatch, times):
    rows = ring(item=str, time=list(times).__getitem__)
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"]).astype({"item": "Int64"})
    name = parquet_of(monkeypatch, frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = open_dataset(name)
    assert by_name(data) == expected(rows)
    refused("ids no floats", parquet_of(monkeypatch, frame.astype({"item": "Float64"})))
    refused("line 5, has no item", parquet_of(monkeypatch, frame.assign(
        item=frame["item"].mask(frame.index == 3))))


def test_a_parquet_file_is_written_and_read_by_pyarrow(folder):
    pytest.importorskip("pyarrow", reason="pip install pyarrow")
    rows = ring(item=str)
    pd.DataFrame(rows, columns=["user", "item", "timestamp"]).to_parquet("shop.parquet")
    assert by_name(read("shop.parquet")) == expected(rows)


def test_a_folder_of_parquet_files_is_read_and_other_columns_may_hold_anything(folder):
    pytest.importorskip("pyarrow", reason="pip install pyarrow")
    rows = ring(item=str)
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    frame["days"] = [[START, None]] * len(frame)
    frame["picture"] = [b"\xff\xd8"] * len(frame)
    Path("shop.parquet").mkdir()
    frame[:60].to_parquet("shop.parquet/part-0.parquet")
    frame[60:].to_parquet("shop.parquet/part-1.parquet")
    assert by_name(read("shop.parquet")) == expected(rows)


def test_a_parquet_file_may_hold_keys_in_its_index(folder):
    pytest.importorskip("pyarrow", reason="pip install pyarrow")
    rows = ring(item=str)
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    frame.set_index("item").to_parquet("shop.parquet")
    assert by_name(read("shop.parquet")) == expected(rows)


def test_a_parquet_file_says_what_it_needs(monkeypatch):
    name = parquet_of(monkeypatch, None)

    def without_pyarrow(stream, **options):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(pd, "read_parquet", without_pyarrow)
    refused("shop.parquet .*pip install pyarrow", name)


# --- attributes ----------------------------------------------------------------------------------


def attributes_of(data):
    """{item: {attribute, ...}}."""
    table = data.item_attributes.tolist()
    return {data.item_names[row]: {name for name, has in zip(data.attribute_names, table[row],
                                                             strict=True) if has}
            for row in range(1, data.num_items + 1)}


GENRES = ["Action|Comedy", "Comedy", "Action", "Drama", "Drama|Action"] * 2


@pytest.mark.parametrize("name, header, separator, said", [
    ("movies.csv", "movieId,title,genres", ",", r"columns \['title'\] are left out"),
    ("movies.dat", "", "::", r"columns \['title'\] are left out"),
    ("movies.item", "item_id:token\ttitle:token_seq\tgenres:token_seq", "\t", "'title'"),
])
@pytest.mark.parametrize("item", [str, "0{}".format, "B00{}".format])
def test_films_are_read_from_movielens_and_recbole(name, header, separator, said, item):
    if name == "movies.dat" and item == "B00{}".format:
        pytest.skip("MovieLens' films are numbers")
    recbole = name.endswith(".item")
    rows = [(item(n), f"Title {n}: é", GENRES[n].replace("|", " " if recbole else "|"))
            for n in range(10)]
    films = write([*rows, (item(99), "Unsold", "War")], name, header, separator)
    shop = write(ring(item=item))
    data = read_and_hear(shop, f"{said}.*1 of the 11 items", films)
    assert attributes_of(data) == {
        item(n): {f"genres: {genre}" for genre in GENRES[n].split("|")} for n in range(10)}


def test_recboles_numbers_are_no_attributes_unless_they_are_asked_for():
    rows = [(f"i{n}", f"{n % 3}.99", "ab"[n % 2]) for n in range(10)]
    items = write(rows, "ml.item", "item_id:token\tprice:float\tbrand:token", "\t")
    data = read_and_hear(write(ring()), r"columns \['price'\] are left out", items)
    assert attributes_of(data)["i3"] == {"brand: b"}
    data = read("shop.csv", items, fields="price,brand")
    assert attributes_of(data)["i3"] == {"price: 0.99", "brand: b"}


def test_the_flags_of_movielens_100k_have_their_names():
    flags = json.loads((Path(readers.__file__).parents[1] / "data" / "layouts.json").read_text()
                       )["headerless"]["|24"][5:]
    assert len(flags) == 19 and flags[5] == "Comedy" and flags[8] == "Drama"
    rows = [(str(n), f"Film {n} (1995)", "01-Jan-1995", "", f"http://x/{n}",
             *["1" if flag == 5 or (n % 2 and flag == 8) else "0" for flag in range(19)])
            for n in range(10)]
    rows[3] = (rows[3][0], "Café (1995)", *rows[3][2:])
    films = write(rows, "u.item", "", "|", encoding="latin-1")
    data = read_and_hear(write(ring(item=str)), "u.item is not UTF-8", films)
    assert attributes_of(data) == {str(n): {"Comedy", *["Drama"] * (n % 2)} for n in range(10)}


def test_an_index_column_is_left_out_and_fields_choose():
    rows = [(str(n), f"i{n}", "ab"[n % 2], f"{n}.99", "NA") for n in range(10)]
    shop, items = write(ring()), write(rows, "items.csv", ",item,kind,price,region")
    refused("field 'price' has 10 values in 10 cells", shop, items)
    data = read(shop, items, fields="kind, region")
    assert attributes_of(data)["i3"] == {"kind: b", "region: NA"}
    data = read_and_hear(shop, r"columns \[''\] are left out", items, min_items=2)
    assert set(data.attribute_names[1:]) == {"kind: a", "kind: b", "region: NA"}
    refused("'colour' among", shop, items, fields="colour")
    refused("'kind' among", shop, write(rows, "items.csv", "x,item,kind,kind,region"))


def test_users_and_times_are_no_attributes_where_one_file_is_given_twice():
    rows = [(*row, "ab"[int(row[1][1:]) % 2]) for row in ring()]
    name = write(rows, header="user,item,timestamp,kind")
    data = read_and_hear(name, r"columns \['user', 'timestamp'\] are left out", name)
    assert data.attribute_names[1:] == ("kind: a", "kind: b")


def test_the_column_of_items_may_be_named_otherwise_in_either_file():
    shop = write(ring(), header="user,sku,timestamp")
    rows = [(f"i{n}", "ab"[n % 2]) for n in range(10)]
    for header in ("item_id,kind", "sku,kind", "item,kind"):
        data = read_and_hear(shop, "items sku", write(rows, "items.csv", header), item="sku")
        assert attributes_of(data)["i3"] == {"kind: b"}
    rows = [(f"i{n}", "xy"[n % 2], "ab"[n % 2]) for n in range(10)]  # a number is of one file
    films = write(rows, "items.csv", "item,2,kind")
    data = read_and_hear(write(ring(), header=""), "no header", films, user="1", item="2", time="3")
    assert attributes_of(data)["i3"] == {"2: y", "kind: b"}
    shop, rows = write(ring(), header="user,sku,timestamp"), [row[::2] for row in rows]
    refused("items.csv: which of .* is the item. none could be.*a first line there call it item",
            shop, write(rows, "items.csv", "what,kind"), item="sku")
    refused("items.csv, line 5, has no item", shop,
            write([*rows[:3], ("", "a")], "items.csv", "item,kind"), item="sku")


def test_items_of_which_none_is_sold_are_refused():
    refused("none of the 2 items with attributes.*such as .'x', 'y'.*such as .'i0'", write(ring()),
            write([("x", "a"), ("y", "b")], "items.csv", "item,kind"))


def test_list_separators_are_passed_on():
    rows = [(f"i{n}", "a b;c") for n in range(10)]
    items = write(rows, "ml.item", "item_id:token\tx:token_seq", "\t")
    data = read(write(ring()), items, list_separator=";")
    assert attributes_of(data)["i3"] == {"x: a b", "x: c"}
    rows = [(f"i{n}", "a~b" if n % 2 else "b") for n in range(10)]
    data = read(write(ring()), write(rows, "items.csv", "item,kind"), list_separator="~")
    assert attributes_of(data)["i3"] == {"kind: a", "kind: b"}
    rows = [(f"i{n}", '"[\'a\', \'b\']"' if n % 2 else "[]") for n in range(10)]
    data = read(write(ring()), write(rows, "items.csv", "item,kind"))
    assert attributes_of(data)["i3"] == {"kind: a", "kind: b"}


def shop_and(rows, header="item,kind", said="", **reading):
    return read_and_hear(write(ring()), said, write(rows, "items.csv", header), **reading)


def test_a_word_among_lists_leaves_them_lists():
    cells = ["\"['Action', 'War']\"", "NA", "\"['Drama']\"", "\"['War', None]\"", "[]"]
    data = shop_and([(f"i{n}", cells[n % 5]) for n in range(10)])
    assert set(data.attribute_names[1:]) == {"kind: Action", "kind: War", "kind: NA", "kind: Drama"}
    assert attributes_of(data)["i3"] == {"kind: War"}


def test_a_comma_within_a_number_parts_nothing():
    cells = ["299.00 EUR", "1,299.00 EUR", "19.00 EUR", "1,019.00 EUR", "5.00 EUR"]
    data = shop_and([(f"i{n}", f'"{cells[n % 5]}"') for n in range(10)])
    assert data.attribute_names[1:] == tuple(sorted(f"kind: {cell}" for cell in cells))


def test_dicts_written_as_text_are_not_parted():
    names = ["Action", "War", "Drama", "Kids"]
    cells = [f"\"[{{'id': {n % 4}, 'name': '{names[n % 4]}'}}" +
             f", {{'id': {m}, 'name': '{names[m]}'}}" * (n % 2) + "]\""
             for n, m in zip(range(10), (1, 2, 3, 0) * 3, strict=False)]
    data = shop_and([(f"i{n}", cell) for n, cell in enumerate(cells)],
                    said="is read as it is, ',' and all")
    assert all(name.endswith("]") for name in data.attribute_names[1:])


def test_a_list_separator_is_for_the_fields_that_have_it():
    rows = [(f"i{n}", "Action/War" if n % 2 else "Drama", "\"['a', 'b']\"", "x|y")
            for n in range(10)]
    data = shop_and(rows, "item,genre,tags,kind", r"with '\|' between", list_separator="/")
    assert attributes_of(data)["i1"] == {"genre: Action", "genre: War", "tags: a", "tags: b",
                                         "kind: x", "kind: y"}


@pytest.mark.parametrize("field", ["жанр", "类型", "Κατηγορία"])
def test_a_field_may_have_a_name_in_any_script(field):
    data = shop_and([(f"i{n}", "ab"[n % 2]) for n in range(10)], f"item,{field}")
    assert attributes_of(data)["i3"] == {f"{field}: b"}


def test_names_of_columns_may_have_blanks_around_them():
    for header in ("user ,item,when", "user,item, when "):
        data = read_and_hear(write(rows := ring(), header=header), "times when", time="when")
        assert by_name(data) == expected(rows)


def test_tabs_beside_quotes_as_pandas_writes_them():
    rows = ring(item='a "{}" b'.format)
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    frame.to_csv("shop.tsv", sep="\t", index=False)
    assert by_name(read("shop.tsv")) == expected(rows)
    titles = ring(item='"{}" is a title'.format)  # and no quoted cell
    assert by_name(read(write(titles, "titles.tsv", separator="\t",
                              header="user\titem\ttimestamp"))) == expected(titles)


@pytest.mark.parametrize("separator", list("+*?(][^$\\"))
def test_a_separator_that_regular_expressions_read_otherwise(separator):
    rows = ring()
    path = write(rows, header=separator.join(["user", "item", "timestamp"]), separator=separator)
    assert by_name(read(path, separator=separator)) == expected(rows)


@pytest.mark.parametrize("clock", ["1530", "153059"])
def test_digits_of_day_month_year_and_a_clock_are_no_numbers(clock):
    days = [f"{28 + n}122023{clock}" if n < 4 else f"0{n - 3}012024{clock}" for n in range(8)]
    rows = ring(time=days.__getitem__)
    refused(f"line 2, has the time '28122023{clock}', which cannot be read: say", write(rows))
    form = "%d%m%Y%H%M" + "%S" * (len(clock) > 4)
    assert by_name(read("shop.csv", time_format=form)) == expected(rows)
    for digits in (10, 12, 13):  # of seconds, and of milliseconds now and before 2001
        rows = ring(time=lambda n, digits=digits: str(9 * 10**(digits - 1) + n))
        assert by_name(read(write(rows))) == expected(rows)


@pytest.mark.parametrize("days, form", [
    ("280224 290224 010324 020324 030324 040324 050324 060324", "%d%m%y"),
    ("022824 022924 030124 030224 030324 030424 030524 030624", "%m%d%y"),
    ("11.2023 12.2023 01.2024 02.2024 03.2024 04.2024 05.2024 06.2024", "%m.%Y"),
    ("112023 122023 012024 022024 032024 042024 052024 062024", "%m%Y")])
def test_short_days_and_months_are_no_numbers(days, form):
    rows = ring(time=days.split().__getitem__)
    refused(f"has the time '{days[:6]}.*which cannot be read: say", write(rows))
    assert by_name(read("shop.csv", time_format=form)) == expected(rows)


def test_months_and_counts_are_numbers():
    for first in (201501, 100000, 240000, 1):
        rows = ring(time=lambda n, first=first: str(first + n))
        assert by_name(read(write(rows))) == expected(rows)


def test_what_excel_has_rounded_is_said():
    rows = ring(item=lambda n: f"4.0063{n}E+12", time=lambda n: f"1.7000{n}E+12")
    name = write(rows)
    for said in ("items such as '4.0063.E.12' have lost digits", "times such as '1.7000"):
        assert by_name(read_and_hear(name, said)) == expected(rows)


def test_quotes_around_a_comma_are_excels_where_tabs_part_cells():
    rows = [(user, f'"Matrix, The {item}"', time) for user, item, time in ring()]
    data = read(write(rows, header="user\titem\ttimestamp", separator="\t"))
    assert by_name(data) == expected([(u, i.strip('"'), t) for u, i, t in rows])


@pytest.mark.parametrize("year", [2002, 2012, 2019, 2020, 2022])
def test_compact_days_of_any_year_are_read(year):
    days = [f"{year}01{10 + n}" for n in range(8)]
    for clock in ("T101010", " 10:10:10"):
        rows = ring(time=lambda n, clock=clock: days[n] + clock)
        assert by_name(read(write(rows))) == expected(rows)
    mixed = [*days[:4], *(f"{year}-01-{10 + n}" for n in range(4, 8))]
    assert by_name(read(write(rows := ring(time=mixed.__getitem__)))) == expected(rows)


def test_days_that_lost_their_leading_zero_are_refused():
    days = ["28122023", "29122023", "30122023", "31122023", "1012024", "2012024", "3012024",
            "4012024"]
    refused("has the time '1012024', which cannot be read", write(ring(time=days.__getitem__)))


def test_the_endings_of_movielens_are_known_in_capitals_and_gzipped():
    rows = [(f"{int(user[1:]) + 1}", f"{int(item[1:]) + 1}", "5", str(10**9 + int(time)))
            for user, item, time in ring()]
    want = expected(rows)
    for name in ("U.DATA", "u.data.gz"):
        path = write(rows, name, "", separator="\t")
        if name.endswith(".gz"):
            Path(path).write_bytes(gzip.compress(Path(path).read_bytes()))
        data = read_and_hear(path, "its first line is no header")
        assert {u: [str(i) for i in items] for u, items in by_name(data).items()} == {
            u: items for u, items in want.items()}


def test_parquet_hands_over_lists_and_texts_of_bytes():
    pytest.importorskip("pyarrow", reason="pip install pyarrow")
    frame = pd.DataFrame(ring(), columns=["user", "item", "timestamp"])
    frame["timestamp"] = frame["timestamp"].astype(int)
    frame.assign(user=frame["user"].str.encode("utf8")).to_parquet("shop.parquet")
    pd.DataFrame({"item": [f"i{n}" for n in range(10)],
                  "x": [[1, 2, 3], [2], [], None, [3, 1]] * 2}).to_parquet("items.parquet")
    data = read("shop.parquet", "items.parquet")
    assert by_name(data) == expected(ring())
    assert attributes_of(data)["i4"] == {"x: 3", "x: 1"} and attributes_of(data)["i3"] == set()


# --- MovieLens in the layouts of others ----------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_movielens_is_the_same_in_every_layout(layouts, layout):
    """By a plain loop, as in chapter 1: five ratings a user and a film, by time within a user."""
    arguments, reading = layouts[layout]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = open_dataset(*arguments, reading)
    frame = movielens_interactions()
    assert data.num_users == 671 and data.num_items == 3496
    rows = frame[frame["movieId"].astype(str).isin(data.item_names)]
    assert by_name(data) == expected(zip(rows["userId"].astype(str), rows["movieId"].astype(str),
                                         strict=True))
    if data.num_attributes:
        films = rows.drop_duplicates("movieId")
        assert attributes_of(data) == {
            str(film.movieId): {f"genres: {genre}" for genre in film.genres.split("|")}
            for film in films.itertuples()}
