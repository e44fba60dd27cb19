"""What must hold when everything that was killed has been put right: reads all data, locks, processes and models.

Uses plain pandas and files, not the code that wrote them, wherever it can. Each function returns a line a fault.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil
from mlflow import MlflowClient

from bc4all.errors import Failure
from bc4all.identity import ClientId
from bc4all.layout import Layout
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.registry.versions import Registry
from bc4all.schedule.history import FAILED, History
from bc4all.state import State

_EXPERIMENTS = 50  # asked about at a time


@dataclass
class Counts:
    """What was read."""

    partitions: int = 0
    rows: int = 0
    quarantined: int = 0
    runs: int = 0
    champions: int = 0
    unknown: int = 0  # runs that are open in MLflow because they were killed before they did anything
    by_state: dict[str, int] = field(default_factory=dict)


def check_all(prefix: Path, state: State, clients: list[ClientId], counts: Counts) -> Iterator[str]:
    """Every fault of a prefix on which nothing runs any more."""
    yield from check_history(state, counts)
    yield from check_days(prefix, state)
    for client in clients:
        products = pd.concat(
            pd.read_csv(file, dtype=str) for file in (prefix / "prediction" / f"client_id={client}").iterdir()
        )
        days = sorted((prefix / "products_categories" / f"client_id={client}").glob("date=*"))
        if not days:
            yield f"{client}: nothing is published"
        for folder in days:
            refused = prefix / "quarantine" / "prediction" / f"client_id={client}" / folder.name
            yield from (f"{folder}: {fault}" for fault in check_partition(folder, refused, products, counts))
    yield from check_leftovers(prefix, state)
    yield from check_champions(prefix, clients, counts)


def check_partition(folder: Path, refused: Path, products: pd.DataFrame, counts: Counts) -> Iterator[str]:
    """Every product of the input is in the output once in each rank, or in quarantine; files are the manifest's."""
    manifest = json.loads((folder / "_manifest.json").read_text())
    files = {file.name: file.stat().st_size for file in folder.glob("*.parquet")}
    if files != {part["name"]: part["bytes"] for part in manifest["files"]}:
        yield f"its files are {sorted(files)}, the manifest's {manifest['files']}"
    rows = pd.read_parquet(folder)
    kept = len(pd.read_parquet(refused)) if refused.exists() else 0
    counts.partitions, counts.rows, counts.quarantined = (
        counts.partitions + 1,
        counts.rows + len(rows),
        counts.quarantined + kept,
    )
    said = tuple(manifest[name] for name in ("rows_in", "rows_out", "rows_quarantined"))
    if said != (len(products), len(rows), kept):
        yield f"{len(products)} products came in, {len(rows)} rows and {kept} refused are there, and it says {said}"
    ranks = rows.groupby("product_id")["rank"].agg(list).map(sorted)
    if not (ranks.map(len) == ranks.map(len).max()).all() or any(r != list(range(len(r))) for r in ranks):
        yield "a product is not there once in each rank"
    unknown = set(rows["product_id"]) - set(products["product_id"])
    if unknown or len(ranks) + kept != len(products):
        yield f"{len(ranks)} products and {kept} refused of {len(products)}, {len(unknown)} unknown"
    if set(rows["model_version"]) != {manifest["model_version"]}:
        yield "rows of more than one version"


def check_days(prefix: Path, state: State) -> Iterator[str]:
    """What a run said that it had published is there."""
    history = History(state.history)
    done = {(run.client, run.day) for run in history.runs() if (run.job, run.state) == ("predict", "done")}
    history.close()
    for client, day in sorted(done):
        if not (prefix / "products_categories" / f"client_id={client}" / f"date={day}").is_dir():
            yield f"{client}: {day} was published, and is not there"


def check_history(state: State, counts: Counts) -> Iterator[str]:
    """Every run that was due has ended well in its last attempt; none still waits or runs."""
    history = History(state.history)
    runs = history.runs()
    history.close()
    counts.runs = sum(run.started is not None for run in runs)
    for run in runs:
        counts.by_state[run.state] = counts.by_state.get(run.state, 0) + 1
    last = {(run.client, run.job, run.scheduled_for): run for run in runs}
    for (client, job, at), run in last.items():
        if run.state != "done":
            yield f"{client}: {job} of {at} ended as {run.state} after {run.attempt} attempts: {run.error}"
        if run.state in FAILED and run.exit_code == 1:
            yield f"{client}: {job} of {at} failed for good: {run.error}"


def check_leftovers(prefix: Path, state: State) -> Iterator[str]:
    """No staging folder, no lock that somebody holds, no process of a job, no temporary files."""
    yield from (f"left in staging: {folder}" for folder in (prefix / "_staging").glob("*"))
    for lock in [*(state.folder / "locks").glob("*"), *(state.folder / "slots").glob("*")]:
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield f"somebody holds {lock}"
    for process in processes(state):
        yield f"still running: {process.pid} {' '.join(process.cmdline())[:100]}"
    yield from (f"left in results: {file}" for file in (state.folder / "results").glob("*"))


def processes(state: State) -> list[psutil.Process]:
    """What works on a state: its scheduler, jobs, and all that they started."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("BC4ALL_STATE") == str(state.folder)
            if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def check_champions(prefix: Path, clients: list[ClientId], counts: Counts) -> Iterator[str]:
    """Every client has a champion that can be read, and no run of MLflow that began its work still goes on."""
    layout = Layout.at(str(prefix))
    registry = Registry(Tracking(tracking_uri(layout), layout))
    for client in clients:
        try:
            registry.load(client, registry.find(client))
            counts.champions += 1
        except Failure as failure:
            yield f"{client}: {failure}"
    mlflow = MlflowClient(tracking_uri(layout))
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    for start in range(0, len(experiments), _EXPERIMENTS):
        for run in mlflow.search_runs(experiments[start : start + _EXPERIMENTS], "attributes.status = 'RUNNING'"):
            # Killed before it had a journal, a run is one that nobody knows to close.
            if run.data.metrics or run.data.params:
                yield f"still open in MLflow: {run.info.run_id} of {run.data.tags.get('client_id')}"
            counts.unknown += 1
