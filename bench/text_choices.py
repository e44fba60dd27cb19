"""What the default model of titles gains by two of its choices: several columns as one text besides, parents of paths.

Made-up offers of a catalogue, whose categories are paths, and the clients' titles of SOURCE, cut in two. Each third of
the rows is held out in turn. Run by `make bench-choices`; prints two tables for docs/quality.md.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from scipy.special import softmax  # type: ignore[import-untyped]
from sklearn.metrics import f1_score
from sklearn.model_selection import KFold

from bc4all.config.estimators import build_member
from bc4all.config.model_defaults import TEXT_MODEL
from bc4all.data.sample_titles import Catalogue
from bc4all.kinds import TEXT
from bc4all.model.features import joined

_SEED = 5
_OFFERS = ((3_000, 200), (6_000, 100))
_PATHS = ((3_000, 200), (3_000, 736), (9_000, 100))
_FOLDS = 3
_SHARPEST = 60.0  # a temperature's inverse, at most
_FILLER = (
    "the",
    "and",
    "with",
    "for",
    "new",
    "best",
    "quality",
    "home",
    "easy",
    "use",
    "of",
    "made",
    "free",
    "product",
)


def codes_of(rows: int, categories: int, rng: np.random.Generator) -> np.ndarray:
    """Return skewed categories, int (rows,)."""
    shares = 1 / np.arange(1, categories + 1) ** 0.7
    return rng.choice(categories, rows, p=shares / shares.sum())


def offers(rows: int, categories: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return names, paths and descriptions, and their categories.

    Paths are often short, missing or another's; descriptions have words of other products among many that say nothing.
    """
    rng = np.random.default_rng(_SEED)
    catalogue = Catalogue(categories, rng)
    codes = codes_of(rows, categories, rng)
    names, others = catalogue.titles(codes, rng), catalogue.titles(rng.integers(0, categories, rows), rng)
    above = [label.rpartition(" > ")[0] for label in catalogue.labels]
    paths, descriptions = [], []
    for name, other, code in zip(names, others, codes, strict=True):
        drawn = rng.random()
        wrong = above[rng.integers(categories)] if drawn < 0.1 else above[code]
        paths.append("" if drawn > 0.8 else wrong if drawn < 0.4 else wrong.partition(" > ")[0])
        noun = catalogue.labels[code].rpartition(" > ")[2].lower()
        parts = [name if rng.random() < 0.6 else "", noun if rng.random() < 0.5 else "", *rng.choice(_FILLER, 25)]
        descriptions.append(" ".join([*parts, other if rng.random() < 0.4 else ""]))
    frame = pd.DataFrame({"name": names, "path": paths, "description": descriptions}, dtype=object)
    return frame, catalogue.labels[codes]


def halves(titles: pd.Series) -> pd.DataFrame:
    """Return titles cut in two, between words."""
    words = [title.split() for title in titles]
    cut = [(" ".join(row[: len(row) // 2]), " ".join(row[len(row) // 2 :])) for row in words]
    return pd.DataFrame(cut, columns=["first", "second"], dtype=object)


def answers(frame: pd.DataFrame, labels: np.ndarray, together: bool = True) -> np.ndarray:
    """Return the best categories of rows that were held out; `together`: with all columns as one text besides."""
    best = np.empty(len(labels), dtype=object)
    for training, rest in KFold(_FOLDS, shuffle=True, random_state=0).split(frame):
        model = build_member(TEXT_MODEL.blend[0], {str(name): TEXT for name in frame})
        columns = model.named_steps["columns"]
        columns.transformers = [part for part in columns.transformers if together or part[0] != "texts"]
        best[rest] = model.fit(frame.iloc[training], labels[training]).predict(frame.iloc[rest])
    return best


def columns_line(name: str, sets: Sequence[tuple[pd.DataFrame, np.ndarray]]) -> str:
    """Return a row of the first table: accuracy and macro F1, the means of some sets."""
    figures = []
    for own, together in ((True, False), (False, False), (True, True)):
        found = []
        for frame, labels in sets:
            given = frame if own else pd.DataFrame({"all": joined(frame)}, dtype=object)
            best = answers(given, labels, together)
            found.append(((best == labels).mean(), f1_score(labels, best, average="macro", zero_division=0)))
        accuracy, f1 = np.mean(found, axis=0)
        figures.append(f"{accuracy:.3f} ({f1:.3f})")
    return f"| {name} | " + " | ".join(figures) + " |"


def paths_line(rows: int, categories: int) -> str:
    """Return a row of the second table: accuracy, top-5 and calibrated log-loss, without parents and with them."""
    rng = np.random.default_rng(_SEED)
    catalogue = Catalogue(categories, rng)
    codes = codes_of(rows, categories, rng)
    frame, labels = pd.DataFrame({"title": catalogue.titles(codes, rng)}, dtype=object), catalogue.labels[codes]
    figures = []
    for separator in (None, ">"):
        found = [
            _scores(frame, labels, separator, *split)
            for split in KFold(_FOLDS, shuffle=True, random_state=0).split(frame)
        ]
        figures += [f"{value:.3f}" for value in np.mean(found, axis=0)]
    return f"| {rows:,} | {categories} | " + " | ".join(figures) + " |"


def _scores(
    frame: pd.DataFrame, labels: np.ndarray, separator: str | None, training: np.ndarray, rest: np.ndarray
) -> tuple[float, float, float]:
    model: Any = build_member(TEXT_MODEL.blend[0], {"title": TEXT}, separator)
    margins = model.fit(frame.iloc[training], labels[training]).decision_function(frame.iloc[rest])
    best = model.classes_[np.argsort(-margins, axis=1)[:, :5]] == labels[rest][:, None]
    met = np.isin(labels[rest], model.classes_)
    truth = np.searchsorted(model.classes_, labels[rest][met])

    def loss(sharpness: float) -> float:
        of_truth = softmax(sharpness * margins[met], axis=1)[np.arange(len(truth)), truth]
        return float(-np.log(np.clip(of_truth, 1e-12, 1)).mean())

    calibrated = minimize_scalar(loss, bounds=(1.0, _SHARPEST), method="bounded").fun
    return float(best[:, 0].mean()), float(best.any(axis=1).mean()), float(calibrated)


def _shops(source: Path) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    for folder in sorted((source / "train").glob("client_id=*")):
        data = pd.concat(pd.read_csv(file, dtype=str, keep_default_na=False) for file in sorted(folder.iterdir()))
        yield halves(data["product_title"]), data["category_id"].to_numpy(object)


@click.command()
@click.option("--source", type=click.Path(exists=True, path_type=Path), help="Clients with a product_title each.")
def main(source: Path | None) -> None:
    """Print both tables in Markdown."""
    click.echo("| | each its own | as one text | both |\n|---|--:|--:|--:|")
    for rows, categories in _OFFERS:
        click.echo(columns_line(f"{rows:,} offers, {categories} categories", [offers(rows, categories)]))
    if source:
        click.echo(columns_line("titles of SOURCE cut in two", list(_shops(source))))
    head = "accuracy | top-5 | log-loss"
    click.echo(f"\n| titles | categories | {head} | with parents: {head} |\n" + "|" + "--:|" * 8)
    for size in _PATHS:
        click.echo(paths_line(*size))


if __name__ == "__main__":
    main()
