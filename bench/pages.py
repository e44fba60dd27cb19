"""The pages of a large fleet: how long they take to write, how large they are, how soon a browser shows and sorts them.

Made-up clients with thirty runs of both jobs, five published dates and no models. Run by `make bench-pages`.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import numpy as np

from bc4all.identity import ClientId, Day
from bc4all.job_kinds import PREDICT, SCHEDULED_JOBS
from bc4all.layout import Layout
from bc4all.schedule.history import History, iso
from bc4all.state import State

_RUNS, _DATES, _SORTS = 30, 5, 9
_STATES, _SHARES = ("done", "failed", "timeout", "missed"), (0.94, 0.03, 0.01, 0.02)
_COLUMNS = ("client", "top-5", "drift")  # each is sorted by in turn
# From a click to the picture that follows it, in milliseconds.
_SORT = """name => new Promise(done => {
  const button = [...document.querySelectorAll("thead button")].find(one => one.textContent === name);
  const begun = performance.now();
  button.click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
})"""
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


@click.command()
@click.option("--clients", type=click.IntRange(1), default=1000, show_default=True)
def main(clients: int) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory(prefix="bc4all-pages-") as folder:
        prefix, site = Path(folder) / "data", Path(folder) / "site"
        prefix.mkdir()
        config = _make_fleet(prefix, clients)
        click.echo("| | |\n|---|--:|")
        for way in ("written", "again, nothing new"):
            click.echo(f"| {clients:,} clients {way}, s | {_report(prefix, config, site):.1f} |")
        largest = max(file.stat().st_size for file in (site / "clients").iterdir())
        click.echo(f"| the fleet's page, MB | {(site / 'index.html').stat().st_size / 1e6:.2f} |")
        click.echo(f"| the largest page of a client, kB | {largest / 1e3:.0f} |")
        for what, value in _browse(site / "index.html").items():
            click.echo(f"| {what} | {value:.0f} |")


def _make_fleet(prefix: Path, clients: int) -> Path:
    """Write a configuration, a history and manifests; return the configuration's file."""
    rng, now = np.random.default_rng(1), datetime.now(UTC).replace(microsecond=0)
    ids = [f"shop_{number:04}" for number in range(clients)]
    timing = {"schedule": "H H * * *"}
    defaults = {"features": ["f0"], "train": timing, "predict": timing}
    labels = {one: {"labels": {"plan": str(rng.choice(["gold", "silver", "bronze"]))}} for one in ids}
    config = prefix / "clients.yaml"
    config.write_text(json.dumps({"defaults": defaults, "clients": labels}))
    history = History(State.from_environment(Layout.at(str(prefix))).history)
    with history.transaction():
        for client_id in ids:
            for job in SCHEDULED_JOBS:
                _note_runs(history, ClientId(client_id), job, now, rng)
            for back in range(_DATES):
                _publish(prefix, client_id, (now - timedelta(days=back)).date().isoformat(), float(rng.uniform(0, 0.2)))
    history.close()
    return config


def _note_runs(history: History, client_id: ClientId, job: str, now: datetime, rng: np.random.Generator) -> None:
    for back in range(_RUNS, 0, -1):
        at = now - timedelta(days=back - 1, minutes=7)
        run = history.add(client_id, job, Day(at.date().isoformat()), at.isoformat(), "schedule")
        if run is None:
            continue
        state, seconds = str(rng.choice(_STATES, p=_SHARES)), float(rng.lognormal(2.5, 0.2))
        began, ended = iso(at.timestamp()), iso(at.timestamp() + seconds)
        error = None if state == "done" else "data: 312 of 900 rows refused, more than max_quarantine"
        top_5 = round(float(rng.uniform(0.8, 1)), 4) if job == PREDICT.name else None
        history.update([run.id], state=state, started=began, ended=ended, error=error, top_5=top_5)


def _publish(prefix: Path, client_id: str, day: str, psi: float) -> None:
    folder = prefix / "products_categories" / f"client_id={client_id}" / f"date={day}"
    folder.mkdir(parents=True)
    counts = {"rows_in": 1000, "rows_quarantined": 3, "rows_out": 4985, "model_version": 2, "backfilled": False}
    manifest = {"client_id": client_id, "date": day, **counts, "drift": {"psi": {"f0": psi}}}
    (folder / "_manifest.json").write_text(json.dumps(manifest))


def _report(prefix: Path, config: Path, site: Path) -> float:
    command = [sys.executable, "-m", "bc4all.cli.main", "report", "--config", str(config), "--out", str(site)]
    started = time.monotonic()
    subprocess.run(command, env={**os.environ, "DATA_PREFIX": str(prefix)}, check=True, capture_output=True)
    return time.monotonic() - started


def _browse(page: Path) -> dict[str, float]:
    """Return what a browser takes, in milliseconds; nothing where there is none."""
    program = shutil.which("chromium")
    if not program:
        click.echo("there is no chromium: what it takes is left out", err=True)
        return {}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        paints, sorts = [], []
        for _ in range(3):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri())
            paints.append(tab.evaluate(_PAINT))
        for number in range(_SORTS):
            sorts.append(tab.evaluate(_SORT, _COLUMNS[number % len(_COLUMNS)]))
        browser.close()
    return {"first rows seen, ms": statistics.median(paints), "sorted, ms": statistics.median(sorts)}


if __name__ == "__main__":
    main()
