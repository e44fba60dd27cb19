"""A CSV file's bytes -> rows: every line in one place, its values by an oracle, or the reason why it has none."""

import csv
import gzip
import io
import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bc4all.kinds import Features
from bc4all.reading import rows as reading
from bc4all.reading.rows import SCHEMA, Wanted, read_csv
from bc4all.reading.unpacking import pieces_of, unpacked

HEADER = "product_id,category_id,title,f0"
TITLE: Features = {"title": "text", "f0": "numeric"}
WANTED = Wanted(TITLE, labelled=True)


def read(content: str | bytes, wanted: Wanted = WANTED, piece_bytes: int = 1 << 20) -> list[dict[str, Any]]:
    """The rows of a file, in its order, its end last."""
    data = memoryview(content.encode() if isinstance(content, str) else content)
    pieces = (data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes))
    batches = list(read_csv("file:///x.csv", 3, pieces, wanted))
    assert all(batch.schema == SCHEMA for batch in batches)
    found: list[dict[str, Any]] = pa.Table.from_batches(batches).sort_by("row").to_pylist()
    for row in found:
        row["numbers"] = row["numbers"] and [None if math.isnan(number) else number for number in row["numbers"]]
    assert len({row["row"] for row in found}) == len(found)
    assert {row["file"] for row in found} == {row["row"] >> 40 for row in found} == {3}
    return found


def sound(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The values of the rows without a fault."""
    return [
        (row["product_id"], row["category_id"], *row["words"], *row["numbers"])
        for row in found
        if row["fault"] is None and row["file_end"] is None
    ]


def refused(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The reasons of the others, and their lines."""
    return [(row["fault"], row["line"]) for row in found if row["fault"] is not None]


def assert_accounted_for(found: list[dict[str, Any]]) -> None:
    """Each line of text is in one row, or in the count of those that hold commas alone."""
    end = found[-1]["file_end"]
    assert end["fault"] is None
    assert sum(row["lines"] for row in found) + end["empty"] == end["lines"]


FIELDS = st.text(st.sampled_from('ab ,"\n\r\té\u2028\x85\ufeff;=\\0'), max_size=6)
RECORDS = st.lists(st.tuples(FIELDS, FIELDS, FIELDS, st.floats(-9, 9).map(str)), max_size=12)


# Python quotes a break only where its lines end in one.
DIALECTS = [("\r\n", csv.QUOTE_MINIMAL), *((line_break, csv.QUOTE_ALL) for line_break in ("\n", "\r\n", "\r"))]


@given(RECORDS, st.sampled_from(DIALECTS), st.booleans())
@settings(max_examples=300)
def test_what_pythons_csv_writes_is_read_back(
    records: list[tuple[str, ...]], dialect: tuple[str, int], is_ended: bool
) -> None:
    """The values of sound rows are those that were written, whatever quotes, commas and breaks they hold."""
    line_break, quoting = dialect
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=line_break, quoting=quoting)  # type: ignore[arg-type]
    ids = [f"p{place}" for place in range(len(records))]
    kept = [record for record in records if not may_be_torn(record)]
    writer.writerow(HEADER.split(","))
    writer.writerows((product, "k", *record[2:]) for product, record in zip(ids, kept, strict=False))
    text = out.getvalue() if is_ended else out.getvalue().removesuffix(line_break)
    found = read(text)
    assert refused(found) == []
    expected = [(product, "k", record[2] or None, float(record[3])) for product, record in zip(ids, kept, strict=False)]
    assert sound(found) == expected
    assert_accounted_for(found)


def may_be_torn(record: tuple[str, ...]) -> bool:
    """Whether a title looks like what a stray quote has swallowed: two lines with the commas of two half records."""
    lines = record[2].replace("\r", "\n").split("\n")
    return len(lines) > 1 and any(line.count(",") >= 1 for line in lines)


TITLES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8) | st.none()
# No texts that pandas itself takes for another: "1_0", and numbers beyond what float32 holds.
NUMBERS = st.none() | st.floats(-1e30, 1e30) | st.integers(-(10**15), 10**15)


