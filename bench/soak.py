"""Days of a fleet in an hour, under fire: the scheduler on a fast clock, and something is killed every few seconds.

What is killed is drawn: a Python worker, a job's driver, its Java, the job whole, the scheduler. Clients deliver anew
all the while, so that about half of the predictions have products to score, and a reader looks at what is published.
In the end nothing is killed any more, what is due is done, and `soak_check` reads everything. Run by `make soak`.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import click
import pandas as pd
import psutil

from bc4all.config.fleet_file import load_fleet
from bc4all.data.sample_data import write_sample_data
from bc4all.identity import ClientId
from bc4all.logs import start_log
from bc4all.project import ROOT, SUBMIT
from bc4all.schedule.by_hand import take_in
from bc4all.schedule.history import History
from bc4all.schedule.operations import Operations
from bc4all.state import State
from bc4all.variables import RUN_MARK, STATE_FOLDER
from bench.soak_check import Counts, check_all, processes

_START = 1_767_225_600.0  # 2026-01-01, UTC
_DAY = 86400.0
_PRODUCTS = 400  # sound ones of each client
# How often what is killed, of a hundred: a dead worker costs seconds, a dead job its start.
_VICTIMS = {"worker": 80, "driver": 3, "java": 3, "job": 4, "scheduler": 10}
_DELIVERIES = 2  # for each kill
_PATIENCE = 1800.0  # seconds for what is due to be done in the end
_QUIET = 10  # looks at a history without anything due, after which nothing comes any more
_JOB = "retries: 20, retry_delay: 1s, timeout: 99d, catch_up: all, catch_up_window: 99d"
_CONFIGURATION = f"""
scheduler: {{port: 0, max_parallel: 2}}
keep: {{replaced: 60s}}
defaults:
  features: [f0, f1, f2, f3, f4]
  model_params: {{n_estimators: 5, random_state: 1}}
  timezone: UTC
  train: {{schedule: 0 1 */3 * *, {_JOB}}}
  predict: {{schedule: 0 6 * * *, {_JOB}}}
clients:
"""


class Reader(threading.Thread):
    """Reads published partitions, again and again: each must be whole, or not there."""

    def __init__(self, prefix: Path, dice: random.Random) -> None:
        super().__init__(daemon=True)
        self._prefix, self._dice = prefix, dice
        self.reads, self.faults, self.done = 0, list[str](), threading.Event()

    def run(self) -> None:
        """Until `done` is set."""
        while not self.done.wait(0.02):
            folders = list(self._prefix.glob("products_categories/client_id=*/date=*"))
            if not folders:
                continue
            folder = self._dice.choice(folders)
            try:
                rows = pd.read_parquet(folder, columns=["product_id", "rank"])
            except FileNotFoundError:  # being replaced
                continue
            self.reads += 1
            per_product = rows.groupby("product_id")["rank"].nunique()
            if rows.duplicated().any() or per_product.nunique() != 1 or len(per_product) != _PRODUCTS:
                self.faults.append(f"a part of {folder} was to be seen")


def clock(prefix: Path) -> float:
    """Seconds since 1970 by the clock of the soak: fast while things are killed, then as any other."""
    begun, pace, fast = map(float, (prefix / "clock").read_text().split())
    passed = time.time() - begun
    return _START + min(passed, fast) * pace + max(0.0, passed - fast)


@click.group()
def main() -> None:
    """Kill at random what runs, and look whether anything is lost."""


@main.command()
@click.argument("prefix", type=click.Path(path_type=Path))
def scheduler(prefix: Path) -> None:
    """What `run` starts, and kills: the scheduler by the soak's clock."""
    start_log("info", structured=False)
    with Operations.opened() as operations:
        sys.exit(operations.scheduler(lambda: load_fleet(prefix / "clients.yaml"), lambda: clock(prefix)))


@main.command()
@click.option("--clients", type=click.IntRange(1), default=50, show_default=True)
@click.option("--minutes", type=click.FloatRange(0.5), default=60.0, show_default=True, help="With kills.")
@click.option("--day", type=click.FloatRange(20), default=75.0, show_default=True, help="Seconds that a day takes.")
@click.option("--every", type=click.FloatRange(0.5), default=4.0, show_default=True, help="Seconds between two kills.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for the data, which then stays.")
def run(clients: int, minutes: float, day: float, every: float, seed: int, keep: Path | None) -> None:
    """Soak, print what was done and found, and leave with 1 where anything was."""
    folder = keep or Path(tempfile.mkdtemp(prefix="bc4all-soak-"))
    dice = random.Random(seed)  # noqa: S311 # nosec B311 # not a secret
    prefix = folder / "data"
    ids = _prepare(prefix, clients, dice)
    soaking, reader = Soak(prefix, ids, dice), Reader(prefix, dice)
    soaking.submit("train", "--all")  # so that there is a champion from the first day on
    (prefix / "clock").write_text(f"{time.time()} {_DAY / day} {minutes * 60}")
    reader.start()
    try:
        soaking.fire(minutes * 60, every)
        late = soaking.settle()
    finally:
        soaking.stop()
        reader.done.set()
        reader.join()
    counts = Counts()
    # One more job: when it starts, it puts right what the last kills left.
    soaking.submit("predict", "--client-id", ids[0], "--inference-date", "2030-01-01")
    history = History(soaking.state.history)
    take_in(soaking.state, history)  # as the next command would, what those two jobs have told
    history.close()
    faults = [*reader.faults, *late, *check_all(prefix, soaking.state, ids, counts)]
    _report(counts, soaking.kills, reader, faults, (clock(prefix) - _START) / _DAY)
    if not keep and not faults:
        shutil.rmtree(folder)
    sys.exit(1 if faults else 0)


