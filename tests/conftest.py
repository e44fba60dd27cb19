"""One Spark session and one empty MLflow database for the whole run; each test gets a data prefix of its own."""

import gzip
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import settings
from pyspark.sql import SparkSession

from bc4all.config.clients import Client
from bc4all.data.publishing import Publisher
from bc4all.data.sample_data import write_sample_data
from bc4all.jobs.context import JobContext
from bc4all.jobs.session import SQL_SETTINGS
from bc4all.layout import Layout
from bc4all.model.training_set import TrainingSet
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.registry.versions import Registry
from bc4all.state import State

ROOT = Path(__file__).resolve().parent.parent
FEATURES = ("f0", "f1", "f2", "f3", "f4")
DAY = "2026-01-31"
# Java's first compiler alone: what tests run is over before the second one, which takes half of Java's time, is of use.
QUICK_JAVA = "-XX:TieredStopAtLevel=1"

settings.register_profile("bc4all", deadline=None)  # a shared machine is slow now and then: a time is no fault
settings.load_profile("bc4all")


# Files that take minutes. Of two processes that share the files of tests, none may be left alone with one at the end.
LONG = ("test_kills", "test_mlflow", "test_memory", "test_day", "test_fleet", "test_tune", "test_files", "test_jobs")


def pytest_configure(config: pytest.Config) -> None:
    """Name the tests' own mark, and let pytest-xdist take files in our order, not those of many tests first."""
    mark = "starts_from(fixture): DATA_PREFIX is a copy of the folder that this fixture made, once for many tests"
    config.addinivalue_line("markers", mark)
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a Java, so that it can be left out; begin with the files that take longest."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.java)
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """Two cores: enough for tasks to run side by side, as few as the smallest machine of CI has."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["SPARK_CONF_DIR"] = str(ROOT / "conf")
    session = (
        SparkSession.builder.master("local[2]")
        .appName("bc4all tests")
        .config(map=SQL_SETTINGS)
        .config("spark.ui.enabled", False)  # no port, no page to keep up to date
        .config("spark.eventLog.enabled", False)  # whose folder start_session would make
        .config("spark.sql.shuffle.partitions", 2)
        .config("spark.driver.extraJavaOptions", f"{QUICK_JAVA} -XX:+UseSerialGC")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def seed() -> Path:
    """The ten real clients. They are not part of the project: CI has them beside the clone."""
    folder = ROOT.parent / "shared" / "data" / "seed"
    if not folder.is_dir():
        pytest.skip("the real clients' data is not on this machine (../shared/data/seed)")
    return folder


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made-up clients of 1,500 products. Tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("sample")
    list(write_sample_data(folder, clients=3, rows=1500, seed=1))
    return folder


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without a run. Its tables take seconds to make: tests copy the file."""
    folder = tmp_path_factory.mktemp("mlflow")
    Registry(Tracking(f"sqlite:///{folder}/mlflow.db", Layout.at(str(folder))))
    return folder / "mlflow.db"


def jobs_on(spark: SparkSession, prefix: Path) -> JobContext:
    """The jobs on a prefix."""
    layout = Layout.at(str(prefix))
    registry = Registry(Tracking(tracking_uri(layout), layout))
    return JobContext(spark, layout, registry, DAY, State.from_environment(layout))


@pytest.fixture(scope="session")
def published_sample(
    spark: SparkSession, sample: Path, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A prefix with the sample's client_0, trained once and published. Tests that start from it have a copy."""
    from bc4all.jobs.predict_job import predict  # which takes a second: tests without a Java do without
    from bc4all.jobs.train_job import train

    folder = tmp_path_factory.mktemp("published sample") / "data"
    for kind in ("train", "prediction"):
        shutil.copytree(sample / kind / "client_id=client_0", folder / kind / "client_id=client_0")
    shutil.copy(empty_mlflow, folder)
    job = jobs_on(spark, folder)
    train(job, make_client("client_0"))
    predict(job, make_client("client_0"))
    return folder


@pytest.fixture
def prefix(request: pytest.FixtureRequest, tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DATA_PREFIX with a space in its path, and an MLflow database: empty, or a copy of what `starts_from` names."""
    folder = tmp_path / "all data"
    mark = request.node.get_closest_marker("starts_from")
    if mark:
        shutil.copytree(request.getfixturevalue(*mark.args), folder)
    else:
        folder.mkdir()
        shutil.copy(empty_mlflow, folder)
    monkeypatch.setenv("DATA_PREFIX", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture
def job(spark: SparkSession, prefix: Path) -> Iterator[JobContext]:
    """The jobs on that prefix."""
    yield jobs_on(spark, prefix)
    spark.catalog.clearCache()


@pytest.fixture
def own_log() -> Iterator[None]:
    """Whoever runs an application sets logging up: the tests' own comes back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("bc4all").setLevel(logging.NOTSET)
    logging.getLogger("bc4all.outcome").disabled = False


def write_file(prefix: Path, kind: str, client_id: str, name: str, content: str | bytes | pd.DataFrame) -> Path:
    """Write a file of a client's partition."""
    file = prefix / kind / f"client_id={client_id}" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pd.DataFrame):
        content = content.to_csv(index=False)
    data = content.encode() if isinstance(content, str) else content
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return file


def deliver_some(source: Path, prefix: Path, client_id: str, rows: int) -> None:
    """Deliver a client's first products of both kinds, from a folder where it has more, in files of the same names."""
    for kind in ("train", "prediction"):
        (file,) = (source / kind / f"client_id={client_id}").iterdir()
        write_file(prefix, kind, client_id, file.name, pd.read_csv(file, dtype=str, nrows=rows, keep_default_na=False))


@pytest.fixture
def deliver(prefix: Path) -> Callable[..., Path]:
    """Write a file of a client's partition: `deliver("train", "x", "a.csv", "text")`."""
    return partial(write_file, prefix)


def make_client(client_id: str, **settings: object) -> Client:
    """A client with a small forest."""
    params = {"n_estimators": 10, "random_state": 7}
    return Client(**{"id": client_id, "features": FEATURES, "model_params": params, **settings})


def make_training_set(X: Any, codes: np.ndarray, names: Any, ids: np.ndarray | None = None) -> TrainingSet:
    """Products of some categories, named by their numbers, or by the hashes of their ids."""
    hashes = np.arange(len(codes)) if ids is None else ids
    return TrainingSet(X, codes.astype(np.int32), np.array(names, dtype=object), hashes, pa.array(map(str, hashes)))


def published_rows(prefix: Path, client_id: str, day: str = DAY) -> pd.DataFrame:
    """A published partition by plain pandas, by product and rank."""
    rows = pd.read_parquet(prefix / "products_categories" / f"client_id={client_id}" / f"date={day}")
    return rows.sort_values(["product_id", "rank"], ignore_index=True)


def stage(publisher: Publisher, rows: Any, name: str) -> None:
    """Stage a client's rows, a DataFrame or what writes itself like one, as if they had been staged with others'."""
    folder = publisher.shared()
    rows.write.parquet(folder)
    publisher.adopt(folder, name)


def run_fleet(
    spark: SparkSession, job: str, clients: Sequence[Client], work: Callable[[Client], Any], max_parallel: int
) -> list[Any]:
    """Do `work` for every client, each in a wave of its own; return the outcomes."""
    from bc4all.jobs.fleet import alone, run_waves  # which takes a second: tests without a Java do without

    return run_waves(spark, job, [[client] for client in clients], alone(work), max_parallel)