@given(st.lists(st.tuples(TITLES, NUMBERS), max_size=12), st.sampled_from(["", "+", " "]))
@settings(max_examples=200)
@example([(None, -0.0)], "+")
def test_what_pandas_writes_is_read_as_pandas_reads_it(records: list[tuple[Any, Any]], sign: str) -> None:
    """Numbers of any size and form to the last bit, and texts of any alphabet; an empty field is a missing value."""
    numbers = [number if number is None or str(number)[0] == "-" else f"{sign}{number}" for _, number in records]
    frame = pd.DataFrame({"title": [title for title, _ in records], "f0": pd.Series(numbers, dtype=object)})
    frame.insert(0, "product_id", [f"p{place}" for place in range(len(frame))])
    frame.insert(1, "category_id", "k")
    text = frame.to_csv(index=False)
    found = read(text)
    assert refused(found) == []
    missing: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}
    expected = pd.read_csv(io.StringIO(text), dtype={"title": str}, float_precision="round_trip", **missing)
    ours = pd.DataFrame(sound(found), columns=frame.columns)
    assert ours["title"].tolist() == [None if pd.isna(title) else title for title in expected["title"]]
    theirs = pd.to_numeric(expected["f0"]).astype(float)
    np.testing.assert_array_equal(ours["f0"].astype(float), [float(number) for number in theirs])
    assert_accounted_for(found)


PIECES = ["1", "k", '"', '""', ",", ",", "\n", "\r\n", "\r", " ", "\t", "\0", "é", "\u2028", "\x85", "\ufeff", "true\n"]
PIECES += ['"x\ny"', "1,k,t,1\n", '2,k,"two\n\n lines",2\n', '3,k,"a, ""b""\n  \nc",3\r\n', ",,,\n", "1,2,3,4,5,6\n"]
CONTENTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@given(CONTENTS, st.integers(1, 40))
@settings(max_examples=500)
@example('"\n,', 1)
@example('1,k,"a\r', 1)
@example("\ufeff1,k,t,1\n" * 3, 13)
def test_any_content_is_accounted_for_however_it_comes(content: str, piece_bytes: int) -> None:
    """Whatever a file holds, each of its lines is in one place, and the same rows come of pieces of any size."""
    text = f"{HEADER}\nsound,k,t,1\n{content}"
    found = read(text)
    assert ("sound", "k", "t", 1.0) in sound(found)
    assert_accounted_for(found)
    assert read(text, piece_bytes=piece_bytes) == found


@given(st.binary(max_size=200), st.integers(1, 40))
def test_bytes_of_any_kind_raise_nothing(content: bytes, piece_bytes: int) -> None:
    """What is no CSV, or no text, ends in rows, too."""
    found = read(HEADER.encode() + b"\n" + content, piece_bytes=piece_bytes)
    assert_accounted_for(found)
    read(content, piece_bytes=piece_bytes)


def test_a_stray_quote_costs_its_own_line() -> None:
    """A quote that is never closed, in a file without others: linear, and one row refused."""
    lines = [f"p{i},k,t,{i}" for i in range(100_000)]
    lines[7] = '7,k,"t,1'
    found = read("\n".join([HEADER, *lines]))
    assert refused(found) == [("malformed CSV line", '7,k,"t,1')]
    assert len(sound(found)) == 99_999


@pytest.mark.parametrize("value", ['"ab"cd', 'a"b', '27" wide', '"27" wide"', '""x'])
def test_a_quote_in_the_middle_is_kept(value: str) -> None:
    """What is no RFC 4180, and can mean one thing only, is taken as it stands."""
    assert sound(read(f"{HEADER}\n1,k,{value},1\n2,k,t,2\n")) == [("1", "k", value, 1.0), ("2", "k", "t", 2.0)]


@pytest.mark.parametrize("value", [r'"5\" wide"', r'"5\", wide"', r'"5\""'])
def test_a_backslash_escapes_nothing(value: str) -> None:
    """A quote that is escaped as Spark and MySQL do it costs its own line, which says why."""
    found = read(f"{HEADER}\n1,k,{value},1\n2,k,t,2\n")
    ((reason, _),) = refused(found)
    assert "a quote is escaped by a backslash" in reason
    assert len(sound(found)) == 1


def test_lines_of_commas_alone_are_skipped_and_counted() -> None:
    """Excel leaves empty cells below a table: they are no products, and are counted."""
    found = read(f"{HEADER}\n1,k,t,1\n,,,\n\n,,,,,\n2,k,t,2\n,,,\n")
    assert ([row[0] for row in sound(found)], refused(found)) == (["1", "2"], [])
    assert found[-1]["file_end"] == {"lines": 5, "empty": 3, "fault": None}


