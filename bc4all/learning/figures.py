"""What people see of a model's evaluation: a table a category, a confusion matrix, a reliability diagram.

The figures are SVG, written here: matplotlib took longer to draw them than a small client's model takes to be fitted.
"""

from collections.abc import Iterator, Mapping
from html import escape

import numpy as np
import pandas as pd

from bc4all.identity import ClientId
from bc4all.model.abstention import curve
from bc4all.model.evaluation import Evaluation
from bc4all.wording import inert, printable

_SHOWN_CATEGORIES = 60  # categories of a confusion matrix; more cannot be read
_CONFUSED_PAIRS = 100  # that a table names
_CELL = 18  # pixels of one
_CJK = "\u2e80"  # the first of the wide letters
_BLUES = ((0, (247, 251, 255)), (0.5, (107, 174, 214)), (1, (8, 48, 107)))  # share, and its colour
_COLOURS = ("#1f77b4", "#ff7f0e")  # of the training's rows, and of those held out


def evaluation_files(client_id: ClientId, parts: Mapping[str, Evaluation]) -> dict[str, bytes]:
    """Return what a training's run keeps, by these names.

    They are `categories_*.csv`, `confused_*.csv`, `confusion_*.svg`, `reliability.svg` and `coverage.csv`.
    `parts`: how a model does on its "training" rows, and on the "held_out" ones where there are any.
    """
    found = {}
    for name, evaluation in parts.items():
        table = evaluation.categories.assign(category=evaluation.categories["category"].map(inert))
        found[f"categories_{name}.csv"] = table.to_csv(index=False, float_format="%.4f")
        found[f"confused_{name}.csv"] = _confused_pairs(evaluation).to_csv(index=False)
        found[f"confusion_{name}.svg"] = _confusion(evaluation, f"{client_id} · {name.replace('_', ' ')}")
    answers = parts.get("held_out", parts["training"]).answers
    table = curve(answers["score"].to_numpy(), answers["correct"].to_numpy())
    found |= {
        "reliability.svg": _reliability(parts, client_id),
        "coverage.csv": table.to_csv(index=False, float_format="%.6g"),
    }
    return {name: content.encode() for name, content in found.items()}


def _confused_pairs(evaluation: Evaluation) -> pd.DataFrame:
    """Return the pairs of a category and a wrong one that was predicted for most of its rows, those of most first."""
    counts = evaluation.confusion.tocoo()
    table = pd.DataFrame({"category": counts.row, "predicted": counts.col, "rows": counts.data})
    table = table[table["category"] != table["predicted"]]
    table = table.sort_values(["rows", "category", "predicted"], ascending=[False, True, True])[:_CONFUSED_PAIRS]
    names = evaluation.categories["category"].map(inert).to_numpy()
    return table.assign(category=names[table["category"]], predicted=names[table["predicted"]])


def _confusion(evaluation: Evaluation, title: str) -> str:
    """Truth by prediction, each row as shares; the most frequent categories where there are too many."""
    largest = np.sort(np.argsort(-evaluation.categories["rows"].to_numpy(), kind="stable")[:_SHOWN_CATEGORIES])
    names = [printable(name) for name in evaluation.categories["category"].iloc[largest]]
    names = [name if len(name) <= 24 else f"{name[:23]}…" for name in names]
    counts = evaluation.confusion[largest][:, largest].toarray()
    totals = evaluation.confusion.sum(axis=1)[largest]
    side, left, above = max(_CELL * len(names), 300), 50 + max(map(_width, names)), 50
    cell = side / len(names)
    parts = [_rectangle(left, above, side, side, _blue(0))]
    for row, column in np.argwhere(counts):
        rows, share = int(counts[row, column]), counts[row, column] / totals[row]
        told = f"{names[row]}, predicted as {names[column]}: {rows:,} of {totals[row]:,} rows ({share:.0%})"
        parts.append(_rectangle(left + column * cell, above + row * cell, cell, cell, _blue(share), told=told))
    parts.append(_rectangle(left, above, side, side, "none", 'stroke="#444" pointer-events="none"'))
    for place, name in enumerate(names):
        along = (place + 0.5) * cell + 4  # the middle of its letters
        parts.append(_words(left - 6, above + along, name, anchor="end"))
        parts.append(_words(left + along, above + side + 6, name, anchor="end", turned=True))
    left_out = len(evaluation.categories) - len(names)
    rest = f", {left_out} smaller categories not shown" if left_out else ""
    parts.append(_words(left + side / 2, 30, f"{title}: {evaluation.rows:,} rows{rest}", 14, "middle"))
    parts.append(_words(left + side / 2, above + side + left - 20, "predicted category", 13, "middle"))
    parts.append(_words(22, above + side / 2, "true category", 13, "middle", turned=True))
    parts += _scale(left + side + 25, above + 0.1 * side, 0.8 * side)
    return _drawing(left + side + 110, above + side + left, parts)


