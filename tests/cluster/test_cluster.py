"""Both jobs on a cluster of separate processes: the same rows as on a laptop, whatever happens to a worker."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow import MlflowClient

from tests.cluster.conftest import CLIENTS, Cluster, Project, bare_environment, json_events, on_cluster
from tests.conftest import ROOT, published_rows

MakeProject = Callable[[str], Project]


def assert_equal_output(one: Project, other: Project) -> None:
    """Every client's published rows are the same in both projects, to the last bit of a score."""
    for client_id in CLIENTS:
        pd.testing.assert_frame_equal(
            published_rows(one.prefix, client_id), published_rows(other.prefix, client_id), check_exact=True
        )


def test_a_cluster_publishes_what_a_laptop_does(cluster: Cluster, archive: Path, make_project: MakeProject) -> None:
    """Trained and scored on two workers that lose one in mid-job, real clients' rows equal those of local mode.

    The laptop's data lie below a viewfs, which no local call can open; the cluster's in a folder with spaces.
    """
    local, remote = mounted(make_project("local")), make_project("data of the cluster")
    remote = replace(remote, settings={"DATA_PREFIX": f"file://{remote.prefix}"})
    mount = f"spark.hadoop.fs.viewfs.mounttable.laptop.link./data={local.prefix.as_uri()}"
    for job in ("train", "predict"):
        done = local.submit(job, "--master", "local[2]", "--conf", mount)
        assert done.returncode == 0, done.stdout + done.stderr
    trained = remote.submit("train", *on_cluster(cluster))
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert_workers_have_no_more_than_they_need(cluster)
    predicted = predict_and_kill_a_worker(remote, cluster)
    assert predicted.returncode == 0, predicted.stdout
    assert_equal_output(local, remote)
    assert_events_say_whose_they_are(json_events(trained.stdout))
    assert_spark_says_whose_work_it_is(remote.prefix / "_events")


def mounted(project: Project) -> Project:
    """The project with its data at viewfs://laptop/data, and MLflow's in files: it has no client for a viewfs here."""
    tracking = f"sqlite:///{project.prefix}/mlflow.db"
    for client_id in CLIENTS:
        for kind in ("Classification", "Prediction"):
            place = (project.prefix / "mlartifacts").as_uri()
            MlflowClient(tracking).create_experiment(f"ProductCategories{kind}_{client_id}", artifact_location=place)
    return replace(project, settings={"DATA_PREFIX": "viewfs://laptop/data", "MLFLOW_TRACKING_URI": tracking})


def assert_workers_have_no_more_than_they_need(cluster: Cluster) -> None:
    """The Python that an executor unpacked has the workers' packages, and neither this project nor MLflow."""
    pythons = sorted(cluster.folder.glob("worker*/app-*/*/environment/bin/python"))
    assert len(pythons) >= 2
    for module, found in (("numba", True), ("bc4all", False), ("mlflow", False)):
        done = subprocess.run(
            [str(pythons[0]), "-c", f"import {module}"],
            env=bare_environment(),
            cwd="/",
            capture_output=True,
            check=False,
        )
        assert (done.returncode == 0) == found, (module, done.stderr)


def assert_events_say_whose_they_are(events: list[dict[str, Any]]) -> None:
    """A cluster's log is JSON in Spark's schema; what concerns a client names it, its job, run and application."""
    assert all({"ts", "level", "msg", "context", "logger"} <= set(event) for event in events)
    about = [event for event in events if "is champion" in event["msg"]]
    assert {event["context"]["client_id"] for event in about} == set(CLIENTS)
    for event in about:
        assert event["context"]["job"] == "train"
        assert event["context"]["application_id"].startswith("app-")
        assert len(event["context"]["run_id"]) == 32
    assert len({event["context"]["run_id"] for event in about}) == len(CLIENTS)


def assert_spark_says_whose_work_it_is(events: Path) -> None:
    """In the history of both applications, every job and stage carries client, job and phase.

    Each client of a training its own; of a wave the first one, and all of them as tags.
    """
    for job, application in zip(("train", "predict"), sorted(events.glob("eventlog_v2_app-*")), strict=True):
        names, tags = set(), set()
        for file in application.glob("events_*.zstd"):
            for line in pa.input_stream(str(file), compression="zstd").read().splitlines():
                event = json.loads(line)
                if event["Event"] in ("SparkListenerJobStart", "SparkListenerStageSubmitted"):
                    names.add(event["Properties"].get("spark.job.description"))
                    tags |= set((event["Properties"].get("spark.job.tags") or "").split(","))
        phases = ("read", "collect", "fit") if job == "train" else ("read", "score", "audit")
        about = [CLIENTS[0], f"{CLIENTS[0]} +{len(CLIENTS) - 1}", *CLIENTS[1:]]  # large ones are fitted one by one
        mine = {f"{one} · {job} · {phase}" for one in about for phase in phases}
        assert names - mine == {"bc4all · start · versions"}
        assert {str(name).rpartition(" · ")[2] for name in names & mine} == set(phases)
        assert set(CLIENTS) <= tags


