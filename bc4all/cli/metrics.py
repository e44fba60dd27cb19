"""The command `bc4all metrics`: what Prometheus is to know, for those who run no scheduler. `main` adds it."""

from datetime import UTC, datetime
from pathlib import Path

import click

from bc4all.cli.models import open_registry
from bc4all.cli.options import CONFIG_OPTION
from bc4all.errors import Failure

_READABLE = 0o644  # node_exporter runs as a user of its own


@click.command()
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file instead, in one step: node_exporter reads those that end in .prom.",
)
@CONFIG_OPTION
def metrics(textfile: Path | None, config: Path) -> None:
    """Print the fleet's metrics for Prometheus.

    Of each job its last success, how old that may become by the job's own schedule, when it is due next, its duration,
    rows and accuracy; of each client what is published, its drift, and its champion. A running scheduler answers with
    those of jobs at /metrics, too.

    Example: bc4all metrics --textfile /var/lib/prometheus/node-exporter/bc4all.prom
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.local_files import replace_text
    from bc4all.schedule.metrics import RecordsCollector, text
    from bc4all.schedule.operations import Operations
    from bc4all.schedule.punctuality import Expectations
    from bc4all.schedule.snapshot import Records
    from bc4all.site.metrics import PublishedCollector
    from bc4all.site.report import Report

    clients, now = list(load_fleet(config, fits=False).clients.values()), datetime.now(UTC)
    with Operations.opened() as operations:
        registry = open_registry(operations.layout, [client.id for client in clients])
        records = Records.read(operations.history, clients, Expectations(), now)
        facts = Report(operations.layout, operations.history, registry).facts(clients, now)
    content = text(RecordsCollector(records), PublishedCollector(facts))
    if textfile is None:
        click.echo(content, nl=False)
        return
    try:
        replace_text(textfile, content, _READABLE)
    except OSError as error:
        raise Failure(f"the metrics cannot be written: {error.strerror}", str(textfile)) from error
