"""A fleet's pages as plain files: what is read for them, and which of them are written again.

A page is written again when what it is made from has changed: the digests stand in the folder, beside the pages.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

import bc4all
from bc4all.config.clients import Client
from bc4all.data.published import manifests, newest_published, published_days, refusals
from bc4all.errors import ConfigurationError, Failure, TransientFailure
from bc4all.identity import ClientId
from bc4all.job_kinds import PREDICT
from bc4all.layout import Layout
from bc4all.local_files import replace_text
from bc4all.registry.champions import Champions
from bc4all.registry.versions import Registry
from bc4all.schedule.history import History, Run
from bc4all.site.client import SHOWN_DAYS, day_facts, model_facts
from bc4all.site.client_page import client_context
from bc4all.site.fleet import SHOWN_RUNS, ClientFacts, Newest, fleet_facts
from bc4all.site.fleet_page import fleet_context
from bc4all.site.newest import Predictions, read_predictions
from bc4all.site.newest_page import browsable, newest_context
from bc4all.site.pages import render
from bc4all.site.tonight_page import tonight_context

_MADE_FROM = ".made-from.json"  # digests of what each page was made from; it tells a folder of pages from others
_AT_ONCE = 4  # clients that are read side by side
_STATIC = ("style.css", "script.js")
_PRODUCTS = "products.js"  # of a page alone, beside script.js: a client may be called `script`
_PREDICTIONS = 4 * SHOWN_DAYS  # runs that tell what became of the dates that are shown, retries among them


@dataclass(frozen=True)
class Written:
    """How many clients there are, how many pages of them were written now, and what kept others from being written."""

    clients: int
    anew: int
    failures: Sequence[str]


@dataclass(frozen=True)
class Report:
    """The pages of some clients, from where everything is known."""

    layout: Layout
    history: History
    registry: Registry

    def facts(self, clients: Sequence[Client], now: datetime) -> list[ClientFacts]:
        """Return the facts of clients, those that want a person first."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            listed = pool.map(lambda one: published_days(self.layout, one.id), clients)
            days = {client.id: found for client, found in zip(clients, listed, strict=True)}
            read = pool.map(lambda one: newest_published(self.layout, one.id, days[one.id]), clients)
            newest = {client.id: Newest(*found) for client, found in zip(clients, read, strict=True) if found}
        registered = Champions(self.registry).registered()
        recent, pauses = self.history.recent(SHOWN_RUNS), self.history.pauses()
        return fleet_facts(clients, recent, pauses, registered, days, newest, now)

    def write(self, clients: Sequence[Client], max_parallel: int, out: Path, now: datetime) -> Written:
        """Write the pages of a fleet into a folder.

        `max_parallel`: how many applications may run at once.

        Raises ConfigurationError where the folder holds anything but such pages, OSError where it cannot be written.
        """
        if out.exists() and any(out.iterdir()) and not (out / _MADE_FROM).exists():
            raise ConfigurationError("the folder is not empty, and holds no such pages", str(out), "name another one")
        facts, before, pages = self.facts(clients, now), _made_from(out), out / "clients"
        pages.mkdir(parents=True, exist_ok=True)
        _write_static(out)
        filled_in = self.history.latest_backfills()
        digests = {one.id: _digest(one, filled_in.get(one.id), now) for one in facts}
        there = {file.stem for file in pages.glob("*.html")}
        stale = [one for one in facts if one.id not in there or before.get(one.id) != digests[one.id]]
        predictions = {one.id: self.history.of_client(one.id, [PREDICT.name], _PREDICTIONS) for one in stale}
        failures = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            written = pool.map(lambda one: self._write_page(one, predictions[one.id], pages, now), stale)
            for one, failure in zip(stale, written, strict=True):
                if failure:
                    failures.append(f"{one.id}: {failure}")
                    digests.pop(one.id)
        replace_text(out / "index.html", render("fleet.html.jinja", **fleet_context(facts, now)), 0o644)
        tonight = render("tonight.html.jinja", **tonight_context(facts, max_parallel, now))
        replace_text(out / "tonight.html", tonight, 0o644)
        for left in there - {one.id for one in facts}:
            (pages / f"{left}.html").unlink()
            (pages / f"{left}.js").unlink(missing_ok=True)
        replace_text(out / _MADE_FROM, json.dumps(digests), 0o644)
        return Written(len(facts), len(stale) - len(failures), failures)

    def write_alone(self, client: Client, out: Path, now: datetime) -> Path:
        """Write one client's page, for that client, into a folder that holds no other page; return its file.

        Raises ConfigurationError where it does, a Failure where MLflow or the storage fails, OSError as `write`.
        """
        file = out / f"{client.id}.html"
        if out.exists() and {one.name for one in out.iterdir()} - {file.name, _PRODUCTS, *_STATIC}:
            raise ConfigurationError("the folder holds other files than this client's", str(out), "name another one")
        (one,) = self.facts([client], now)
        out.mkdir(parents=True, exist_ok=True)
        _write_static(out)
        predictions = self.history.of_client(one.id, [PREDICT.name], _PREDICTIONS)
        if failure := self._write_page(one, predictions, out, now, alone=True):
            raise failure
        return file

    def _write_page(
        self, one: ClientFacts, runs: Sequence[Run], folder: Path, now: datetime, alone: bool = False
    ) -> Failure | None:
        """Write a client's page, and the script of its products; return why it cannot be made."""
        try:
            model = model_facts(self.registry, one.id)
            rolled_back = model.rolled_back if model else set()
            days = day_facts(self.layout, one.client, one.days, runs, rolled_back, now)
            predictions, reasons = self._newest(one)
        except Failure as failure:
            return failure
        data = folder / (_PRODUCTS if alone else f"{one.id}.js")
        products = browsable(predictions, data.name) if predictions else None
        if products:
            replace_text(data, products.script, 0o644)
        else:
            data.unlink(missing_ok=True)
        manifest = one.newest.manifest if one.newest else {}
        context = client_context(one, days, model, now, alone)
        context |= newest_context(predictions, manifest, reasons, model, products)
        replace_text(folder / f"{one.id}.html", render("client.html.jinja", **context), 0o644)
        return None

    def _newest(self, one: ClientFacts) -> tuple[Predictions | None, Mapping[str, int]]:
        """Return the newest date's products, and how many rows were refused for which reason."""
        if one.newest is None:
            return None, {}
        day, manifest = one.newest.day, one.newest.manifest
        reasons = refusals(self.layout, one.id, day) if manifest.get("rows_quarantined") else {}
        predictions = read_predictions(self.layout, one.id, day)
        if manifests(self.layout, one.id, [day]).get(day) != manifest:  # of the same products, too
            where = self.layout.published_partition(one.id, day)
            raise TransientFailure(f"{one.id}: the categories of {day} were replaced while they were read", where)
        return predictions, reasons


