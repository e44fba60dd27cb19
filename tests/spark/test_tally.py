"""No record is lost on its way from a file to the rows: what a header is, and that every line is accounted for."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql.classic.dataframe import DataFrame

from bc4all.data.filesystem import FileSystem
from bc4all.data.products import Products
from bc4all.data.wave import read_prediction, read_training
from bc4all.errors import DataError, TransientFailure
from bc4all.kinds import Features
from bc4all.layout import Layout
from bc4all.reading.worker import Lines, Table, WholeFiles
from tests.reading.packs import Losing, accepted_frame

Deliver = Callable[..., Path]
Read = Callable[..., Products]
F0: Features = {"f0": "numeric"}
TITLE: Features = {"title": "text", "f0": "numeric"}


@pytest.fixture
def read(spark: SparkSession, prefix: Path) -> Read:
    """Read client x's partition."""
    layout = Layout.at(str(prefix))
    files = FileSystem(spark, layout.prefix)

    def read(kind: str = "train", features: Features = F0) -> Products:
        if kind == "train":
            return read_training(spark, files, layout.training("x"), features)
        return read_prediction(spark, files, layout.prediction("x"), features)

    return read


def accepted_ids(products: Products) -> list[str]:
    """The ids of the products that were accepted, sorted."""
    return sorted(accepted_frame(products)["product_id"])


BLANK_STARTS = {
    "a blank line": "\n",
    "a blank line that ends in CR LF": "\r\n",
    "a blank line after a byte order mark": "\ufeff\n",
    "a blank line that ends in CR LF after a byte order mark": "\ufeff\r\n",
    "several blank lines": "\n\n\r\n\n",
    "a line of spaces": "   \n",
    "a line of a tab, and of spaces": "\ufeff\t\r\n  \n",
}


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
@pytest.mark.parametrize("start", BLANK_STARTS)
def test_the_header_is_the_first_line_that_is_not_blank(deliver: Deliver, read: Read, start: str, ending: str) -> None:
    """Blank lines before a header cost no product, beside a sound file and alone, to train and to predict."""
    rows = '1,a,1,"two\n\nlines"\n2,b,2,t\n'
    for kind, header in (("train", "product_id,category_id,f0,title\n"), ("prediction", "product_id,x,f0,title\n")):
        deliver(kind, "x", f"b{ending}", BLANK_STARTS[start] + header + rows)
        products = read(kind)
        assert (accepted_ids(products), products.refusals) == (["1", "2"], {})
        deliver(kind, "x", "a.csv", f"{header}3,a,1,t\n")
        deliver(
            kind, "x", f"c{ending}", BLANK_STARTS[start] + (header + rows[1:].replace("2,", "5,")).replace("\n", "\r\n")
        )
        # A row without its id: what is refused is counted, too.
        products = read(kind, {"f0": "numeric", "title": "text"})
        assert accepted_ids(products) == ["1", "2", "3", "5"]
        assert products.refusals == {"no product_id": 1}


@pytest.mark.parametrize("name", ["b.csv", "b.csv.gz"])
def test_a_file_of_blank_lines_alone_has_no_rows(deliver: Deliver, read: Read, name: str) -> None:
    """It harms no file beside it; alone, there are no rows."""
    deliver("train", "x", name, "\ufeff\n \r\n\t\n\n")
    with pytest.raises(DataError, match="there are no rows"):
        read()
    deliver("train", "x", "a.csv", "product_id,category_id,f0\n1,a,1\n")
    assert accepted_ids(read()) == ["1"]


def test_every_line_is_accounted_for(deliver: Deliver, read: Read) -> None:
    """Breaks and blank lines inside quotes, torn quotes, lines of white space, mixed line breaks: no false alarm."""
    header = "product_id,category_id,title,f0"
    contents = {
        "quoted breaks": f'{header}\n1,k,"a\n\n   \nb",1\n2,k,"\n",2\n',
        "breaks at a record's end": 'f0,product_id,category_id,title\n1,3,k,"a\n"\n2,4,k,"\n\nb\n"\n',
        "a torn quote": f'{header}\n5,k,"a,1\n6,k,b,1\n\t\n7,k,c,1\n',
        "lines of white space": f"{header}\n\t\n8,k,a,1\n  \t \n\x0b\n9,k,a,1\n\n ",
        "CR LF": f'{header}\n10,k,"a\n\nb",1\n11,k,a,1\n'.replace("\n", "\r\n"),
        "CR alone": f"{header}\n12,k,a,1\n\n13,k,b,1\n".replace("\n", "\r"),
        "mixed line breaks": "f0,product_id,category_id,title\n1,14,k,a\r\n1,15,k,b\n",
        "another break after the header": f"{header}\r\n16,k,a,1\n17,k,b,1\n",
        "two quotes alone": f'{header}\n""\n18,k,"a,1\n',
        "a header over two lines": f'{header},"price\n(EUR)"\n19,k,a,1,2\n',
        "100% odd [name]": f"{header}\n20,k,a,1\n",
    }
    for name, content in contents.items():
        deliver("train", "x", f"{name}.csv", content)
        deliver("prediction", "x", f"{name}.csv.gz", content)
    for kind in ("train", "prediction"):
        products = read(kind, TITLE)
        assert accepted_ids(products) == sorted(str(i) for i in range(1, 21) if i not in (5, 18))
        assert products.refusals == {"malformed CSV line": 3}


