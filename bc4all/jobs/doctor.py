"""`bc4all doctor`: is everything there that the jobs need, on the driver and on the executors, and if not, what to do.

Runs as a Spark application of its own, so that it meets what a job would meet. What it writes it removes; what it makes
as a job would (the folder of event logs, an MLflow database) stays.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession
from rich.console import Console
from rich.markup import escape

from bc4all.config.clients import Client
from bc4all.config.fleet_file import load_fleet
from bc4all.data.failures import as_failure
from bc4all.data.filesystem import FileSystem
from bc4all.environment import SHIP_IT, Host, faults, java_version, worker_versions
from bc4all.errors import EXIT_OK, EXIT_TERMINAL, Failure, ModelError
from bc4all.jobs.session import driver_host, executor_hosts, start_session
from bc4all.layout import Layout
from bc4all.redaction import redact
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.registry.versions import Registry
from bc4all.variables import CONFIG_FILE
from bc4all.wording import quantity

_FIRST_TASK_TIMEOUT_S = 90  # seconds for a cluster to give the first executor and run a task on it
_MAX_CLOCK_SKEW_S = 5.0  # seconds that clocks may differ: dates and MLflow's times would
_UNPACKED = 5  # a forest in memory beside its file; client_3's takes 4.4 times as much


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it is, and, where it is not as it should be, what to do."""

    subject: str
    text: str
    remedy: str = ""

    def show(self, console: Console) -> None:
        """Print it on a line."""
        mark = "[red]wrong[/]" if self.remedy else "[green]ok[/]   "
        advice = f"; {self.remedy}" if self.remedy else ""
        console.print(f"{mark} {escape(f'{self.subject}: {self.text}{advice}')}", highlight=False, soft_wrap=True)


def run_doctor(config: Path, console: Console) -> int:
    """Look at everything, print a line each, and return 0 or, where something is wrong, 1."""
    wrong = 0
    for finding in _findings(config):
        finding.show(console)
        wrong += bool(finding.remedy)
    console.print(f"{quantity(wrong, 'check')} failed" if wrong else "all checks passed", highlight=False)
    return EXIT_TERMINAL if wrong else EXIT_OK


def _findings(config: Path) -> Iterator[Finding]:
    layout = Layout.from_environment()
    yield _finding("driver", _driver)
    clients: list[Client] = []
    yield _finding("configuration", lambda: _configuration(config, clients))
    yield _finding("MLflow", lambda: _mlflow(layout, clients))
    try:
        spark = start_session("bc4all doctor", layout)
    except Failure as failure:
        yield _wrong("Spark", failure)
        return
    try:
        master = f"{spark.version} on {spark.sparkContext.master}"
        started = _finding("Spark", lambda: f"{master}, {_patiently(lambda: executor_hosts(spark))}")
        yield started
        if started.remedy:
            return
        before = time.time()  # asked once more, now that every worker is awake: clocks are compared
        hosts = executor_hosts(spark)
        yield from _executors(hosts, driver_host(spark), before, time.time())
        yield _finding("storage", lambda: _storage(spark, layout))
        yield _finding("memory", lambda: _memory(spark, layout, clients, hosts))
    finally:
        spark.stop()


def _finding(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, look())
    except Exception as error:  # noqa: BLE001 - whatever is wrong is what the doctor is there to say
        return _wrong(subject, as_failure(error))


def _wrong(subject: str, failure: Failure) -> Finding:
    where = f" ({failure.where})" if failure.where else ""
    return Finding(subject, redact(f"{failure.what}{where}"), failure.remedy or "see docs/cluster.md")


def _driver() -> str:
    versions = ", ".join(f"{name} {version}" for name, version in worker_versions().items())
    return f"Java {java_version()}, {versions}"


def _configuration(config: Path, clients: list[Client]) -> str:
    clients += load_fleet(config).enabled
    return f"{quantity(len(clients), 'client')} enabled in {config}"


def _mlflow(layout: Layout, clients: list[Client]) -> str:
    uri = tracking_uri(layout)
    started = time.monotonic()
    Tracking(uri, layout).check_owner([client.id for client in clients])
    return f"{redact(uri)} answered in {time.monotonic() - started:.1f} s"


