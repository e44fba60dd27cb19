"""Many clients in one application, and the whole thing as a user starts it."""

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Barrier

import nbformat
import pandas as pd
import psutil
import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession
from rich.console import Console

from bc4all.cli.main import main
from bc4all.config.clients import Client
from bc4all.config.fleet_file import load_fleet
from bc4all.errors import ConfigurationError, DataError, TransientFailure
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Done, Outcome, exit_code, run_waves
from bc4all.jobs.phases import Phases
from bc4all.jobs.predict_job import predict
from bc4all.jobs.session import phase
from bc4all.jobs.train_job import train
from bc4all.launch.class_archive import ARCHIVE
from bc4all.schedule.operations import Operations
from tests.conftest import DAY, QUICK_JAVA, ROOT, make_client, published_rows, run_fleet


def test_one_broken_client_leaves_the_others_alone(job: JobContext, prefix: Path, sample: Path) -> None:
    """A client without data fails by name; the clients beside it are trained and published."""
    shutil.copytree(sample, prefix, dirs_exist_ok=True)
    shutil.rmtree(prefix / "train" / "client_id=client_1")
    clients = [make_client(f"client_{i}") for i in range(3)]
    trained = run_fleet(job.spark, "train", clients, partial(train, job), max_parallel=3)
    assert [outcome.client_id for outcome in trained] == ["client_0", "client_1", "client_2"]
    assert [outcome.exit_code for outcome in trained] == [0, 1, 0]
    assert trained[1].error is not None
    assert trained[1].error.startswith("client_1: train failed: there is no partition (")
    predicted = run_fleet(job.spark, "predict", clients, partial(predict, job), max_parallel=3)
    assert [outcome.exit_code for outcome in predicted] == [0, 1, 0]
    assert "client_1_model has no champion" in str(predicted[1].error)
    for client_id in ("client_0", "client_2"):
        products = pd.read_csv(prefix / "prediction" / f"client_id={client_id}" / "data_predict.csv.gz")
        assert set(published_rows(prefix, client_id)["product_id"]) == set(products["product_id"])


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([None, None], 0),
        ([None, DataError("bad")], 1),
        ([DataError("bad"), TransientFailure("gone")], 75),
        ([None, ConnectionError("reset")], 75),
        ([None, KeyError("x")], 1),
        ([None, ConfigurationError("bad")], 1),  # its own code, 2, would say that nothing was started
        ([ConfigurationError("bad"), TransientFailure("gone")], 75),
    ],
)
def test_the_exit_code_says_whether_a_retry_may_help(
    spark: SparkSession, errors: list[Exception | None], code: int
) -> None:
    """75 where some failure may pass, else 1 where one is for good, else 0."""
    clients = [make_client(f"c{i}") for i in range(len(errors))]

    def work(client: object) -> Outcome:
        error = errors[clients.index(client)]  # type: ignore[arg-type]
        if error:
            raise error
        return Outcome(client.id)  # type: ignore[attr-defined]

    assert exit_code(run_fleet(spark, "train", clients, work, max_parallel=1)) == code


def test_a_terminal_shows_what_goes_on(spark: SparkSession) -> None:
    """The phase of each wave, beside how many clients are done; of two in one thread, the inner one."""
    phases, printed, clients = Phases(), io.StringIO(), [make_client("a"), make_client("b")]

    def work(wave: Sequence[Client]) -> Iterator[Done]:
        with phases.at("a +1 · read"):
            time.sleep(0.3)
            with phases.at("a +1 · fit"):
                time.sleep(0.3)
        for client in wave:
            yield Done(client, Outcome(client.id), 0.1)

    screen = Console(file=printed, force_terminal=True, width=100)
    run_waves(spark, "train", [clients], work, 1, screen, phases=phases)
    lines = [line for line in re.split(r"[\r\n]", printed.getvalue()) if "a +1" in line]
    assert [name for name in ("read", "fit") if any(f"a +1 · {name}" in line for line in lines)] == ["read", "fit"]
    assert all("0/2" in line for line in lines)
    assert str(phases) == ""


