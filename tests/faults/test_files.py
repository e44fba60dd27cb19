"""Whatever is delivered: one clear line, the right exit code, the other clients go on, what was published stays."""

import gzip
import io
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession
from pyspark.sql.classic.dataframe import DataFrame

from bc4all.cli.main import main
from bc4all.data.failures import as_failure
from bc4all.data.filesystem import FileSystem
from bc4all.errors import TransientFailure
from bc4all.jobs import predict_job
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Outcome
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.reading.worker import WholeFiles
from tests.conftest import FEATURES, deliver_some, make_client, published_rows, run_fleet
from tests.faults.conftest import Published, partition, rows_of
from tests.reading.packs import Losing

Deliver = Callable[..., Path]
SVG = {"svg", "rect", "text", "title", "polyline", "circle"}  # what figures are made of
HEADER = "product_id,f0,f1,f2,f3,f4"


def csv(*lines: str) -> bytes:
    """A file of predictions."""
    return "\n".join([HEADER, *lines, ""]).encode()


def parquet(spoil: Callable[[bytes], bytes]) -> bytes:
    """A parquet file of predictions that has been spoiled."""
    frame = pd.DataFrame({"product_id": [str(i) for i in range(2000)], **{name: [0.5] * 2000 for name in FEATURES}})
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return spoil(buffer.getvalue())


def gzipped(spoil: Callable[[bytes], bytes]) -> bytes:
    """A csv.gz of predictions that has been spoiled."""
    values = np.random.default_rng(1).random((2000, len(FEATURES)))
    lines = [f"{i},{','.join(map(str, row))}" for i, row in enumerate(values.tolist())]
    return spoil(gzip.compress(csv(*lines)))


