"""The commands of `bc4all` about models and where they lie. They are added to the group in `cli`."""

import getpass
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from bc4all.cli.options import CLIENT_ID, JSON_OPTION
from bc4all.errors import ModelError
from bc4all.identity import ClientId
from bc4all.layout import Layout

if TYPE_CHECKING:
    from bc4all.registry.champions import Champions
    from bc4all.registry.versions import Registry

_CLIENT = click.option("--client-id", type=CLIENT_ID, required=True, help="The client.")


def open_registry(layout: Layout, client_ids: Sequence[ClientId]) -> "Registry":
    """Return the model registry of some clients. Raises ConfigurationError as `check_owner`."""
    from bc4all.registry.tracking import Tracking, tracking_uri
    from bc4all.registry.versions import Registry

    registry = Registry(Tracking(tracking_uri(layout), layout))
    registry.tracking.check_owner(client_ids)
    return registry


def _opened(client_id: ClientId) -> "tuple[Registry, Champions]":
    from bc4all.registry.champions import Champions

    registry = open_registry(Layout.from_environment(), [client_id])
    return registry, Champions(registry)


def _untrained(client_id: ClientId) -> AbstractContextManager[None]:
    """Keep trainings of the client out: they change champions, too."""
    from bc4all.state import State

    return State.from_environment(Layout.from_environment()).exclusive(client_id, "train")


@click.command()
@_CLIENT
@JSON_OPTION
def versions(client_id: ClientId, as_json: bool) -> None:
    """Show a client's versions, and how each became champion.

    Example: bc4all versions --client-id client_0
    """
    from bc4all.cli.tables import version_facts, versions_table
    from bc4all.terminal import print_rows

    registry, champions = _opened(client_id)
    found = sorted(registry.versions(client_id), key=lambda version: -version.number)
    changes, aliases = champions.changes(client_id), registry.aliases(client_id)
    facts = [version_facts(version, aliases) for version in found]
    print_rows(facts, as_json, lambda: versions_table(client_id, facts))
    for change in () if as_json else changes:
        click.echo(f"{change.at or 'earlier'}  version {change.version} became champion: {change.why}")


@click.command()
@_CLIENT
@click.option("--version", "number", type=click.IntRange(1), required=True, help="The version.")
def promote(client_id: ClientId, number: int) -> None:
    """Make a version the champion, whatever the gate said.

    It is read first, as proof that it can be; the change is recorded. The next prediction uses it.

    Example: bc4all promote --client-id client_0 --version 3
    """
    from bc4all.registry.champions import check_promotable

    registry, champions = _opened(client_id)
    with _untrained(client_id):
        champions.promote(client_id, check_promotable(registry, client_id, number), f"promoted by {getpass.getuser()}")
    click.echo(f"{client_id}: version {number} is champion")


@click.command()
@_CLIENT
def rollback(client_id: ClientId) -> None:
    """Make the champion before this one the champion again.

    Example: bc4all rollback --client-id client_0
    """
    _, champions = _opened(client_id)
    with _untrained(client_id):
        version = champions.rollback(client_id, f"rolled back by {getpass.getuser()}")
    click.echo(f"{client_id}: version {version.number} is champion again")


@click.command()
@_CLIENT
@click.option("--version", "number", type=click.IntRange(1), help="The version; else the champion.")
@click.option("--rows", type=click.IntRange(1), default=25, show_default=True, help="How many are shown at most.")
@click.option("--csv", "as_csv", is_flag=True, help="All that the training kept, as CSV.")
def suspects(client_id: ClientId, number: int | None, rows: int, as_csv: bool) -> None:
    """Show training products whose category is probably wrong.

    The surest come first, each with the category that is suggested instead and that category's most similar product.
    In the CSV, a ' stands before each text that a spreadsheet would take for a formula.

    Example: bc4all suspects --client-id client_0 --csv > suspects.csv
    """
    from bc4all.cli.tables import suspects_table
    from bc4all.learning.suspects import FILE, Suspects
    from bc4all.terminal import console

    registry, _ = _opened(client_id)
    version = registry.find(client_id, number)
    try:
        found = Suspects.read(registry.tracking.run_file(version.run_id, FILE)) if version.run_id else None
    except ModelError:  # of before, without a held-out product, or spoilt
        found = None
    if found is None:
        raise ModelError(
            f"the training of version {version.number} left no suspects to read", client_id, "train the client again"
        )
    if as_csv:
        click.echo(found.csv(), nl=False)
    else:
        console().print(suspects_table(client_id, version.number, found, rows))


@click.command()
def relocate() -> None:
    """Let MLflow lead to a moved or copied DATA_PREFIX.

    An MLflow store with absolute addresses keeps the old ones when DATA_PREFIX is moved, and jobs refuse to write
    there. This changes the addresses in MLflow's database; artifacts stay as they are. Stop all jobs first.

    Example: bc4all relocate
    """
    from bc4all.registry.relocation import relocate as change_addresses
    from bc4all.registry.tracking import tracking_uri

    layout = Layout.from_environment()
    for line in change_addresses(layout, tracking_uri(layout)) or [f"every address leads to {layout.prefix} already"]:
        click.echo(line)


COMMANDS = (versions, promote, rollback, suspects, relocate)
