"""A job in a process group of its own that is killed, whole, at one of its steps: `run`, or python -m this module.

The steps are the job's phases and every change that it makes to the storage or to MLflow; each is written to the file
STEPS before it is taken. At step number AT the group gets SIGKILL: Java, Python and all. Without AT nothing is killed.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import DataFrameWriter, SparkSession

from bc4all.data.filesystem import FileSystem
from bc4all.jobs import session, train_job, waves
from bc4all.jobs.application import run_application
from bc4all.request import JobRequest
from tests.conftest import DAY

STORAGE = ("write_text", "rename", "copy", "delete")
MLFLOW = (
    *("create_run", "create_logged_model", "log_model_artifacts", "create_model_version"),
    *("set_registered_model_alias", "set_terminated"),
)
_ONE_AT_A_TIME = threading.Lock()


def step(name: str) -> None:
    """Come to a step, and perhaps no further."""
    steps = Path(os.environ["STEPS"])
    with _ONE_AT_A_TIME:  # a wave's clients are worked on by several threads
        with steps.open("a") as out:
            out.write(f"{name}\n")
        if len(steps.read_text().splitlines()) == int(os.environ.get("AT", "0")):
            os.killpg(0, signal.SIGKILL)


def watched(owner: type, name: str, label: Callable[..., str]) -> None:
    """Make each call of a method a step."""
    method = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        step(label(*arguments))
        return method(*arguments, **options)

    setattr(owner, name, call)


def attach() -> None:
    """Work with the tests' own Java, which is warm, where its address is given: then Python alone is killed."""
    gateway = launch_gateway()
    context = gateway.jvm.org.apache.spark.api.java.JavaSparkContext.fromSparkContext(
        gateway.jvm.org.apache.spark.SparkContext.getOrCreate()
    )
    SparkContext(gateway=gateway, jsc=context, conf=SparkConf(_jvm=gateway.jvm, _jconf=context.getConf()))
    SparkSession.stop = lambda self: None  # type: ignore[method-assign] - it is not this process's to stop


def main() -> int:
    """Run the job that JOB names for those that CLIENTS names, or for client_0."""
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        attach()
    short = os.environ["DATA_PREFIX"]
    for name in STORAGE:
        watched(FileSystem, name, lambda self, uri, *rest, name=name: f"{name} {uri.partition(short)[2]}")
    watched(DataFrameWriter, "parquet", lambda self, path: f"spark writes {path.partition(short)[2]}")
    for name in MLFLOW:
        watched(MlflowClient, name, lambda *arguments, name=name: f"mlflow {name}")

    def stepping(phase: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(spark: Any, clients: Any, job: str, name: str) -> Any:
            step(f"phase {name}")
            return phase(spark, clients, job, name)

        return stepped

    train_job.phase = stepping(session.phase)  # type: ignore[attr-defined]
    waves.wave_phase = stepping(session.wave_phase)  # type: ignore[attr-defined]
    config = Path(os.environ["BC4ALL_CONFIG"])
    clients = tuple(os.environ.get("CLIENTS", "client_0").split())
    return run_application(JobRequest(os.environ["JOB"], clients, False, DAY, config, max_parallel=1))


def run(environment: dict[str, str], output: Path) -> None:
    """Be a victim in this process, which was forked for it: in a group of its own, printing to a file."""
    os.setsid()
    with output.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(main())


if __name__ == "__main__":
    raise SystemExit(main())
