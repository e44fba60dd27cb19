"""The commands of `bc4all` about runs: on time, now, and as they were. They are added to the group in `cli`."""

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from bc4all.cli.options import CLIENT_ID, CONFIG_OPTION, DATE, JSON_OPTION
from bc4all.errors import EXIT_OK, EXIT_USAGE, ConfigurationError
from bc4all.identity import ClientId, Day
from bc4all.job_kinds import PREDICT, SCHEDULED_JOBS
from bc4all.logs import LEVELS, start_log
from bc4all.project import ROOT
from bc4all.variables import LOG_FORM

_BEHIND_S = 10.0  # seconds after which a prediction of cron's starts where a training is due at the same minute
_JOB = click.Choice(SCHEDULED_JOBS)
_CLIENTS = click.option("--client-id", "client_ids", type=CLIENT_ID, multiple=True, help="A client; may be repeated.")
_JOBS = click.option("--job", "jobs", type=_JOB, multiple=True, help="Only this job; by default both.")


@click.command()
@CONFIG_OPTION
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="Of the log.",
)
def scheduler(config: Path, log_level: str) -> None:
    """Start the clients' jobs on time, until Ctrl-C or TERM.

    Told to stop once, it waits for what runs; a second time, it ends it. The configuration is read again when it
    changes, and on HUP. Health is at http://127.0.0.1:9745/health, metrics are at /metrics.

    Example: bc4all scheduler
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.schedule.operations import Operations

    start_log(log_level, structured=os.environ.get(LOG_FORM) == "json")
    with Operations.opened() as operations:
        sys.exit(operations.scheduler(lambda: load_fleet(config)))


@click.command("run-now")
@click.argument("job", type=_JOB)
@_CLIENTS
@click.option("--date", "day", type=DATE, help="The date of the run; by default today in the client's time zone.")
@CONFIG_OPTION
def run_now(job: str, client_ids: tuple[ClientId, ...], day: Day | None, config: Path) -> None:
    """Run a job now, as the scheduler would.

    It is locked, logged, retried and remembered, and waits where `max_parallel` applications run already.

    Example: bc4all run-now predict --client-id client_0
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.schedule.operations import Operations

    if not client_ids:
        raise click.UsageError("Say which clients: --client-id ID; it may be repeated.")
    fleet = load_fleet(config)
    clients = fleet.select(client_ids)
    with Operations.opened() as operations:
        now = datetime.now(UTC)
        days = {client.id: day or client.timing(job).day(now) for client in clients}
        sys.exit(operations.run_now(fleet, job, days, "manual", say, now))


@click.command("cron-line", hidden=True)
@click.argument("job", type=_JOB)
@click.argument("client")
@click.argument("fields")
@CONFIG_OPTION
def cron_line(job: str, client: str, fields: str, config: Path) -> None:
    """Do what a line of the crontab says.

    CLIENT is - for all that share the line.

    Example: bc4all cron-line predict client_0 '0 3 * * *'
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.schedule.crontab import TOGETHER, TOGETHER_FILE, clients_of_line, minute_of_line, trained_at
    from bc4all.schedule.operations import Operations, redirect

    at = minute_of_line(fields, datetime.now(UTC))
    alone = ClientId(client) if client != TOGETHER else None
    fleet = load_fleet(config, fits=False)  # the job looks whether it fits: many of these may wait for their turn
    with Operations.opened() as operations:
        redirect(operations.state.run_log(alone, "cron"), fleet.scheduler.log_bytes)
        ids = [alone] if alone else clients_of_line(fleet, ROOT / "cron" / TOGETHER_FILE, job, fields)
        removed = [client_id for client_id in ids if client_id not in fleet.clients]
        for client_id in removed:
            say(f"{client_id}: the configuration has no such client any more: run bc4all crontab install again")
        kept = [fleet.clients[client_id] for client_id in ids if client_id not in removed]
        paused = operations.history.pauses()
        days = {one.id: one.timing(job).day(at) for one in kept if one.due(job) and (one.id, job) not in paused}
        # The line of the trainings of the same minute writes them down meanwhile: they go before.
        behind = job == PREDICT.name and any(trained_at(fleet.clients[client_id], at) for client_id in days)
        code = operations.run_now(fleet, job, days, "cron", say, at, time.time() + _BEHIND_S if behind else 0.0)
    sys.exit(code or (EXIT_USAGE if removed else EXIT_OK))


def say(text: str) -> None:
    """Print a line that begins with the time."""
    click.echo(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}")
    sys.stdout.flush()


@click.command()
@CONFIG_OPTION
@_CLIENTS
@_JOBS
@click.option("--failed", is_flag=True, help="Only what failed last.")
@JSON_OPTION
def status(config: Path, client_ids: tuple[ClientId, ...], jobs: tuple[str, ...], failed: bool, as_json: bool) -> None:
    """Show each client's jobs: the last run and the next.

    Example: bc4all status --failed
    """
    from bc4all.cli.status import fleet_status, status_table
    from bc4all.config.fleet_file import load_fleet
    from bc4all.schedule.operations import Operations
    from bc4all.terminal import print_rows

    fleet = load_fleet(config)
    clients = fleet.select(client_ids) if client_ids else list(fleet.clients.values())
    with Operations.opened() as operations:
        rows = fleet_status(clients, jobs, operations.history, datetime.now(UTC))
    rows = [row for row in rows if row["failed"] or not failed]
    print_rows(rows, as_json, lambda: status_table(rows))


@click.command()
@click.option("--client-id", type=CLIENT_ID, required=True, help="The client.")
@_JOBS
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="The latest runs.")
@JSON_OPTION
def runs(client_id: ClientId, jobs: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Show a client's runs, the latest last.

    Example: bc4all runs --client-id client_0
    """
    from dataclasses import asdict

    from bc4all.cli.status import runs_table
    from bc4all.schedule.operations import Operations
    from bc4all.terminal import print_rows

    with Operations.opened() as operations:
        found = operations.history.of_client(client_id, jobs, limit)
    print_rows([asdict(run) for run in found], as_json, lambda: runs_table(client_id, found))