def _scale(x: float, y: float, high: float) -> Iterator[str]:
    """Yield what says which colour is which share."""
    for step in range(50):
        yield _rectangle(x, y + step * high / 50, 18, high / 50 + 0.5, _blue(1 - step / 50))
    for share in (0, 0.5, 1):
        yield _words(x + 24, y + (1 - share) * high + 4, f"{share:.0%}")
    yield _words(x + 72, y + high / 2, "share of the true category's rows", 13, "middle", turned=True)


def _reliability(parts: Mapping[str, Evaluation], client_id: ClientId) -> str:
    """Accuracy by mean best score, above how many rows stand behind each point."""
    left, side, above, low, high = 65, 480, 45, 555, 110  # pixels: of both plots, the upper one, the lower one
    drawn = [_words(left + side / 2, 28, f"{client_id}: reliability", 14, "middle")]
    drawn += [_rectangle(left, top, side, tall, "none", 'stroke="#444"') for top, tall in ((above, side), (low, high))]
    for share in np.linspace(0, 1, 6):
        drawn.append(_words(left + share * side, low + high + 17, f"{share:.1f}", anchor="middle"))
        drawn.append(_words(left - 6, above + (1 - share) * side + 4, f"{share:.1f}", anchor="end"))
    drawn.append(_line([(left, above + side), (left + side, above)], "#888", 'stroke-dasharray="6 4"'))
    most = max((part.reliability["rows"] / part.rows).max() for part in parts.values())
    drawn.append(_words(left - 6, low + 10, f"{most:.0%}", anchor="end"))
    drawn.append(_words(left - 6, low + high, "0%", anchor="end"))
    for place, (name, part) in enumerate(parts.items()):
        table, colour = part.reliability, _COLOURS[place]
        points = [
            (left + score * side, above + (1 - right) * side)
            for score, right in zip(table["mean_score"], table["accuracy"], strict=True)
        ]
        drawn.append(_line(points, colour))
        for (x, y), rows, right in zip(points, table["rows"], table["accuracy"], strict=True):
            told = f"{name.replace('_', ' ')}: {right:.0%} of {rows:,} rows right"
            drawn.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" shape-rendering="auto">{_tip(told)}</circle>'
            )
        for bin_, rows in zip(table["bin"], table["rows"], strict=True):
            tall = rows / part.rows / most * (high - 10)
            x = left + (bin_ + 0.28 + 0.24 * place) / 10 * side
            drawn.append(_rectangle(x, low + high - tall, 0.02 * side, tall, colour, told=f"{rows:,} rows"))
        said = f"{name.replace('_', ' ')} ({part.rows:,} rows)"
        drawn.append(_line([(left + 12, above + 18 + 18 * place), (left + 36, above + 18 + 18 * place)], colour))
        drawn.append(_words(left + 42, above + 22 + 18 * place, said))
    drawn.append(_words(left + 42, above + 22 + 18 * len(parts), "dashed: perfectly calibrated"))
    drawn.append(_words(18, above + side / 2, "accuracy of the best category", 13, "middle", turned=True))
    drawn.append(_words(18, low + high / 2, "share of rows", 13, "middle", turned=True))
    drawn.append(_words(left + side / 2, low + high + 40, "score of the best category", 13, "middle"))
    return _drawing(left + side + 25, low + high + 55, drawn)


def _drawing(width: float, height: float, parts: list[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    look = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="11" shape-rendering="crispEdges"'
    content = "\n".join([_rectangle(0, 0, width, height, "white"), *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {look}>\n{content}\n</svg>\n'


def _rectangle(x: float, y: float, wide: float, high: float, fill: str, looks: str = "", told: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}"'
    return f'<rect {place} fill="{fill}" {looks}>{_tip(told)}</rect>'


def _line(points: list[tuple[float, float]], colour: str, looks: str = "") -> str:
    through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    smooth = 'fill="none" stroke-width="1.5" shape-rendering="auto"'
    return f'<polyline points="{through}" stroke="{colour}" {smooth} {looks}/>'


def _words(x: float, y: float, words: str, size: int = 11, anchor: str = "start", turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{turn}>{escape(words)}</text>'


def _tip(told: str) -> str:
    """Return what a browser shows under the mouse."""
    return f"<title>{escape(told)}</title>" if told else ""


def _width(name: str) -> float:
    """Return about how wide a name is, in pixels; letters of East Asia are twice as wide as others."""
    return 7.0 * sum(2 if letter >= _CJK else 1 for letter in name)


def _blue(share: float) -> str:
    """Return a share's colour, between those of _BLUES."""
    places = [place for place, _ in _BLUES]
    red, green, blue = (int(np.interp(share, places, [colour[part] for _, colour in _BLUES])) for part in range(3))
    return f"#{red:02x}{green:02x}{blue:02x}"
