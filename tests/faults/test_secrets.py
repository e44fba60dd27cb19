"""Secrets of the environment reach no log, no tag, no manifest, no history and no error."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from bc4all.cli.main import main
from bc4all.errors import ConfigurationError, TransientFailure
from bc4all.jobs import predict_job
from bc4all.jobs.predict_job import predict
from bc4all.layout import Layout
from bc4all.redaction import redact
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.registry.versions import Registry
from bc4all.schedule.history import History
from bc4all.state import State
from tests.conftest import QUICK_JAVA, ROOT, make_client, run_fleet
from tests.faults.conftest import Published

SECRETS = {
    "MLFLOW_TRACKING_PASSWORD": "hunter2-of-mlflow",
    "MLFLOW_TRACKING_TOKEN": "token-0123456789abcdef",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AZURE_STORAGE_ACCOUNT_KEY": "Zm9vYmFyYmF6cXV4==",
    "BC4ALL_HEALTH_TOKEN": "health-0123456789",
}
VALUES = [*SECRETS.values(), "db-password"]


def holding(folder: Path, values: list[str]) -> list[str]:
    """The files below a folder that hold one of the values."""
    contents = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert contents
    return [f"{file}: {value}" for file, content in contents.items() for value in values if value.encode() in content]


def test_a_whole_run_keeps_them_to_itself(published: Published, tmp_path: Path) -> None:
    """A job that is well beside one that fails, and one that cannot reach MLflow: nothing that they write tells."""
    config = tmp_path / "clients.yaml"
    quick = f"scheduler: {{spark_options: [--driver-java-options, {QUICK_JAVA}]}}\n"
    config.write_text(quick + published.config.read_text() + "  client_1:\n")  # which was never trained
    shutil.copytree(*(published.prefix / "prediction" / f"client_id={name}" for name in ("client_0", "client_1")))
    environment = {
        **os.environ,
        **SECRETS,
        "BC4ALL_CONFIG": str(config),
        "BC4ALL_STATE": str(tmp_path / "state"),
    }
    run_now = [sys.executable, "-m", "bc4all.cli.main", "run-now", "predict"]
    for day, clients, code in (("2026-02-01", ("client_0", "client_1"), 1), ("2026-02-02", ("client_0",), 2)):
        if code == 2:  # no package here can open such a database: its URI, password and all, is in the error
            environment["MLFLOW_TRACKING_URI"] = "mysql://me:db-password@host/db"
        asked = [word for client_id in clients for word in ("--client-id", client_id)]
        done = subprocess.run(
            [*run_now, *asked, "--date", day], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert not [value for value in VALUES if value in done.stdout + done.stderr]
    history = History(State(tmp_path / "state").history)
    ends = [(run.client, run.day, run.state) for run in history.runs()]
    history.close()
    assert sorted(ends) == [
        ("client_0", "2026-02-01", "done"),
        ("client_0", "2026-02-02", "failed"),
        ("client_1", "2026-02-01", "failed"),  # its prediction,
        ("client_1", "2026-02-01", "failed"),  # and its first training: it has no products to learn from
    ]
    assert not holding(published.prefix, VALUES)
    assert not holding(tmp_path / "state", VALUES)


def test_somebody_elses_message_that_holds_one(
    published: Published, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that a storage's client wrote with the key in it is told without: in the outcome and MLflow's tag."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    def fails(*arguments: object) -> None:
        raise ConnectionError(f"signature of {SECRETS['AWS_SECRET_ACCESS_KEY']} refused by s3a://key:pass1234@bucket")

    monkeypatch.setattr(predict_job, "score_products", fails)
    (outcome,) = run_fleet(spark, "predict", [make_client("client_0")], partial(predict, published.job(spark)), 1)
    assert outcome.error == (
        "client_0: predict failed: ConnectionError: signature of … refused by s3a://key:…@bucket "
        "(see the log; a retry may help)"
    )
    client = MlflowClient(tracking_uri(published.layout))
    experiment = client.get_experiment_by_name("ProductCategoriesPrediction_client_0")
    assert experiment
    latest = client.search_runs([experiment.experiment_id], max_results=1)[0]
    assert latest.data.tags["error"] == "signature of … refused by s3a://key:…@bucket"


def test_a_tracking_uri_with_a_password(tmp_path: Path) -> None:
    """The error says which server did not answer, and not how to get in."""
    uri = "http://bc4all:web-password@127.0.0.1:1/mlflow"
    with pytest.raises(TransientFailure) as failed:
        Registry(Tracking(uri, Layout.at(str(tmp_path)), patience=0.1))
    assert "http://bc4all:…@127.0.0.1:1/mlflow" in str(failed.value)
    assert "web-password" not in str(failed.value)


def test_a_driver_that_is_not_installed(tmp_path: Path) -> None:
    """A database that no package here can open is a fault of the configuration, told in a line."""
    with pytest.raises(ConfigurationError, match=r"MLflow: No module named 'MySQLdb' \(mysql://me:…@h/db, install it"):
        Registry(Tracking("mysql://me:my-password@h/db", Layout.at(str(tmp_path)), patience=0.1))


def test_a_prefix_with_a_password_is_refused() -> None:
    """Paths stand everywhere: in logs, manifests and Spark's pages."""
    with pytest.raises(ConfigurationError, match=r"DATA_PREFIX holds a password \(s3a://key:…@bucket/data") as refused:
        Layout.at("s3a://key:secret@bucket/data")
    assert "secret" not in str(refused.value)


