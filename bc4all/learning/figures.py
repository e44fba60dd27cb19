"""What an MLflow run shows of a model: a table a category, a confusion matrix, a reliability diagram.

Drawn through matplotlib's object interface: pyplot's global state does not survive several clients at a time.
"""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bc4all.identity import ClientId
from bc4all.model.abstention import curve
from bc4all.model.evaluation import Evaluation

_CJK = "\u2e80"  # the first of the wide letters
_SHOWN_CATEGORIES = 60  # categories of a confusion matrix; more cannot be read


def write_evaluation(folder: Path, client_id: ClientId, training: Evaluation, held_out: Evaluation | None) -> None:
    """Write `categories_*.csv`, `confusion_*.png`, `reliability.png` and `coverage.csv` into a local folder."""
    parts = {"training": training} | ({"held_out": held_out} if held_out else {})
    for name, evaluation in parts.items():
        table = evaluation.categories.assign(category=evaluation.categories["category"].map(_inert))
        table.to_csv(folder / f"categories_{name}.csv", index=False, float_format="%.4f")
        _save(_confusion(evaluation, f"{client_id} · {name.replace('_', ' ')}"), folder / f"confusion_{name}.png")
    _save(_reliability(parts, client_id), folder / "reliability.png")
    answers = (held_out or training).answers
    table = curve(answers["score"].to_numpy(), answers["correct"].to_numpy())
    table.to_csv(folder / "coverage.csv", index=False, float_format="%.6g")


def _inert(name: str) -> str:
    """Return a category's name as a cell that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _save(figure: Figure, file: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(file, dpi=100)


def _confusion(evaluation: Evaluation, title: str) -> Figure:
    """Truth by prediction, each row as shares; the most frequent categories where there are too many."""
    largest = np.sort(np.argsort(-evaluation.categories["rows"].to_numpy(), kind="stable")[:_SHOWN_CATEGORIES])
    names = [name if len(name) <= 24 else f"{name[:23]}…" for name in evaluation.categories["category"].iloc[largest]]
    totals = np.maximum(evaluation.confusion.sum(axis=1, keepdims=True), 1)
    shares = (evaluation.confusion / totals)[np.ix_(largest, largest)]
    # Placed by hand: to measure every name of every figure took longer than to draw them.
    side, right, above = max(3.0, 0.19 * len(names)), 1.1, 0.5  # inches
    left = below = 0.7 + max(map(_inches, names))
    width, height = left + side + right, below + side + above
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, below / height, side / width, side / height))
    bar = figure.add_axes(
        ((left + side + 0.25) / width, (below + 0.1 * side) / height, 0.2 / width, 0.8 * side / height)
    )
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7, parse_math=False)  # a $ is a part of a name
    axes.set_yticks(range(len(names)), names, fontsize=7, parse_math=False)
    axes.set_xlabel("predicted category")
    axes.set_ylabel("true category")
    left_out = len(evaluation.categories) - len(names)
    rest = f", {left_out} smaller categories not shown" if left_out else ""
    axes.set_title(f"{title}: {evaluation.rows:,} rows{rest}", fontsize=10)
    figure.colorbar(image, cax=bar, label="share of the true category's rows")
    return figure


def _inches(name: str) -> float:
    """Return about how long a name is in 7 points; letters of East Asia are twice as wide as others."""
    return 0.065 * sum(2 if letter >= _CJK else 1 for letter in name)


def _reliability(parts: dict[str, Evaluation], client_id: ClientId) -> Figure:
    """Accuracy by mean best score, above how many rows stand behind each point."""
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
