"""The small inputs of ../shared/faults, as they went wrong on the jobs: each is read whole, or refused by name.

Each stands for a kind that has tests of its own elsewhere; here the very files are used, and every folder is met.
"""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from bc4all.config.clients import Client
from bc4all.config.fleet_file import load_fleet
from bc4all.data.data_check import check_data
from bc4all.data.filesystem import FileSystem
from bc4all.data.products import Products
from bc4all.data.wave import read_prediction, read_training
from bc4all.errors import ConfigurationError, DataError, Failure
from bc4all.identity import Day
from bc4all.job_kinds import TRAIN
from bc4all.launch.spark_submit import check_spark_home
from bc4all.layout import Layout
from bc4all.learning.look_alikes import look_alikes
from bc4all.registry.tracking import Tracking, tracking_uri
from tests.conftest import ROOT, make_client

FAULTS = ROOT.parent / "shared" / "faults"
NUMBERS = ("f0", "f1")
DAY = Day("2026-01-31")
# Those with a test of their own below, by its name.
ALONE = {
    "blank_first_line": "test_the_file_that_was_left_out",
    "broken_link": "test_a_link_to_nothing_is_refused",
    "deleted_experiment": "test_a_deleted_experiment_is_named",
    "file_name_colon": "test_a_colon_in_a_name_is_refused",
    "header_escape": "test_no_escapes_of_a_file_reach_a_terminal",
    "look_alike_labels": "test_labels_that_look_alike_are_told",
    "numeric_ids": "test_numeric_ids_stay_two",
    "prefix_characters": "test_a_prefix_that_would_be_read_otherwise_is_refused",
    "spark_home": "test_a_spark_home_that_is_not_there_is_refused",
    "wide": "test_wide_files_are_read",
    "yaml": "test_yaml_that_says_something_else_is_refused",
}
# Two have no file: a copy of a prefix is made by tests/faults/test_copied_prefix.py; how long thousands of categories
# take to fit is no test.
ELSEWHERE = {"copied_prefix", "many_categories"}


@pytest.fixture(autouse=True)
def _is_there() -> None:
    if not FAULTS.is_dir():
        pytest.skip("the faulty files are not on this machine (../shared/faults)")


@pytest.fixture
def read(spark: SparkSession, prefix: Path) -> Callable[..., Products]:
    """Read what client x has delivered to learn from."""
    layout = Layout.at(str(prefix))

    def read(client: Client) -> Products:
        return read_training(spark, FileSystem(spark, layout.prefix), layout.training("x"), client.features)

    return read


def delivered(prefix: Path, fault: str, kind: str = "train") -> Path:
    """Deliver the files of a fault as client x's."""
    folder = prefix / kind / "client_id=x"
    shutil.copytree(FAULTS / fault, folder, ignore=shutil.ignore_patterns("README"))
    return folder


def check(prefix: Path, client: Client) -> str:
    """What `bc4all check` says of client x's training."""
    return " ".join(fault for fault in check_data(Layout.at(str(prefix)), client) if "train would fail" in fault)


# How many rows are accepted and refused, with the columns of NUMBERS; several files hold the same products.
READ = {
    "backslash_quotes": (0, 19),
    "cr_only": (160, 0),
    "header_line_break": (160, 160),
    "parquet_unread_column": (160, 640),
}
REFUSED = {
    "folder_as_file": "products.parquet is a folder",
    "sep_line": "semicolon.csv is separated by ';'",
    "stale_crc": "is not what its checksums were made of",
    "utf16": "is UTF-16",
}


@pytest.mark.parametrize("fault", READ)
def test_is_read_to_the_last_row(prefix: Path, read: Callable[..., Products], fault: str) -> None:
    """And the check finds no fault."""
    delivered(prefix, fault)
    client = make_client("x", features=NUMBERS)
    products = read(client)
    assert (products.accepted_rows, products.refused_rows) == READ[fault]
    assert check(prefix, client) == ""


@pytest.mark.parametrize("fault", REFUSED)
def test_is_refused_for_good_by_its_name(prefix: Path, read: Callable[..., Products], fault: str) -> None:
    """In a line that a terminal can show."""
    delivered(prefix, fault)
    with pytest.raises(DataError, match=REFUSED[fault]) as caught:
        read(make_client("x", features=NUMBERS))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("name", "message"), [("gzip.csv", "is compressed by gzip"), ("a.csv", "is missing")])
def test_no_escapes_of_a_file_reach_a_terminal(
    prefix: Path, read: Callable[..., Products], name: str, message: str
) -> None:
    """header_escape: messages quote the files without what a terminal would obey."""
    for file in delivered(prefix, "header_escape").iterdir():
        if file.name != name:
            file.unlink()
    with pytest.raises(DataError, match=f"{message}.*{name}|{name} {message}") as caught:
        read(make_client("x", features=NUMBERS))
    assert str(caught.value).isprintable()


def test_a_colon_in_a_name_is_refused(prefix: Path, read: Callable[..., Products]) -> None:
    """file_name_colon: by the check, too."""
    folder = delivered(prefix, "file_name_colon")
    (folder / "export.csv").rename(folder / "export_2026-01-31T10:30:00.csv")
    client = make_client("x", features=NUMBERS)
    with pytest.raises(DataError, match="has a colon in its name"):
        read(client)
    assert "has a colon in its name" in check(prefix, client)


