"""A real MLflow server that is down, dies, is slow, fails or refuses: asked again, then 75, and no half champion.

Between the jobs and the server stands a proxy that spoils what it is told to.
"""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from bc4all.errors import Failure, TransientFailure
from bc4all.jobs.application import run_application
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Outcome
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.layout import Layout
from bc4all.registry.tracking import Tracking
from bc4all.registry.versions import Registry
from bc4all.request import JobRequest
from bc4all.state import State
from tests.conftest import DAY, make_client, published_rows, run_fleet
from tests.faults.conftest import Published, partition, rows_of

Spoil = Callable[[str], object]  # a request's path -> None, seconds to wait, a status, "drop" or "lose the answer"


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Server:
    """`mlflow server` on a SQLite file, and the proxy before it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.spoil: Spoil = lambda path: None
        server = self

        class Proxy(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = server.spoil(self.path)
                if isinstance(fault, float):
                    time.sleep(fault)
                elif isinstance(fault, int):
                    self._answer(fault, b"out of order", "text/plain")
                    return
                elif fault == "drop":
                    self.close_connection = True
                    return
                try:
                    url = f"http://127.0.0.1:{server._port}{self.path}"
                    given = {"Content-Type": self.headers.get("Content-Type", "")}
                    answer = requests.request(self.command, url, data=body, headers=given, timeout=30)
                except requests.ConnectionError:
                    self.close_connection = True
                    return
                if fault == "lose the answer":
                    self.close_connection = True
                    return
                self._answer(answer.status_code, answer.content, answer.headers.get("Content-Type", ""))

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *values: object) -> None:
                """Nobody reads it."""

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815 - http.server's names

        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        self.uri = f"http://127.0.0.1:{self._proxy.server_address[1]}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--workers", "1"]
        command += ["--port", str(self._port), "--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        for _ in range(3000):  # a machine with other work takes minutes
            try:
                if requests.get(f"http://127.0.0.1:{self._port}/health", timeout=5).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.1)
        raise AssertionError((self._folder / "server.log").read_text())

    def kill(self) -> None:
        """SIGKILL to the server and all its workers."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def close(self) -> None:
        """End both."""
        self.kill()
        self._proxy.shutdown()
        self._proxy.server_close()


