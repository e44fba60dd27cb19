"""The pairs of categories that the champion confuses most -> a figure of a client's page."""

from dataclasses import dataclass
from typing import Any

from bc4all.site.client import ModelFacts
from bc4all.wording import quantity

_DRAWN_PAIRS = 10
_PARTS = {"held_out": "held-out product", "training": "training product"}  # the one that tells more first


@dataclass(frozen=True)
class ConfusedPair:
    """How many of the `products` of a category the champion takes for another one."""

    category: str
    predicted: str
    rows: int
    products: int


def confused_context(model: ModelFacts | None) -> dict[str, Any] | None:
    """Return the figure's pairs and its sentence; None where a training has not kept them."""
    tables = model.tables if model else {}
    part = next((part for part in _PARTS if tables.get(f"categories_{part}.csv")), None)
    if part is None or f"confused_{part}.csv" not in tables:
        return None
    products = {row["category"]: int(row["rows"]) for row in tables[f"categories_{part}.csv"]}
    pairs = [
        ConfusedPair(row["category"], row["predicted"], int(row["rows"]), products.get(row["category"], 0))
        for row in tables[f"confused_{part}.csv"]
    ]
    return {
        "sentence": _sentence(pairs, _PARTS[part], sum(products.values())),
        "drawn": pairs[:_DRAWN_PAIRS],
        "most": max((pair.rows for pair in pairs), default=1),
        "pairs": pairs,
    }


def _sentence(pairs: list[ConfusedPair], noun: str, products: int) -> str:
    if not pairs:
        return f"The champion has confused none of {quantity(products, noun)}."
    first, both = pairs[0], {(pair.category, pair.predicted) for pair in pairs}
    back = (first.predicted, first.category) in both
    share = f" ({first.rows / first.products:.0%})" if first.products else ""
    also = ", and the other way round, too: do the two mean the same?" if back else "."
    return (
        f"Of the {quantity(first.products, noun)} of {first.category}, the champion takes {first.rows:,}{share} for "
        f"{first.predicted}{also}"
    )
