"""A client's facts -> what its template shows, with a sentence that says what each figure means for this client."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bc4all.registry.versions import Version
from bc4all.schedule.history import Run
from bc4all.site.client import DayFacts, ModelFacts
from bc4all.site.confused_page import confused_context
from bc4all.site.fleet import ClientFacts
from bc4all.site.fleet_page import why
from bc4all.site.pages import NONE, length, moment, share
from bc4all.wording import quantity

_METRICS = ("accuracy", "top_5_accuracy", "log_loss")  # tags of a version
_MARKS = {"published": "done", "outdated": "lost", "backfilled": "queued", "failed": "failed", "missing": "missed"}
_SHOWN_CATEGORIES = 500
_SHOWN_SUSPECTS = 25
_PLOT = (320, 220)  # pixels of a curve, width and height


def client_context(
    one: ClientFacts, days: Sequence[DayFacts], model: ModelFacts | None, now: datetime, alone: bool
) -> dict[str, Any]:
    """Return what `client.html.jinja` takes beside `newest_context`.

    `alone`: for the client itself, without what is its operators' alone.
    """
    categories = _categories(model)
    return {
        "root": "" if alone else "../",
        "alone": alone,
        "marks": _MARKS,
        "as_of": now,
        "id": one.id,
        "concern": one.concern,
        "why": "" if alone else why(one),
        "labels": [] if alone else sorted(one.client.labels.items()),
        "facts": _facts(one, now),
        "days": days,
        "days_said": _days_said(one, days, alone),
        "runs": [_run(run, alone) for job in one.jobs.values() for run in reversed(job.runs)],
        "versions": [_version(version, model.aliases) for version in model.versions] if model else [],
        "changes": list(reversed(model.changes)) if model and not alone else [],
        "categories": categories[:_SHOWN_CATEGORIES],
        "categories_said": _categories_said(categories),
        "confused": confused_context(model),
        "curve": _curve(model),
        "suspects": model.suspects.suspects[:_SHOWN_SUSPECTS] if model and model.suspects else (),
        "suspects_said": _suspects_said(model),
    }


def _facts(one: ClientFacts, now: datetime) -> list[tuple[str, str]]:
    manifest = one.newest.manifest if one.newest else {}
    facts = [
        ("champion", f"version {one.champion}" if one.champion else "none: nothing can be predicted"),
        ("top-5 accuracy", share(one.top_5)),
        ("published last", one.newest.day if one.newest else NONE),
        ("products then", _products(manifest)),
    ]
    if one.coverage is not None:
        facts.append(("answered", f"{one.coverage:.1%} of the products"))
    if one.drift is not None:
        facts.append(("drift", f"PSI {one.drift:.2f}, reported above {one.client.drift.psi}"))
    for job in one.jobs.values():
        usual = f", takes {length(job.seconds)}" if job.seconds is not None else ""
        unusual = f" (the last {job.unusual:.1f} times as long)" if job.unusual else ""
        following = "paused" if job.paused else moment(job.next) if job.next else NONE
        facts.append((f"next {job.job}", following + usual + unusual))
    return facts


def _products(manifest: Mapping[str, Any]) -> str:
    products, refused = manifest.get("rows_in"), manifest.get("rows_quarantined")
    return NONE if products is None or refused is None else f"{products:,}, {refused:,} refused"


def _days_said(one: ClientFacts, days: Sequence[DayFacts], alone: bool) -> str:
    if not days:
        return "Nothing has been published yet."
    missing = [day.day for day in days if day.state in ("failed", "missing")]
    outdated = [day.day for day in days if day.state == "outdated"]
    parts = [f"{len(days) - len(missing)} of the last {quantity(len(days), 'date')} published"]
    if missing and not alone:
        command = f"bc4all backfill --client-id {one.id} --from {missing[0]} --to {missing[-1]}"
        parts.append(f"to fill the gaps: {command}")
    if outdated:
        command = "" if alone else f" (to predict them again: bc4all backfill --client-id {one.id} --outdated)"
        parts.append(f"{quantity(len(outdated), 'date')} made by a version that was taken back since{command}")
    return "; ".join(parts) + "."


def _run(run: Run, alone: bool) -> dict[str, Any]:
    return {
        "id": run.id,
        "job": run.job,
        "due": run.scheduled_for[:16].replace("T", " "),
        "state": run.state,
        "by": run.trigger,
        "attempt": run.attempt,
        "took": length(run.seconds),
        "seconds": "z" if run.seconds is None else run.seconds,
        "rows": f"{run.rows:,}" if run.rows is not None else NONE,
        "text": "" if alone else run.error or run.note or "",
    }


def _version(version: Version, aliases: Mapping[str, int]) -> dict[str, Any]:
    tags = version.tags
    return {
        "number": version.number,
        "aliases": sorted(alias for alias, number in aliases.items() if number == version.number),
        "day": tags.get("day", NONE),
        "model": tags.get("model", NONE).rpartition(".")[2].removesuffix("Classifier"),
        "metrics": [tags.get(name, NONE) for name in _METRICS],
    }


def _categories(model: ModelFacts | None) -> list[Mapping[str, str]]:
    """Return the champion's categories, those that are answered worst first, of those that have products."""
    tables = model.tables if model else {}
    rows = tables.get("categories_held_out.csv") or tables.get("categories_training.csv") or []
    rows = [row for row in rows if int(row["rows"])]
    return sorted(rows, key=lambda row: (float(row["f1"]), -int(row["rows"])))


def _categories_said(categories: Sequence[Mapping[str, str]]) -> str:
    if not categories:
        return "There is no champion whose categories are known."
    weak = sum(float(row["f1"]) < 0.5 for row in categories)
    which = "the weakest come first"
    if len(categories) > _SHOWN_CATEGORIES:
        which = f"the {_SHOWN_CATEGORIES} weakest are shown"
    if not weak:
        return f"Each of the {len(categories):,} categories has an F1 of 0.5 or more; {which}."
    return f"{weak:,} of {len(categories):,} categories have an F1 below 0.5; {which}."


def _suspects_said(model: ModelFacts | None) -> str:
    found = model.suspects if model else None
    if found is None:
        return "The champion's training has not looked for any."
    looked_at = f"of the {found.asked:,} that were looked at" + (
        f" (there are {found.products:,})" if found.asked < found.products else ""
    )
    shown = min(found.count, _SHOWN_SUSPECTS)
    if not shown:
        return f"No product {looked_at} has a label that is probably wrong."
    listed = f"; the surest {shown} stand here" if shown < found.count else ""
    return f"{quantity(found.count, 'product')} {looked_at} probably have a wrong label{listed}."


def _curve(model: ModelFacts | None) -> dict[str, Any] | None:
    """Return the line of accuracy over the share of products that are answered, in pixels, and some of its points."""
    rows = (model.tables.get("coverage.csv") if model else None) or []
    if len(rows) < 2:
        return None
    width, height = _PLOT
    points = [(float(row["coverage"]), float(row["accuracy"])) for row in rows]
    line = " ".join(f"{40 + x * (width - 50):.1f},{10 + (1 - y) * (height - 40):.1f}" for x, y in points)
    step = max(1, len(points) // 10)
    return {"line": line, "width": width, "height": height, "points": points[::step]}