@pytest.fixture(scope="module")
def running(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for these tests: it takes seconds to start."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_mlflow, folder / "server.db")
    found = Server(folder)
    found.start()
    yield found
    found.close()


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server, well at first, and well again at the end."""
    running.spoil = lambda path: None
    if running.process is None or running.process.poll() is not None:
        running.start()
    yield running
    running.spoil = lambda path: None


@pytest.fixture
def remote(server: Server, spark: SparkSession, published: Published) -> Callable[..., JobContext]:
    """Jobs on the published prefix that ask the server, each test with a client of its own."""

    def connected(patience: float = 3.0) -> JobContext:
        layout = Layout.at(str(published.prefix))
        return JobContext(
            spark, layout, Registry(Tracking(server.uri, layout, patience)), DAY, State.from_environment(layout)
        )

    return connected


@pytest.fixture
def client_id(request: pytest.FixtureRequest, published: Published) -> str:
    """The test's own client, with client_0's products."""
    name = request.node.name.replace("[", "-").replace("]", "")[:60]
    for kind in ("train", "prediction"):
        (published.prefix / kind / "client_id=client_0").rename(published.prefix / kind / f"client_id={name}")
    return str(name)


def run(job: JobContext, kind: str, client_id: str) -> Outcome:
    """Train or predict the client, as a fleet of one."""
    work = partial(train, job) if kind == "train" else partial(predict, job)
    (outcome,) = run_fleet(job.spark, kind, [make_client(client_id)], work, 1)
    return outcome


def champion(server: Server, client_id: str) -> int:
    """The champion's number."""
    return int(MlflowClient(server.uri).get_model_version_by_alias(f"{client_id}_model", "champion").version)


def versions(server: Server, client_id: str) -> list[int]:
    """The numbers of all versions."""
    found = MlflowClient(server.uri).search_model_versions(f"name = '{client_id}_model'")
    return sorted(int(version.version) for version in found)


@pytest.mark.usefixtures("own_log", "lent_session")
def test_down_at_start(
    published: Published, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No client is begun: exit code 75 and one line that says where MLflow was looked for."""
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr("bc4all.jobs.work.Tracking", partial(Tracking, patience=1.0))
    before = rows_of(partition(published.prefix))
    arguments = JobRequest("predict", ("client_0",), False, DAY, published.config, max_parallel=1)
    assert run_application(arguments) == 75
    lines = [line for line in capsys.readouterr().err.splitlines() if "WARNING" not in line]
    assert lines == [f"MLflow: it cannot be reached ({uri}, is the tracking server well?)"]
    assert rows_of(partition(published.prefix)).equals(before)  # type: ignore[union-attr]


def test_back_in_time(server: Server, remote: Callable[..., JobContext], client_id: str) -> None:
    """A server that answers again within the patience costs nothing but the time."""
    job = remote(30.0)
    down_until = time.monotonic() + 3
    server.spoil = lambda path: "drop" if time.monotonic() < down_until else None
    assert run(job, "train", client_id).version == 1
    assert time.monotonic() > down_until


def test_dies_between_registration_and_alias(server: Server, remote: Callable[..., JobContext], client_id: str) -> None:
    """The old version stays champion, exit code is 75; when the server is back, the next training takes its place."""
    job = remote()
    assert run(job, "train", client_id).version == 1

    registered = []

    def die(path: str) -> object:
        if "model-versions/create" in path:
            registered.append(path)
        if "registered-models/alias" in path and registered:
            server.kill()
        return None

    server.spoil = die
    outcome = run(job, "train", client_id)
    assert outcome.exit_code == 75
    assert outcome.error == (
        f"{client_id}: train failed: MLflow: it cannot be reached ({server.uri}, is the tracking server well?)"
    )
    server.spoil = lambda path: None
    server.start()
    assert champion(server, client_id) == 1
    assert versions(server, client_id) == [1, 2]
    assert run(job, "predict", client_id).version == 1
    assert run(job, "train", client_id).version == 3
    assert champion(server, client_id) == 3


def test_slow(
    server: Server,
    remote: Callable[..., JobContext],
    client_id: str,
    monkeypatch: pytest.MonkeyPatch,
    published: Published,
) -> None:
    """A slow server is waited for; one that does not answer in time is asked again, then given up with 75."""
    job = remote()
    server.spoil = lambda path: 0.2
    assert run(job, "train", client_id).version == 1
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    server.spoil = lambda path: 5.0
    outcome = run(job, "predict", client_id)
    assert outcome.exit_code == 75
    assert "it did not answer in time" in str(outcome.error)
    assert not partition(published.prefix, client_id).exists()


def test_answers_500(server: Server, remote: Callable[..., JobContext], client_id: str, published: Published) -> None:
    """One answer in ten is a 500: it works. All are: exit code 75, and what was published stays."""
    job, dice = remote(30.0), np.random.default_rng(1)
    server.spoil = lambda path: 500 if dice.random() < 0.1 else None
    assert run(job, "train", client_id).version == 1
    assert run(job, "predict", client_id).error is None
    before = published_rows(published.prefix, client_id)
    server.spoil = lambda path: 500
    with pytest.raises(TransientFailure, match="it answers with server errors"):
        remote(1.0)  # connecting asks, too
    server.spoil = lambda path: 500 if "runs" in path else None
    outcome = run(remote(1.0), "predict", client_id)
    assert (outcome.exit_code, "MLflow: " in str(outcome.error)) == (75, True)
    assert published_rows(published.prefix, client_id).equals(before)


def lose_once(server: Server, question: str) -> list[str]:
    """Lose the answer to a question, once; the list then holds its path."""
    lost: list[str] = []

    def lose(path: str) -> object:
        if question in path and not lost:
            lost.append(path)
            return "lose the answer"
        return None

    server.spoil = lose
    return lost


def test_a_lost_answer_registers_nothing_twice(
    server: Server, remote: Callable[..., JobContext], client_id: str
) -> None:
    """What the server did although its answer was lost is found when it is asked again."""
    lost = lose_once(server, "model-versions/create")
    assert run(remote(30.0), "train", client_id).version == 1
    assert lost
    assert versions(server, client_id) == [1]


def test_a_lost_answer_starts_no_second_run(server: Server, remote: Callable[..., JobContext], client_id: str) -> None:
    """A run whose start was not answered is found again: none stays open for ever."""
    lost = lose_once(server, "runs/create")
    assert run(remote(30.0), "train", client_id).version == 1
    assert lost
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name(f"ProductCategoriesClassification_{client_id}")
    assert experiment
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FINISHED"]


def test_a_server_that_has_no_files(server: Server, remote: Callable[..., JobContext], client_id: str) -> None:
    """What a server says of an artifact is for good, too, at once, though MLflow's client wraps it."""
    assert run(remote(30.0), "train", client_id).error is None
    for status, complaint in ((404, "has no files"), (403, "MLflow refuses these credentials")):
        server.spoil = lambda path, status=status: status if "artifact" in path else None  # type: ignore[misc]
        started = time.monotonic()
        outcome = run(remote(60.0), "predict", client_id)
        assert outcome.exit_code == 1, outcome.error
        assert complaint in str(outcome.error), status
        assert time.monotonic() - started < 30


def test_refuses_the_credentials(server: Server, remote: Callable[..., JobContext], client_id: str) -> None:
    """A retry does not help: the failure is for good, at once, and says what to set."""
    job = remote(60.0)
    server.spoil = lambda path: 401
    started = time.monotonic()
    outcome = run(job, "train", client_id)
    assert outcome.exit_code == 1
    assert "MLflow refuses these credentials" in str(outcome.error)
    assert "MLFLOW_TRACKING_TOKEN" in str(outcome.error)
    assert time.monotonic() - started < 30


def test_a_fleet_waits_for_a_dead_server_once(
    server: Server, remote: Callable[..., JobContext], published: Published
) -> None:
    """The first client's patience is everybody's; each of the next asks once."""
    job = remote(4.0)
    server.spoil = lambda path: "drop"
    clients = [make_client(f"c{number}") for number in range(20)]
    started = time.monotonic()
    outcomes = run_fleet(job.spark, "train", clients, partial(train, job), 1)
    assert {outcome.exit_code for outcome in outcomes} == {75}
    assert time.monotonic() - started < 20  # not 20 x 4
    server.spoil = lambda path: None
    with pytest.raises(Failure, match="has no champion"):  # it answers again, and patience is back
        job.registry.find("c0")


def test_eight_trainings_on_a_locked_sqlite_file(published: Published, spark: SparkSession, sample: Path) -> None:
    """Eight clients register at once while another process holds the file's lock now and then: all are champions."""
    clients = [make_client(f"c{number}", model_params={"n_estimators": 1}) for number in range(8)]
    for client in clients:
        shutil.copytree(sample / "train" / "client_id=client_1", published.prefix / "train" / f"client_id={client.id}")
    job, done = published.job(spark), threading.Event()

    def lock() -> None:
        while not done.wait(0.05):
            with sqlite3.connect(published.prefix / "mlflow.db", timeout=30) as other:
                other.execute("BEGIN EXCLUSIVE")
                done.wait(0.5)
                other.rollback()

    with ThreadPoolExecutor(1) as pool:
        locking = pool.submit(lock)
        try:
            outcomes = run_fleet(spark, "train", clients, partial(train, job), 8)
        finally:
            done.set()
        locking.result()
    assert [outcome.error for outcome in outcomes] == [None] * 8
    assert {job.registry.find(client.id).number for client in clients} == {1}


def test_a_file_that_stays_locked(published: Published, spark: SparkSession) -> None:
    """A lock that is never given back ends in exit code 75 and a line that says so."""
    layout = published.layout
    registry = Registry(Tracking(f"sqlite:///{published.prefix}/mlflow.db", layout, patience=1.0))
    job = JobContext(spark, layout, registry, DAY, State.from_environment(layout))
    other = sqlite3.connect(published.prefix / "mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    try:
        outcome = run(job, "predict", "client_0")
    finally:
        other.rollback()
        other.close()
    assert outcome.exit_code == 75
    assert "database is locked" in str(outcome.error)
