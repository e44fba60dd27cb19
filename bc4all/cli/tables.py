"""Tables for a terminal: published categories, a client's versions, the jobs that are due."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from bc4all.config.clients import Client
from bc4all.config.timing import firings
from bc4all.data.published import Published
from bc4all.identity import ClientId
from bc4all.model.ranking import ANSWERED
from bc4all.schedule.agenda import Key, due_timings
from bc4all.wording import printable, quantity

if TYPE_CHECKING:  # MLflow takes seconds to import, and what is published needs none
    from bc4all.learning.suspects import Suspects
    from bc4all.registry.versions import Version

_SHOWN_METRICS = {"accuracy": "accuracy", "top_5_accuracy": "top-5", "log_loss": "loss"}  # tags of a version


def due_jobs(
    clients: Sequence[Client], after: datetime, hours: int, pauses: Container[Key] = ()
) -> list[dict[str, str]]:
    """Return the jobs that are due in the next hours and not paused, in order, each in its client's time zone."""
    until = after + timedelta(hours=hours)
    due = []
    for (client_id, job), timing in due_timings(clients, pauses):
        times = firings(timing.expression, timing.zone, after, until)
        due += [(at, client_id, job, timing.zone, timing.expression) for at in times]
    return [
        {
            "at": at.astimezone(zone).isoformat(timespec="minutes"),
            "zone": zone.key,
            "client": client_id,
            "job": job,
            "schedule": expression,
        }
        for at, client_id, job, zone, expression in sorted(due, key=lambda entry: entry[:3])
    ]


def upcoming(due: Sequence[Mapping[str, str]], hours: int) -> Table:
    """Return a row for each job that is due."""
    shown = Table(title=f"due in the next {quantity(hours, 'hour')}: {quantity(len(due), 'job')}", title_justify="left")
    for name in ("when", "client", "job", "schedule"):
        shown.add_column(name, no_wrap=True)
    for one in due:
        when = f"{datetime.fromisoformat(one['at']):%Y-%m-%d %H:%M} {one['zone']}"
        shown.add_row(when, one["client"], one["job"], one["schedule"])
    return shown


def table(published: Published) -> Table:
    """Return a row a product, a column a rank: category and score."""
    manifest = published.manifest
    shown = Table(
        title=f"{published.client_id} · {published.day} · {manifest['model']} version {manifest['model_version']}",
        title_justify="left",
    )
    shown.add_column("product_id", overflow="fold")
    ranks = sorted(set(published.rows["rank"].to_pylist()))
    for rank in ranks:
        shown.add_column(f"rank {rank}", overflow="fold")
    abstains = ANSWERED in published.rows.schema.names
    if abstains:
        shown.add_column(ANSWERED)
    answers: dict[str, list[str]] = {}
    answered: dict[str, str] = {}
    for row in published.rows.to_pylist():
        answers.setdefault(row["product_id"], []).append(f"{row['pred_label']}  {row['pred_score']:.2f}")
        answered[row["product_id"]] = "yes" if row.get(ANSWERED) else "no"
    for product_id, answer in answers.items():
        shown.add_row(*map(_plain, (product_id, *answer, *([answered[product_id]] if abstains else []))))
    return shown


def version_facts(version: "Version", aliases: Mapping[str, int]) -> dict[str, Any]:
    """Return what a version is called, and how it did on its held-out rows; None for what its training did not say."""
    names = [alias for alias, number in aliases.items() if number == version.number]
    figures = {name: float(version.tags[name]) if name in version.tags else None for name in _SHOWN_METRICS}
    tags = {name: version.tags.get(name) for name in ("day", "model")}
    return {"version": version.number, "aliases": names, **tags, **figures}


def versions_table(client_id: ClientId, versions: Sequence[Mapping[str, Any]]) -> Table:
    """Return a row a version, from their facts."""
    shown = Table(title=f"{client_id}: {quantity(len(versions), 'version')}", title_justify="left")
    for name in ("version", "trained"):
        shown.add_column(name, no_wrap=True)
    shown.add_column("model", overflow="fold")
    for name in _SHOWN_METRICS.values():
        shown.add_column(name, justify="right", no_wrap=True)
    for version in versions:
        called = [str(version["version"]), *version["aliases"]]
        model = (version["model"] or "–").rpartition(".")[2].removesuffix("Classifier")
        figures = ("–" if version[name] is None else f"{version[name]:.4f}" for name in _SHOWN_METRICS)
        shown.add_row(" ".join(called), version["day"] or "–", model, *figures)
    return shown


def suspects_table(client_id: ClientId, version: int, found: "Suspects", rows: int) -> Table:
    """Return a row a suspect: what it is, its label, and what is suggested instead, each with its probability."""
    shown = found.suspects[:rows]
    of = f"{quantity(found.count, 'suspect')} among the {quantity(found.asked, 'product')} that were looked at"
    all_of = f" of {found.products:,}" if found.asked < found.products else ""
    small = f", {found.small} categories of too few products apart" if found.small else ""
    least = f", the surest {len(shown)}" if len(shown) < found.count else ""
    table = Table(title=f"{client_id} version {version}: {of}{all_of}{small}{least}", title_justify="left")
    texts = any(suspect.title for suspect in shown)
    for name in ("product_id", *(["title"] if texts else []), "label", "suggested", *(["similar"] if texts else [])):
        table.add_column(name, overflow="fold")
    for suspect in shown:
        label = f"{suspect.label}  {suspect.label_score:.2f}"
        suggested = f"{suspect.suggested}  {suspect.suggested_score:.2f}"
        words = (suspect.title, label, suggested, suspect.similar) if texts else (label, suggested)
        table.add_row(*map(_plain, (suspect.product_id, *words)))
    return table


def _plain(text: str) -> Text:
    """Delivered text as it is, but for what a terminal would obey."""
    return Text(printable(text))
