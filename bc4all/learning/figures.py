"""What people see of a model's evaluation: a table a category, a confusion matrix, a reliability diagram.

Drawn through matplotlib's object interface: pyplot's global state does not survive several clients at a time.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from bc4all.model.abstention import curve
from bc4all.model.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CJK = "\u2e80"  # the first of the wide letters
_SHOWN_CATEGORIES = 60  # categories of a confusion matrix; more cannot be read


def evaluation_files(client_id: str, parts: Mapping[str, Evaluation]) -> dict[str, bytes]:
    """Return `categories_*.csv`, `confusion_*.png`, `reliability.png` and `coverage.csv`, by these names.

    `parts`: how a model does on its "training" rows, and on the "held_out" ones where there are any.
    """
    found = {}
    for name, evaluation in parts.items():
        table = evaluation.categories.assign(category=evaluation.categories["category"].map(_inert))
        found[f"categories_{name}.csv"] = table.to_csv(index=False, float_format="%.4f").encode()
        found[f"confusion_{name}.png"] = _png(_confusion(evaluation, f"{client_id} · {name.replace('_', ' ')}"))
    found["reliability.png"] = _png(_reliability(parts, client_id))
    answers = parts.get("held_out", parts["training"]).answers
    table = curve(answers["score"].to_numpy(), answers["correct"].to_numpy())
    return {**found, "coverage.csv": table.to_csv(index=False, float_format="%.6g").encode()}


def _inert(name: str) -> str:
    """Return a category's name as a cell that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()


def _confusion(evaluation: Evaluation, title: str) -> "Figure":
    """Truth by prediction, each row as shares; the most frequent categories where there are too many."""
    from matplotlib.figure import Figure  # which workers need in a training alone

    largest = np.sort(np.argsort(-evaluation.categories["rows"].to_numpy(), kind="stable")[:_SHOWN_CATEGORIES])
    names = [name if len(name) <= 24 else f"{name[:23]}…" for name in evaluation.categories["category"].iloc[largest]]
    totals = np.maximum(evaluation.confusion.sum(axis=1, keepdims=True), 1)
    shares = (evaluation.confusion / totals)[np.ix_(largest, largest)]
    # Placed by hand, without matplotlib's ticks: to measure every name of every figure took longer than a model's fit.
    side, right, above = max(3.0, 0.19 * len(names)), 1.1, 0.5  # inches
    left = below = 0.7 + max(map(_inches, names))
    width, height = left + side + right, below + side + above
    figure = Figure(figsize=(width, height))

    def write(x: float, y: float, words: str, size: int = 7, **looks: Any) -> None:
        figure.text(x / width, y / height, words, fontsize=size, parse_math=False, **looks)  # a $ is a part of a name

    def show(image: np.ndarray, x: float, y: float, wide: float, high: float) -> None:
        axes = figure.add_axes((x / width, y / height, wide / width, high / height), xticks=[], yticks=[])
        axes.imshow(image, vmin=0, vmax=1, cmap="Blues", aspect="auto")

    show(shares, left, below, side, side)
    for place, name in enumerate(names):
        along = side * (place + 0.5) / len(names)
        write(left + along, below - 0.08, name, rotation=90, ha="center", va="top")
        write(left - 0.08, below + side - along, name, ha="right", va="center")
    write(left + side / 2, 0.15, "predicted category", 10, ha="center")
    write(0.25, below + side / 2, "true category", 10, rotation=90, ha="center", va="center")
    left_out = len(evaluation.categories) - len(names)
    rest = f", {left_out} smaller categories not shown" if left_out else ""
    write(left + side / 2, below + side + 0.1, f"{title}: {evaluation.rows:,} rows{rest}", 10, ha="center")
    bar = left + side + 0.25
    show(np.linspace(1, 0, 256)[:, None], bar, below + 0.1 * side, 0.2, 0.8 * side)
    for share in (0, 0.5, 1):
        write(bar + 0.28, below + (0.1 + 0.8 * share) * side, f"{share:.0%}", va="center")
    label = "share of the true category's rows"
    write(bar + 0.7, below + side / 2, label, 10, rotation=90, ha="center", va="center")
    return figure


def _inches(name: str) -> float:
    """Return about how long a name is in 7 points; letters of East Asia are twice as wide as others."""
    return 0.065 * sum(2 if letter >= _CJK else 1 for letter in name)


def _reliability(parts: Mapping[str, Evaluation], client_id: str) -> "Figure":
    """Accuracy by mean best score, above how many rows stand behind each point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6.5))
    margins = {"left": 0.12, "right": 0.97, "bottom": 0.08, "top": 0.95, "hspace": 0.06}
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1], gridspec_kw=margins)
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="perfectly calibrated")
    for offset, (name, evaluation) in enumerate(parts.items()):
        table, label = evaluation.reliability, name.replace("_", " ")
        upper.plot(table["mean_score"], table["accuracy"], marker="o", label=f"{label} ({evaluation.rows:,} rows)")
        lower.bar((table["bin"] + 0.3 + 0.4 * offset) / 10, table["rows"] / evaluation.rows, width=0.04)
    upper.set_ylabel("accuracy of the best category")
    upper.set_ylim(0, 1.03)
    upper.set_title(f"{client_id}: reliability", fontsize=10)
    upper.legend(loc="upper left", fontsize=8)
    lower.set_xlim(0, 1)
    lower.set_xlabel("score of the best category")
    lower.set_ylabel("share of rows")
    return figure
