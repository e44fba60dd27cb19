"""What real deliveries taught: what cannot be used is refused by name, for good, as `bc4all check` says before."""

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from bc4all.config.clients import Client
from bc4all.data.data_check import check_data
from bc4all.data.filesystem import FileSystem
from bc4all.data.products import Products
from bc4all.data.wave import read_training
from bc4all.errors import DataError
from bc4all.layout import Layout
from tests.conftest import make_client

F0 = make_client("x", features=("f0",))
PRODUCTS = pd.DataFrame({"product_id": ["1", "2"], "category_id": ["a", "b"], "f0": [1.0, 2.0]})


@pytest.fixture
def read(spark: SparkSession, prefix: Path) -> Callable[..., Products]:
    """Read what client x has delivered to learn from."""
    layout = Layout.at(str(prefix))

    def read(client: Client = F0) -> Products:
        return read_training(spark, FileSystem(spark, layout.prefix), layout.training("x"), client.features)

    return read


def check(prefix: Path, client: Client = F0) -> str:
    """What `bc4all check` says of client x's training."""
    return " ".join(fault for fault in check_data(Layout.at(str(prefix)), client) if "train would fail" in fault)


def folder_as_file(folder: Path) -> None:
    PRODUCTS.to_parquet(folder / "part.parquet")
    (folder / "a.parquet").mkdir()
    (folder / "part.parquet").rename(folder / "a.parquet" / "part.parquet")


def colon(folder: Path) -> None:
    PRODUCTS.to_csv(folder / "export_10:30.csv", index=False)


def utf_16(folder: Path) -> None:
    PRODUCTS.to_csv(folder / "a.csv", index=False, encoding="utf-16")


def semicolons(folder: Path) -> None:
    PRODUCTS.to_csv(folder / "a.csv", index=False, sep=";")


def gzip_by_another_name(folder: Path) -> None:
    PRODUCTS.to_csv(folder / "a.csv", index=False, compression="gzip")


def names_with_escapes(folder: Path) -> None:
    (folder / "a.csv").write_text("\x1b]0;owned\x07\x1b[31mproduct_id,category_id\n1,a\n")


def a_wanted_date(folder: Path) -> None:
    PRODUCTS.assign(f0=datetime.date(2026, 1, 1)).to_parquet(folder / "a.parquet")


def a_wanted_nanosecond(folder: Path) -> None:
    pq.write_table(pa.table({**PRODUCTS, "f0": pa.array([1, 2], pa.timestamp("ns"))}), folder / "a.parquet")


# The delivery, and the message.
REFUSED: dict[Callable[[Path], None], str] = {
    folder_as_file: "a.parquet is a folder (deliver the files in it",
    colon: "export_10:30.csv has a colon in its name (Hadoop opens no such file: give it another name)",
    utf_16: "a.csv is UTF-16 (deliver UTF-8)",
    semicolons: "a.csv is separated by ';' (deliver it with commas, and decimal points)",
    gzip_by_another_name: "a.csv is compressed by gzip (name it .csv.gz)",
    names_with_escapes: "has \ufffd]0;owned\ufffd\ufffd[31mproduct_id, category_id, deliver it",
    a_wanted_date: "column f0 is date",
    a_wanted_nanosecond: "column f0 is ",
}


@pytest.mark.parametrize("spoil", REFUSED)
def test_what_real_files_taught(prefix: Path, read: Callable[..., Products], spoil: Callable[[Path], None]) -> None:
    """Each fails its client for good, by name and with a remedy; the check finds the same."""
    folder = prefix / "train" / "client_id=x"
    folder.mkdir(parents=True)
    spoil(folder)
    with pytest.raises(DataError) as caught:
        read()
    assert REFUSED[spoil] in str(caught.value)
    assert all(letter.isprintable() for letter in str(caught.value))
    assert REFUSED[spoil] in check(prefix)


def test_a_stale_checksum_is_named(prefix: Path, read: Callable[..., Products]) -> None:
    """A file that was edited beside Hadoop's checksums fails for good; the remedy names what to remove."""
    folder = prefix / "train" / "client_id=x"
    folder.mkdir(parents=True)
    PRODUCTS.to_csv(folder / "a.csv", index=False)
    (folder / ".a.csv.crc").write_bytes(b"crc\x00\x00\x00\x02\x00\x01\x02\x03\x04")
    with pytest.raises(DataError, match=r"a\.csv is not what its checksums were made of .*remove .*\.a\.csv\.crc"):
        read()


UNREAD = {
    "nanoseconds": pa.array([1, 2], pa.timestamp("ns")),
    "zoned nanoseconds": pa.array([1, 2], pa.timestamp("ns", "UTC")),
    "half floats": pa.array(np.array([1, 2], np.float16)),
    "times": pa.array([1, 2], pa.time64("us")),
    "lists": pa.array([[1], [2]]),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_a_column_that_is_not_asked_for_is_no_matter(prefix: Path, read: Callable[..., Products], kind: str) -> None:
    """Of whatever type it is: Spark reads the wanted columns alone."""
    folder = prefix / "train" / "client_id=x"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({**PRODUCTS, "extra": UNREAD[kind]}), folder / "a.parquet")
    assert check(prefix) == ""
    assert read().accepted_rows == 2
