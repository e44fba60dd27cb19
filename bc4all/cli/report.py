"""The command `bc4all report`: the fleet's pages as plain files. It is added to the group in `cli`."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from bc4all.cli.models import open_registry
from bc4all.cli.options import CLIENT_ID, CONFIG_OPTION
from bc4all.errors import EXIT_OK, EXIT_TERMINAL, Failure
from bc4all.identity import ClientId
from bc4all.wording import quantity


@click.command()
@click.option("--client-id", "client_id", type=CLIENT_ID, help="This client's page alone, to be sent to it.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The folder to write to.")
@CONFIG_OPTION
def report(client_id: ClientId | None, out: Path, config: Path) -> None:
    """Write pages of the fleet, of each client and of tonight.

    Plain files, to be opened from disk or put on any web server; a second time, what has changed is written again.
    A page that is written alone holds no other client's name, and no labels, errors or commands.

    Example: bc4all report --out site
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.schedule.operations import Operations
    from bc4all.site.report import Report

    started, fleet, now = time.monotonic(), load_fleet(config, fits=False), datetime.now(UTC)
    clients = fleet.select([client_id]) if client_id else list(fleet.clients.values())
    with Operations.opened() as operations:
        registry = open_registry(operations.layout, [client.id for client in clients])
        pages = Report(operations.layout, operations.history, registry)
        try:
            if client_id:
                click.echo(pages.write_alone(clients[0], out, now).absolute().as_uri())
                return
            written = pages.write(clients, fleet.scheduler.max_parallel, out, now)
        except OSError as error:
            raise Failure(f"the pages cannot be made: {error.strerror}", str(error.filename or out)) from error
    took, pages_anew = time.monotonic() - started, quantity(written.anew, "page")
    index = (out / "index.html").absolute().as_uri()
    click.echo(f"{quantity(written.clients, 'client')}, {pages_anew} written anew, {took:.1f} s: {index}")
    for failure in written.failures:
        click.echo(failure, err=True)
    sys.exit(EXIT_TERMINAL if written.failures else EXIT_OK)