def test_large_clients_begin_when_the_others_have_ended(spark: SparkSession) -> None:
    """They are begun, and told of, once no small one is left; side by side, as all are."""
    said: list[str] = []
    together = {one: Barrier(2, timeout=60) for one in ("small", "large")}

    def work(wave: Sequence[Client]) -> Iterator[Done]:
        (client,) = wave
        said.append(f"{client.id} begins")
        together[client.id.split("_")[0]].wait()
        time.sleep(0.2)
        said.append(f"{client.id} ends")
        yield Done(client, Outcome(client.id), 0.2)

    waves, large = ([[make_client(f"{one}_{number}")] for number in (1, 2)] for one in ("small", "large"))
    outcomes = run_waves(spark, "train", waves, work, 3, large=large)
    assert [outcome.client_id for outcome in outcomes] == ["small_1", "small_2", "large_1", "large_2"]
    assert sorted(said[:4]) == ["small_1 begins", "small_1 ends", "small_2 begins", "small_2 ends"]
    assert len(said) == 8


def test_clients_side_by_side_name_their_own_work(spark: SparkSession) -> None:
    """What one client's thread sets for its Spark jobs, no other client's sees: descriptions, groups, pools."""
    clients = [make_client(f"c{i}") for i in range(3)]
    together = Barrier(len(clients), timeout=60)
    seen = {}

    def work(client: Client) -> Outcome:
        with phase(spark, client.id, "train", "read"):
            together.wait()
            seen[client.id] = spark.sparkContext.getLocalProperty("spark.job.description")
            together.wait()
        return Outcome(client.id)

    outcomes = run_fleet(spark, "train", clients, work, max_parallel=3)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert seen == {client.id: f"{client.id} · train · read" for client in clients}


