"""The newest date's products -> figures of a client's page, each with a sentence, and the script's data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bc4all.site.client import ModelFacts
from bc4all.site.newest import BINS, Predictions
from bc4all.wording import listed, quantity

MAX_DATA_BYTES = 1_000_000  # of a client's script
_DATA = "globalThis.bc4allProducts"
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_DRAWN_CATEGORIES = 12
_SHOWN_CATEGORIES = 100  # in the table
_SHOWN_PRODUCTS = 20  # where no script runs
_SHOWN_REASONS = 20
_ROOM = 200  # bytes of what stands around the data's parts


@dataclass(frozen=True)
class Browsable:
    """A script that holds some products, its file's name, and how many products they are."""

    file: str
    script: str
    products: int


@dataclass(frozen=True)
class CategoryShare:
    """A category's products now, and its shares of all now and in training; `then` is None where that is not known."""

    category: str
    products: int
    now: float
    then: float | None

    @property
    def change(self) -> float:
        """The size of the share's change; of an unknown one, that of the share."""
        return abs(self.now - (self.then or 0.0))


def browsable(predictions: Predictions, file: str) -> Browsable:
    """Return the script of a date's sample: as many products as MAX_DATA_BYTES take."""
    places: dict[str, int] = {}
    rows: list[tuple[str, str]] = []
    left = MAX_DATA_BYTES - _ROOM
    for product in predictions.sample:
        new = dict.fromkeys(label for label, _ in product.best if label not in places)
        row = [product.id, *(number for answer in product.best for number in _numbers(answer, places, new))]
        text = _literal(row)
        left -= len(text.encode()) + 2 + sum(len(_literal(label).encode()) + 1 for label in new)
        if left < 0:
            break
        places |= {label: len(places) + number for number, label in enumerate(new)}
        rows.append((product.id, text))
    products = ",\n".join(text for _, text in sorted(rows))
    return Browsable(file, f'{_DATA} = {{"labels":{_literal(list(places))},"products":[\n{products}]}};\n', len(rows))


def _numbers(answer: tuple[str, float], places: Mapping[str, int], new: Mapping[str, None]) -> tuple[int, int]:
    """Return a category's place among the labels, and its score in thousandths."""
    label, score = answer
    place = places[label] if label in places else len(places) + list(new).index(label)
    return place, round(1000 * score)


def _literal(value: object) -> str:
    """Return a value as JavaScript holds it; defence in depth: without what would end a script in a page."""
    return _JSON.encode(value).replace("<", "\\u003c")


def newest_context(
    predictions: Predictions | None,
    manifest: Mapping[str, Any],
    reasons: Mapping[str, int],
    model: ModelFacts | None,
    products: Browsable | None,
) -> dict[str, Any]:
    """Return what `newest.html.jinja` takes; `products`: what can be browsed."""
    return {
        "scores": _scores(predictions) if predictions else None,
        "shares": _shares(predictions, model) if predictions else None,
        "least_certain": _least_certain(predictions) if predictions else None,
        "refused": _refused(manifest, reasons),
        "browse": _browse(predictions, products) if predictions and products else None,
    }


