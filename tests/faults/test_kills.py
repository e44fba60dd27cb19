"""A job killed at any moment publishes nothing by halves, and the next that starts puts right what it left."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from bc4all.data.recovery import recover
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.registry.tracking import tracking_uri
from bc4all.state import State
from tests.conftest import DAY, QUICK_JAVA, ROOT, make_client
from tests.faults.conftest import BAD, CONFIG, Forked, Published, Reader, partition, rows_of

Fork = Callable[..., Forked]
Victim = Callable[..., subprocess.Popen[str]]
ROOTS = ("products_categories", "quarantine/prediction")


def wholes(prefix: Path) -> dict[str, pd.DataFrame]:
    """What is published of client_0, whole."""
    found = {root: rows_of(partition(prefix, root=root)) for root in ROOTS}
    assert all(rows is not None for rows in found.values())
    return found  # type: ignore[return-value]


def put_right(on: Published, spark: SparkSession) -> None:
    """What the next job does when it starts."""
    job = on.job(spark)
    recover(job.files, on.layout, State.from_environment(on.layout), 3600, job.registry.tracking.close_run)


def run_states(on: Published) -> list[str]:
    """The states of all of client_0's runs."""
    client = MlflowClient(tracking_uri(on.layout))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.status for run in client.search_runs(experiments)]


def steps_of(on: Published) -> list[str]:
    """The steps that a victim came to."""
    return Path(f"{on.prefix}.steps").read_text().splitlines()


def kill_everywhere(
    published: Published,
    fork_victim: Fork,
    job: str,
    check: Callable[[Published, str, dict[str, pd.DataFrame]], None],
) -> list[str]:
    """Run a job to its end, then again and again, each time killed one step later; `check` what each kill left."""
    whole = published.copy(published.prefix.with_name("whole"))
    code, printed = fork_victim(whole, job).wait()
    assert code == 0, printed
    old, new, steps = wholes(published.prefix), wholes(whole.prefix), steps_of(whole)

    def killed(at: int) -> None:
        on = published.copy(published.prefix.with_name(f"killed at {at}"))
        with Reader({partition(on.prefix, root=root): [old[root], new[root]] for root in ROOTS}) as reader:
            code, printed = fork_victim(on, job, at).wait()
        assert code == -signal.SIGKILL, printed
        assert steps_of(on)[at - 1].partition("/")[0] == steps[at - 1].partition("/")[0], printed
        assert not reader.strange, (steps[at - 1], reader.strange[0])
        assert reader.looks > 10
        check(on, steps[at - 1], new)
        shutil.rmtree(on.prefix)

    with ThreadPoolExecutor(2) as two:
        list(two.map(killed, range(1, len(steps) + 1)))
    return steps


def test_a_predict_killed_at_any_step(spark: SparkSession, published: Published, fork_victim: Fork) -> None:
    """After SIGKILL at each step, readers see old or new, whole; the next start leaves one of them and no trace."""
    old = wholes(published.prefix)

    def check(on: Published, step: str, new: dict[str, pd.DataFrame]) -> None:
        put_right(on, spark)
        for root in ROOTS:
            rows = rows_of(partition(on.prefix, root=root))
            assert rows is not None, (step, root)
            assert rows.equals(old[root]) or rows.equals(new[root]), (step, root)
        assert not list((on.prefix / "_staging").iterdir()), step
        if not step.startswith("write_text /_staging"):  # until its journal is there, nobody knows of a run
            assert "RUNNING" not in run_states(on), step

    steps = kill_everywhere(published, fork_victim, "predict", check)
    assert {"phase read", "phase quarantine", "phase score", "phase audit", "mlflow set_terminated"} < set(steps)
    # Both partitions: out of what clients have staged together, out of the way, and in.
    assert sum(step.startswith("rename") for step in steps) == 6


def test_a_prediction_of_what_has_not_changed_killed_at_any_step(
    spark: SparkSession, published: Published, fork_victim: Fork
) -> None:
    """What was published stays whole, also while it takes its own place; the next start leaves no trace."""
    code, printed = fork_victim(published, "predict").wait()
    assert code == 0, printed

    def check(on: Published, step: str, new: dict[str, pd.DataFrame]) -> None:
        put_right(on, spark)
        for root in ROOTS:
            rows = rows_of(partition(on.prefix, root=root))
            assert rows is not None, (step, root)
            assert rows.equals(new[root]), (step, root)
        assert not list((on.prefix / "_staging").iterdir()), step
        if not step.startswith("write_text /_staging"):
            assert "RUNNING" not in run_states(on), step

    steps = kill_everywhere(published, fork_victim, "predict", check)
    assert not any(step.startswith(("phase", "spark writes")) for step in steps)
    assert sum(step.startswith("copy") for step in steps) >= 2


def test_a_train_killed_at_any_step(spark: SparkSession, published: Published, fork_victim: Fork) -> None:
    """After SIGKILL at each step, the champion is the old version or the new one, and scores."""

    def check(on: Published, step: str, new: dict[str, pd.DataFrame]) -> None:
        put_right(on, spark)
        assert not list((on.prefix / "_staging").iterdir()), step
        last = step == "mlflow set_terminated" or step.startswith("delete /_staging")
        registry = on.job(spark).registry
        champion = registry.find("client_0")
        registry.load("client_0", champion)
        assert champion.number == (2 if last else 1), step

    steps = kill_everywhere(published, fork_victim, "train", check)
    assert {"phase fit", "mlflow create_model_version", "mlflow set_registered_model_alias"} < set(steps)


