"""How far a large client's training is, while real Spark tasks are at it: on a terminal, in the log, where it fails."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from bc4all.config.model_defaults import TEXT_MODEL
from bc4all.errors import ModelError
from bc4all.jobs.context import JobContext
from bc4all.learning import fitting, task_progress
from bc4all.learning.blending import planner
from bc4all.learning.progress import Progress
from bc4all.learning.task_progress import _MESSAGE, _Reporter, _Sender
from bc4all.learning.tasks import SparkTasks
from bc4all.learning.training import Lesson, Opponent, learn
from bc4all.logs import _add_context, log_context
from bc4all.model.progress import report
from tests.conftest import make_client, make_training_set


def waiting(folder: Path) -> Callable[[int], int]:
    """Work on a number that is half done at once, and done when a file of its name is there."""

    def work(number: int) -> int:
        report(0.5)
        while not (folder / str(number)).exists():
            time.sleep(0.05)
        return number * number

    return work


def until(condition: Callable[[], bool]) -> None:
    """Wait for what a task's report brings about."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_terminal_shows_how_far_each_large_client_is(job: JobContext, tmp_path: Path) -> None:
    """Two of them, side by side: what has ended of each, and what share of the running tasks; in the end nothing."""
    folders = {one: tmp_path / one for one in ("x", "y")}
    for folder in folders.values():
        folder.mkdir()

    def fit(one: str) -> list[Any]:
        tasks = job.tasks(make_client(one), "train")
        with job.phases.at(f"{one} · fit"):
            return tasks.each([3, 4], waiting(folders[one]), "fit")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fit, "x")
        until(lambda: "x · fit 0 of 2, 50%, 0:0" in str(job.phases))
        second = pool.submit(fit, "y")
        until(lambda: "y · fit 0 of 2, 0:0" in str(job.phases))
        (folders["x"] / "4").touch()
        until(lambda: "x · fit 1 of 2, 75%, 0:0" in str(job.phases))
        assert len(str(job.phases).split("; ")) == 2
        for name in ("x/3", "y/3", "y/4"):
            (tmp_path / name).touch()
        assert first.result() == second.result() == [9, 16]
    assert str(job.phases) == ""


