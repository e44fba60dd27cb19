"""DATA_PREFIX is anything that Hadoop can open: nothing below it is touched in another way."""

import ast
import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from bc4all.job import Job
from bc4all.layout import Layout
from bc4all.registry import Registry
from bc4all.tracking import tracking_uri
from tests.conftest import DAY, ROOT, make_client, published_rows

# What reaches this machine's files or environment, and the modules that may: never for what lies below DATA_PREFIX.
FILE_MODULES = {"os", "pathlib", "glob", "shutil", "io", "tempfile"}
LOCAL_FILES = {
    "__init__": "the environment",
    "arguments": "the configuration file's path",
    "application": "the environment",
    "artifact": "a version's files, in a scratch folder",
    "artifact_store": "the environment, the folder of a SQLite store",
    "blend": "a forest's file inside a model's, in memory",
    "category_map": "the files beside the configuration",
    "child": "a job's log and results, in the state folder",
    "class_archive": "the environment, the project's own files, a scratch folder",
    "cli": "the folder that sample-data is told to fill",
    "cli_crontab": "the project's cron folder",
    "cli_runs": "the state folder",
    "config": "the configuration file",
    "config_writer": "the configuration file",
    "crontab": "the project's cron folder",
    "delivery": "the names in a client's folder of a local prefix: Hadoop leaves out what it cannot look at",
    "dispatch": "logs and results, in the state folder",
    "doctor": "the environment",
    "environment": "Java's program, and how much memory is free",
    "figures": "figures in a scratch folder",
    "filesystem": "renames a folder of a local prefix: Hadoop would copy it where it cannot",
    "forest_file": "a forest's file, downloaded",
    "job": "a scratch folder",
    "kernel": "numba's cache",
    "layout": "a relative prefix made absolute",
    "history": "its file in the state folder",
    "model_file": "a model's file, downloaded",
    "operations": "the environment, and the state folder",
    "model_size": "how much memory there is",
    "ownership": "the folder of a SQLite store beside a local prefix",
    "project": "where the project lies",
    "pyfunc": "the artifact that MLflow downloaded",
    "redaction": "the environment",
    "registry": "a scratch folder",
    "relocation": "whether a local prefix's artifacts are there",
    "request": "the configuration file's path",
    "sample_data": "the folder that it is told to fill",
    "schedule": "this machine's time zone",
    "scheduler": "the configuration file, and logs in the state folder",
    "session": "the environment",
    "state": "the state folder",
    "status": "a run's log, in the state folder",
    "bundle": "the project's own files",
    "spark_submit": "the environment, the project's own files",
    "tracking": "the environment, figures in a scratch folder, the SQLite file of a local prefix",
    "tune_job": "the configuration file's path, a scratch folder",
    "yaml_source": "the configuration file",
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
    sources = {path.stem: path.read_text() for path in (ROOT / "bc4all").glob("*.py")}
    assert {name for name, source in sources.items() if imports(source) & FILE_MODULES} == set(LOCAL_FILES)


@pytest.mark.parametrize("source", ["import os.path", "from os import path", "from glob import glob", "open('x')"])
def test_sees_what_touches_local_files(source: str) -> None:
    """Each way to a local file is seen."""
    assert imports(source) & FILE_MODULES


@pytest.mark.parametrize("kind", ["viewfs", "spaces"])
def test_both_jobs_run_on_any_storage(
    job: Job,
    prefix: Path,
    sample: Path,
    empty_mlflow: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A mounted viewfs, which no local call can open, and a file: URI with spaces: both jobs, equal to a plain path."""
    client = make_client("client_0")
    shutil.copytree(sample, prefix, dirs_exist_ok=True)
    job.train(client)
    job.predict(client)
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
    second = Job(job.spark, layout, Registry(tracking_uri(layout), layout), DAY, job.locks)
    second.train(client)
    second.predict(client)
    assert_equal(published_rows(prefix, "client_0"), published_rows(other, "client_0"))


def assert_equal(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Equal but for the version that was scored with."""
    pd.testing.assert_frame_equal(one.drop(columns="model_version"), other.drop(columns="model_version"))
