"""Predict one client beside what people would write instead: whole processes, from start to exit, in turn.

The same products, the same settings of a forest, two cores; this project as it is shipped, with its checks, its audit,
drift, MLflow, Spark's pages and the event log. Run by `make bench-predict`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import joblib
import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from bc4all.data.sample_data import FEATURES, write_sample_data
from bc4all.job_kinds import JOB_KINDS
from bc4all.project import ROOT
from bench.fleet import submit, write_fleet
from bench.turns import OURS, Turns, in_turn

_CATEGORIES, _TREES, _SEED = 55, 100, 1234
_TRAINING_ROWS = 50_000
_CLIENT, _DAY = "client_0", "2026-01-31"
_PEERS = Path(__file__).parent / "peers"
UDF, SPARK_ML = "mlflow.pyfunc.spark_udf", "Spark ML's forest"
_SPARK = [str(Path(sys.executable).parent / "spark-submit"), "--master", "local[*]", "--driver-memory", "4g"]


@dataclass(frozen=True)
class Bench:
    """A folder with a client's products, a trained version of this project's, and a forest for the peers."""

    folder: Path

    @property
    def products(self) -> Path:
        """The products to predict."""
        return self.folder / "prediction" / f"client_id={_CLIENT}"

    @property
    def training(self) -> Path:
        """The file of products to learn from."""
        return next((self.folder / "train" / f"client_id={_CLIENT}").iterdir())

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
        return self._peer(_SPARK, "with_spark")

    def with_spark_udf(self) -> Path:
        """Predict by MLflow's function for Spark."""
        return self._peer(_SPARK, "with_spark_udf", str(self.folder / "pyfunc"))

    def save_for_mlflow_and_spark_ml(self) -> None:
        """Make the models of the peers that cannot have a pickled forest."""
        forest = joblib.load(self.forest).set_params(n_jobs=1)  # each of Spark's workers has a core
        mlflow.sklearn.save_model(forest, str(self.folder / "pyfunc"), serialization_format="cloudpickle")
        words = ["fit", str(self.training), str(self.folder / "spark_ml"), str(_TREES)]
        _run([*_SPARK, str(_PEERS / "with_spark_ml.py"), *words])

    def with_spark_ml(self) -> Path:
        """Predict by Spark ML's own forest."""
        return self._peer(_SPARK, "with_spark_ml", "predict", str(self.folder / "spark_ml"))

    def _peer(self, program: Sequence[str], name: str, *model: str) -> Path:
        out = self.folder / f"{name}.parquet"
        shutil.rmtree(out, ignore_errors=True)
        what = model or [str(self.forest)]
        _run([*program, str(_PEERS / f"{name}.py"), *what, str(self.products), str(out)])
        return out


def _run(command: Sequence[str]) -> None:
    told = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=os.environ | told, stdout=sys.stderr, check=True)


def prepare(folder: Path) -> Bench:
    """Train this project's client and fit the peers' models, on the same products."""
    for _ in write_sample_data(folder, 1, _TRAINING_ROWS, 1, _CATEGORIES):
        pass
    bench = Bench(folder)
    write_fleet(
        folder / "clients.yaml",
        {"features": list(FEATURES), "model_params": {"n_estimators": _TREES, "random_state": _SEED}},
        [_CLIENT],
    )
    submit(folder, folder / "clients.yaml", "train", JOB_KINDS["train"].date_option, _DAY)
    training = pd.read_csv(bench.training)
    training, _ = train_test_split(training, test_size=0.1, random_state=_SEED)
    forest = RandomForestClassifier(_TREES, random_state=_SEED, n_jobs=-1)
    forest.fit(training[list(FEATURES)].to_numpy(np.float32), training["category_id"])
    joblib.dump(forest, bench.forest)
    return bench


def deliver(bench: Bench, rows: int, files: int, form: str) -> None:
    """Let the products to predict be so many, in `files` files of a form (csv.gz or parquet), and no others."""
    shutil.rmtree(bench.products)
    for _ in write_sample_data(bench.folder / "products", 1, rows, 1, _CATEGORIES):
        pass
    (bench.folder / "products" / "prediction" / f"client_id={_CLIENT}").rename(bench.products)
    shutil.rmtree(bench.folder / "products")
    if (files, form) != (1, "csv.gz"):
        _divide(bench.products, files, form)


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


def measure(bench: Bench, rows: int, rounds: int, without: Collection[str] = (), once: Collection[str] = ()) -> Turns:
    """Predict by each way in turn; of each, which part of the products has this project's best category."""
    ways: dict[str, Callable[[], Path]] = {
        OURS: bench.ours,
        "pandas + scikit-learn": bench.with_pandas,
        "the original's way": bench.with_spark,
        UDF: bench.with_spark_udf,
        SPARK_ML: bench.with_spark_ml,
    }
    outputs: dict[str, Path] = {}

    def keep_output(name: str) -> None:
        outputs[name] = ways[name]()

    names = [name for name in ways if name not in without]
    seconds = in_turn({name: partial(keep_output, name) for name in names}, rounds, once)
    best = {name: best_categories(outputs[name]) for name in names}
    same = {name: float((best[name] == best[OURS]).mean()) for name in names}
    return Turns(f"predict {rows:,} products", rows, seconds, same)


@click.command()
@click.option("--rows", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--files", type=click.IntRange(1), default=1, show_default=True)
@click.option("--form", type=click.Choice(["csv.gz", "parquet"]), default="csv.gz", show_default=True)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Of each way, in turn.")
@click.option("--without", multiple=True, help="A way to leave out.")
def main(rows: int, files: int, form: str, runs: int, without: tuple[str, ...]) -> None:
    """Print a Markdown table of medians, and how often the ways agree on the best category."""
    with tempfile.TemporaryDirectory(prefix="bc4all-bench-") as scratch:
        bench = prepare(Path(scratch) / "data")
        if not {UDF, SPARK_ML} <= set(without):
            bench.save_for_mlflow_and_spark_ml()
        deliver(bench, rows, files, form)
        click.echo(measure(bench, rows, runs, without).markdown())


if __name__ == "__main__":
    main()