def _patiently(work: Callable[[], object]) -> str:
    """Do `work`, which a cluster without free executors would keep waiting for ever."""
    started = time.monotonic()
    pool = ThreadPoolExecutor(1)
    try:
        pool.submit(work).result(timeout=_FIRST_TASK_TIMEOUT_S)
    except Late:
        raise Failure(
            f"no executor ran a task within {_FIRST_TASK_TIMEOUT_S} s",
            remedy="is the cluster up, and are memory and cores asked for that it has?",
        ) from None
    finally:
        pool.shutdown(wait=False)
    return f"first tasks after {time.monotonic() - started:.1f} s"


def _executors(hosts: list[Host], driver: Host, before: float, after: float) -> Iterator[Finding]:
    """Yield what is wrong with each host, whose clock was read between `before` and `after` of the driver's."""
    for host in hosts:
        subject = f"executor {host.name}"
        wrong = faults(host, driver)
        skew = max(before - host.clock, host.clock - after, 0.0)
        if wrong:
            yield Finding(subject, "; ".join(wrong), SHIP_IT)
        elif skew > _MAX_CLOCK_SKEW_S:
            yield Finding(subject, f"its clock differs by {skew:.0f} s from the driver's", "keep it by NTP")
        else:
            yield Finding(subject, f"Java {host.java}, packages equal the driver's, clock agrees")


def _storage(spark: SparkSession, layout: Layout) -> str:
    """Executors write, the driver lists and moves, executors read: what publishing does."""
    files = FileSystem(spark, layout.prefix)
    # Beside published partitions: below a viewfs each root may be a storage of its own. Readers pass over `_…`.
    written, moved = layout.scratch, f"{layout.published}/_doctor"
    try:
        files.delete(written)
        files.delete(moved)
        spark.range(1000).write.parquet(written)
        parts = [entry for entry in files.listing(written) if entry.name.endswith(".parquet")]
        if not parts:
            raise Failure(
                "what executors write, the driver does not see",
                layout.prefix,
                "use a DATA_PREFIX that all hosts share (hdfs:, s3a:, a mounted folder)",
            )
        files.rename(written, moved)
        rows = spark.read.parquet(moved).count()
    finally:
        try:
            files.delete(written)
        finally:
            files.delete(moved)
    if rows != 1000:
        raise Failure(f"{rows} of 1000 rows came back", layout.prefix, "use a DATA_PREFIX that all hosts share")
    kind = "folders are renamed in one step" if files.renames_atomically else "files are published one by one"
    return f"{layout.prefix} can be written, moved and read; {kind}"


def _memory(spark: SparkSession, layout: Layout, clients: list[Client], hosts: list[Host]) -> str:
    """Check the memory: every Python worker holds the broadcast model of each client that it scores for."""
    registry = Registry(Tracking(tracking_uri(layout), layout))
    sizes: dict[str, int] = {}
    for client in clients:
        try:
            sizes[client.id] = int(registry.find(client.id).tags.get("bytes", 0))
        except ModelError:  # not trained yet
            continue
    if not sizes:
        return "no client has a champion yet, so nothing is known of models' sizes"
    largest = max(sizes, key=lambda client_id: sizes[client_id])
    size = sizes[largest] * _UNPACKED
    workers = math.ceil(spark.sparkContext.defaultParallelism / len(hosts))  # on each host, if hosts are alike
    text = f"largest champion: {largest}, some {max(1, size / 1e6):.0f} MB in each Python worker"
    known = [host.free_bytes for host in hosts if host.free_bytes is not None]
    if not known:
        return f"{text}; how much is free, this system does not tell"
    free = min(known)
    if size * workers > free / 2:
        raise Failure(
            f"{text}, {workers} on a host where {free / 1e9:.1f} GB are free",
            remedy="use fewer cores an executor, or more memory",
        )
    return f"{text}; {free / 1e9:.1f} GB are free"


def main() -> None:
    """Run jobs/doctor.py, for the configuration that $BC4ALL_CONFIG names."""
    from bc4all.terminal import console

    sys.exit(run_doctor(Path(os.environ[CONFIG_FILE]), console()))