@pytest.mark.parametrize("target", ["nothing.csv", "gone.csv"])
def test_a_link_to_nothing_is_refused(prefix: Path, read: Callable[..., Products], target: str) -> None:
    """broken_link: products that should be there are not left out."""
    folder = delivered(prefix, "broken_link")
    (folder / "gone.csv").symlink_to(target)
    client = make_client("x", features=NUMBERS)
    with pytest.raises(DataError, match=r"gone\.csv"):
        read(client)
    assert "gone.csv" in check(prefix, client)


def test_the_file_that_was_left_out(spark: SparkSession, prefix: Path) -> None:
    """blank_first_line: of 30 products 20 were published; all are read, from each form of the file."""
    layout, folder = Layout.at(str(prefix)), delivered(prefix, "blank_first_line", "prediction")
    for file in list(folder.glob("*.csv")):
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    files = FileSystem(spark, layout.prefix)
    products = read_prediction(spark, files, layout.prediction("x"), {"f0": "numeric"})
    assert (products.accepted_rows, products.refusals) == (30, {"duplicate product_id": 30})


def test_wide_files_are_read(prefix: Path, read: Callable[..., Products]) -> None:
    """Wide: 800 features, and each of 160 rows."""
    features = tuple(f"f{number}" for number in range(800))
    folder = prefix / "train" / "client_id=x"
    folder.mkdir(parents=True)
    row = ",".join("1" for _ in features)
    rows = "".join(f"p{number},c,{row}\n" for number in range(160))
    (folder / "a.csv").write_text(f"product_id,category_id,{','.join(features)}\n{rows}")
    assert read(make_client("x", features=features)).accepted_rows == 160


def test_labels_that_look_alike_are_told() -> None:
    """look_alike_labels: eight names of three categories; a number in two forms."""
    labels = pd.read_csv(FAULTS / "look_alike_labels" / "labels.csv", dtype=str, keep_default_na=False)["category_id"]
    groups = look_alikes(labels.value_counts().to_dict())
    assert {name for group in groups for name in group} >= {"Shoes", "Shoes ", "\u00a0Shoes", "A>B", "A > B"}
    parts = [pd.read_csv(file, dtype=str) for file in sorted((FAULTS / "look_alike_labels" / "float").glob("*.csv"))]
    numbers = look_alikes(pd.concat(parts)["category_id"].value_counts().to_dict())
    assert any({"11", "11.0"} <= set(group) for group in numbers)


def test_numeric_ids_stay_two(spark: SparkSession, tmp_path: Path) -> None:
    """numeric_ids: a session of ours reads 0123 and 123 as two clients."""
    for client_id in ("0123", "123"):
        folder = tmp_path / "products" / f"client_id={client_id}"
        folder.mkdir(parents=True)
        pd.DataFrame({"product_id": [client_id]}).to_parquet(folder / "a.parquet")
    rows = spark.read.parquet(str(tmp_path / "products")).collect()
    assert sorted((row.client_id, row.product_id) for row in rows) == [("0123", "0123"), ("123", "123")]


@pytest.mark.parametrize("name", ["a#b", "a%20b", "a{c}", "a[1]", "a?"])
def test_a_prefix_that_would_be_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    """prefix_characters: before anything starts."""
    with pytest.raises(ConfigurationError, match="DATA_PREFIX has"):
        Layout.at(str(tmp_path / name))


def test_a_spark_home_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """spark_home: before anything starts."""
    with pytest.raises(ConfigurationError, match="unset it"):
        check_spark_home({"SPARK_HOME": str(tmp_path / "spark-3.5")})


def test_a_deleted_experiment_is_named(prefix: Path) -> None:
    """deleted_experiment: with the command that restores it."""
    layout = Layout.at(str(prefix))
    tracking = Tracking(tracking_uri(layout), layout)
    client = make_client("x")
    run = tracking.start_run(client, TRAIN, DAY, {})
    tracking.client.delete_experiment(run.experiment_id)
    with pytest.raises(Failure, match=r"_x was deleted .*mlflow experiments restore"):
        tracking.start_run(client, TRAIN, DAY, {})


YAML = {
    "merge2.yaml": "YAML's merge",
    "sep.yaml": "in quotes",
    "star.yaml": "stands in quotes",
    "to.yaml": "1:30 in base 60",
}


@pytest.mark.parametrize("name", YAML)
def test_yaml_that_says_something_else_is_refused(name: str) -> None:
    """Yaml: with what to write."""
    with pytest.raises(ConfigurationError, match=YAML[name]):
        load_fleet(FAULTS / "yaml" / name)


def test_every_fault_is_met() -> None:
    """No folder, and no file of `yaml`, is without a test here, but for those of ELSEWHERE."""
    names = {folder.name for folder in FAULTS.iterdir() if folder.is_dir()}
    assert names == {*READ, *REFUSED, *ALONE, *ELSEWHERE}
    assert all(callable(globals()[test]) for test in ALONE.values())
    assert {file.name for file in (FAULTS / "yaml").glob("*.yaml")} == YAML.keys()
