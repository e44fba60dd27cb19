"""Reading a partition: each kind of bad row and file, and that no row is ever lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from bc4all.data.filesystem import FileSystem
from bc4all.data.products import Products
from bc4all.data.wave import read_prediction, read_training
from bc4all.errors import DataError
from bc4all.kinds import Features
from bc4all.layout import Layout
from tests.reading.packs import accepted_frame

Deliver = Callable[..., Path]


@pytest.fixture
def read(spark: SparkSession, prefix: Path) -> Callable[..., Products]:
    """Read client x's partition with the feature f0."""
    layout = Layout.at(str(prefix))
    files = FileSystem(spark, layout.prefix)

    def read(kind: str = "train", features: tuple[str, ...] | Features = ("f0",)) -> Products:
        features = features if isinstance(features, dict) else dict.fromkeys(features, "numeric")
        if kind == "train":
            return read_training(spark, files, layout.training("x"), features)
        return read_prediction(spark, files, layout.prediction("x"), features)

    return read


BAD_ROWS = {
    ",a,1": "no product_id",
    "  ,a,1": "no product_id",
    "1,b,2": "duplicate product_id",
    "p,a,one": "f0 is no number",
    "p,a,1.0d": "f0 is no number",
    "p,a,0x10": "f0 is no number",
    "p,a,1 2": "f0 is no number",
    "p,a,inf": "f0 is infinite",
    "p,a,-Infinity": "f0 is infinite",
    "p,a,1e39": "f0 is infinite",
    "p,,1": "no category_id",
    "p,a": "malformed CSV line",
    "p\x00q,a,1": "product_id holds a control character",
    '"p\tq",a,1': "product_id holds a control character",
    "p,\ufffd,1": "category_id is not UTF-8",
    "p,a,1,2,3": "malformed CSV line",
    ",,one": "no product_id; no category_id; f0 is no number",
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_refuses_a_bad_row_with_its_reason(deliver: Deliver, read: Callable[..., Products], row: str) -> None:
    """A row that cannot be used is kept apart with what it said; the others are not touched."""
    deliver("train", "x", "a.csv", f"product_id,category_id,f0\n1,a,1\n{row}\n2,b,2\n")
    products = read()
    assert accepted_frame(products)["product_id"].tolist() == ["1", "2"]
    (refused,) = products.refused.collect()
    assert refused["reason"] == BAD_ROWS[row]
    assert refused["file"].endswith("a.csv")
    if "malformed" in refused["reason"]:
        assert refused["line"] == row
    else:
        given = [refused[name] or "" for name in ("product_id", "category_id", "f0")]
        assert given[0].strip() == row.split(",")[0].strip().strip('"')
        assert given[2].strip() in (row.split(",")[2], f"{float(row.split(',')[2]):.1f}" if given[2] == "2.0" else "")
    assert (products.rows, products.accepted_rows, products.refusals) == (3, 2, {BAD_ROWS[row]: 1})


def test_keeps_text_as_text_and_missing_numbers_as_data(deliver: Deliver, read: Callable[..., Products]) -> None:
    """00123 is not 123, quotes and commas belong to a name, and an absent number is no fault."""
    deliver("train", "x", "a.csv", 'f0,more,category_id,product_id\n,x,007,00123\nNaN,y,"a, ""b""",123\n1e-3,z,7,é\n')
    rows = accepted_frame(read())
    assert rows["product_id"].tolist() == ["00123", "123", "é"]
    assert rows["category_id"].tolist() == ["007", 'a, "b"', "7"]
    assert rows["f0"].isna().tolist() == [True, True, False]
    assert rows["f0"][2] == 0.001


def test_matches_columns_by_name_in_each_file(deliver: Deliver, read: Callable[..., Products]) -> None:
    """Files of one partition may differ in order, kind and further columns; a byte order mark is no part of a name."""
    deliver("train", "x", "a.csv", "product_id,category_id,f0,F0\n1,a,1.5,9\n")
    deliver("train", "x", "b [1].csv.gz", "\ufefff0,extra.dotted,product_id,category_id\n2.5,z,2,b\n")
    pd.DataFrame({"category_id": ["c"], "f0": [3.5], "product_id": [3]}).to_parquet(
        deliver("train", "x", "c.parquet", "").with_name("c.parquet")
    )
    deliver("train", "x", "_SUCCESS", "")
    rows = accepted_frame(read()).sort_values("product_id")
    assert rows[["product_id", "category_id", "f0"]].to_numpy().tolist() == [
        ["1", "a", 1.5],
        ["2", "b", 2.5],
        ["3", "c", 3.5],
    ]


def test_a_quoted_line_break_belongs_to_its_value(deliver: Deliver, read: Callable[..., Products]) -> None:
    """A title over two lines is one value, commas and doubled quotes in it too, whatever ends the file's lines."""
    text = 'product_id,title,category_id,f0\n1,"a\nb, ""c""",x,1\n2,plain,y,2\n3,"d\n\n",z,3\n'
    deliver("train", "x", "unix.csv", text)
    deliver("train", "x", "dos.csv.gz", text.replace("\n", "\r\n").replace(",x,", ",p,").replace("\n1,", "\n4,"))
    products = read(features=("f0",))
    rows = accepted_frame(products).sort_values("product_id")
    assert rows["product_id"].tolist() == ["1", "2", "3", "4"]
    assert rows["category_id"].tolist() == ["x", "y", "z", "p"]
    assert products.refusals == {"duplicate product_id": 2}


@pytest.mark.parametrize(
    "stray",
    ['7,"a,1', '7,a,"1', '7,"a,1,2,3', '"7,a,1', '7,"a\nb,1'],
)
def test_a_quote_that_is_never_closed_costs_its_own_line(
    deliver: Deliver, read: Callable[..., Products], stray: str
) -> None:
    """What it would have swallowed is read all the same; the broken line is kept as it was."""
    sound = [f"{i},k,{i}" for i in range(100, 200)]
    deliver("train", "x", "a.csv", "\n".join(["product_id,category_id,f0", *sound[:50], stray, *sound[50:], ""]))
    products = read()
    assert products.accepted_rows == 100
    assert products.refusals == {"malformed CSV line": 1 + stray.count("\n")}
    assert sorted(row["line"] for row in products.refused.collect()) == sorted(stray.split("\n"))


TITLES = {"title": "text", "brand": "category", "f0": "numeric"}


def test_text_is_taken_as_it_is(deliver: Deliver, read: Callable[..., Products]) -> None:
    """A title may be missing, go over lines, hold quotes, commas, formulas, or what is not UTF-8; so may a brand."""
    titles = [None, "two\nlines", 'a "quoted", one', "=1+1", "\ufffd", " ", "x" * 10_000, "three\r\nlines, and, commas"]
    frame = pd.DataFrame({"product_id": [f"{i}" for i in range(8)], "category_id": "k", "title": titles, "f0": 1.0})
    deliver("train", "x", "a.csv", frame.assign(brand=[None, *titles[2:5], "", "b", "c", "d"], more="m", and_more=1))
    products = read(features=TITLES)
    assert products.refusals == {}
    brands = [None, *titles[2:5], None, "b", "c", "d"]
    rows = [(str(i), *texts) for i, texts in enumerate(zip(titles, brands, strict=True))]
    found = accepted_frame(products)[["product_id", "title", "brand"]]
    assert [tuple(row) for row in found.to_numpy().tolist()] == rows


@pytest.mark.parametrize("wide", [3, 40])
def test_a_long_text_costs_no_hours(deliver: Deliver, read: Callable[..., Products], wide: int) -> None:
    """A description of many lines and commas is a text, in a narrow file and in a wide one; nobody waits for it."""
    frame = pd.DataFrame({"product_id": ["1"], "category_id": ["k"], "title": ["one\n" + ", ".join("x" * 39)]})
    for number in range(wide - 3):
        frame[f"more {number}"] = "m"
    frame["brand"], frame["f0"] = "b", 1.0
    deliver("train", "x", "a.csv", frame)
    products = read(features=TITLES)
    assert (products.accepted_rows, products.refusals) == (1, {})


def test_numbers_can_be_text(deliver: Deliver, read: Callable[..., Products]) -> None:
    """A brand that is a number in a parquet file, or a truth value, is its text."""
    frame = pd.DataFrame({"product_id": ["1"], "category_id": ["k"], "title": [7], "brand": [True], "f0": [1]})
    frame.to_parquet(deliver("train", "x", "a.parquet", ""))
    (row,) = accepted_frame(read(features=TITLES)).to_dict("records")
    assert (row["title"], row["brand"], row["f0"]) == ("7", "true", 1.0)
    frame.assign(title=[[1, 2]]).to_parquet(deliver("train", "x", "a.parquet", ""))
    with pytest.raises(DataError, match="column title is array<bigint>"):
        read(features=TITLES)


@pytest.mark.parametrize("stray", ['7,k,"best,b,1', '7,k,"two\nlines,b,1'])
def test_a_quote_in_a_title_swallows_no_product(deliver: Deliver, read: Callable[..., Products], stray: str) -> None:
    """A title that begins with a stray quote, and another one later: no row between them becomes part of a title."""
    sound = [f"{i},k,title {i},b,{i}" for i in range(100, 200)]
    rows = [*sound[:50], stray, *sound[50:70], '8,k,"other,b,2', *sound[70:]]
    deliver("train", "x", "a.csv", "\n".join(["product_id,category_id,title,brand,f0", *rows, ""]))
    products = read(features=TITLES)
    assert products.accepted_rows == 100
    assert products.refusals == {"malformed CSV line": 2 + stray.count("\n")}


NAMES = ["a.b", "a`b", "F0", "f0", "sp ace", 'quo"te', "ümlaut", "`", "a.b.c", "$(x)"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_feature_may_have_any_name(deliver: Deliver, read: Callable[..., Products], kind: str) -> None:
    """Dots, backticks, quotes, case and spaces in a column's name are a part of it."""
    frame = pd.DataFrame(
        {"product_id": ["1"], "category_id": ["k"], **{name: [float(i)] for i, name in enumerate(NAMES)}}
    )
    file = deliver("train", "x", f"a.{kind}", frame)
    if kind == "parquet":
        frame.to_parquet(file)
    (row,) = accepted_frame(read(features=tuple(NAMES))).to_dict("records")
    assert [row[name] for name in NAMES] == [float(i) for i in range(len(NAMES))]


def test_ten_thousand_columns(deliver: Deliver, read: Callable[..., Products]) -> None:
    """A very wide file is read like any other."""
    names, values = (",".join(f"{prefix}{i}" for i in range(10_000)) for prefix in ("f", ""))
    deliver("train", "x", "a.csv", f"product_id,category_id,{names}\n1,k,{values}\n2,k,{values}\n")
    products = read(features=("f9999", "f0"))
    assert accepted_frame(products)[["f9999", "f0"]].to_numpy().tolist() == [[9999.0, 0.0]] * 2


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_a_large_file_is_read_line_by_line_to_the_same_rows(
    deliver: Deliver, read: Callable[..., Products], line_break: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hadoop's reader finds the lines of a large file: rows, reasons and their order are those of a small one."""
    lines = ["product_id,category_id,f0,title", *(f"{row},t" for row in BAD_ROWS), 'q,k,1,"a\n\n b, c"', '7,k,1,"a']
    lines += ['lenient,k,3,"ab"cd', *(f"p{i},k,{i},title {i}" for i in range(30_000)), "p7,k,1,again"]
    text = line_break.join(lines)
    deliver("train", "x", "a.csv", text)
    deliver("train", "x", "b.csv.gz", text + line_break)
    features = {"f0": "numeric", "title": "text"}

    def rows() -> tuple[list[tuple[object, ...]], list[tuple[object, ...]], dict[str, int]]:
        products = read(features=features)
        accepted = [tuple(row) for row in accepted_frame(products).fillna("missing").to_numpy().tolist()]
        refused = sorted((tuple(row) for row in products.refused.collect()), key=str)
        products.release()
        return accepted, refused, dict(products.refusals)

    whole = rows()
    monkeypatch.setattr("bc4all.data.feed.MAX_WHOLE_BYTES", 1000)
    assert rows() == whole
    assert len(whole[0]) > 30_000


def test_a_small_parquet_file_is_read_to_the_rows_of_a_large_one(
    deliver: Deliver, read: Callable[..., Products], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's own reader gives what Spark's does, for every type that it is given: values, refusals and counts."""
    texts = pa.array([b"a", b"\xff", None, b"", b" b "]).cast(pa.binary()).view(pa.string())
    numbers = [1, None, 3, 4, 2]
    columns: dict[str, Any] = {
        "product_id": pa.array([3, 1, 2, 2, 7], pa.int64()),
        "category_id": pd.Categorical(["k", "l", "k", "k", "l"]),
        "text": texts,
        "truth": pa.array([True, None, False, True, True]),
        "whole": pa.array(numbers, pa.int8()),
        "number_text": pa.array(["1", " +2.5", "x", None, "inf"]),
        **{f"n_{type_}": pa.array(numbers, type_) for type_ in (pa.int16(), pa.uint8(), pa.uint32(), pa.int64())},
        "n_float": pa.array([0.1, None, float("nan"), 4, 1e38], pa.float32()),
        "n_double": pa.array([0.1, None, float("inf"), 4, 1e39], pa.float64()),
        "nothing": pa.nulls(5),
    }
    kinds = {"text": "text", "truth": "category", "whole": "category", "nothing": "text"}
    features = {name: kinds.get(name, "numeric") for name in list(columns)[2:]}
    file = deliver("train", "x", "a.parquet", "")
    pq.write_table(pa.table(columns), file, row_group_size=2)

    def rows() -> tuple[Any, ...]:
        products = read(features=features)
        refused = sorted((tuple(row) for row in products.refused.collect()), key=str)
        frame = accepted_frame(products).astype(object)
        products.release()
        return frame.where(frame.notna(), "missing").to_numpy().tolist(), refused, products.refusals

    small = rows()
    monkeypatch.setattr("bc4all.data.feed.MAX_WHOLE_BYTES", 0)
    assert rows() == small
    assert small[0]
    assert len(small[1]) == 2


def test_a_small_parquet_file_is_cut_into_packs_and_told_when_it_is_damaged(
    deliver: Deliver, read: Callable[..., Products]
) -> None:
    """A pack has a megabyte or two, whatever the file's row groups are; a page that is no page names its file."""
    ids = [f"p{row}" for row in range(40_000)]
    frame = pd.DataFrame({"product_id": ids, "category_id": "k", "f0": range(40_000), "text": [i * 20 for i in ids]})
    file = deliver("train", "x", "a.parquet", "")
    frame.to_parquet(file)
    products = read(features={"f0": "numeric", "text": "text"})
    sizes = [len(row["rows"]) for row in products.accepted.collect()]
    assert products.accepted_rows == 40_000
    assert max(sizes) < 4 << 20
    assert len(sizes) > 3
    products.release()
    content = bytearray(file.read_bytes())
    content[100:2000] = b"x" * 1900
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet is truncated or damaged"):
        read(features={"f0": "numeric", "text": "text"})


def test_features_may_be_called_as_quarantines_columns(deliver: Deliver, read: Callable[..., Products]) -> None:
    """`line`, `file` and `reason` are features like others; what quarantine says gets an underscore."""
    deliver("train", "x", "a.csv", "product_id,category_id,line,file,reason\n1,k,1,2,3\n2,k,x,2,3\n")
    products = read(features=("line", "file", "reason"))
    (row,) = products.refused.collect()
    assert (row["line"], row["file"], row["reason"]) == ("x", "2", "3")
    assert (row["_reason"], row["_line"]) == ("line is no number", None)
    assert row["_file"].endswith("a.csv")


def test_parquet_text_that_is_not_utf_8_is_refused(deliver: Deliver, read: Callable[..., Products]) -> None:
    """Arrow and Spark keep such bytes as they are: they are seen as in a CSV file."""
    columns = {
        "product_id": [b"St\xfchle", b"\xfc", b"ok"],
        "category_id": [b"a", b"b", b"c"],
        "title": [b"t", b"", b"\xfc"],
    }
    texts = {name: pa.array(values, pa.binary()).view(pa.string()) for name, values in columns.items()}
    pq.write_table(pa.table({**texts, "f0": [1.0, 2.0, 3.0]}), deliver("train", "x", "a.parquet", ""))
    products = read(features={"f0": "numeric", "title": "text"})
    assert accepted_frame(products)["title"].tolist() == ["\ufffd"]
    assert products.refusals == {"product_id is not UTF-8": 2}


@pytest.mark.parametrize("second", ["b.csv", "b.csv.gz", "b.parquet"])
def test_the_first_of_two_ids_counts(deliver: Deliver, read: Callable[..., Products], second: str) -> None:
    """By file name, then by place in it, however the files are read; a refused row before it does not count."""
    deliver("train", "x", "a.csv", "product_id,category_id,f0\n1,a,x\n1,b,1\n1,c,2\n2,a,3\n")
    frame = pd.DataFrame({"product_id": ["2", "3", "3", "1"], "category_id": list("bcde"), "f0": [4.0, 5, 6, None]})
    file = deliver("train", "x", second, frame)
    if second.endswith(".parquet"):
        frame.to_parquet(file)
    products = read()
    rows = accepted_frame(products).to_dict("records")
    assert [(row["product_id"], row["category_id"], row["f0"]) for row in rows] == [
        *(("1", "b", 1.0), ("2", "a", 3.0), ("3", "c", 5.0)),
    ]
    assert products.refusals == {"duplicate product_id": 4, "f0 is no number": 1}
    refused = products.refused.where("reason LIKE 'dup%'").toPandas()
    assert sorted(refused["f0"].fillna("none")) in (["2", "4.0", "6.0", "none"], ["2.0", "4.0", "6.0", "none"])


def test_every_row_is_in_one_place(deliver: Deliver, read: Callable[..., Products]) -> None:
    """Accepted and refused rows together are the rows of all files, whatever is wrong with them."""
    lines = [
        "product_id,category_id,f0",
        *BAD_ROWS,
        *(f"q{i},a,{i}" for i in range(500)),
        *(f"q{i},a,{i}" for i in range(9)),
    ]
    deliver("train", "x", "a.csv", "\n".join(lines))
    products = read()
    accepted = accepted_frame(products)
    assert len(accepted) + products.refused.count() == products.rows == len(lines) - 1
    assert accepted["product_id"].nunique() == products.accepted_rows == len(accepted)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", "", "there are no rows"),
        ("a.csv", "product_id,category_id,f0\n", "there are no rows"),
        ("a.csv", "product_id,category_id,f1\n1,a,2\n", "column f0 is missing .*a.csv has product_id, category_id, f1"),
        ("a.csv", "product_id,category_id,f0,f0\n1,a,2,3\n", "column f0 is there twice"),
        ("a.txt", "x", "is not a csv, csv.gz or parquet file"),
        ("a.csv.gz", b"no gzip", "truncated or damaged"),
        ("a.parquet", b"no parquet", "is not a readable parquet file"),
    ],
)
def test_refuses_a_file_by_name(
    deliver: Deliver, read: Callable[..., Products], name: str, content: str | bytes, complaint: str
) -> None:
    """A file that cannot be read as products is named, with what to do."""
    file = deliver("train", "x", name, content)
    if content == b"no gzip":
        file.write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        read()


def test_refuses_a_missing_partition(read: Callable[..., Products]) -> None:
    """A client without data fails by its folder's name."""
    with pytest.raises(DataError, match=r"there is no partition \(file://.*/train/client_id=x, deliver"):
        read()


def test_refuses_a_column_of_another_type(deliver: Deliver, read: Callable[..., Products]) -> None:
    """A parquet column that is neither text nor a number is named with its type."""
    file = deliver("prediction", "x", "a.parquet", "")
    pd.DataFrame({"product_id": [1.5], "f0": [1]}).to_parquet(file)
    with pytest.raises(DataError, match="column product_id is double"):
        read("prediction")


def test_spreads_one_large_gzip(
    deliver: Deliver, read: Callable[..., Products], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .csv.gz is one task to read, and several to score."""
    import numpy as np

    monkeypatch.setattr("bc4all.data.wave._BYTES_A_TASK", 1 << 20)
    values = np.random.default_rng(0).normal(size=120_000)
    deliver("prediction", "x", "a.csv.gz", pd.DataFrame({"product_id": np.arange(120_000), "f0": values}))
    assert read("prediction").accepted.rdd.getNumPartitions() > 1
