"""A job as a Spark application: from its arguments to its exit code."""

import logging
import os
import sys
from collections.abc import Callable

from rich.console import Console

from bc4all.arguments import TERMINAL_COLUMNS, JobArguments
from bc4all.config import Client, load_fleet
from bc4all.errors import EXIT_INTERRUPTED, Failure
from bc4all.fleet import Outcome, exit_code, run_fleet, summary
from bc4all.job import Job
from bc4all.layout import Layout
from bc4all.registry import Registry, tracking_uri
from bc4all.session import start_session


def run_application(arguments: JobArguments) -> int:
    """Do the job for the clients asked for, print what became of them, and return DESIGN's exit code."""
    console = _console()
    _log_to_standard_error(console.is_terminal)
    try:
        clients = selected_clients(arguments)
        layout = Layout.from_environment()
        uri = tracking_uri(layout)
        spark = start_session(f"bc4all {arguments.job} {arguments.day}")
    except Failure as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code
    try:
        job = Job(spark, layout, Registry(uri, layout), arguments.day)
        outcomes = run_fleet(spark, arguments.job, clients, _work(job, arguments), arguments.max_parallel, console)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code
    except KeyboardInterrupt:
        print(f"{arguments.job}: interrupted; what was published before is untouched", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        spark.stop()
    console.print(summary(arguments.job, outcomes))
    return exit_code(outcomes)


def selected_clients(arguments: JobArguments) -> list[Client]:
    """The clients asked for, as the command line overrides them. Raises ConfigurationError."""
    fleet = load_fleet(arguments.config)
    clients = fleet.enabled if arguments.every_client else fleet.select(arguments.client_ids)
    return [client.overridden(arguments.features, arguments.model_params) for client in clients]


def _work(job: Job, arguments: JobArguments) -> Callable[[Client], Outcome]:
    if arguments.job == "train":
        return job.train
    return lambda client: job.predict(client, arguments.model_version)


def _console() -> Console:
    """Standard output. spark-submit hands it on through a pipe: bin/submit.sh says if a terminal is behind."""
    columns = os.environ.get(TERMINAL_COLUMNS, "")
    return Console(force_terminal=True, width=int(columns)) if columns.isdigit() else Console()


def _log_to_standard_error(terminal: bool) -> None:
    """Warnings on a terminal; in a log also how each client failed, with tracebacks."""
    logging.basicConfig(
        stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING
    )
    if not terminal:
        logging.getLogger("bc4all").setLevel(logging.INFO)
    for chatty in ("mlflow", "alembic"):  # they set their own level when imported
        logging.getLogger(chatty).setLevel(logging.WARNING)