def test_a_manifest_with_a_password_is_refused(
    published: Published, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kubernetes' manifests are kept in repositories: a tracking URI with a password is not written into one."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:web-password@mlflow:5000")
    monkeypatch.setenv("DATA_PREFIX", "s3a://bucket/data")
    with pytest.raises(SystemExit) as left:
        main(["crontab", "print", "--format", "kubernetes", "--config", str(published.config)])
    said = capsys.readouterr()
    assert left.value.code == 2
    assert "MLFLOW_TRACKING_URI holds a password" in said.err
    assert "web-password" not in said.out + said.err


@pytest.mark.parametrize(
    ("environment", "text", "expected"),
    [
        ({"DB_PASSWORD": "abcd1234"}, "x abcd1234 y", "x … y"),
        ({"PASSWORD": "abc"}, "abc", "abc"),  # too short to be one: it would black out words
        ({"TOKENIZERS_PARALLELISM": "false"}, "false", "false"),
        ({"TOKEN_FILE_PATH": "/run/secrets/token"}, "/run/secrets/token", "/run/secrets/token"),
        ({"SECRET_KEY": "/abcdefgh+ijk"}, "/abcdefgh+ijk", "…"),  # one base64 key in 64 begins like a path
        ({"PGPASSWORD": "abcd1", "MYSQL_PWD": "abcd2", "AZURE_STORAGE_KEY": "abcd3"}, "abcd1 abcd2 abcd3", "… … …"),
        ({"PWD": "/no/such/folder-of-ours"}, "/no/such/folder-of-ours", "/no/such/folder-of-ours"),
        ({}, "postgresql://h/db?user=u&password=abcd", "postgresql://h/db?user=u&password=…"),
        ({}, "http://u:pa/ss@h hdfs://h:8020/a@b", "http://u:…@h hdfs://h:8020/a@b"),
        ({"A_TOKEN": "abcd", "B_TOKEN": "abcdefgh"}, "abcdefgh", "…"),
        ({"URL": "ftp://me:p%40ss@h"}, "p@ss and p%40ss", "… and …"),
        ({}, "http://u:p@h/ http://u@h/ a:b@c", "http://u:…@h/ http://u@h/ a:b@c"),
    ],
)
def test_what_is_blacked_out(environment: dict[str, str], text: str, expected: str) -> None:
    """Values of variables whose names say so, passwords of URIs, and nothing else."""
    assert redact(text, environment) == expected


@pytest.mark.parametrize(("said", "disabled"), [({}, "True"), ({"MLFLOW_DISABLE_TELEMETRY": "false"}, "False")])
def test_mlflow_tells_its_makers_nothing(said: dict[str, str], disabled: str) -> None:
    """A job's MLflow reports its use to nobody, unless somebody wants it to; it keeps silent in tests by itself."""
    program = (
        "import bc4all.registry.versions; from mlflow.telemetry import utils; print(utils.is_telemetry_disabled())"
    )
    clean = {"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], **said}
    done = subprocess.run([sys.executable, "-c", program], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [disabled]
