"""The command `bc4all forget`: what there is of a client that has left is shown, and removed on confirmation.

It runs as a Spark application of this machine's, without tasks: Hadoop's file systems are Java's.
"""

import os
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from bc4all.cli.options import CLIENT_ID, CONFIG_OPTION
from bc4all.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigurationError, TransientFailure
from bc4all.identity import ClientId, Day
from bc4all.interrupts import give_up
from bc4all.request import JobRequest
from bc4all.variables import CONFIG_FILE
from bc4all.wording import quantity

if TYPE_CHECKING:
    from bc4all.jobs.forget import Belonging, Departure
    from bc4all.schedule.history import History

_STAYS = """\
  What stays: lines about it in logs that several clients share and in Spark's event logs, until `keep:` lets them go;
  what MLflow has marked as deleted, until `mlflow gc` is run; backups."""


@click.command()
@click.option("--client-id", type=CLIENT_ID, required=True, help="The client.")
@click.option("--confirm", is_flag=True, help="Remove it, for good.")
@click.option("--deliveries", is_flag=True, help="Also what was delivered to train on and to predict.")
@CONFIG_OPTION
@click.argument("spark_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SPARK_OPTIONS]")
def forget(client_id: ClientId, confirm: bool, deliveries: bool, config: Path, spark_options: tuple[str, ...]) -> None:
    """Show all there is of a client, or remove it.

    Published partitions, refused rows, models, runs, experiments, history, logs, tuned model and category map. Take the
    client out of the configuration first. Killed or failed, it is ended by the same command; until then, no job of a
    client of that name begins.

    Example: bc4all forget --client-id client_0 --confirm
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.launch.spark_options import SparkOptions
    from bc4all.launch.spark_submit import become_spark_submit

    if client_id in load_fleet(config, fits=False).clients:
        remedy = "take it out, and run `bc4all crontab install` again where cron starts the jobs"
        raise ConfigurationError(f"{client_id} is a client of the configuration", str(config), remedy)
    if SparkOptions(spark_options).value("--deploy-mode") == "cluster":
        raise ConfigurationError("a driver on another machine does not see this one's history and logs")
    flags = [flag for flag, given in (("--confirm", confirm), ("--deliveries", deliveries)) if given]
    options = ("--master", "local[1]", *spark_options)
    day = Day(date.today().isoformat())
    request = JobRequest("forget", (client_id,), False, day, config, max_parallel=1, spark_options=options)
    sys.exit(become_spark_submit(request, [client_id, *flags]))


def forget_and_leave() -> NoReturn:
    """Run jobs/forget.py, for the client and the flags of its command line and the file that $BC4ALL_CONFIG names."""
    from bc4all.data.failures import as_failure

    client_id, *flags = sys.argv[1:]
    confirm, deliveries = "--confirm" in flags, "--deliveries" in flags
    try:
        give_up()
        _forget(ClientId(client_id), confirm, deliveries, Path(os.environ[CONFIG_FILE]))
    except Exception as error:  # noqa: BLE001 - of storage, MLflow, history or Java: each is a line
        failure = as_failure(error)
        click.echo(str(failure), err=True)
        sys.exit(failure.exit_code)
    except KeyboardInterrupt:
        click.echo(f"{client_id}: interrupted{'; the same command ends what was begun' if confirm else ''}", err=True)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(EXIT_OK)


def _forget(client_id: ClientId, confirm: bool, deliveries: bool, config: Path) -> None:
    from bc4all.config.fleet_file import load_fleet
    from bc4all.data.filesystem import FileSystem
    from bc4all.jobs.forget import Departure
    from bc4all.jobs.session import start_session
    from bc4all.registry.tracking import Tracking, tracking_uri
    from bc4all.schedule.operations import Operations

    keep = load_fleet(config, fits=False).keep
    with Operations.opened() as operations:
        layout, history = operations.layout, operations.history
        tracking = Tracking(tracking_uri(layout), layout)
        tracking.check_owner([client_id])
        spark = start_session("bc4all forget", layout)
        try:
            files = FileSystem(spark, layout.prefix)
            departure = Departure(client_id, files, layout, operations.state, tracking, config)
            deliveries = deliveries or departure.takes_deliveries
            click.echo(f"{client_id}, below {layout.prefix}:")
            if not confirm:
                _show(departure, history, deliveries)
                return
            if any(run.client == client_id and run.state == "running" for run in history.unfinished()):
                raise TransientFailure("a job of this client is running", remedy="wait for its end: see bc4all runs")
            with departure.begun(keep.replaced, deliveries):
                for one in (*departure.belongings(deliveries), _remembered(history, client_id)):
                    one.remove()
                    _tell(one.name, f"{one.amount}: removed" if one.amount else "none")
        finally:
            spark.stop()
    click.echo(f"{_STAYS}\n{client_id} is forgotten.")


def _show(departure: "Departure", history: "History", deliveries: bool) -> None:
    """Say what there is, and how it is removed."""
    client_id = departure.client_id
    every = [*departure.belongings(deliveries=True), _remembered(history, client_id)]
    for one in every:
        stays = one.name.startswith("delivered") and not deliveries
        _tell(one.name, f"{one.amount or 'none'}{' (stays, unless --deliveries is given)' if stays else ''}")
    if not any(one.amount for one in every):
        click.echo(f"There is nothing of a client {client_id}.")
        return
    again = f"bc4all forget --client-id {client_id}{' --deliveries' if deliveries else ''} --confirm"
    click.echo(f"{_STAYS}\nNothing was removed. To remove it for good: {again}")


def _remembered(history: "History", client_id: ClientId) -> "Belonging":
    from bc4all.jobs.forget import Belonging

    runs = len(history.of_client(client_id, (), -1))
    return Belonging("history", quantity(runs, "run") if runs else "", lambda: history.forget_client(client_id))


def _tell(name: str, amount: str) -> None:
    click.echo(f"  {name:<24}{amount}")
