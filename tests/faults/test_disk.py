"""A disk that is full while a partition is staged: exit code 75, one line, nothing lost."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from bc4all.jobs.predict_job import predict
from tests.conftest import make_client, run_fleet
from tests.faults.conftest import Published, partition, rows_of


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 48 KiB at `folder`: enough for a journal, too little for a client's rows."""
    folder.mkdir(parents=True, exist_ok=True)
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() or not mount or not umount:
        pytest.skip("only root can mount a small file system to fill")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this system mounts no tmpfs here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)  # Spark keeps the file open that it failed to write


def test_a_disk_that_is_full_while_staging(published: Published, spark: SparkSession) -> None:
    """The old partition stays; what was staged goes; with room again the same job works."""
    before, job, client = rows_of(partition(published.prefix)), published.job(spark), make_client("client_0")
    with small_disk(published.prefix / "_staging"):
        (outcome,) = run_fleet(spark, "predict", [client], partial(predict, job), 1)
        assert outcome.exit_code == 75
        assert "a disk is full: No space left on device (" in str(outcome.error)
        assert "/_staging/" in str(outcome.error)
        assert "make room, then run it again: nothing was published" in str(outcome.error)
        assert not list((published.prefix / "_staging").iterdir())
    assert rows_of(partition(published.prefix)).equals(before)  # type: ignore[union-attr]
    shutil.rmtree(published.prefix / "_staging")
    assert run_fleet(spark, "predict", [client], partial(predict, job), 1)[0].error is None
    assert len(rows_of(partition(published.prefix))) == 900 * 5  # type: ignore[arg-type]