def _write_static(out: Path) -> None:
    for name in _STATIC:
        text = (resources.files("bc4all.site") / "static" / name).read_text(encoding="utf-8")
        replace_text(out / name, text, 0o644)


def _made_from(out: Path) -> dict[ClientId, str]:
    """Return the digests of before; none where they cannot be read."""
    try:
        return dict(json.loads((out / _MADE_FROM).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _digest(one: ClientFacts, filled_in: Run | None, now: datetime) -> str:
    """Return what changes whenever a client's page would.

    That is the code, the date, the client's configuration, its runs and pauses, the last run that filled a date in, its
    registered model, whose champions are a tag of it, and what is published. A version that is deleted has gone with a
    training, which is a run.
    """
    jobs = [[job.paused, job.next, job.late_since, [vars(run) for run in job.runs]] for job in one.jobs.values()]
    registered = [one.registered.aliases, one.registered.tags] if one.registered else None
    published = [one.days, one.newest.day, one.newest.manifest] if one.newest else [one.days]
    late = vars(filled_in) if filled_in else None
    inputs = [bc4all.__version__, now.date(), one.client.model_dump(mode="python"), jobs, late, registered, published]
    return hashlib.sha256(json.dumps(inputs, default=str, sort_keys=True).encode()).hexdigest()
