"""Many small clients beside a joblib loop over them: whole processes, from start to exit, in turn.

The same products, the same settings of a forest, all cores; this project as it is shipped, with its checks, its audit,
drift, MLflow, Spark's pages and the event log. Run by `make bench-clients`.
"""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import click
import pandas as pd
import pyarrow.parquet as pq

from bc4all.data.sample_data import FEATURES, write_sample_data
from bc4all.job_kinds import JOB_KINDS, PREDICT
from bench.fleet import submit, write_fleet
from bench.peers.with_joblib import SEED
from bench.turns import HEAD, OURS, Turns, in_turn

_DAY = "2026-01-31"
_PEER = Path(__file__).parent / "peers" / "with_joblib.py"
PEER = "joblib over clients"


class Fleet:
    """A folder with the products of clients, and what either way makes of them."""

    def __init__(self, folder: Path, clients: int, rows: int, trees: int) -> None:
        self.folder, self.trees = folder, trees
        for _ in write_sample_data(folder, clients, rows, 1):
            pass
        self.ids = [f"client_{number}" for number in range(clients)]
        defaults = {"features": list(FEATURES), "model_params": {"n_estimators": trees, "random_state": SEED}}
        self._config = write_fleet(folder / "clients.yaml", defaults, self.ids)
        for name in ("models", "out"):
            (folder / name).mkdir()

    def ours(self, job: str) -> None:
        """Do a job by this project."""
        words = ["--force"] if job == PREDICT.name else []  # the second time nothing has changed
        submit(self.folder, self._config, job, JOB_KINDS[job].date_option, _DAY, *words)

    def again(self) -> None:
        """Predict by this project what has been predicted."""
        submit(self.folder, self._config, PREDICT.name, PREDICT.date_option, _DAY)

    def with_joblib(self, job: str) -> None:
        """Do it by joblib."""
        kind, models, out = JOB_KINDS[job].data, self.folder / "models", self.folder / "out"
        command = [sys.executable, str(_PEER), job, str(models), str(self.folder / kind), str(out), str(self.trees)]
        subprocess.run(command, stdout=sys.stderr, check=True)

    def agreement(self) -> float:
        """How many products have the same best category."""
        same = rows = 0
        for client_id in self.ids:
            published = self.folder / "products_categories" / f"client_id={client_id}" / f"date={_DAY}"
            mine = _best(pd.concat([pd.read_parquet(file) for file in published.glob("*.parquet")]))
            its = _best(pq.read_table(self.folder / "out" / f"client_id={client_id}.parquet").to_pandas())
            same, rows = same + int((mine == its).sum()), rows + len(its)
        return same / rows


def _best(table: pd.DataFrame) -> pd.Series:
    best: pd.Series = table[table["rank"] == 0].set_index("product_id")["pred_label"].astype(object).sort_index()
    return best


def measure(fleet: Fleet, job: str, rounds: int) -> Turns:
    """Do a job by either way in turn; for a prediction, which part of the products has the same best category."""
    what = f"{job} {len(fleet.ids):,} clients"
    seconds = in_turn({OURS: partial(fleet.ours, job), PEER: partial(fleet.with_joblib, job)}, rounds)
    return Turns(what, len(fleet.ids), seconds, {PEER: fleet.agreement()} if job == PREDICT.name else {})


def measure_again(fleet: Fleet, rounds: int) -> Turns:
    """Predict by this project, where nothing has changed since."""
    return Turns(f"predict again {len(fleet.ids):,} clients", len(fleet.ids), in_turn({OURS: fleet.again}, rounds), {})


@click.command()
@click.option("--clients", type=click.IntRange(1), default=100, show_default=True)
@click.option("--rows", type=click.IntRange(100), default=5000, show_default=True, help="Products of each.")
@click.option("--trees", type=click.IntRange(1), default=50, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Predictions of each way, in turn.")
def main(clients: int, rows: int, trees: int, runs: int) -> None:
    """Train once and predict several times by each way, and print a Markdown table."""
    with tempfile.TemporaryDirectory(prefix="bc4all-bench-") as scratch:
        fleet = Fleet(Path(scratch) / "data", clients, rows, trees)
        click.echo(f"clients of {rows:,} products, {trees} trees\n\n{HEAD}")
        for job, count in (("train", 1), ("predict", runs)):
            click.echo("\n".join(measure(fleet, job, count).lines()))
        click.echo("\n".join(measure_again(fleet, runs).lines()))


if __name__ == "__main__":
    main()