def followers() -> list[threading.Thread]:
    """The threads that follow tasks."""
    return [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_long_fit_is_a_line_of_the_log_now_and_then(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A minute is made out to be two seconds; the line says, and carries, whose it is. Short fits have none."""
    caplog.set_level(logging.INFO, "bc4all")
    caplog.handler.addFilter(_add_context)
    tasks = SparkTasks(spark, "shop: train")
    tasks.each([1, 2], lambda number: number, "fit")
    assert caplog.messages == []
    monkeypatch.setattr(task_progress, "_LINE_S", 2.0)
    (tmp_path / "1").touch()
    threading.Timer(5, (tmp_path / "2").touch).start()
    with log_context(client_id="shop"):
        tasks.each([1, 2], waiting(tmp_path), "fit")
    first, *more = caplog.messages
    assert first.startswith("shop: train: fit 1 of 2, 75%, 0:0")
    assert len(more) <= 2
    assert {record.context["client_id"] for record in caplog.records} == {"shop"}  # type: ignore[attr-defined]
    assert followers() == []


def test_what_fails_fails_as_before(job: JobContext) -> None:
    """What scikit-learn refuses, and a fault of our own: the same error; nothing is shown, or followed, after it."""

    def work(number: int) -> float:
        report(0.1)
        if number == 3:
            raise ValueError("three is no number")
        return 1 / number

    tasks = job.tasks(make_client("x"), "train")
    with pytest.raises(ModelError, match="three is no number"):
        fitting.run(tasks, "a tree", [1, 2, 3], work)
    with pytest.raises(Exception, match="ZeroDivisionError: division by zero"):
        tasks.each([1, 0], work, "fit")
    assert (str(job.phases), followers()) == ("", [])


@contextmanager
def unheard(spark: SparkSession) -> Iterator[None]:
    """A network that lets no datagram through."""
    silent = socket.socket(type=socket.SOCK_DGRAM)
    silent.settimeout(0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_progress, "_inbox", lambda spark: silent)
        yield


def test_without_datagrams_pieces_are_counted_all_the_same(job: JobContext, tmp_path: Path) -> None:
    """As behind a firewall: what has ended comes with Spark's own results."""
    with unheard(job.spark), ThreadPoolExecutor(1) as pool:
        tasks = job.tasks(make_client("x"), "train")
        done = pool.submit(tasks.each, [3, 4], waiting(tmp_path), "fit")
        until(lambda: "x · fit 0 of 2, 0:0" in str(job.phases))
        (tmp_path / "4").touch()
        until(lambda: "x · fit 1 of 2, 0:0" in str(job.phases))
        (tmp_path / "3").touch()
        assert done.result() == [9, 16]


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_an_address_that_is_none_fails_no_fit(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens there, which the second report would be told; or the driver's name means nothing to the task."""
    monkeypatch.setattr(task_progress, "_REPORT_S", 0)
    with socket.socket(type=socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    with _Reporter((host, port), b"k" * 16).reporting(0):
        for share in (0.1, 0.5, 1.0):
            report(share)
    _Sender(gone, b"k" * 16, 0)(0.5)  # whose network has gone: `gone` is closed


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_a_driver_that_cannot_listen_goes_on(host: str) -> None:
    """Its own name is of another network: tasks send to nobody."""
    conf = SimpleNamespace(get=lambda name, default: host)
    spark: Any = SimpleNamespace(sparkContext=SimpleNamespace(getConf=lambda: conf))
    with task_progress._inbox(spark) as inbox, _Reporter(inbox.getsockname()[:2], b"k" * 16).reporting(0):
        report(0.5)
        inbox.settimeout(0.1)
        with pytest.raises(TimeoutError):
            inbox.recv(1)


def test_datagrams_of_strangers_are_passed_over(
    job: JobContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the key, of another length, of a piece that there is not."""
    opened: list[socket.socket] = []
    inbox = task_progress._inbox
    monkeypatch.setattr(task_progress, "_inbox", lambda spark: opened.append(inbox(spark)) or opened[0])
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(job.tasks(make_client("x"), "train").each, [3], waiting(tmp_path), "fit")
        until(lambda: "fit 0 of 1, 50%" in str(job.phases))
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            for message in (_MESSAGE.pack(b"?" * 16, 0, 0.9), b"", b"x" * 9000):
                stranger.sendto(message, opened[0].getsockname())
        time.sleep(1.2)
        assert "fit 0 of 1, 50%" in str(job.phases)
        (tmp_path / "3").touch()
        assert done.result() == [9]


def test_a_training_says_what_it_is_at(spark: SparkSession) -> None:
    """Titles with the default model: three fits, whose passes over the rows come to the driver, then the evaluation."""
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 30, 2400).astype(np.int32)
    titles = [f"thing {code} of size {size}" for code, size in zip(codes, rng.integers(0, 500, 2400), strict=True)]
    names = np.array([f"c{code:02}" for code in range(30)], dtype=object)
    data = make_training_set(pd.DataFrame({"title": titles}), codes, names)
    client = make_client("x", features={"title": "text"}, model=TEXT_MODEL, model_params={})
    shown: list[Progress] = []

    @contextmanager
    def show(progress: Progress) -> Iterator[None]:
        shown.append(progress)
        yield

    lesson = Lesson(client.id, client.features, client.model_name, planner(client), refits=True)
    learn(SparkTasks(spark, show=show), lesson, data, Opponent())
    assert [str(progress).rsplit(",", 1)[0] for progress in shown] == ["fit 5 of 5", "evaluate 2 of 2"]
    assert len(shown[0]._reports) == 5
