"""A real Spark standalone cluster on loopback: one master, two workers with addresses and folders of their own.

The workers run from the pip package's spark-class, with a system's PATH: the project's environment is not on it, so
that code and packages reach the executors through spark-submit alone.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyspark
import pytest
import yaml

from bc4all.launch.spark_submit import ENVIRONMENT
from tests.conftest import DAY, ROOT

SPARK_HOME = Path(pyspark.__file__).parent
ARCHIVE = ROOT / "dist" / "bc4all-environment.tar.gz"
CLIENTS = ("client_0", "client_3")
_START = 60.0  # seconds that a daemon may take


def bare_environment(address: str = "127.0.0.1") -> dict[str, str]:
    """What a freshly installed host has: a system's PATH and Java."""
    kept = {name: os.environ[name] for name in ("JAVA_HOME", "HOME", "LANG") if name in os.environ}
    java = shutil.which("java")
    path = ["/usr/local/bin", "/usr/bin", "/bin", *([str(Path(java).parent)] if java else [])]
    return {**kept, "PATH": ":".join(path), "SPARK_LOCAL_IP": address, "SPARK_HOME": str(SPARK_HOME)}


@dataclass
class Daemon:
    """A process group that is killed whole. `log` holds what it printed."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, arguments: Sequence[str], log: Path, environment: dict[str, str]) -> "Daemon":
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(SPARK_HOME / "bin" / "spark-class"), *arguments],
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, log)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line of the log that has `pattern`."""
        end = time.monotonic() + _START
        while time.monotonic() < end:
            found = re.search(pattern, self.log.read_text(errors="replace"))
            if found:
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)
        raise AssertionError(f"no {pattern!r} in {_START} s:\n{self.log.read_text()}")

    def kill(self) -> None:
        """SIGKILL to the daemon and the executors that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self.process.wait()


@dataclass
class Cluster:
    """A running cluster."""

    url: str
    folder: Path
    workers: list[Daemon] = field(default_factory=list)

    def add_worker(self) -> Daemon:
        """Start one more worker, of one core, and wait until the master has it."""
        number = len(self.workers)
        address = f"127.0.0.{number + 2}"
        arguments = ["--host", address, "--cores", "1", "--memory", "2g", "--webui-port", "0"]
        arguments += ["--work-dir", str(self.folder / f"worker{number}"), self.url]
        worker = Daemon.start(
            ["org.apache.spark.deploy.worker.Worker", *arguments],
            self.folder / f"worker{number}.log",
            bare_environment(address),
        )
        self.workers.append(worker)
        worker.wait_for("Successfully registered with master")
        return worker


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master, gone with everything that it started when the module's tests are over."""
    tmp_path = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        arguments = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
        master = Daemon.start(
            ["org.apache.spark.deploy.master.Master", *arguments], tmp_path / "master.log", bare_environment()
        )
        stack.callback(master.kill)
        url = master.wait_for(r"Starting Spark master at (spark://\S+)")[1]
        running = Cluster(url, tmp_path)
        stack.callback(lambda: [worker.kill() for worker in running.workers])
        yield running


@pytest.fixture
def cluster(module_cluster: Cluster) -> Cluster:
    """The module's cluster, with two workers that live."""
    while sum(worker.process.poll() is None for worker in module_cluster.workers) < 2:
        module_cluster.add_worker()
    return module_cluster


@pytest.fixture(scope="session")
def archive() -> Path:
    """The workers' environment, as `make env-archive` builds it."""
    subprocess.run([str(ROOT / "bin" / "env-archive.sh")], check=True, cwd="/")
    return ARCHIVE


@dataclass(frozen=True)
class Project:
    """A data prefix with real clients, a configuration for them, and what differs in the environment of its jobs."""

    prefix: Path
    config: Path
    settings: dict[str, str] = field(default_factory=dict)

    def command(self, job: str, *options: str) -> list[str]:
        """bin/submit.sh for all its clients, with options for spark-submit."""
        day = {"train": "--training-date", "predict": "--inference-date"}[job]
        return [str(ROOT / "bin" / "submit.sh"), job, "--all", day, DAY, "--config", str(self.config), "--", *options]

    @property
    def environment(self) -> dict[str, str]:
        """The caller's, with this prefix."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
        return {**inherited, "SPARK_LOCAL_IP": "127.0.0.1", "DATA_PREFIX": str(self.prefix), "PWD": "/"} | self.settings

    def submit(self, job: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a job to its end, from a folder that is not the project's."""
        return subprocess.run(
            self.command(job, *options), env=self.environment, capture_output=True, text=True, cwd="/", check=False
        )


def on_cluster(cluster: Cluster) -> list[str]:
    """The options of docs/cluster.md."""
    return ["--master", cluster.url, "--archives", f"{ARCHIVE}#{ENVIRONMENT}"]


@pytest.fixture
def make_project(tmp_path: Path, seed: Path, empty_mlflow: Path) -> Callable[[str], Project]:
    """Projects of two real clients, each in a folder of its own name."""

    def make(name: str) -> Project:
        prefix = tmp_path / name
        for kind in ("train", "prediction"):
            for client_id in CLIENTS:
                partition = f"{kind}/client_id={client_id}"
                shutil.copytree(seed / partition, prefix / partition)
        shutil.copy(empty_mlflow, prefix)
        config = tmp_path / f"{name}.yaml"
        defaults = {
            "features": ["f0", "f1", "f2", "f3", "f4"],
            "model": "sklearn.ensemble.RandomForestClassifier",
            "model_params": {"n_estimators": 20, "random_state": 1234},
        }
        config.write_text(yaml.safe_dump({"defaults": defaults, "clients": dict.fromkeys(CLIENTS)}))
        return Project(prefix, config)

    return make


def json_events(text: str) -> list[dict[str, Any]]:
    """The lines of a log that are JSON."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