def test_a_wave_killed_in_many_places(
    spark: SparkSession, published: Published, sample: Path, fork_victim: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client's partition is the old one or the new one, whole, in whosever folder all of them have staged."""
    ids = ("client_0", "client_1", "client_2")
    published.config.with_name("three.yaml").write_text(CONFIG + "".join(f"  {one}:\n" for one in ids))
    on = replace(published, config=published.config.with_name("three.yaml"))
    job = on.job(spark)
    for one in ids[1:]:
        for kind in ("train", "prediction"):
            shutil.copytree(sample / kind / f"client_id={one}", on.prefix / kind / f"client_id={one}")
        train(job, make_client(one, model_params={"n_estimators": 3, "random_state": 1}))
        predict(job, make_client(one))
        (on.prefix / "prediction" / f"client_id={one}" / "bad.csv").write_text(f"product_id,f0,f1,f2,f3,f4\n{BAD}")
    monkeypatch.setenv("CLIENTS", " ".join(ids))

    def everything(prefix: Path) -> dict[Path, pd.DataFrame | None]:
        folders = [partition(Path(), one, root) for one in ids for root in ROOTS]
        return {folder: rows_of(prefix / folder) for folder in folders}

    whole = on.copy(on.prefix.with_name("whole"))
    code, printed = fork_victim(whole, "predict").wait()
    assert code == 0, printed
    old, new, count = everything(on.prefix), everything(whole.prefix), len(steps_of(whole))
    allowed = {folder: [rows for rows in (old[folder], new[folder]) if rows is not None] for folder in old}

    def killed(at: int) -> None:
        victim = on.copy(on.prefix.with_name(f"killed at {at}"))
        with Reader({victim.prefix / folder: wholes for folder, wholes in allowed.items()}) as reader:
            code, printed = fork_victim(victim, "predict", at).wait()
        assert code == -signal.SIGKILL, printed
        assert not reader.strange, (at, reader.strange[0])
        put_right(victim, spark)
        for folder, rows in everything(victim.prefix).items():
            assert rows is None if old[folder] is None and rows is None else any(map(rows.equals, allowed[folder])), at
        assert not list((victim.prefix / "_staging").iterdir()), at
        shutil.rmtree(victim.prefix)

    with ThreadPoolExecutor(2) as two:
        list(two.map(killed, range(2, count, count // 20)))


def alive(on: Published) -> list[psutil.Process]:
    """The processes that work on a prefix, Java and Python workers among them."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DATA_PREFIX") == str(on.prefix) and process.pid != os.getpid():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def wait_for(condition: Callable[[], object], victim: subprocess.Popen[str]) -> None:
    """Wait until something holds, as it will before the victim ends."""
    while not condition():
        assert victim.poll() is None, victim.communicate()[0]
        time.sleep(0.002)


def test_the_whole_group_killed_in_mid_score(spark: SparkSession, published: Published, start_victim: Victim) -> None:
    """With Java and the workers killed while they write, the old partition stays, and no process or file is left."""
    old = wholes(published.prefix)
    victim = start_victim(published, "predict")
    with Reader({partition(published.prefix): [old["products_categories"]]}) as reader:
        wait_for(lambda: list(published.prefix.glob("_staging/*/shared/products_categories*/_temporary/0")), victim)
        os.killpg(victim.pid, signal.SIGKILL)
        victim.communicate()
    psutil.wait_procs(alive(published), timeout=20)
    assert not alive(published)
    assert not reader.strange
    put_right(published, spark)
    assert not list((published.prefix / "_staging").iterdir())
    assert "RUNNING" not in run_states(published)
    predict(published.job(spark), make_client("client_0"))
    rows = rows_of(partition(published.prefix))
    assert rows is not None
    assert len(rows) == 900 * 5


def assert_nobody_else_can_reach(processes: list[psutil.Process]) -> None:
    """A local driver's page and all its other ports are loopback's."""
    listening = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended listens to nobody
            connections = process.net_connections("inet")
            listening += [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]
    assert len(listening) >= 2
    assert all(ip.removeprefix("::ffff:").startswith("127.") or ip == "::1" for ip in listening), listening


def test_python_workers_killed_in_mid_score(published: Published) -> None:
    """Spark scores again what dead workers had in hand: every product is there, once in each rank."""
    inherited = {name: value for name, value in os.environ.items() if name != "SPARK_LOCAL_IP"}
    environment = {**inherited, "BC4ALL_PYTHON": sys.executable, "BC4ALL_CONFIG": str(published.config)}
    command = [str(ROOT / "bin" / "submit.sh"), "predict", "--all", "--inference-date", DAY]
    command += ["--", "--driver-java-options", QUICK_JAVA]
    victim = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/"
    )
    wait_for(lambda: list(published.prefix.glob("_staging/*/shared/products_categories*/_temporary/0")), victim)
    assert_nobody_else_can_reach(alive(published))
    killed = 0

    def shoot() -> int:
        nonlocal killed
        for process in alive(published):
            if "pyspark.daemon" in " ".join(process.cmdline()):
                process.kill()
                killed += 1
        return killed

    wait_for(shoot, victim)
    printed = victim.communicate()[0]
    assert victim.returncode == 0, printed
    rows = rows_of(partition(published.prefix))
    assert rows is not None
    assert (rows["product_id"].nunique(), len(rows)) == (900, 900 * 5)
    assert not rows.duplicated(["product_id", "rank"]).any()
