"""The command `bc4all report`: the fleet's pages as plain files. It is added to the group in `cli`."""

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from bc4all.cli.options import CLIENT_ID, CONFIG_OPTION
from bc4all.errors import Failure
from bc4all.identity import ClientId
from bc4all.wording import quantity


@click.command()
@click.option("--client-id", "client_id", type=CLIENT_ID, help="This client's page alone, which names no other client.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The folder to write to.")
@CONFIG_OPTION
def report(client_id: ClientId | None, out: Path, config: Path) -> None:
    """Write pages of the fleet and of each client.

    Plain files, to be opened from disk or put on any web server; a second time, what has changed is written again.

    Example: bc4all report --out site
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.registry.tracking import Tracking, tracking_uri
    from bc4all.registry.versions import Registry
    from bc4all.schedule.operations import Operations
    from bc4all.site.report import Report

    started, fleet = time.monotonic(), load_fleet(config, fits=False)
    clients = fleet.select([client_id]) if client_id else list(fleet.clients.values())
    with Operations.opened() as operations:
        registry = Registry(Tracking(tracking_uri(operations.layout), operations.layout))
        registry.tracking.check_owner([client.id for client in clients])
        pages = Report(operations.layout, operations.history, registry)
        try:
            written = pages.write(clients, out, datetime.now(UTC), alone=client_id is not None)
        except OSError as error:
            raise Failure(f"the pages cannot be written: {error.strerror}", str(error.filename or out)) from error
    first = (out / (f"{client_id}.html" if client_id else "index.html")).absolute()
    took = time.monotonic() - started
    written_anew = f"{quantity(written.clients, 'client')}, {written.anew} pages written anew, {took:.1f} s"
    click.echo(f"{written_anew}: {first.as_uri()}")