def test_a_line_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line, or a quoted field, beyond any reason costs its own place, and what follows is read."""
    monkeypatch.setattr(reading, "MAX_RECORD_BYTES", 70_000)
    monkeypatch.setattr("bc4all.reading.records.MAX_RECORD_BYTES", 70_000)
    long = "x" * 200_000
    found = read(f'{HEADER}\n1,k,t,1\n2,k,{long},2\r\n3,k,t,3\n4,k,"{long}\n5,k,t,5\n', piece_bytes=300)
    assert [row[0] for row in sound(found)] == ["1", "3", "5"]
    assert all("longer than" in reason for reason, _ in refused(found))
    assert_accounted_for(found)


HEADERS = {
    "a byte order mark": f"\ufeff{HEADER}\n",
    "blank lines": f"\n\r\n \t\n{HEADER}\r\n",
    "a name over two lines": f'"Price\n(EUR)",{HEADER}\n',
    "a line for Excel": f"sep=,\n{HEADER}\n",
    "carriage returns": f"{HEADER}\r",
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
def test_a_header_is_found(header: str, piece_bytes: int) -> None:
    """What comes before a header, and breaks in it, cost no row."""
    cells = "9.99,1,k,t,1" if "Price" in HEADERS[header] else "1,k,t,1"
    assert sound(read(HEADERS[header] + cells, piece_bytes=piece_bytes)) == [("1", "k", "t", 1.0)]


REFUSED_FILES = {
    "a spreadsheet": (b"PK\x03\x04...", "is a zip archive, or a spreadsheet (deliver it as CSV)"),
    "tabs": (HEADER.replace(",", "\t"), r"is separated by '\t'"),
    "UTF-16": (HEADER.encode("utf-16"), "is UTF-16 (deliver UTF-8)"),
    "semicolons": (HEADER.replace(",", ";"), "is separated by ';'"),
    "another separator": (f"sep=|\n{HEADER}", "is separated by '|'"),
    "gzip under another name": (gzip.compress(HEADER.encode()), "is compressed by gzip (name it .csv.gz)"),
    "a missing column": ("product_id,category_id,f0\n", "column title is missing"),
    "a doubled column": (f"{HEADER},f0\n", "column f0 is there twice"),
}


@pytest.mark.parametrize("kind", REFUSED_FILES)
def test_a_file_of_another_kind_is_told(kind: str) -> None:
    """The end says what the file is, and what to do; there are no rows."""
    content, complaint = REFUSED_FILES[kind]
    (end,) = read(content)
    assert complaint in end["file_end"]["fault"]


def test_a_compressed_file_is_read_piece_by_piece() -> None:
    """Several members, and zeros behind them, are one file; one that is cut, or damaged, says so behind its rows."""
    lines = "".join(f"p{i},k,{i * i % 9973 / 7},1\n" for i in range(20_000))
    content = gzip.compress(f"{HEADER}\n{lines[:1000]}".encode()) + gzip.compress(lines[1000:].encode())

    def unpack(data: bytes) -> list[dict[str, Any]]:
        batches = list(read_csv("x", 0, unpacked(pieces_of(memoryview(data))), WANTED))
        return pa.Table.from_batches(batches).to_pylist()  # type: ignore[no-any-return]

    assert len(sound(unpack(content + bytes(512)))) == 20_000
    for damaged in (content[:-3], content[: len(content) // 2], content[:5000] + bytes(100) + content[5100:]):
        assert "is truncated or damaged" in unpack(damaged)[-1]["file_end"]["fault"]
    assert unpack(b"")[-1]["file_end"] == {"lines": 0, "empty": 0, "fault": None}


def test_a_bomb_is_unpacked_in_pieces() -> None:
    """Of what unpacks to much more than it is, less than two pieces are held at once."""
    bomb = gzip.compress(bytes(50 << 20))
    sizes = [len(piece) for piece in unpacked(pieces_of(memoryview(bomb)))]
    assert sum(sizes) == 50 << 20
    assert max(sizes) < 2 << 20


def test_a_quote_at_each_lines_end_is_linear() -> None:
    """In a hostile file each line opens a quote that the next one closes: each quote is followed once."""
    found = read(f"{HEADER}\n" + 'x","\n' * 200_000)
    assert sound(found) == []
    assert_accounted_for(found)


def test_the_order_of_rows_is_that_of_the_file() -> None:
    """Also of those that pyarrow does not read: of two products with one id, the first must come first."""
    batches = read_csv("x", 0, [f'{HEADER}\n1,a,"ab"cd,1\n2,b,t,2\n3,c,"e"f,3\n'.encode()], WANTED)
    rows = pa.Table.from_batches(list(batches))["row"].to_pylist()
    assert rows == sorted(rows)
