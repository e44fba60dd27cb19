"""A job as a Spark application: from its request to its exit code."""

import atexit
import contextlib
import logging
import os
import resource
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from pyspark.sql import SparkSession
from rich.console import Console

from bc4all import interrupts, starter
from bc4all.config.clients import Client, Fleet
from bc4all.config.fleet_file import load_fleet
from bc4all.config.tuned import check_writable
from bc4all.data.failures import as_failure
from bc4all.data.recovery import recover
from bc4all.environment import check_hosts
from bc4all.errors import EXIT_INTERRUPTED, Failure
from bc4all.job_kinds import PREDICT
from bc4all.jobs.fleet import Outcome, exit_code, run_waves, summary
from bc4all.jobs.session import driver_host, executor_hosts, is_local, java_has_ended, start_session
from bc4all.layout import Layout
from bc4all.logs import log_context, start_log
from bc4all.request import JobRequest
from bc4all.state import State
from bc4all.terminal import console
from bc4all.variables import LOG_FORM

if TYPE_CHECKING:
    from bc4all.registry.versions import Registry

log = logging.getLogger(__name__)


_OPEN_FILES = 10_000  # as many as macOS allows a process


def run_application(request: JobRequest) -> int:
    """Do the job for the clients asked for, print what became of them, and return DESIGN's exit code."""
    starter.tell_driver_runs()
    _allow_open_files()
    out = console()
    structured = os.environ.get(LOG_FORM) == "json"
    start_log(request.log_level or ("warning" if out.is_terminal else "info"), structured)
    with contextlib.ExitStack() as stack:
        stack.enter_context(log_context(job=request.job))
        try:
            interrupts.give_up()
            outcomes = _outcomes(request, out, stack)
        except (Failure, OSError) as error:  # OSError: a prefix that cannot be written, a disk that is full
            failure = as_failure(error)
            if structured:
                log.error("%s", failure)  # noqa: TRY400 - foreseen: its one line says all
            else:
                print(failure, file=sys.stderr)
            return failure.exit_code
        except KeyboardInterrupt:
            starter.tell_interrupted()
            print(f"{request.job}: interrupted; what was published before is untouched", file=sys.stderr)
            return EXIT_INTERRUPTED
        out.print(summary(request.job, outcomes))
    return exit_code(outcomes)


def _allow_open_files() -> None:
    """Let this process have more files open, if the system allows it: a client that is worked on has a lock."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(_OPEN_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def run_and_leave(request: JobRequest) -> NoReturn:
    """Do what `run_application` does, and end this process with its exit code.

    What Python would still do, to free each object of half a gigabyte, takes a second, and the system does it anyway.
    """
    code = run_application(request)
    atexit._run_exitfuncs()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _outcomes(request: JobRequest, out: Console, stack: contextlib.ExitStack) -> list[Outcome]:
    """Start Spark, which `stack` stops, and do the job for every client; then, once a day, `stack` cleans up before."""
    fleet = load_fleet(request.config, fits=request.job != PREDICT.name)
    clients = selected_clients(fleet, request)
    if request.write:
        check_writable(request.config)
    layout = Layout.from_environment()
    state = State.from_environment(layout)
    beside = ThreadPoolExecutor(1, thread_name_prefix="registry")
    opening = beside.submit(copy_context().run, _open_registry, layout, request.job, clients)
    with out.status("starting Spark and MLflow") if out.is_terminal else contextlib.nullcontext():
        try:
            spark = start_session(f"bc4all {request.job} {request.day}", layout)
            stack.callback(_stop, spark)
        finally:
            beside.shutdown(wait=False)  # where Spark does not start, its error does not wait for MLflow
        from bc4all.jobs.clean_up import clean_up  # heavy, and imported by now
        from bc4all.jobs.work import JobContext, job_waves, job_work

        registry = opening.result()
    spark_context = spark.sparkContext
    if request.log_level:
        spark_context.setLogLevel(request.log_level.upper().removesuffix("ING"))
    stack.enter_context(log_context(application_id=spark_context.applicationId))
    log.info("%s: application %s on %s", request.job, spark_context.applicationId, spark_context.master)
    if not is_local(spark):
        check_hosts(executor_hosts(spark), driver_host(spark))
    context = JobContext(spark, layout, registry, request.day, state, backfilled=request.backfilled)
    if not context.files.renames_atomically:
        log.warning("%s does not rename folders in one step: readers look for _SUCCESS", layout.prefix)
    recover(context.files, layout, state, fleet.keep.replaced, registry.tracking.close_run)
    (waves, large), work = job_waves(context, request, clients), job_work(context, request, out)
    at_once, interrupted, phases = request.max_parallel, context.interrupted, context.phases
    done = run_waves(spark, request.job, waves, work, at_once, out, _tell_done, _tell_begun, interrupted, phases, large)
    drift_dates = {client_id: client.drift.counts[1] for client_id, client in fleet.clients.items()}
    stack.callback(clean_up, context.files, layout, state, registry.tracking, fleet.keep, drift_dates)
    by_client = {outcome.client_id: outcome for outcome in done}
    return [by_client[client.id] for client in clients]


def _open_registry(layout: Layout, job: str, clients: list[Client]) -> "Registry":
    from bc4all.jobs.work import open_registry  # heavy

    return open_registry(layout, job, clients)


def _stop(spark: SparkSession) -> None:
    if not java_has_ended(spark):
        context: Any = spark.sparkContext
        context._accumulatorServer = None  # whose thread ends with the process: to wait for it takes a second
        spark.stop()


def selected_clients(fleet: Fleet, request: JobRequest) -> list[Client]:
    """Return the clients asked for, as the command line overrides them. Raises ConfigurationError."""
    clients = fleet.enabled if request.every_client else fleet.select(request.client_ids)
    return [client.overridden(request.features, request.model_params) for client in clients]


def _tell_begun(wave: Sequence[Client]) -> None:
    starter.tell_begun(client.id for client in wave)


def _tell_done(outcome: Outcome) -> None:
    starter.tell_result(asdict(outcome))
