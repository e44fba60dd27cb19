"""The SparkSession of a job: its event log, what its executors run on, and the names that its work carries."""

import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JError, Py4JNetworkError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession

from bc4all.environment import SHIP_IT, Host, refuse_connect, this_host
from bc4all.errors import ConfigurationError, TransientFailure
from bc4all.identity import ClientId
from bc4all.layout import Layout

log = logging.getLogger(__name__)

# Clients in the same Spark jobs: a task has a file open for each. A thousand clients in waves of 50, 100 or 200 take as
# long; with 200, the driver takes twice the memory of 50 (measured: 1.8 and 0.9 GB).
MAX_WAVE = 100
# What the jobs depend on, whatever a cluster's own defaults are: f0 and F0 are two columns, 0123 and 123 two clients; a
# worker is not given ten thousand packs, or files, at once; a task writes the files of a wave's clients without sorting
# their rows first.
SQL_SETTINGS: dict[str, bool | float | int | str | None] = {
    "spark.sql.caseSensitive": "true",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(16 << 20),
    "spark.sql.maxConcurrentOutputFileWriters": str(MAX_WAVE),
}

# No package, another Python, no Python: how a worker that cannot work puts it.
_BROKEN_PYTHON = re.compile(r"No module named .*|PYTHON_VERSION_MISMATCH.*|Cannot run program .*")
_JAVA_VERSION = "'java.lang.System', 'getProperty', 'java.version'"
_MAX_HOSTS = 64  # tasks to ask with: each core of a small cluster, some of a large one's


def start_session(name: str, layout: Layout) -> SparkSession:
    """Return the session of this application; every other setting comes from spark-submit and conf/spark-defaults.conf.

    Raises ConfigurationError under Spark Connect, TransientFailure where the event log or the cluster fails.
    """
    refuse_connect(os.environ, {})
    builder = SparkSession.builder.appName(name).config(map=SQL_SETTINGS)
    SparkContext._ensure_initialized()  # Java, but no context yet: only Java knows what spark-submit was told
    _leave_ctrl_c_to_python(SparkContext._jvm)
    try:
        if SparkConf().get("spark.eventLog.enabled", "false") == "true":
            builder = builder.config("spark.eventLog.dir", _event_folder(layout))
        return _without_tracebacks(builder.getOrCreate())
    except (Py4JError, PySparkException) as error:
        text = str(error.java_exception.getMessage() if hasattr(error, "java_exception") else error).splitlines()[0]
        raise TransientFailure(
            f"Spark did not start: {text[:300].rstrip('.')}",
            f"master {SparkConf().get('spark.master')}",
            "is the cluster up, and its address right? The log says more",
        ) from error


def _leave_ctrl_c_to_python(jvm: Any) -> None:
    """Let Java ignore Ctrl-C: this process prints through it, and it would end before the last line is out."""
    try:
        jvm.sun.misc.Signal.handle(jvm.sun.misc.Signal("INT"), jvm.sun.misc.SignalHandler.SIG_IGN)
    except Py4JError:  # a Java that was told to leave signals alone
        log.debug("Java ends by itself on Ctrl-C", exc_info=True)


def _without_tracebacks(spark: SparkSession) -> SparkSession:
    """Log what goes wrong where Java reports workers' accumulators: pyspark would print it between the job's own lines.

    It is what a thread sees first of a Java that has ended; the job says so itself.
    """
    server: Any = spark.sparkContext._accumulatorServer
    server.handle_error = lambda request, address: log.debug("accumulators: Java is not there", exc_info=True)
    return spark


def _event_folder(layout: Layout) -> str:
    """Return where this application's events go; made here, because Spark refuses to start without it."""
    folder: str = SparkConf().get("spark.eventLog.dir", "") or layout.events
    jvm: Any = SparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(folder)
    path.getFileSystem(jvm.org.apache.spark.deploy.SparkHadoopUtil.get().conf()).mkdirs(path)
    return str(path.toUri().toString())


def is_local(spark: SparkSession) -> bool:
    """Return whether the executors are threads of this machine's driver."""
    return str(spark.sparkContext.master).startswith("local")


def java_has_ended(spark: SparkSession) -> bool:
    """Return whether the driver's Java no longer answers: it ran out of memory, or was killed."""
    jvm: Any = spark._jvm
    try:
        jvm.java.lang.System.nanoTime()
    except (Py4JNetworkError, OSError):
        return True
    return False


def driver_host(spark: SparkSession) -> Host:
    """Return what the driver runs on."""
    jvm: Any = spark._jvm
    return this_host(str(jvm.java.lang.System.getProperty("java.version")))


def executor_hosts(spark: SparkSession) -> list[Host]:
    """Return what the executors run on that are there by now, each host once.

    Raises ConfigurationError where their Python cannot work, TransientFailure where the cluster cannot.
    """
    slots = min(_MAX_HOSTS, spark.sparkContext.defaultParallelism * 2)

    def ask(rows: Iterable[Row]) -> Iterator[Host]:
        for row in rows:
            yield this_host(row.java)

    spark.sparkContext.setJobDescription("bc4all · start · versions")
    try:
        # Spark's optimizer leaves this call to the executors: each JVM tells its own version.
        asked = spark.range(0, slots, 1, slots).selectExpr(f"java_method({_JAVA_VERSION}) AS java")
        found = asked.rdd.mapPartitions(ask).collect()
    except (Py4JError, PySparkException) as error:
        complaints = _BROKEN_PYTHON.findall(str(getattr(error, "java_exception", error)))
        if not complaints:
            raise TransientFailure(
                f"no executor answered: {str(error)[:300]}", remedy="is the cluster well?"
            ) from error
        raise ConfigurationError(
            f"the executors' Python does not work: {complaints[-1].strip()[:300]}",
            remedy=SHIP_IT,
        ) from error
    finally:
        spark.sparkContext.setLocalProperty("spark.job.description", None)  # type: ignore[arg-type]
    return list({host.name: host for host in found}.values())


@contextmanager
def phase(spark: SparkSession, client_id: ClientId, job: str, name: str) -> Iterator[None]:
    """Name the Spark jobs started inside, on this thread, `client · job · phase`, and log how long they took."""
    with wave_phase(spark, [client_id], job, name):
        yield


def wave_name(client_ids: Sequence[ClientId]) -> str:
    """Return what clients together are called: `first +99`; of one, its id."""
    first, others = client_ids[0], len(client_ids) - 1
    return f"{first} +{others}" if others else first


@contextmanager
def wave_phase(spark: SparkSession, client_ids: Sequence[ClientId], job: str, name: str) -> Iterator[None]:
    """Name the Spark jobs that are for many clients `first +99 · job · phase`; each client is a tag of them."""
    context, first, told = spark.sparkContext, client_ids[0], wave_name(client_ids)
    context.setJobGroup(f"{first}/{job}", f"{told} · {job} · {name}", interruptOnCancel=True)
    tags = client_ids[1:] and client_ids
    for tag in tags:
        context.addJobTag(tag)
    started = time.monotonic()
    try:
        yield
        log.info("%s: %s: %s took %.1f s", told, job, name, time.monotonic() - started)
    finally:
        for tag in tags:
            context.removeJobTag(tag)
        context.setLocalProperty("spark.job.description", None)  # type: ignore[arg-type]