def predict_and_kill_a_worker(project: Project, cluster: Cluster) -> subprocess.CompletedProcess[str]:
    """Run predict; kill the first worker, executor and all, as soon as a client's products have been read."""
    log = project.prefix / "predict.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            project.command("predict", *on_cluster(cluster)),
            env=project.environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd="/",
        )
        while "predict: read took" not in log.read_text():
            assert running.poll() is None, log.read_text()
            time.sleep(0.05)
        cluster.workers[0].kill()
        running.wait()
    return subprocess.CompletedProcess(running.args, running.returncode, log.read_text())


SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.minTaskRuntime": "100ms",
    "spark.speculation.quantile": "0.1",
    "spark.speculation.multiplier": "1.1",
}


@pytest.mark.parametrize("fault", ["lost", "doubled"])
def test_what_is_counted_while_products_are_read_counts_once(cluster: Cluster, tmp_path: Path, fault: str) -> None:
    """An executor is killed in mid-file, or a slow task is started twice: each row, id and bin is there, and once."""
    ids = np.arange(6 * 25_000)
    folder = tmp_path / "prediction" / "client_id=x"
    folder.mkdir(parents=True)
    for file in range(6):
        part = ids[file * 25_000 : (file + 1) * 25_000 + 5_000]  # the last ones come again in the next file
        pd.DataFrame({"product_id": part, "f0": part / 7}).to_csv(folder / f"{file}.csv", index=False)
    settings = {"spark.sql.shuffle.partitions": "4", "spark.ui.enabled": "false"} | SPECULATION
    told = {
        one: read_on({**settings, "spark.master": url}, tmp_path, one)
        for one, url in (("nothing", "local[2]"), (fault, cluster.url))
    }
    assert told[fault].pop("attempts") > told["nothing"].pop("attempts") == 1
    assert told[fault] == told["nothing"]
    assert (told[fault]["accepted"], told[fault]["bins"]) == (len(ids), len(ids))
    assert told[fault]["refused"] == {"duplicate product_id": 5 * 5_000}


def read_on(settings: Mapping[str, str], prefix: Path, fault: str) -> dict[str, Any]:
    """What tests.cluster.reader tells of the client's products, where something goes wrong."""
    options = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    told = {"PYSPARK_SUBMIT_ARGS": shlex.join([*options, "pyspark-shell"]), "PYSPARK_PYTHON": sys.executable}
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_CONF_DIR": str(ROOT / "conf"), **told}
    shutil.rmtree(prefix / "seen", ignore_errors=True)
    command = [sys.executable, "-m", "tests.cluster.reader", fault, str(prefix)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counted: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return counted


def test_workers_without_the_environment_are_told_apart(cluster: Cluster, make_project: MakeProject) -> None:
    """Without --archives the workers' own Python lacks the packages: exit code 2, one line that says what to do."""
    refused = make_project("bare").submit("train", "--master", cluster.url, "--conf", "spark.pyspark.python=python3")
    assert refused.returncode == 2, refused.stdout
    (line,) = [line for line in refused.stdout.splitlines() if "make env-archive" in line]
    assert "is not installed" in line or "No module named" in line or "PYTHON_VERSION_MISMATCH" in line


def test_the_doctor_looks_at_the_executors(cluster: Cluster, archive: Path, make_project: MakeProject) -> None:
    """`bc4all doctor` is content with this cluster."""
    project = make_project("examined")
    well = doctor(project, *on_cluster(cluster))
    assert well.returncode == 0, well.stdout + well.stderr
    assert "packages equal the driver's, clock agrees" in well.stdout
    assert "can be written, moved and read" in well.stdout


def doctor(project: Project, *options: str) -> subprocess.CompletedProcess[str]:
    """`bc4all doctor` with options for spark-submit."""
    command = [sys.executable, "-m", "bc4all.cli.main", "doctor", "--config", str(project.config), "--", *options]
    return subprocess.run(command, env=project.environment, capture_output=True, text=True, cwd=ROOT, check=False)