# A partition that cannot be used: its file, and what the one line says.
REFUSED = {
    "a truncated gzip": ("a.csv.gz", gzipped(lambda data: data[: len(data) // 2]), "a.csv.gz is truncated or damaged"),
    "a gzip cut in its header": ("a.csv.gz", gzipped(lambda data: data[:8]), "a.csv.gz is truncated or damaged"),
    "a gzip with flipped bits": (
        "a.csv.gz",
        gzipped(lambda data: data[:9000] + bytes(200) + data[9200:]),
        "a.csv.gz is truncated or damaged",
    ),
    "a corrupt parquet footer": (
        "a.parquet",
        parquet(lambda data: data[: -8 - int.from_bytes(data[-8:-4], "little")] + bytes(64) + data[-72:]),
        "a.parquet is not a readable parquet file",
    ),
    "a truncated parquet file": (
        "a.parquet",
        parquet(lambda data: data[: len(data) // 2]),
        "a.parquet is not a readable parquet file",
    ),
    "a parquet file with a damaged page": (
        "a.parquet",
        parquet(lambda data: data[:100] + bytes(3000) + data[3100:]),
        "a.parquet is truncated or damaged",
    ),
    "Latin-1 bytes": ("a.csv", csv("Stühle,1,2,3,4,5").decode().encode("latin-1"), "product_id is not UTF-8"),
    "NUL bytes": ("a.csv", csv("a\0b,1,2,3,4,5", "\0,1,2,3,4,5"), "product_id holds a control character"),
    "NUL bytes alone": ("a.csv", bytes(4096), "column product_id, f0, f1, f2, f3, f4 is missing"),
    "a header alone": ("a.csv", csv(), "there are no rows"),
    "a file of no bytes": ("a.csv", b"", "there are no rows"),
    "a column twice": ("a.csv", csv("1,2,3,4,5,6").replace(b"f4", b"f3"), "column f4 is missing"),
    "a needed column twice": ("a.csv", csv("1,2,3,4,5,6,7").replace(b"f4", b"f4,f0"), "column f0 is there twice"),
    "a column less than the model has": ("a.csv", b"product_id,f0,f1,f2,f3\n1,2,3,4,5\n", "column f4 is missing"),
    "a quote that is never closed": ("a.csv", csv('1,"2,3,4,5,6', "7,8,9"), "malformed CSV line"),
}


@pytest.fixture
def two(published: Published, spark: SparkSession, sample: Path) -> JobContext:
    """client_0, trained and published, and client_1, which is well and has few products."""
    deliver_some(sample, published.prefix, "client_1", 200)
    job = published.job(spark)
    train(job, make_client("client_1"))
    return job


def predict_both(job: JobContext) -> Outcome:
    """Predict both; client_1 must go on, and client_0's outcome is returned."""
    clients = [make_client("client_0"), make_client("client_1")]
    first, second = run_fleet(job.spark, "predict", clients, partial(predict, job), max_parallel=2)
    assert second.error is None
    return first


def deliver_alone(published: Published, name: str, content: bytes) -> Path:
    """Let this be all that client_0 has to predict."""
    folder = published.prefix / "prediction" / "client_id=client_0"
    for file in folder.iterdir():
        file.unlink()
    (folder / name).write_bytes(content)
    return folder / name


def test_what_cannot_be_used_is_told_and_harms_nothing(two: JobContext, published: Published) -> None:
    """Each kind of bad partition fails its client with exit code 1 and one line; the old publication stays whole."""
    before = rows_of(partition(published.prefix))
    for fault, (name, content, complaint) in REFUSED.items():
        deliver_alone(published, name, content)
        outcome = predict_both(two)
        assert outcome.error, fault
        assert (outcome.exit_code, "\n" in outcome.error) == (1, False), (fault, outcome.error)
        assert outcome.error.startswith("client_0: predict failed: "), outcome.error
        assert complaint in outcome.error, (fault, outcome.error)
        assert rows_of(partition(published.prefix)).equals(before), fault  # type: ignore[union-attr]
        assert not list((published.prefix / "_staging").iterdir()), fault
        if fault == "a column less than the model has":
            assert "on which client_0_model version 1 was trained" in outcome.error
            assert "deliver it, or train the client again" in outcome.error


# What looks odd and is sound: the file, and the products that it holds.
TAKEN = {
    "a byte order mark": (b"\xef\xbb\xbf" + csv("1,1,2,3,4,5"), ["1"]),
    "other delimiters inside quotes": (csv('"a,b;c |",1,2,3,4,5'), ["a,b;c |"]),
    "ids with spaces, emoji and quotes": (
        csv('"say ""hi"" 🎁 now",1,2,3,4,5', " lead,1,2,3,4,5", "'=1+1',1,2,3,4,5"),
        ['say "hi" 🎁 now', " lead", "'=1+1'"],
    ),
    "numbers in quotes": (csv('"1","1.5","2","3","4","5"'), ["1"]),
    "line breaks inside quotes": (
        b'title,product_id,f0,f1,f2,f3,f4\n"two\nlines",7,1,2,3,4,5\n"x\r\n\r\ny",8,1,2,3,4,5\n',
        ["7", "8"],
    ),
    "a column twice that nobody needs": (b"x,x,product_id,f0,f1,f2,f3,f4\n1,2,3,4,5,6,7,8\n", ["3"]),
    "lines that end in CR LF": (csv("1,1,2,3,4,5").replace(b"\n", b"\r\n"), ["1"]),
    "blank lines": (csv("", "1,1,2,3,4,5", "   ", ""), ["1"]),
    "blank lines before the header": (b"\r\n  \n" + csv("1,1,2,3,4,5"), ["1"]),
}


def test_what_only_looks_odd_is_scored(two: JobContext, published: Published) -> None:
    """Each sound oddity is published, each product under the id that was delivered."""
    for oddity, (content, ids) in TAKEN.items():
        deliver_alone(published, "a.csv", content)
        outcome = predict_both(two)
        assert outcome.error is None, (oddity, outcome.error)
        rows = published_rows(published.prefix, "client_0")
        assert sorted(set(rows["product_id"])) == sorted(ids), oddity
        assert len(rows) == 5 * len(ids), oddity


def test_a_category_of_ten_thousand_characters(
    job: JobContext, prefix: Path, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may be long, hold commas, quotes and markup; it comes out as it went in, and runs nowhere."""
    names = ["é" * 10_000, '<script>alert("1")</script>, or [red]', "=cmd()", "$\\frac{$ \x1b[31m"]
    names = [name.replace("\x1b", "\u009b") for name in names]  # a terminal's, that is no control character of ASCII
    rows = [(f"p{i:02}", names[i % 4], float(i % 4), i / 7) for i in range(80)]
    frame = pd.DataFrame(rows, columns=["product_id", "category_id", "f0", "f1"])
    deliver("train", "x", "a.csv", frame)
    deliver("prediction", "x", "a.csv", frame.drop(columns="category_id"))
    client = make_client("x", features=("f0", "f1"))
    train(job, client)
    predict(job, client)
    best = published_rows(prefix, "x").query("rank == 0").set_index("product_id")["pred_label"]
    assert best.to_dict() == {product: category for product, category, *_ in rows}
    for figure in (prefix / "mlartifacts").rglob("*.svg"):
        drawn = list(ElementTree.parse(figure).iter())  # noqa: S314 - a figure that was written just now
        assert {element.tag.rpartition("}")[2] for element in drawn} <= SVG
        assert not any("\u009b" in str(element.text) for element in drawn)
        assert any("<script>alert" in str(element.text) for element in drawn) == ("confusion" in figure.name)
    (table,) = (prefix / "mlartifacts").rglob("categories_training.csv")
    assert sorted(pd.read_csv(table)["category"]) == sorted(["'=cmd()", *(name for name in names if name != "=cmd()")])
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(main, ["show", "--client-id", "x", "--product-id", "p01", "--product-id", "p03"])
    assert '<script>alert("1")</script>, or [red]' in shown.output
    assert "\ufffd[31m" in shown.output
    assert "\u009b" not in shown.output


def test_many_features_of_long_names(job: JobContext, prefix: Path, deliver: Deliver) -> None:
    """The list of a model's features may be larger than a configuration may be: it is registered, and predicts."""
    names = [f"{'a long name ' * 60}{number}" for number in range(1500)]
    values = np.random.default_rng(0).normal(size=(60, len(names)))
    frame = pd.DataFrame(values, columns=names)
    frame.insert(0, "product_id", [f"p{number:02}" for number in range(60)])
    deliver("prediction", "x", "a.csv", frame)
    frame.insert(1, "category_id", ["a", "b", "c"] * 20)
    deliver("train", "x", "a.csv", frame)
    client = make_client("x", features=tuple(names))
    assert train(job, client).version == 1
    assert predict(job, client).rows == 60
    assert set(published_rows(prefix, "x")["product_id"]) == set(frame["product_id"])


@pytest.mark.parametrize("change", ["replaced", "added", "gone", "grown"])
def test_a_partition_that_changes_while_it_is_read(
    published: Published, spark: SparkSession, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is published from files of two deliveries: exit code 75, and the old partition stays."""
    before = rows_of(partition(published.prefix))
    file = deliver_alone(published, "a.csv", csv(*(f"{i},1,2,3,4,5" for i in range(50))))
    score = predict_job.score_products

    def changing(*arguments: object) -> object:
        if change == "replaced":
            new = file.with_name("new")
            new.write_bytes(csv(*(f"{i},5,4,3,2,1" for i in range(50))))
            new.replace(file)
        elif change == "added":
            file.with_name("b.csv").write_bytes(csv("99,1,2,3,4,5"))
        elif change == "gone":
            file.unlink()
        else:
            with file.open("ab") as out:
                out.write(b"98,1,2,3,4,5\n")
        return score(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(predict_job, "score_products", changing)
    (outcome,) = run_fleet(spark, "predict", [make_client("client_0")], partial(predict, published.job(spark)), 1)
    assert outcome.exit_code == 75
    assert "the partition changed while it was read" in str(outcome.error)
    assert rows_of(partition(published.prefix)).equals(before)  # type: ignore[union-attr]

    refused = rows_of(partition(published.prefix, root="quarantine/prediction"))
    assert refused is None or "bad" not in set(refused["product_id"])


def test_a_file_that_is_still_being_written(
    published: Published, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parquet file without its end is no damaged one where the end comes while it is looked at: a retry helps."""
    whole = published.prefix / "whole.parquet"
    pd.DataFrame({"product_id": ["a"], **{name: [1.0] for name in FEATURES}}).to_parquet(whole)
    content = whole.read_bytes()
    file = deliver_alone(published, "a.parquet", content[: len(content) // 2])
    footer = FileSystem.parquet_footer

    def going_on(self: FileSystem, uri: str) -> object:
        try:
            return footer(self, uri)
        finally:
            file.write_bytes(content)

    monkeypatch.setattr(FileSystem, "parquet_footer", going_on)
    (outcome,) = run_fleet(spark, "predict", [make_client("client_0")], partial(predict, published.job(spark)), 1)
    assert outcome.exit_code == 75
    assert "the partition changed while it was read" in str(outcome.error)


def test_a_file_that_is_not_reached_is_not_called_damaged(spark: SparkSession, tmp_path: Path) -> None:
    """A parquet file that is gone when Spark, or the job, comes to read it: exit code 75, whatever its name ends in."""
    file = tmp_path / "a.parquet"
    pd.DataFrame({"x": range(10)}).to_parquet(file)
    rows = spark.read.parquet(str(file))
    file.unlink()
    with pytest.raises(Exception, match="FILE_NOT_EXIST") as caught:
        rows.selectExpr("sum(x)").collect()
    assert as_failure(caught.value).exit_code == 75
    with pytest.raises(TransientFailure, match=r"FileNotFoundException: .*a\.parquet does not exist"):
        FileSystem(spark, tmp_path.as_uri()).parquet_footer(file.as_uri())


@pytest.mark.parametrize("target", ["nothing.csv", "b.csv", "/nowhere/b.csv"], ids=["nothing", "itself", "nowhere"])
def test_a_link_that_leads_nowhere(
    published: Published, spark: SparkSession, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a good file it fails the client by its name, for good, as `bc4all check` says before; nothing changes."""
    before = rows_of(partition(published.prefix))
    file = deliver_alone(published, "a.csv", csv("1,1,2,3,4,5"))
    link = file.with_name("b.csv")
    link.symlink_to(target)
    (outcome,) = run_fleet(spark, "predict", [make_client("client_0")], partial(predict, published.job(spark)), 1)
    assert outcome.exit_code == 1
    assert "prediction/client_id=client_0/b.csv is a link that leads nowhere" in str(outcome.error)
    assert "deliver the file itself, or remove the name" in str(outcome.error)
    assert rows_of(partition(published.prefix)).equals(before)  # type: ignore[union-attr]

    monkeypatch.setenv("COLUMNS", "1000")
    checked = CliRunner().invoke(main, ["check", "--config", str(published.config)])
    assert checked.exit_code == 1
    assert "client_0: predict would fail: " in checked.output
    assert "b.csv is a link that leads nowhere" in checked.output
    assert "train would fail" not in checked.output


def test_a_link_that_leads_to_a_file_is_read(published: Published, spark: SparkSession, tmp_path: Path) -> None:
    """A link to a file is data like the file itself; a hidden one may lead nowhere."""
    (tmp_path / "elsewhere.csv").write_bytes(b"\n" + csv("2,1,2,3,4,5"))
    file = deliver_alone(published, "a.csv", csv("1,1,2,3,4,5"))
    file.with_name("b.csv").symlink_to(tmp_path / "elsewhere.csv")
    file.with_name(".c.csv").symlink_to("nothing.csv")
    assert CliRunner().invoke(main, ["check", "--config", str(published.config)]).exit_code == 0
    (outcome,) = run_fleet(spark, "predict", [make_client("client_0")], partial(predict, published.job(spark)), 1)
    assert outcome.error is None
    assert set(published_rows(published.prefix, "client_0")["product_id"]) == {"1", "2"}


def test_a_record_that_the_reader_loses(
    published: Published, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is published from a file of which a record is missing: exit code 1, and the old partition stays."""
    before = rows_of(partition(published.prefix))
    lines = (f"{i if i != 30 else 'lost'},1,2,3,4,5" for i in range(50))
    deliver_alone(published, "a.csv.gz", gzip.compress(csv(*lines)))
    read = DataFrame.mapInArrow

    def losing(self: DataFrame, task: Any, schema: Any) -> DataFrame:
        reads = isinstance(getattr(task, "__self__", None), WholeFiles)
        return read(self, Losing(task.__self__).__call__ if reads else task, schema)

    monkeypatch.setattr(DataFrame, "mapInArrow", losing)
    (outcome,) = run_fleet(spark, "predict", [make_client("client_0")], partial(predict, published.job(spark)), 1)
    assert outcome.exit_code == 1
    assert "a.csv.gz: 1 of 50 lines are in no row (nothing was published" in str(outcome.error)
    assert rows_of(partition(published.prefix)).equals(before)  # type: ignore[union-attr]


def test_two_jobs_for_one_client_at_once(
    published: Published, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second fails with exit code 75 and says which process has the first; the first is not disturbed."""
    job, score = published.job(spark), predict_job.score_products
    inside, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> DataFrame:
        inside.set()
        go_on.wait(60)
        return score(*arguments)

    outcomes: list[Outcome] = []
    client = make_client("client_0")
    first = threading.Thread(
        target=lambda: outcomes.extend(run_fleet(spark, "predict", [client], partial(predict, job), 1))
    )
    monkeypatch.setattr(predict_job, "score_products", slow)
    first.start()
    inside.wait(60)
    (second,) = run_fleet(spark, "predict", [client], partial(predict, job), 1)
    go_on.set()
    first.join()
    assert (outcomes[0].error, outcomes[0].exit_code, second.exit_code) == (None, 0, 75)
    assert f"another predict of this client is running (process {os.getpid()} of this machine" in str(second.error)