def _scores(predictions: Predictions) -> dict[str, Any]:
    most, count = max(predictions.histogram), predictions.products
    sure = sum(predictions.histogram[BINS // 2 :])
    bins = [
        {"from": place / BINS, "to": (place + 1) / BINS, "products": products, "height": products / most}
        for place, products in enumerate(predictions.histogram)
    ]
    mean = predictions.mean_score
    sentence = (
        f"On {predictions.day}, the best category of {sure:,} of {quantity(count, 'product')} ({sure / count:.1%}) has "
        f"a score of 0.5 or more. The mean is {mean:.2f}: if the scores are calibrated, about "
        f"{100 * mean:.0f} of 100 products have the right category first."
    )
    return {"sentence": sentence, "bins": bins}


def _shares(predictions: Predictions, model: ModelFacts | None) -> dict[str, Any]:
    """Return the categories whose shares have changed most since training; without a training's, the most frequent."""
    then, now = _training_counts(model), predictions.categories
    before, total = sum(then.values()), predictions.products
    rows = [
        CategoryShare(
            label, now.get(label, 0), now.get(label, 0) / total, then.get(label, 0) / before if before else None
        )
        for label in {**now, **then}
    ]
    rows.sort(key=lambda row: (-row.change, row.category))
    most = max(max(row.now, row.then or 0.0) for row in rows[:_DRAWN_CATEGORIES])
    return {
        "sentence": _shares_said(rows),
        "with_training": bool(before),
        "drawn": rows[:_DRAWN_CATEGORIES],
        "most": most,
        "rows": rows[:_SHOWN_CATEGORIES],
        "left_out": max(0, len(rows) - _SHOWN_CATEGORIES),
    }


def _shares_said(rows: Sequence[CategoryShare]) -> str:
    first = rows[0]
    if first.then is None:
        return (
            f"{first.category} is the most frequent category, with {first.now:.1%} of the products. What the champion "
            "was trained on is not known."
        )
    gone = sum(not row.products for row in rows)
    rest = f"; no product has {gone} of the {len(rows)} categories now" if gone else ""
    return (
        f"{first.category} has changed most: {first.now:.1%} of the products have it now, {first.then:.1%} of those "
        f"that the champion was trained on{rest}."
    )


def _training_counts(model: ModelFacts | None) -> dict[str, int]:
    """Return the products of each category, held out or not, that the champion's training had."""
    counts: dict[str, int] = {}
    for name in ("categories_training.csv", "categories_held_out.csv"):
        for row in (model.tables.get(name) if model else None) or []:
            if products := int(row["rows"]):
                counts[row["category"]] = counts.get(row["category"], 0) + products
    return counts


def _least_certain(predictions: Predictions) -> dict[str, Any]:
    shown = predictions.least_certain
    highest = shown[-1].best[0][1]
    close = sum(len(one.best) > 1 and one.best[0][1] - one.best[1][1] < 0.05 for one in shown)
    sentence = (
        f"The best score of each of these is {highest:.2f} or less. For {close} of {quantity(len(shown), 'product')}, "
        "the second category is less than 0.05 behind: look at these first."
    )
    return {"sentence": sentence, "products": shown}


def _refused(manifest: Mapping[str, Any], reasons: Mapping[str, int]) -> dict[str, Any] | None:
    """Return why rows were refused; None where nothing is published, or its manifest does not count them."""
    rows, refused = manifest.get("rows_in"), manifest.get("rows_quarantined")
    if not rows or refused is None:
        return None
    ordered = sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))
    sentence = f"None of {quantity(rows, 'row')} was refused."
    if refused:
        most = f", most often for: {listed([ordered[0][0]])}" if ordered else "; their reasons are not known"
        sentence = f"{refused:,} of {quantity(rows, 'row')} ({refused / rows:.1%}) refused{most}."
    return {
        "sentence": sentence,
        "most": max(reasons.values(), default=1),
        "rows": ordered[:_SHOWN_REASONS],
        "left_out": max(0, len(ordered) - _SHOWN_REASONS),
    }


def _browse(predictions: Predictions, products: Browsable) -> dict[str, Any]:
    is_sample = products.products < predictions.products
    if is_sample:
        there = f"A sample of {products.products:,} of the {predictions.products:,} products of {predictions.day}"
    else:
        there = f"All {quantity(products.products, 'product')} of {predictions.day}"
    sample = predictions.sample[: products.products]
    clear = sum(len(one.best) < 2 or one.best[0][1] >= 2 * one.best[1][1] for one in sample)
    part = f"{clear / len(sample):.0%} of {'the sample' if is_sample else 'them'}"
    sentence = f"{there}. The best score of {part} is at least twice the second one."
    shown = sorted(sample[:_SHOWN_PRODUCTS], key=lambda one: one.id)
    return {"sentence": sentence, "file": products.file, "count": len(sample), "products": shown}