class Soak:
    """The scheduler under fire."""

    def __init__(self, prefix: Path, ids: list[ClientId], dice: random.Random) -> None:
        self.state, self.kills = State(prefix / "_state"), Counter[str]()
        self._prefix, self._ids, self._dice = prefix, ids, dice
        told = {"DATA_PREFIX": str(prefix), STATE_FOLDER: str(self.state.folder), "SPARK_LOCAL_IP": "127.0.0.1"}
        inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        self._environment = {**inherited, **told}
        self._scheduler: subprocess.Popen[bytes] | None = None

    def fire(self, seconds: float, every: float) -> None:
        """Kill something every now and then; a scheduler that is dead is started again, as systemd would."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._keep_running()
            time.sleep(self._dice.uniform(0.3, 1.7) * every)
            self._kill_one()
            for client in self._dice.choices(self._ids, k=_DELIVERIES):
                (self._prefix / "prediction" / f"client_id={client}" / "bad.csv").touch()
            left = max(0.0, end - time.monotonic())
            if sys.stderr.isatty():
                click.echo(f"\r{left:5.0f} s left, {self.kills.total()} kills ", nl=False, err=True)

    def settle(self) -> list[str]:
        """Kill nothing any more, and wait until nothing is due; return what is, after a long while."""
        end, quiet = time.monotonic() + _PATIENCE, 0
        while time.monotonic() < end:
            self._keep_running()
            time.sleep(2)
            history = History(self.state.history)
            waiting = history.unfinished()
            history.close()
            quiet = 0 if waiting else quiet + 1
            if quiet > _QUIET:
                return []
        return [f"{run.client}: {run.job} of {run.day} is still {run.state}" for run in waiting]

    def submit(self, *arguments: str) -> None:
        """Run a job that nobody kills. Raises CalledProcessError where it fails."""
        command = [str(SUBMIT), *arguments, "--config", str(self._prefix / "clients.yaml")]
        subprocess.run(command, env=self._environment, stdout=sys.stderr, check=True)

    def stop(self) -> None:
        """End the scheduler, and with it what it started."""
        if self._scheduler:
            self._scheduler.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._scheduler.wait(60)
        for process in processes(self.state):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _keep_running(self) -> None:
        if self._scheduler is None or self._scheduler.poll() is not None:
            command = [sys.executable, "-m", "bench.soak", "scheduler", str(self._prefix)]
            with (self._prefix / "scheduler.log").open("ab") as log:
                self._scheduler = subprocess.Popen(
                    command, env=self._environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
                )

    def _kill_one(self) -> None:
        jobs = [process for process in processes(self.state) if _text(process, RUN_MARK)]
        targets = {
            kind: [process for process in jobs if _kind(process) == kind] for kind in ("worker", "driver", "java")
        }
        targets["job"] = jobs
        (kind,) = self._dice.choices(list(_VICTIMS), list(_VICTIMS.values()))
        # What is not there is not killed, nor another in its place: a job that starts has no workers yet. The
        # scheduler, too, only while it matters.
        if not targets.get(kind, jobs):
            return
        if kind == "scheduler" and self._scheduler:
            self._scheduler.kill()
            self._scheduler.wait()
        else:
            victim = self._dice.choice(sorted(targets[kind], key=lambda process: process.pid))
            mark = _text(victim, RUN_MARK)
            for process in jobs if kind == "job" else [victim]:
                if _text(process, RUN_MARK) == mark:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGKILL)
        self.kills[kind] += 1


def _kind(process: psutil.Process) -> str:
    """What a job's process is."""
    try:
        words = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""
    if "pyspark.daemon" in words:
        return "worker"
    if words and words[0].endswith("java"):
        return "java"
    return "driver" if any(word.endswith(("train.py", "predict.py")) for word in words) else ""


def _text(process: psutil.Process, variable: str) -> str:
    try:
        return str(process.environ().get(variable, ""))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def _prepare(prefix: Path, clients: int, dice: random.Random) -> list[ClientId]:
    """Data with some bad rows, and the configuration."""
    prefix.mkdir(parents=True)
    ids = list(write_sample_data(prefix, clients, _PRODUCTS, dice.randrange(1000), categories=12))
    for client in ids:
        bad = "".join(f"bad {number},x,1,1,1,1\n" for number in range(dice.randrange(5)))
        file = prefix / "prediction" / f"client_id={client}" / "bad.csv"
        file.write_text(f"product_id,f0,f1,f2,f3,f4\n{bad}")
    (prefix / "clients.yaml").write_text(_CONFIGURATION + "".join(f"  {client}:\n" for client in ids))
    return ids


def _report(counts: Counts, kills: Counter[str], reader: Reader, faults: list[str], days: float) -> None:
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.by_state.items()))
    killed = ", ".join(f"{count} {kind}" for kind, count in kills.most_common())
    click.echo("\n".join([*faults, ""]))
    click.echo(f"{days:.1f} days; {kills.total()} kills: {killed}")
    click.echo(f"{counts.runs} runs were started ({states})")
    click.echo(f"{counts.partitions} partitions of {counts.rows:,} rows, {counts.quarantined:,} rows refused, all read")
    click.echo(f"{counts.unknown} runs of MLflow were killed before they had a journal, and stay open")
    click.echo(f"{counts.champions} champions loaded; {reader.reads:,} reads of partitions meanwhile")
    click.echo(f"{len(faults)} faults")


if __name__ == "__main__":
    main()
