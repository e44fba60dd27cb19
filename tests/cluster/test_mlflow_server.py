"""MLflow as a server: ten clients from two drivers at once, each with its own version, none mixed up."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient

from bc4all.data.sample_data import write_sample_data
from tests.conftest import DAY, ROOT, published_rows

SERVER = ROOT / "bin" / "mlflow-server.sh"
_START = 120  # seconds: a database is made, and MLflow's tables in it


@contextlib.contextmanager
def running_server(folder: Path, **settings: str) -> Iterator[str]:
    """bin/mlflow-server.sh on a free port; gone with its database at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for parent in (folder, *folder.parents):
        if "pytest-of-" in str(parent):
            parent.chmod(0o755)  # PostgreSQL runs as a user of its own where the tests run as root
    environment = {**os.environ, "DATA_PREFIX": str(folder), "MLFLOW_PORT": str(port), **settings}
    with (folder / "server.log").open("wb") as log:
        running = subprocess.Popen([str(SERVER)], env=environment, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + _START
        while not healthy(uri):
            assert running.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < end, (folder / "server.log").read_text()
            time.sleep(0.5)
        yield uri
    finally:
        running.terminate()
        running.wait(timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # what would not stop by itself


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server with whatever database the system has."""
    with running_server(tmp_path) as uri:
        yield uri


def healthy(uri: str) -> bool:
    """Whether the server answers."""
    try:
        return requests.get(f"{uri}/health", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_serves_without_postgresql(tmp_path: Path) -> None:
    """On a system without PostgreSQL, runs are kept in a SQLite file."""
    with running_server(tmp_path, POSTGRESQL=str(tmp_path / "none")) as uri:
        assert MlflowClient(uri).create_experiment("kept")
    assert (tmp_path / "mlflow-server" / "mlflow.db").exists()


def test_refuses_what_is_no_folder() -> None:
    """A server keeps its database in a folder of this machine, whatever DATA_PREFIX is."""
    settings = {**os.environ, "DATA_PREFIX": "hdfs:///data"}
    done = subprocess.run([str(SERVER)], env=settings, capture_output=True, text=True, check=False)
    assert (done.returncode, "set MLFLOW_HOME" in done.stderr) == (2, True)


def test_a_second_server_leaves_the_first_alone(tmp_path: Path) -> None:
    """Started twice on one folder by mistake, the second says so, and the first goes on."""
    with running_server(tmp_path) as uri:
        if not (tmp_path / "mlflow-server" / "postgres").exists():
            pytest.skip("this system has no PostgreSQL")
        settings = {**os.environ, "DATA_PREFIX": str(tmp_path), "MLFLOW_PORT": "1"}
        second = subprocess.run([str(SERVER)], env=settings, capture_output=True, text=True, check=False)
        assert (second.returncode, "runs on" in second.stderr) == (1, True)
        assert MlflowClient(uri).create_experiment("still there")


def test_ten_clients_of_two_drivers_share_a_server(server: str, tmp_path: Path) -> None:
    """Each client has one champion, made from its own data, and what it publishes says so."""
    prefix, clients = tmp_path / "data", [f"client_{i}" for i in range(10)]
    list(write_sample_data(prefix, clients=10, rows=300, seed=3))
    config = tmp_path / "clients.yaml"
    names = ", ".join(f"{client_id}: " for client_id in clients)
    config.write_text(f"defaults: {{features: [f0, f1, f2, f3, f4]}}\nclients: {{{names}}}\n")
    settings = {"DATA_PREFIX": str(prefix), "MLFLOW_TRACKING_URI": server, "BC4ALL_CONFIG": str(config)}
    environment = {**os.environ, **settings}

    def start(job: str, mine: list[str], *options: str) -> subprocess.Popen[str]:
        chosen = [word for client_id in mine for word in ("--client-id", client_id)]
        chosen += ["--max-parallel", "5"]
        command = [str(ROOT / "bin" / "submit.sh"), job, *chosen, *options, "--", "--master", "local[1]"]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    params = '{"n_estimators": 3, "random_state": 1}'
    drivers = [start("train", half, "--model-params", params) for half in (clients[:5], clients[5:])]
    for driver in drivers:
        printed, _ = driver.communicate()
        assert driver.returncode == 0, printed
    registry = MlflowClient(server)
    for client_id in clients:
        version = registry.get_model_version_by_alias(f"{client_id}_model", "champion")
        run = registry.get_run(str(version.run_id))
        assert (version.version, version.tags["client_id"]) in ((1, client_id), ("1", client_id))
        assert run.data.tags["client_id"] == client_id
        assert run.data.tags["application_id"].startswith("local-")
        assert run.data.tags["application_page"].startswith("http://")
    predicted = start("predict", clients[:2], "--inference-date", DAY)
    printed, _ = predicted.communicate()
    assert predicted.returncode == 0, printed
    labels = {client_id: set(published_rows(prefix, client_id)["pred_label"]) for client_id in clients[:2]}
    assert all(label.startswith("c0_") for label in labels["client_0"])
    assert all(label.startswith("c1_") for label in labels["client_1"])
