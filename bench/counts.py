"""Products of many counts: the default forest and `model: auto` beside scikit-learn's forest, calibrated, and boosting.

All are judged on the tenth that this project's training holds out, and learn from the rest. The seconds of this
project's ways are the train job's own, without Spark's start; the peers' are those of the fit, on all cores.
Run by `make bench-counts`; writes a table for docs/quality.md.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from bc4all.identity import ClientId
from bc4all.model.evaluation import evaluate
from bc4all.model.held_out import split
from bc4all.starter import read_report
from bench.count_data import ROWS, count_products
from bench.fleet import submit, write_fleet
from bench.tuned import figures

_CLIENT = "shop"
_SHOWN = {"log_loss": "log-loss", "accuracy": "accuracy", "top_5_accuracy": "top-5"}
_OURS: dict[str, dict[str, Any]] = {
    "default forest": {"model_params": {"n_estimators": 100, "random_state": 1234}},
    "`auto`": {"model": "auto", "promotion": {"mode": "disabled"}},
}
_SEED = 1234


@click.command()
@click.option("--rows", type=click.IntRange(1000), default=ROWS, show_default=True, help="Products made up.")
def main(rows: int) -> None:
    """Print a table."""
    products = count_products(rows)
    click.echo(f"| model | {' | '.join(_SHOWN.values())} | s |\n|---|--:|--:|--:|--:|")
    for way, shown, seconds in itertools.chain(_ours(products), _theirs(products)):
        click.echo(f"| {way} | {' | '.join(f'{value:.3f}' for value in shown)} | {seconds:.0f} |")


def _ours(products: pd.DataFrame) -> Iterator[tuple[str, list[float], float]]:
    """Train by the command line; yield each way's figures and seconds."""
    features = list(products.columns[2:])
    with tempfile.TemporaryDirectory(prefix="bc4all-counts-") as folder:
        prefix = Path(folder)
        delivery = prefix / "train" / f"client_id={_CLIENT}"
        delivery.mkdir(parents=True)
        products.to_parquet(delivery / "data.parquet", index=False)
        for number, (way, settings) in enumerate(_OURS.items(), start=1):
            config = write_fleet(prefix / f"{number}.yaml", {"features": features, **settings}, [_CLIENT])
            results = prefix / f"{number}.jsonl"
            submit(prefix, config, "train", BC4ALL_RESULTS=str(results))
            seconds = float(read_report(results).results[ClientId(_CLIENT)]["seconds"])
            row = figures(prefix, number).loc[_CLIENT]
            yield way, [float(row[name]) for name in _SHOWN.values()], seconds


def _theirs(products: pd.DataFrame) -> Iterator[tuple[str, list[float], float]]:
    """Fit scikit-learn's on the same rows; yield each one's figures and seconds."""
    X = products.iloc[:, 2:].to_numpy(np.float64)
    labels = products["category_id"].to_numpy(dtype=object)
    training, held_out = split(pd.factorize(labels, sort=True)[0])
    forest = RandomForestClassifier(300, random_state=_SEED, n_jobs=-1)
    peers = {
        "random forest, isotonic": CalibratedClassifierCV(forest, method="isotonic", cv=5),
        "gradient boosting": HistGradientBoostingClassifier(random_state=_SEED),
    }
    for way, model in peers.items():
        started = time.perf_counter()
        model.fit(X[training], labels[training])
        seconds = time.perf_counter() - started
        metrics = evaluate(model, X[held_out], labels[held_out]).metrics
        yield way, [metrics[name] for name in _SHOWN], seconds


if __name__ == "__main__":
    main()
