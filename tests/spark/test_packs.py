"""Packs in Spark: ids' hashes are Spark's own, and rows with the same id are found in any number of tasks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from bc4all.data.filesystem import FileSystem
from bc4all.data.wave import read_training
from bc4all.layout import Layout
from bc4all.reading.packs import id_hashes
from bc4all.reading.worker import WholeFiles
from tests.reading.packs import accepted_frame

Deliver = Callable[..., Path]


@given(st.lists(st.text(min_size=1, max_size=80), min_size=200, max_size=300))
@settings(max_examples=2, suppress_health_check=list(HealthCheck))
def test_ids_have_sparks_own_hashes(spark: SparkSession, ids: list[str]) -> None:
    """A version's training ids were once hashed by Spark: they are still found among a client's products."""
    ids = [product.encode("utf-8", "replace").decode() for product in ids]
    rows = spark.createDataFrame(list(enumerate(ids)), "place int, id string").orderBy("place")
    expected = [row["hash"] for row in rows.select(F.xxhash64("id").alias("hash")).collect()]
    assert id_hashes(pa.array(ids)).tolist() == expected


def test_ids_beyond_what_a_task_remembers(
    spark: SparkSession, deliver: Deliver, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a client with so many that the task which has them all may have stopped to mark them, keys are compared."""
    monkeypatch.setattr("bc4all.data.wave.MAX_SEEN", 2)
    monkeypatch.setattr("bc4all.data.feed.WholeFiles", lambda *given: WholeFiles(*given[:2], set(), True))  # marks none
    deliver("train", "x", "a.csv", "product_id,category_id,f0\n1,a,1\n2,a,2\n1,a,3\n")
    layout = Layout.at(str(prefix))
    products = read_training(spark, FileSystem(spark, layout.prefix), layout.training("x"), {"f0": "numeric"})
    assert (products.accepted_rows, products.refusals) == (2, {"duplicate product_id": 1})
    assert accepted_frame(products)["f0"].tolist() == [1, 2]
    products.release()


def test_ids_that_come_twice_in_many_tasks(
    spark: SparkSession, deliver: Deliver, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of files that are too large for one task, too: the first by file, then by place, whatever the number of tasks."""
    monkeypatch.setattr("bc4all.data.feed.MAX_WHOLE_BYTES", 1000)
    monkeypatch.setattr("bc4all.data.wave._BYTES_A_TASK", 200_000)
    monkeypatch.setattr("bc4all.data.wave._KEYS_A_TASK", 5000)
    ids = np.arange(30_000)
    for name, part in (("a.csv", ids[:20_000]), ("b.csv", ids[10_000:])):
        deliver("train", "x", name, pd.DataFrame({"product_id": part, "category_id": name, "f0": 1.0}))
    layout = Layout.at(str(prefix))
    files = FileSystem(spark, layout.prefix)
    products = read_training(spark, files, layout.training("x"), {"f0": "numeric"})
    assert (products.accepted_rows, products.refusals) == (30_000, {"duplicate product_id": 10_000})
    frame = accepted_frame(products)
    assert frame["product_id"].tolist() == ids.astype(str).tolist()
    assert (frame["category_id"] == "a.csv").sum() == 20_000
    assert products.refused.where("file LIKE '%b.csv'").count() == 10_000
    products.release()
