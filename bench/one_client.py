"""Predict one client beside what people would write instead: whole processes, from start to exit, in turn.

The same products, the same settings of a forest, two cores; this project as it is shipped, with its checks, its audit,
drift, MLflow, Spark's pages and the event log. Run by `make bench-predict`.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from bc4all.data.sample_data import FEATURES, write_sample_data
from bc4all.job_kinds import JOB_KINDS
from bench.fleet import submit, write_fleet

_CATEGORIES, _TREES, _SEED = 55, 100, 1234
_TRAINING_ROWS = 50_000
_CLIENT, _DAY = "client_0", "2026-01-31"
_PEERS = Path(__file__).parent / "peers"
OURS = "bc4all"


@dataclass(frozen=True)
class Bench:
    """A folder with a client's products, a trained version of this project's, and a forest for the peers."""

    folder: Path

    @property
    def products(self) -> Path:
        """The products to predict."""
        return self.folder / "prediction" / f"client_id={_CLIENT}"

    @property
    def forest(self) -> Path:
        """The peers' model."""
        return self.folder / "forest.joblib"

    def ours(self) -> Path:
        """Predict by this project; return the folder that it has published."""
        submit(self.folder, self.folder / "clients.yaml", "predict", JOB_KINDS["predict"].date_option, _DAY, "--force")
        return self.folder / "products_categories" / f"client_id={_CLIENT}" / f"date={_DAY}"

    def with_pandas(self) -> Path:
        """Predict by pandas and scikit-learn."""
        return self._peer([sys.executable], "with_pandas")

    def with_spark(self) -> Path:
        """Predict by a plain Spark job."""
        spark = [str(Path(sys.executable).parent / "spark-submit"), "--master", "local[*]", "--driver-memory", "4g"]
        return self._peer(spark, "with_spark")

    def _peer(self, program: Sequence[str], name: str) -> Path:
        out = self.folder / f"{name}.parquet"
        shutil.rmtree(out, ignore_errors=True)
        command = [*program, str(_PEERS / f"{name}.py"), str(self.forest), str(self.products), str(out)]
        told = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
        subprocess.run(command, env=os.environ | told, stdout=sys.stderr, check=True)
        return out


def prepare(folder: Path, rows: int, files: int, form: str) -> Bench:
    """Write the client's products as `files` files of a form (csv.gz or parquet), and train both models."""
    for name, count in (("training", _TRAINING_ROWS), ("products", rows)):
        for _ in write_sample_data(folder / name, 1, count, 1, _CATEGORIES):
            pass
    (folder / "prediction").mkdir(parents=True)
    (folder / "training" / "train").rename(folder / "train")
    (folder / "products" / "prediction" / f"client_id={_CLIENT}").rename(bench_products := Bench(folder).products)
    shutil.rmtree(folder / "products")
    if (files, form) != (1, "csv.gz"):
        _divide(bench_products, files, form)
    write_fleet(
        folder / "clients.yaml",
        {"features": list(FEATURES), "model_params": {"n_estimators": _TREES, "random_state": _SEED}},
        [_CLIENT],
    )
    submit(folder, folder / "clients.yaml", "train", JOB_KINDS["train"].date_option, _DAY)
    training = pd.read_csv(next((folder / "train" / f"client_id={_CLIENT}").iterdir()))
    training, _ = train_test_split(training, test_size=0.1, random_state=_SEED)
    forest = RandomForestClassifier(_TREES, random_state=_SEED, n_jobs=-1)
    forest.fit(training[list(FEATURES)].to_numpy(np.float32), training["category_id"])
    joblib.dump(forest, Bench(folder).forest)
    return Bench(folder)


def _divide(folder: Path, files: int, form: str) -> None:
    source = next(folder.iterdir())
    products = pd.read_csv(source)
    source.unlink()
    for number, places in enumerate(np.array_split(np.arange(len(products)), files)):
        part = products.iloc[places]
        if form == "parquet":
            part.to_parquet(folder / f"part-{number}.parquet", index=False)
        else:
            compression = {"method": "gzip", "compresslevel": 3}
            part.to_csv(folder / f"part-{number}.csv.gz", index=False, compression=compression)


def best_categories(output: Path) -> pd.Series:
    """Return the best category of each product of an output."""
    files = [output] if output.is_file() else sorted(output.glob("*.parquet"))
    table = pd.concat([pq.read_table(f, columns=["product_id", "pred_label", "rank"]).to_pandas() for f in files])
    best: pd.Series = table[table["rank"] == 0].set_index("product_id")["pred_label"].sort_index()
    return best


@click.command()
@click.option("--rows", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--files", type=click.IntRange(1), default=1, show_default=True)
@click.option("--form", type=click.Choice(["csv.gz", "parquet"]), default="csv.gz", show_default=True)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Of each way, in turn.")
@click.option("--without", multiple=True, help="A way to leave out.")
def main(rows: int, files: int, form: str, runs: int, without: tuple[str, ...]) -> None:
    """Print a Markdown table of medians, and how often the ways agree on the best category."""
    with tempfile.TemporaryDirectory(prefix="bc4all-bench-") as scratch:
        bench = prepare(Path(scratch) / "data", rows, files, form)
        ways: dict[str, Callable[[], Path]] = {
            OURS: bench.ours,
            "pandas + scikit-learn": bench.with_pandas,
            "the original's way": bench.with_spark,
        }
        ways = {name: way for name, way in ways.items() if name not in without}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        best: dict[str, pd.Series] = {}
        for run in range(runs):
            for name, way in ways.items():
                started = time.perf_counter()
                output = way()
                seconds[name].append(time.perf_counter() - started)
                if not run:
                    best[name] = best_categories(output)
    click.echo(f"{rows:,} products in {files} {form}\n")
    click.echo(f"| way | median s | runs | of {OURS} | same best |\n|---|--:|---|--:|--:|")
    ours = statistics.median(seconds[OURS]) if OURS in ways else float("nan")
    for name, taken in seconds.items():
        same = (best[name] == best[OURS]).mean() if OURS in ways else float("nan")
        median = statistics.median(taken)
        shown = ", ".join(f"{second:.1f}" for second in taken)
        click.echo(f"| {name} | {median:.1f} | {shown} | {median / ours:.2f} | {same:.4f} |")


if __name__ == "__main__":
    main()
