"""DATA_PREFIX is anything that Hadoop can open; what Python may do to a folder of this machine stands in one module."""

import ast
import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from bc4all.jobs.context import JobContext
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.layout import Layout
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.registry.versions import Registry
from tests.conftest import DAY, ROOT, make_client, published_rows

# What reaches this machine's files or environment, and the modules that may.
FILE_MODULES = {"os", "pathlib", "glob", "shutil", "io", "tempfile"}
LOCAL_FILES = {
    "__init__": "the environment",
    "cli/backfill": "the configuration file's path",
    "cli/crontab": "the project's cron folder",
    "cli/forget": "the environment, the configuration file's path",
    "cli/main": "the folder that sample-data is told to fill",
    "cli/metrics": "the file that --textfile names",
    "cli/options": "the configuration file's path",
    "cli/report": "the folder that it is told to fill",
    "cli/runs": "the state folder",
    "cli/status": "a run's log, in the state folder",
    "config/category_map": "the files beside the configuration",
    "config/clients": "the configuration file's path",
    "config/fleet_file": "the configuration file",
    "config/timing": "this machine's time zone",
    "config/tuned": "the files beside the configuration",
    "config/yaml_source": "the configuration file",
    "data/delivery": "the names in a client's folder of a local prefix: Hadoop leaves out what it cannot look at",
    "data/local_storage": "what lies below a local prefix: Hadoop asks Java, which is slow, and copies what it renames",
    "data/sample_data": "the folder that it is told to fill",
    "environment": "Java's program, and how much memory is free",
    "interrupts": "this process's end",
    "jobs/application": "the environment",
    "jobs/doctor": "the environment",
    "jobs/forget": "a client's logs, in the state folder, and the files beside the configuration",
    "jobs/session": "the environment",
    "jobs/train_job": "a scratch folder",
    "jobs/tune_job": "the configuration file's path, a scratch folder",
    "launch/bundle": "the project's own files",
    "launch/class_archive": "the environment, the project's own files, a scratch folder",
    "launch/spark_submit": "the environment, the project's own files",
    "layout": "a relative prefix made absolute",
    "local_files": "small files of this machine",
    "learning/model_size": "how much memory there is",
    "logs": "the environment",
    "model/blend": "a forest's file inside a model's, in memory",
    "model/forest_file": "a forest's file, downloaded",
    "model/kernel": "numba's cache",
    "model/model_file": "a model's file, downloaded",
    "project": "where the project lies",
    "pyfunc": "the artifact that MLflow downloaded",
    "redaction": "the environment",
    "registry/artifact": "a version's files, in a scratch folder",
    "registry/artifact_store": "the environment, the folder of a SQLite store",
    "registry/ownership": "the folder of a SQLite store beside a local prefix",
    "registry/relocation": "whether a local prefix's artifacts are there",
    "registry/run": "a scratch folder",
    "registry/tracking": "the environment, figures in a scratch folder, the SQLite file of a local prefix",
    "registry/versions": "a scratch folder",
    "request": "the configuration file's path",
    "schedule/by_hand": "results, in the state folder",
    "schedule/child": "a job's log and results, in the state folder",
    "schedule/crontab": "the project's cron folder",
    "schedule/dispatch": "logs and results, in the state folder",
    "schedule/history": "its file in the state folder",
    "schedule/operations": "the environment, and the state folder",
    "schedule/scheduler": "the configuration file, and logs in the state folder",
    "site/client": "nothing: a table in memory",
    "site/report": "the folder that it is told to fill",
    "starter": "the file that its starter reads",
    "state": "the state folder",
    "terminal": "the environment",
}


def imports(source: str) -> set[str]:
    """The top-level names of the modules that a source imports, and `open` where it is called."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            found.add("os")
    return found


def test_only_listed_modules_touch_local_files() -> None:
    """A module that opens files otherwise than through Hadoop (or Arrow, where there is no Spark) is in the list."""
    package = ROOT / "bc4all"
    sources = {str(path.relative_to(package).with_suffix("")): path.read_text() for path in package.rglob("*.py")}
    assert {name for name, source in sources.items() if imports(source) & FILE_MODULES} == set(LOCAL_FILES)


@pytest.mark.parametrize("source", ["import os.path", "from os import path", "from glob import glob", "open('x')"])
def test_sees_what_touches_local_files(source: str) -> None:
    """Each way to a local file is seen."""
    assert imports(source) & FILE_MODULES


@pytest.mark.starts_from("published_sample")
@pytest.mark.parametrize("kind", ["viewfs", "spaces"])
def test_both_jobs_run_on_any_storage(
    job: JobContext,
    prefix: Path,
    sample: Path,
    empty_mlflow: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A mounted viewfs, which no local call can open, and a file: URI with spaces: both jobs, equal to a plain path."""
    client = make_client("client_0")
    other = tmp_path / ("mounted" if kind == "viewfs" else "other data of ours")
    shutil.copytree(sample, other)
    if kind == "viewfs":
        uri = "viewfs://tests/mounted"
        mount = "fs.viewfs.mounttable.tests.link./mounted"
        job.spark.sparkContext._jsc.hadoopConfiguration().set(mount, other.as_uri())
    else:
        uri = f"file://{other}"
    tracking = f"sqlite:///{shutil.copy(empty_mlflow, tmp_path)}"
    for family in ("Classification", "Prediction"):  # MLflow has no client for a viewfs here
        name, place = f"ProductCategories{family}_client_0", (tmp_path / "artifacts").as_uri()
        MlflowClient(tracking).create_experiment(name, artifact_location=place)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    layout = Layout.at(uri)
    second = JobContext(job.spark, layout, Registry(Tracking(tracking_uri(layout), layout)), DAY, job.state)
    train(second, client)
    predict(second, client)
    assert_equal(published_rows(prefix, "client_0"), published_rows(other, "client_0"))


def assert_equal(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Equal but for the version that was scored with."""
    pd.testing.assert_frame_equal(one.drop(columns="model_version"), other.drop(columns="model_version"))
