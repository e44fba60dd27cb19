"""A fleet's pages as plain files: what is read for them, and which of them are written again.

A page is written again when what it is made from has changed: the digests stand in the folder, beside the pages.
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import bc4all
from bc4all.config.clients import Client
from bc4all.data.published import newest_published
from bc4all.layout import Layout
from bc4all.local_files import replace_text
from bc4all.registry.champions import Champions
from bc4all.registry.versions import Registry
from bc4all.schedule.history import History
from bc4all.site.client import day_facts, model_facts
from bc4all.site.client_page import client_context
from bc4all.site.fleet import SHOWN_RUNS, ClientFacts, Newest, fleet_facts
from bc4all.site.fleet_page import fleet_context
from bc4all.site.pages import render

_MADE_FROM = ".made-from.json"  # digests of what each page was made from
_AT_ONCE = 4  # clients that are read side by side
_STATIC = ("style.css", "script.js")


@dataclass(frozen=True)
class Written:
    """How many clients have a page, and how many of these were written now."""

    clients: int
    anew: int


@dataclass(frozen=True)
class Report:
    """The pages of some clients, from where everything is known."""

    layout: Layout
    history: History
    registry: Registry

    def facts(self, clients: Sequence[Client], now: datetime) -> list[ClientFacts]:
        """Return the facts of clients, those that want a person first."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            days = pool.map(lambda one: newest_published(self.layout, one.id), clients)
            newest = {client.id: Newest(*found) for client, found in zip(clients, days, strict=True) if found}
        champions = Champions(self.registry).current()
        return fleet_facts(clients, self.history.recent(SHOWN_RUNS), self.history.pauses(), champions, newest, now)

    def write(self, clients: Sequence[Client], out: Path, now: datetime, alone: bool = False) -> Written:
        """Write the pages of clients into a folder; `alone`: one client's page, for that client, and no other.

        Raises OSError where the folder cannot be written.
        """
        facts = self.facts(clients, now)
        before = _made_from(out)
        pages = out if alone else out / "clients"
        pages.mkdir(parents=True, exist_ok=True)
        for name in _STATIC:
            text = (resources.files("bc4all.site") / "static" / name).read_text()
            replace_text(out / name, text, 0o644)
        digests = {one.id: _digest(one) for one in facts}
        there = {file.stem for file in pages.glob("*.html")}
        stale = [one for one in facts if one.id not in there or before.get(one.id) != digests[one.id]]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            contents = pool.map(lambda one: self._client_page(one, now, alone), stale)
            for one, content in zip(stale, contents, strict=True):
                replace_text(pages / f"{one.id}.html", content, 0o644)
        if not alone:
            replace_text(out / "index.html", render("fleet.html.jinja", **fleet_context(facts, now)), 0o644)
            for left in set(before) - set(digests):
                (pages / f"{left}.html").unlink(missing_ok=True)
        replace_text(out / _MADE_FROM, json.dumps(digests), 0o644)
        return Written(len(facts), len(stale))

    def _client_page(self, one: ClientFacts, now: datetime, alone: bool) -> str:
        model = model_facts(self.registry, one.id)
        runs = [run for job in one.jobs.values() for run in job.runs]
        days = day_facts(self.layout, one.client, runs, model.rolled_back if model else set(), now)
        return render("client.html.jinja", **client_context(one, days, model, now, alone))


def _made_from(out: Path) -> dict[str, str]:
    try:
        digests: dict[str, str] = json.loads((out / _MADE_FROM).read_text())
    except (OSError, ValueError):
        return {}
    return digests


def _digest(one: ClientFacts) -> str:
    """Return what changes whenever a client's page would: the code, its runs, its champion, what is published."""
    runs = [[run.id, run.state, run.note, run.error] for job in one.jobs.values() for run in job.runs]
    newest: Any = [one.newest.day, one.newest.manifest] if one.newest else None
    known = [bc4all.__version__, one.client.sha, sorted(one.client.labels.items()), one.concern, one.champion]
    return hashlib.sha256(json.dumps([known, runs, newest], default=str).encode()).hexdigest()
