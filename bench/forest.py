"""scikit-learn's forest beside CompactForest: bytes in memory and on disk, load time, microseconds a row.

Both score the same batches, in turn, so that what else the machine does meets both alike; medians are shown. Run by
`make bench-forest`.
"""

import pickle  # nosec B403 # what scikit-learn would write is weighed, and never read
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from skops import io as skops

from bc4all.model.forest import CompactForest
from bc4all.model.forest_file import load_forest, save_forest
from bc4all.model.model_file import TRUSTED_TYPES

BATCH = 10_000
FEATURES = 5
_WEIGHED_ON = 16_200  # products


@dataclass(frozen=True)
class Size:
    """A forest to measure: trees, categories, and rows to fit it on."""

    trees: int
    categories: int
    rows: int


SIZES = [Size(50, 15, 7_600), Size(100, 55, 16_200), Size(300, 1_000, 4_000)]


def _products(rows: int, categories: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping, skewed categories, as sample_data has them."""
    shares = 1 / np.arange(1, categories + 1) ** 0.8
    labels = np.concatenate([np.arange(categories), rng.choice(categories, rows - categories, p=shares / shares.sum())])
    centres = rng.normal(0, 0.06, (categories, FEATURES))
    noise = 0.045 * (35 / categories) ** 0.5
    return (centres[labels] + rng.normal(0, noise, (rows, FEATURES))).astype(np.float32), labels


def _top_five(model: Any, X: np.ndarray) -> np.ndarray:
    best: np.ndarray = np.argsort(-model.predict_proba(X), axis=1, kind="stable")[:, :5]
    return best


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _on_two(work: Callable[[np.ndarray], object], X: np.ndarray) -> Callable[[], object]:
    def both() -> object:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(work, np.array_split(X, 2)))

    return both


def measure(size: Size, rounds: int) -> list[str]:
    """The rows of the table for one size: scikit-learn, then the compact forest, then how they compare."""
    rng = np.random.default_rng(size.trees)
    X, y = _products(size.rows, size.categories, rng)
    batch, _ = _products(max(BATCH, size.categories), size.categories, rng)
    batch = batch[rng.permutation(len(batch))[:BATCH]]
    model = RandomForestClassifier(size.trees, random_state=0, n_jobs=2).fit(X, y).set_params(n_jobs=1)
    forest = CompactForest.from_sklearn(model)
    assert np.array_equal(forest.top_k(batch, 5)[0], _top_five(model, batch))  # nosec B101 # noqa: S101 - else nothing below counts
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Path(folder, "model.skops"), Path(folder, "forest.npz")
        skops.dump(model, theirs)
        save_forest(forest, ours)
        disk = theirs.stat().st_size, ours.stat().st_size
        trusted = list(TRUSTED_TYPES)
        load = _seconds(lambda: skops.load(theirs, trusted=trusted)), _seconds(lambda: load_forest(ours))
    memory = len(pickle.dumps(model)), forest.nbytes
    works: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (lambda: _top_five(model, batch), lambda: forest.top_k(batch, 5)),
        (_on_two(lambda X: _top_five(model, X), batch), _on_two(lambda X: forest.top_k(X, 5), batch)),
    ]
    speeds = []
    for theirs_work, ours_work in works:
        pairs = [(_seconds(theirs_work), _seconds(ours_work)) for _ in range(rounds)]
        speeds.append(tuple(median(side) / BATCH * 1e6 for side in zip(*pairs, strict=True)))
    columns = [tuple(n / 1e6 for n in memory), tuple(n / 1e6 for n in disk), load, *speeds]
    name = f"{size.trees} x {size.categories}"
    return [
        _row(name, "scikit-learn", [f"{column[0]:.1f}" for column in columns]),
        _row("", "CompactForest", [f"{column[1]:.1f}" if column[1] >= 1 else f"{column[1]:.2f}" for column in columns]),
        _row("", "ratio", [f"{column[0] / column[1]:.1f}" for column in columns]),
    ]


def _row(*cells: Any) -> str:
    flat = [*cells[:-1], *cells[-1]]
    return f"| {' | '.join(flat)} |"


def weigh(trees: int, categories: int) -> tuple[int, int]:
    """Return the bytes in memory of scikit-learn's forest and of the compact one."""
    rng = np.random.default_rng(trees)
    model = RandomForestClassifier(trees, random_state=0, n_jobs=-1).fit(*_products(_WEIGHED_ON, categories, rng))
    return len(pickle.dumps(model)), CompactForest.from_sklearn(model).nbytes


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Times each is measured, in turn.")
def main(rounds: int) -> None:
    """Measure the forests and print a Markdown table."""
    click.echo(
        _row("trees x categories", "", ["MB in memory", "MB on disk", "load s", "us/row, 1 core", "us/row, 2 cores"])
    )
    click.echo(_row("---", "---", ["---:"] * 5))
    for size in SIZES:
        for line in measure(size, rounds):
            click.echo(line)
    click.echo(f"\nMedians of {rounds} rounds over batches of {BATCH:,} rows; fitted on " + _fitted_on())


def _fitted_on() -> str:
    return ", ".join(f"{size.rows:,} rows ({size.trees} x {size.categories})" for size in SIZES) + "."


if __name__ == "__main__":
    main()
