"""A client's job opens its own files and touches its own experiments and model: watched while it runs."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from tests.conftest import make_client
from tests.faults.conftest import Published

NEIGHBOUR = "client_1"


class Watch(FileSystemEventHandler):
    """Every event below the folders of one client: opened, read, written, moved."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note it."""
        self.seen.append(f"{event.event_type} {event.src_path!r}")


@contextmanager
def watching(prefix: Path, client_id: str) -> Iterator[list[str]]:
    """What happens to all folders of a client during the block."""
    named = [folder for folder in prefix.rglob("*") if folder.is_dir() and folder.name.endswith(client_id)]
    folders = [folder for folder in named if not set(folder.parents) & set(named)]
    assert len(folders) >= 4
    watch, observer = Watch(), InotifyObserver()
    for folder in folders:
        observer.schedule(watch, str(folder), recursive=True)
    observer.start()
    try:
        yield watch.seen
        time.sleep(0.5)  # for the kernel's events to arrive
    finally:
        observer.stop()
        observer.join()


def rows_of_mlflow(prefix: Path, client_id: str) -> dict[str, list[tuple[object, ...]]]:
    """What the database holds of a client: experiments, runs and their contents, versions."""
    queries = {
        "experiments": "SELECT * FROM experiments WHERE name LIKE :ends",
        "runs": "SELECT r.* FROM runs r JOIN experiments e USING (experiment_id) WHERE e.name LIKE :ends",
        "versions": "SELECT * FROM model_versions WHERE name = :model",
        "aliases": "SELECT * FROM registered_model_aliases WHERE name = :model",
    }
    with sqlite3.connect(prefix / "mlflow.db") as registry:
        given = {"ends": f"%\\_{client_id}", "model": f"{client_id}_model"}
        return {
            name: registry.execute(f"{query}{' ESCAPE char(92)' if ':ends' in query else ''}", given).fetchall()
            for name, query in queries.items()
        }


@pytest.fixture(scope="module")
def neighbours_once(
    published_once: Published, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Published:
    """client_0 and client_1, both trained and published, some of their rows refused."""
    both = published_once.copy(tmp_path_factory.mktemp("neighbours") / "data")
    for kind in ("train", "prediction"):
        folder = both.prefix / kind
        shutil.copytree(folder / "client_id=client_0", folder / f"client_id={NEIGHBOUR}")
    job = both.job(spark)
    train(job, make_client(NEIGHBOUR))
    predict(job, make_client(NEIGHBOUR))
    return both


@pytest.fixture
def neighbours(neighbours_once: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Both of the test's own, which DATA_PREFIX names."""
    return neighbours_once.own_copy(tmp_path / "data", monkeypatch)


@pytest.mark.parametrize("kind", ["train", "predict"])
def test_a_job_opens_its_own_clients_files_alone(neighbours: Published, spark: SparkSession, kind: str) -> None:
    """While client_0 is trained or scored, nothing of client_1 is opened, listed for change, or written."""
    job, before = neighbours.job(spark), rows_of_mlflow(neighbours.prefix, NEIGHBOUR)
    assert all(before.values())
    with watching(neighbours.prefix, NEIGHBOUR) as others, watching(neighbours.prefix, "client_0") as own:
        (partial(train, job) if kind == "train" else partial(predict, job))(make_client("client_0"))
        assert rows_of_mlflow(neighbours.prefix, NEIGHBOUR) == before
    folder = "train" if kind == "train" else "prediction"
    assert any(event.startswith("opened") and f"/{folder}/" in event for event in own)
    assert not others


def test_the_watch_sees_what_is_opened(neighbours: Published) -> None:
    """A neighbour's file that is only read would be noticed."""
    with watching(neighbours.prefix, NEIGHBOUR) as seen:
        next((neighbours.prefix / "train" / f"client_id={NEIGHBOUR}").iterdir()).read_bytes()
    assert any(event.startswith("opened") for event in seen)