@pytest.fixture
def submitted(prefix: Path, sample: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose data and project path hold spaces."""
    shutil.copytree(sample, prefix, dirs_exist_ok=True)
    project = tmp_path / "my project"
    project.mkdir()
    for part in ("bin", "jobs", "conf", "bc4all"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    config = project / "conf" / "clients.yaml"
    config.write_text("defaults: {features: [f0, f1, f2, f3, f4]}\nclients: {client_0: , client_1: , client_2: }\n")
    inherited = {k: v for k, v in os.environ.items() if k not in ("SPARK_CONF_DIR", "PYSPARK_PYTHON")}
    return {**inherited, "BC4ALL_PYTHON": sys.executable, "PROJECT": str(project), "DATA_PREFIX": str(prefix)}


def submit(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [f"{environment['PROJECT']}/bin/submit.sh", *arguments]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=300)


def test_a_users_commands_work_from_anywhere(submitted: dict[str, str], prefix: Path, tmp_path: Path) -> None:
    """Train, predict and show, started in another directory with spaces in every path; the exit code tells.

    Java takes Spark's classes from their archive.
    """
    params = '{"n_estimators": 5, "random_state": 1}'
    log = tmp_path / "classes.log"
    options = ("--conf", "spark.ui.enabled=false", "--driver-java-options", f"{QUICK_JAVA} -Xlog:class+load:file={log}")
    trained = submit(submitted, "train", "--all", "--model-params", params, "--", *options)
    assert trained.returncode == 0, trained.stderr
    if ARCHIVE.stat().st_size:  # empty where this Java could not make it
        loaded = [line for line in log.read_text().splitlines() if " org.apache.spark." in line]
        assert sum("shared objects file" in line for line in loaded) > len(loaded) / 2
    assert "client_2: train done, 1500 rows, 0 quarantined" in trained.stdout  # spark-submit gives the job one stream
    shutil.rmtree(prefix / "prediction" / "client_id=client_1")
    predicted = submit(submitted, "predict", "--all", "--inference-date", DAY)
    assert predicted.returncode == 1, predicted.stderr
    assert "client_1: predict failed: there is no partition" in predicted.stdout
    assert "Traceback" not in predicted.stdout + predicted.stderr
    shown = CliRunner().invoke(main, ["show", "--client-id", "client_0", "--limit", "2"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert f"client_0 · {DAY} · client_0_model version 1" in shown.output
    first = published_rows(prefix, "client_0").iloc[0]
    assert f"{first['pred_label']}  {first['pred_score']:.2f}" in shown.output
    one = CliRunner().invoke(main, ["show", "--client-id", "client_0", "--product-id", "none"])
    assert (one.exit_code, "product none is not there" in one.output) == (1, True)
    refused = submit(submitted, "train", "--client-id", "client_l")
    assert refused.returncode == 2
    assert "there is no client 'client_l', did you mean 'client_" in refused.stdout + refused.stderr


def test_two_clients_are_tuned_and_written_at_a_time(submitted: dict[str, str]) -> None:
    """Each finds its place beside the project's own file; the model is shown, and can be trained."""
    config = Path(submitted["PROJECT"]) / "conf" / "clients.yaml"
    config.write_text("defaults: {features: [f0, f1, f2, f3, f4]}\nclients:\n  client_0:\n  client_1:\n  client_2:\n")
    clients = ("--client-id", "client_0", "--client-id", "client_2")
    options = ("--conf", "spark.ui.enabled=false", "--driver-java-options", QUICK_JAVA)
    tuned = submit(submitted, "tune", *clients, "--budget", "2", "--write", "--", *options)
    assert tuned.returncode == 0, tuned.stderr
    for client_id in ("client_0", "client_2"):
        assert f"{client_id}: tune: 2 of 2 tried, best: log-loss" in tuned.stdout
    assert tuned.stdout.count("# tuned ") == tuned.stdout.count(".yaml is written, and used from now on") == 2
    assert not re.search(r"Traceback|Warning|Downloading", tuned.stdout + tuned.stderr)
    assert [isinstance(client.model, str) for client in load_fleet(config).clients.values()] == [False, True, False]


def made(target: str, prefix: Path) -> list[str]:
    """The command of a target, and where it is run: as a user does, but for `setup`, which tests have behind them."""
    return ["make", "-o", "setup", target, f"DATA_PREFIX={os.path.relpath(prefix, ROOT)}"]


@pytest.mark.starts_from("published_sample")
def test_the_notebook_runs_on_published_data(job: JobContext, prefix: Path) -> None:
    """`make notebook`, with a relative DATA_PREFIX, makes a page of what is published, which escapes the data."""
    notebook = nbformat.read(ROOT / "notebooks" / "inspect_predictions.ipynb", as_version=4)
    assert not any(cell.outputs or cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    hostile = prefix / "prediction" / "client_id=client_0" / "hostile.csv"
    hostile.write_text("product_id,f0,f1,f2,f3,f4\n!<script>alert(1)</script>,1,2,3,4,5\n")
    predict(job, make_client("client_0"))
    done = subprocess.run(made("notebook", prefix), cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    page = (ROOT / "dist" / "inspect_predictions.html").read_text()
    assert "client_0" in page
    assert "7505" in page
    assert page.count("data:image/png") + page.count("image/svg+xml") > 0
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


@pytest.mark.starts_from("published_sample")
def test_what_the_demo_names_at_its_end_is_there(prefix: Path) -> None:
    """Each target of its last lines: the notebook has the test above, MLflow's pages answer here."""
    named = re.findall(r"^  make (\S+)", (ROOT / "bin" / "demo.sh").read_text().partition("cat <<END")[2], re.MULTILINE)
    assert named == ["mlflow-ui", "notebook"]
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 5000)) == 0:
            pytest.skip("something else listens on port 5000 of this machine, where make mlflow-ui would")
    with subprocess.Popen(made("mlflow-ui", prefix), cwd=ROOT, start_new_session=True) as server:
        try:
            found = _answer("http://127.0.0.1:5000/ajax-api/2.0/mlflow/experiments/search?max_results=10")
        finally:
            os.killpg(server.pid, signal.SIGKILL)
    assert "ProductCategoriesPrediction_client_0" in found


def _answer(url: str) -> str:
    """What a server says, once it has started."""
    for _ in range(240):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the address above
                return str(answer.read().decode())
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(url)


def test_ctrl_c_ends_a_job_with_a_line(submitted: dict[str, str], prefix: Path) -> None:
    """One press, in the middle of the work: one line, the exit code of shells, no process; the history says stopped."""
    command = [f"{submitted['PROJECT']}/bin/submit.sh", "train", "--all", "--model-params", '{"n_estimators": 2000}']
    job = subprocess.Popen(
        command, env=submitted, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    for _ in range(480):
        told = "".join(file.read_text() for file in prefix.glob("_state/results/*.jsonl"))
        if '"begun"' in told:
            break
        time.sleep(0.25)
    os.killpg(job.pid, signal.SIGINT)
    printed, _ = job.communicate(timeout=120)
    assert job.returncode == 130, printed
    assert "Traceback" not in printed
    assert printed.splitlines()[-1] == "train: interrupted; what was published before is untouched"
    assert not [process for process in psutil.process_iter() if _environment(process).get("DATA_PREFIX") == str(prefix)]
    with Operations.opened() as operations:
        assert {run.state for run in operations.history.runs()} == {"stopped"}


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ() if process.pid != os.getpid() else {}
    except psutil.Error:
        return {}
