"""What the tests of faults share: a trained and published client, a reader that never stops looking, killed jobs."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from bc4all.jobs.context import JobContext
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.layout import Layout
from tests.conftest import DAY, QUICK_JAVA, ROOT, jobs_on, make_client
from tests.faults import victim

CONFIG = "defaults: {features: [f0, f1, f2, f3, f4], model_params: {n_estimators: 3, random_state: 1}}\nclients:\n"
BAD = "no number,1,2,3\nbad,x,1,2,3,4\n"  # two rows of a prediction that go to quarantine


def partition(prefix: Path, client_id: str = "client_0", root: str = "products_categories") -> Path:
    """The folder of a client's partition of DAY."""
    return prefix / root / f"client_id={client_id}" / f"date={DAY}"


def rows_of(folder: Path) -> pd.DataFrame | None:
    """A partition as any reader reads it; None where there is none, or it went away in the meantime.

    Its files are listed at once: pyarrow lists a folder's names and then looks at each, and takes for
    an empty one what is renamed in between.
    """
    try:
        files = [folder / name for name in os.listdir(folder) if name.endswith(".parquet")]
        rows = pd.concat(pd.read_parquet(file, partitioning=None) for file in files) if files else pd.DataFrame()
    except FileNotFoundError:
        return None
    if "file" in rows:  # of quarantine: where it lies is each prefix's own
        rows["file"] = rows["file"].str.rpartition("/")[2]
    return rows.sort_values(list(rows.columns), ignore_index=True)


@dataclass(frozen=True)
class Published:
    """A data prefix with one client that is trained and published; its next products are others, some of them bad."""

    prefix: Path
    config: Path

    @property
    def layout(self) -> Layout:
        """Its layout."""
        return Layout.at(str(self.prefix))

    def job(self, spark: SparkSession) -> JobContext:
        """The jobs on it."""
        return jobs_on(spark, self.prefix)

    def copy(self, to: Path) -> "Published":
        """Copy it as people would, models and all."""
        shutil.copytree(self.prefix, to)
        return Published(to, self.config)

    def own_copy(self, to: Path, monkeypatch: pytest.MonkeyPatch) -> "Published":
        """Copy it for one test, and let DATA_PREFIX name the copy."""
        monkeypatch.setenv("DATA_PREFIX", str(to))
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return self.copy(to)


@pytest.fixture(scope="session")
def published_once(
    spark: SparkSession, sample: Path, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory
) -> Published:
    """One that no test may change."""
    folder = tmp_path_factory.mktemp("published")
    config = folder / "clients.yaml"
    config.write_text(CONFIG + "  client_0:\n")
    made = Published(folder / "data", config)
    for kind in ("train", "prediction"):
        shutil.copytree(sample / kind / "client_id=client_0", made.prefix / kind / "client_id=client_0")
    shutil.copy(empty_mlflow, made.prefix)
    client, job = make_client("client_0", model_params={"n_estimators": 3, "random_state": 1}), made.job(spark)
    train(job, client)
    (source,) = (made.prefix / "prediction" / "client_id=client_0").iterdir()
    products = pd.read_csv(source, dtype=str)
    (source.with_name("bad.csv")).write_text(f"{','.join(products.columns)}\nold,x,1,2,3,4\n")
    predict(job, client)
    # What is predicted next: other products, other rows refused.
    source.unlink()
    products[:900].to_csv(source, index=False)
    (source.with_name("bad.csv")).write_text(f"{','.join(products.columns)}\n{BAD}")
    return made


@pytest.fixture
def published(published_once: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """One of the test's own, which DATA_PREFIX names."""
    return published_once.own_copy(tmp_path / "data", monkeypatch)


def files_of(folder: Path) -> list[tuple[str, int, int, int]] | None:
    """What tells whether a folder is as it was: each file's name, number, size and time; None where there is none."""
    try:
        found = [(file.name, file.stat()) for file in os.scandir(folder)]
    except FileNotFoundError:
        return None
    return sorted((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found)


class Reader:
    """Looks at partitions again and again from a thread of its own, and keeps whatever was another than was allowed.

    It reads a partition whenever its files are not those that it read last.
    """

    def __init__(self, allowed: dict[Path, list[pd.DataFrame]]) -> None:
        self._allowed = allowed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.strange: list[tuple[Path, pd.DataFrame]] = []
        self.looks = 0

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        read: dict[Path, object] = {}
        while not self._stop.wait(0.002):
            for folder, wholes in self._allowed.items():
                files = files_of(folder)
                self.looks += 1
                if folder in read and files == read[folder]:
                    continue
                rows, read[folder] = rows_of(folder), files
                if rows is not None and not any(rows.equals(whole) for whole in wholes):
                    self.strange.append((folder, rows))


@dataclass(frozen=True)
class Forked:
    """A victim that was forked; `output` is the file that it prints to."""

    process: BaseProcess
    output: Path

    def wait(self) -> tuple[int | None, str]:
        """Return its exit code, negative for a signal, and what it printed."""
        self.process.join()
        return self.process.exitcode, self.output.read_text()


def victims_environment(on: Published, job: str, at: int) -> dict[str, str]:
    """Return what tests/faults/victim.py reads."""
    told = {"DATA_PREFIX": str(on.prefix), "BC4ALL_CONFIG": str(on.config), "JOB": job, "AT": str(at)}
    return {**os.environ, **told, "STEPS": f"{on.prefix}.steps"}


@pytest.fixture(scope="session")
def fork_victim(spark: SparkSession) -> Callable[..., Forked]:
    """Run tests/faults/victim.py on a prefix with the tests' own Java, forked from a process that has imported it."""
    gateway = spark.sparkContext._gateway.gateway_parameters  # type: ignore[union-attr]
    warm = {"PYSPARK_GATEWAY_PORT": str(gateway.port), "PYSPARK_GATEWAY_SECRET": gateway.auth_token}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.victim"])
    with pytest.MonkeyPatch.context() as patch:  # the server finds the tests, wherever pytest was started
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        forkserver.ensure_running()

    def fork(on: Published, job: str, at: int = 0) -> Forked:
        environment = {**victims_environment(on, job, at), **warm}
        output = Path(f"{on.prefix}.output")
        process = context.Process(target=victim.run, args=(environment, output))
        process.start()
        return Forked(process, output)

    return fork


@pytest.fixture(scope="session")
def start_victim() -> Callable[..., subprocess.Popen[str]]:
    """Start tests/faults/victim.py on a prefix with a Java of its own."""
    options = "--master local[2,4] --conf spark.ui.enabled=false --conf spark.eventLog.enabled=false"
    own = {"PYSPARK_SUBMIT_ARGS": f"{options} --driver-java-options {QUICK_JAVA} pyspark-shell"}

    def start(on: Published, job: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.victim"],
            env={**victims_environment(on, job, 0), **own},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


@pytest.fixture(autouse=True)
def _quiet_caches(spark: SparkSession) -> Iterator[None]:
    """What a killed victim left cached in the tests' Java goes."""
    yield
    spark.catalog.clearCache()


@pytest.fixture
def lent_session(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> SparkSession:
    """A whole application in this process works with the tests' session, and leaves it running."""
    monkeypatch.setattr("bc4all.jobs.application.start_session", lambda *_: spark)
    monkeypatch.setattr("bc4all.jobs.application._stop", lambda spark: None)
    return spark
