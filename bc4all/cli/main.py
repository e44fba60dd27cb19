"""The command `bc4all`. Heavy modules are imported by the commands that need them: --help answers at once."""

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

import bc4all
from bc4all.cli.backfill import backfill
from bc4all.cli.crontab import crontab
from bc4all.cli.forget import forget
from bc4all.cli.metrics import metrics
from bc4all.cli.models import COMMANDS as MODEL_COMMANDS
from bc4all.cli.options import CLIENT_ID, CONFIG_OPTION, DATE, JSON_OPTION
from bc4all.cli.report import report
from bc4all.cli.runs import COMMANDS as RUN_COMMANDS
from bc4all.cli.why import why
from bc4all.errors import Failure
from bc4all.identity import ClientId, Day, equal_numbers
from bc4all.layout import Layout
from bc4all.request import JobRequest
from bc4all.wording import quantity


class _Group(click.Group):
    """Prints a Failure as one line and leaves with its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            click.echo(str(failure), err=True)
            raise SystemExit(failure.exit_code) from failure


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(bc4all.__version__, message="%(version)s")
def main() -> None:
    """Better Categories 4All: look after the clients' category models. A single job is started by bin/submit.sh.

    Data lies below $DATA_PREFIX, by default ./data.
    """


@main.command()
@CONFIG_OPTION
def check(config: Path) -> None:
    """Check configuration and data, running nothing.

    Example: bc4all check
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.config.tuned import tuned_files
    from bc4all.data.data_check import check_data

    fleet = load_fleet(config)
    for client_id, tuned in fleet.tuned.items():
        own = fleet.own_models[client_id]
        hidden = f", hidden by {' and '.join(own)} of its entry in {config}" if own else ""
        click.echo(f"{client_id}: {tuned.model.name}, tuned ({tuned.file}){hidden}")
    for file in tuned_files(config):
        if file.stem not in fleet.clients:
            click.echo(f"{file} is of no client of {config}")
    for group in equal_numbers(fleet.clients):
        alike = f"{', '.join(group)} are one number to readers that infer the types of partitions"
        click.echo(f"{alike}: give them the setting that README names under Predict", err=True)
    layout = Layout.from_environment()
    faults = [fault for client in fleet.enabled for fault in check_data(layout, client)]
    for fault in faults:
        click.echo(fault, err=True)
    paused = len(fleet.clients) - len(fleet.enabled)
    click.echo(f"{config}: {quantity(len(fleet.enabled), 'client')} enabled, {paused} paused, no faults")
    click.echo(f"{layout.prefix}: {quantity(len(faults), 'fault') if faults else 'every enabled client has its data'}")
    sys.exit(1 if faults else 0)


@main.command()
@click.option("--client-id", type=CLIENT_ID, required=True, help="The client.")
@click.option("--date", "day", type=DATE, help="The published date; by default the latest.")
@click.option("--product-id", "product_ids", multiple=True, help="A product; may be repeated.")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="Products to show.")
@JSON_OPTION
def show(client_id: ClientId, day: Day | None, product_ids: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Show published categories; needs no Spark.

    Example: bc4all show --client-id client_0 --date 2026-01-31
    """
    from bc4all.cli.tables import table
    from bc4all.data.published import read_published
    from bc4all.terminal import print_rows

    published = read_published(Layout.from_environment(), client_id, day, product_ids, limit)
    rows = [{"client_id": client_id, "date": published.day, **row} for row in published.rows.to_pylist()]
    print_rows(rows, as_json, lambda: table(published))


@main.command("next")
@CONFIG_OPTION
@click.option("--hours", type=click.IntRange(1, 24 * 366), default=24, show_default=True, help="How far ahead.")
@click.option("--client-id", "client_ids", type=CLIENT_ID, multiple=True, help="Only this client; may be repeated.")
@JSON_OPTION
def upcoming(config: Path, hours: int, client_ids: tuple[ClientId, ...], as_json: bool) -> None:
    """Show which jobs are due next.

    Example: bc4all next --hours 24
    """
    from bc4all.cli.status import read_pauses
    from bc4all.cli.tables import due_jobs
    from bc4all.cli.tables import upcoming as table_of_jobs
    from bc4all.config.fleet_file import load_fleet
    from bc4all.state import State
    from bc4all.terminal import print_rows

    fleet = load_fleet(config)
    clients = fleet.select(client_ids) if client_ids else fleet.enabled
    state = State.from_environment(Layout.from_environment())
    due = due_jobs(clients, datetime.now(UTC), hours, read_pauses(state))
    print_rows(due, as_json, lambda: table_of_jobs(due, hours))


@main.command()
@CONFIG_OPTION
@click.option("--master", help="The Spark master; by default $BC4ALL_MASTER, then local[*,4].")
@click.argument("spark_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SPARK_OPTIONS]")
def doctor(config: Path, master: str | None, spark_options: tuple[str, ...]) -> None:
    """Look whether everything is there that the jobs need.

    Java, Python and package versions on driver and executors, MLflow, storage, clocks, memory: a line each, with what
    to do where something is wrong.

    Example: bc4all doctor --master spark://host:7077 -- --archives dist/bc4all-environment.tar.gz#environment
    """
    from bc4all.launch.spark_submit import become_spark_submit

    options = (*(("--master", master) if master else ()), *spark_options)
    day = Day(date.today().isoformat())
    asked = JobRequest("doctor", (), True, day, config, max_parallel=1, spark_options=options)
    sys.exit(become_spark_submit(asked, []))


@main.command("sample-data")
@click.option("--clients", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many clients.")
@click.option("--rows", type=click.IntRange(100), default=5000, show_default=True, help="Products of each, twice.")
@click.option("--categories", type=click.IntRange(2), help="Categories of each; by default 15 to 62.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Equal seeds make equal files.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The folder to fill.")
@click.option("--titles", is_flag=True, help="Products with a title, in categories that are paths.")
def sample_data(clients: int, rows: int, categories: int | None, seed: int, out: Path, titles: bool) -> None:
    """Write made-up clients to try things with.

    Overlapping, skewed categories of products with five numeric features, or with a title.

    Example: bc4all sample-data --clients 10 --rows 5000 --seed 1 --out data
    """
    from bc4all.data.sample_data import write_sample_data

    for client_id in write_sample_data(out, clients, rows, seed, categories, titles):
        click.echo(f"{client_id}: {rows} products to train on, {rows} to predict", err=True)


for _command in (backfill, crontab, forget, metrics, report, why, *MODEL_COMMANDS, *RUN_COMMANDS):
    main.add_command(_command)

if __name__ == "__main__":
    main(prog_name="bc4all")