PIECES = ["1", "k", '"', '""', ",", ",", "\n", "\r\n", "\r", " ", "\t", "\0", "é", "\u2028", "\x85", "\ufeff", "true\n"]
PIECES += ['"x\ny"', "1,k,t,1\n", '2,k,"two\n\n lines",2\n', '3,k,"a, ""b""\n  \nc",3\r\n', ",,,\n", "1,2,3,4,5,6\n"]
LINES = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
STARTS = st.sampled_from(["", "\ufeff", "\n", "\r\n", " \n"])
BREAKS = st.sampled_from(["\n", "\r\n", "\r"])


@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(STARTS, BREAKS, LINES), min_size=20, max_size=40))
def test_no_content_trips_the_count(
    deliver: Deliver, read: Read, prefix: Path, contents: list[tuple[str, str, str]]
) -> None:
    """Whatever quotes, breaks, blanks, short and long rows a file holds, its lines are found again in its rows."""
    shutil.rmtree(prefix / "train", ignore_errors=True)
    deliver("train", "x", "a.csv", "product_id,category_id,title,f0\nsound,k,t,1\n")
    for number, (start, line_break, lines) in enumerate(contents):
        name = f"b{number}.csv" + (".gz" if number % 3 == 0 else "")
        deliver("train", "x", name, f"{start}product_id,category_id,title,f0{line_break}{lines}")
    products = read("train", TITLE)
    assert "sound" in accepted_ids(products)
    products.release()


def losing(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object] = lambda: None) -> None:
    """Let the tasks that read files lose one product of them."""
    read = DataFrame.mapInArrow

    def lossy(self: DataFrame, task: Any, schema: Any) -> DataFrame:
        then()
        reads = isinstance(getattr(task, "__self__", None), WholeFiles | Lines | Table)
        return read(self, Losing(task.__self__).__call__ if reads else task, schema)

    monkeypatch.setattr(DataFrame, "mapInArrow", lossy)


@pytest.mark.parametrize("name", ["b.csv", "b.csv.gz", "b.parquet"])
def test_a_record_that_is_lost_on_the_way_fails_its_file(
    deliver: Deliver, read: Read, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client fails by the file's name and the number of lines, for good; for now where the file changed."""
    import pandas as pd

    deliver("train", "x", "a.csv", "product_id,category_id,f0\n1,a,1\n")
    frame = pd.DataFrame({"product_id": ["2", "lost", "3"], "category_id": "k", "f0": 1.0})
    file = deliver("train", "x", name, frame)
    if name.endswith(".parquet"):
        frame.to_parquet(file)
    with monkeypatch.context() as patch:
        losing(patch)
        with pytest.raises(DataError, match=rf"{name}: 1 of 3 lines are in no row \(nothing was published"):
            read()
        losing(patch, then=lambda: file.with_name("new.csv").write_text("product_id,category_id,f0\n"))
        with pytest.raises(TransientFailure, match="the partition changed while it was read"):
            read()
    assert accepted_ids(read()) == ["1", "2", "3", "lost"]


@pytest.mark.parametrize("rows", ["2,b,1,x\n3,b,1,x\n", '2,b,1,x\n3,b,1,"x"\n'])
def test_a_quote_in_a_header_swallows_no_product(deliver: Deliver, read: Read, rows: str) -> None:
    """A quote that a header does not close ends with its line: the rows below are read."""
    deliver("train", "x", "a.csv", "product_id,category_id,f0\n1,a,1\n")
    deliver("train", "x", "b.csv", f'product_id,category_id,f0,"more\n{rows}')
    products = read()
    assert (accepted_ids(products), products.refusals) == (["1", "2", "3"], {})
