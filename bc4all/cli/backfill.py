"""The command `bc4all backfill`: dates that are not published, or by a version that was rolled back since.

It is added to the group in `cli`.
"""

import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bc4all.cli.models import open_registry
from bc4all.cli.options import CLIENT_ID, CONFIG_OPTION, DATE
from bc4all.cli.runs import say
from bc4all.errors import EXIT_OK
from bc4all.identity import ClientId, Day
from bc4all.wording import quantity

if TYPE_CHECKING:
    from bc4all.layout import Layout


@click.command()
@click.option("--client-id", type=CLIENT_ID, required=True, help="The client.")
@click.option("--from", "first", type=DATE, help="The first date (YYYY-MM-DD); with --outdated, by default any.")
@click.option("--to", "last", type=DATE, help="The last date; with --outdated, by default any.")
@click.option("--outdated", is_flag=True, help="Predict again the dates made by a version that was rolled back since.")
@click.option("--yes", is_flag=True, help="With --outdated: replace them without asking.")
@CONFIG_OPTION
def backfill(client_id: ClientId, first: Day | None, last: Day | None, outdated: bool, yes: bool, config: Path) -> None:
    """Predict the dates that are not published yet.

    One after the other, by today's champion, until one fails. With --outdated, dates that are published already are
    replaced: what is replaced is shown first, and a question asked.

    Example: bc4all backfill --client-id client_0 --from 2026-01-01 --to 2026-01-31
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.schedule.operations import Operations

    if first and last and first > last:
        raise click.UsageError(f"--from {first} is after --to {last}.")
    if yes and not outdated:
        raise click.UsageError("--yes goes with --outdated.")
    if not outdated and not (first and last):
        raise click.UsageError("Say which dates: --from DATE --to DATE, or --outdated.")
    fleet = load_fleet(config)
    fleet.select([client_id])
    with Operations.opened() as operations:
        if first and last and not outdated:
            span = date.fromisoformat(first), date.fromisoformat(last)
            sys.exit(operations.backfill(fleet, client_id, *span, say))
        champion, manifests = _outdated(operations.layout, client_id)
        days = [day for day in manifests if (first or day) <= day <= (last or day)]
        if not days:
            click.echo(f"{client_id}: no published date was made by a version that was rolled back")
            sys.exit(EXIT_OK)
        _show(client_id, champion, {day: manifests[day] for day in days})
        if not yes:
            click.confirm(f"Replace {quantity(len(days), 'date')}?", abort=True)
        sys.exit(operations.predict_days(fleet, client_id, days, say))


def _outdated(layout: "Layout", client_id: ClientId) -> tuple[int, Mapping[Day, Mapping[str, Any]]]:
    """Return the champion, and the manifests of the dates that were made by versions which were rolled back."""
    from bc4all.data.published import made_by
    from bc4all.registry.champions import Champions, rolled_back

    registry = open_registry(layout, [client_id])
    champion = registry.find(client_id).number
    return champion, made_by(layout, client_id, rolled_back(Champions(registry).changes(client_id)))


def _show(client_id: ClientId, champion: int, manifests: Mapping[Day, Mapping[str, Any]]) -> None:
    """Print what will be replaced, by what, and how."""
    click.echo(f"{client_id}: to be predicted again by the champion, now version {champion}, one after the other:")
    for day, manifest in manifests.items():
        products = quantity(manifest.get("rows_in", 0), "product")
        click.echo(f"  {day}: replaces what version {manifest['model_version']} published, {products}")
    click.echo("What is delivered now is published for each date, also where other products were delivered then;")
    click.echo("the manifests of past dates say `backfilled: true`. Until its replacement is whole, a date stays as it")
    click.echo("is; what was replaced is kept for as long as `keep: {replaced: …}` says. The first failure ends it.")