@click.command()
@click.option("--client-id", type=CLIENT_ID, required=True, help="The client.")
@_JOBS
@click.option("--run", "run_id", type=click.IntRange(1), help="A run's number, as bc4all runs shows it; else the last.")
def logs(client_id: ClientId, jobs: tuple[str, ...], run_id: int | None) -> None:
    """Show the log of a client's last run.

    Example: bc4all logs --client-id client_0 --job train
    """
    from bc4all.cli.status import log_lines
    from bc4all.schedule.operations import Operations

    with Operations.opened() as operations:
        started = [run for run in operations.history.of_client(client_id, jobs, -1) if run.log]
        files = {run.id: operations.state.recorded_log(str(run.log)) for run in started if run_id in (None, run.id)}
    files = {number: file for number, file in files.items() if file.exists()}
    if not files:
        raise ConfigurationError(f"{client_id}: there is no such run with a log", remedy="see bc4all runs")
    latest = max(files)
    click.echo(f"run {latest}: {files[latest]}", err=True)
    for line in log_lines(files[latest], client_id):
        click.echo(line)


@click.command()
@CONFIG_OPTION
@_CLIENTS
@_JOBS
def pause(config: Path, client_ids: tuple[ClientId, ...], jobs: tuple[str, ...]) -> None:
    """Keep clients' jobs from being started on time.

    What runs goes on; what waits is let go.

    Example: bc4all pause --client-id client_3 --job train
    """
    _each(config, client_ids, jobs, "paused", lambda history, *key: history.pause(*key, datetime.now(UTC).isoformat()))


@click.command()
@CONFIG_OPTION
@_CLIENTS
@_JOBS
def resume(config: Path, client_ids: tuple[ClientId, ...], jobs: tuple[str, ...]) -> None:
    """Let paused jobs be started again.

    From their next time on: what was due in the meantime is not made up for.

    Example: bc4all resume --client-id client_3
    """
    _each(config, client_ids, jobs, "resumed", lambda history, *key: history.resume(*key))


def _each(
    config: Path, client_ids: tuple[ClientId, ...], jobs: tuple[str, ...], done: str, change: Callable[..., None]
) -> None:
    from bc4all.config.fleet_file import load_fleet
    from bc4all.schedule.operations import Operations

    if not client_ids:
        raise click.UsageError("Say which clients: --client-id ID; it may be repeated.")
    clients = load_fleet(config).select(client_ids)
    with Operations.opened() as operations:
        for client in clients:
            for job in jobs or SCHEDULED_JOBS:
                change(operations.history, client.id, job)
                click.echo(f"{client.id}: {job} is {done}")


COMMANDS = (scheduler, run_now, cron_line, status, runs, logs, pause, resume)
