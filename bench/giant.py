"""One large client among many small ones: what it costs them, and what the whole takes. Run by `make bench-giant`.

Whole processes in turn: the small clients alone, the large one alone, and all in one application. A client counts as
done when its manifest is written, just before it is published.
"""

import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import click

from bc4all.data.sample_data import FEATURES, write_sample_data
from bc4all.job_kinds import PREDICT, TRAIN
from bench.fleet import submit, write_fleet
from bench.turns import in_turn

_GIANT, _DAY, _SEED = "giant", "2026-01-31", 1234
_TRAINING_ROWS, _CATEGORIES = 50_000, 55
SMALL, LARGE, TOGETHER = "small clients alone", "large client alone", "together"


class Unequal:
    """A folder with the products of small clients and of a large one, all of them trained."""

    def __init__(self, folder: Path, clients: int, rows: int, large_rows: int, trees: int) -> None:
        self.folder = folder
        for _ in write_sample_data(folder, clients, rows, 1):
            pass
        self._deliver_large(large_rows)
        self.small = [f"client_{number}" for number in range(clients)]
        middle = clients // 2
        members = {
            SMALL: self.small,
            LARGE: [_GIANT],
            TOGETHER: [*self.small[:middle], _GIANT, *self.small[middle:]],
        }
        defaults = {"features": list(FEATURES), "model_params": {"n_estimators": trees, "random_state": _SEED}}
        self._config = {
            name: write_fleet(folder / f"{name}.yaml", defaults, clients) for name, clients in members.items()
        }
        submit(folder, self._config[TOGETHER], TRAIN.name, TRAIN.date_option, _DAY)
        self.small_done: dict[str, list[float]] = {SMALL: [], TOGETHER: []}

    def _deliver_large(self, rows: int) -> None:
        for kind, count in (("train", _TRAINING_ROWS), ("prediction", rows)):
            made = self.folder / "made"
            for _ in write_sample_data(made, 1, count, 2, _CATEGORIES):
                pass
            (made / kind / "client_id=client_0").rename(self.folder / kind / f"client_id={_GIANT}")
            shutil.rmtree(made)

    def predict(self, which: str) -> None:
        """Predict for some, and keep how many seconds it took until the last of the small ones was done."""
        started = time.time()
        submit(self.folder, self._config[which], PREDICT.name, PREDICT.date_option, _DAY, "--force")
        if which in self.small_done:
            root = self.folder / "products_categories"
            manifests = (root / f"client_id={one}" / f"date={_DAY}" / "_manifest.json" for one in self.small)
            self.small_done[which].append(max(file.stat().st_mtime for file in manifests) - started)

    def measure(self, rounds: int) -> list[str]:
        """Predict for all of them apart and together, in turn; return the lines of a table."""
        seconds = in_turn({name: partial(self.predict, name) for name in self._config}, rounds)
        whole = {name: statistics.median(taken) for name, taken in seconds.items()}
        done = {name: statistics.median(taken) for name, taken in self.small_done.items()}
        apart = whole[SMALL] + whole[LARGE]
        return [
            "| | median s | of what it is alone |",
            "|---|--:|--:|",
            f"| {SMALL}: the last is done after | {done[SMALL]:.1f} | |",
            f"| {SMALL}: whole | {whole[SMALL]:.1f} | |",
            f"| {LARGE}: whole | {whole[LARGE]:.1f} | |",
            f"| {TOGETHER}: the last small one is done after | {done[TOGETHER]:.1f} |"
            f" {done[TOGETHER] / done[SMALL]:.2f} |",
            f"| {TOGETHER}: whole | {whole[TOGETHER]:.1f} | {whole[TOGETHER] / apart:.2f} |",
        ]


@click.command()
@click.option("--clients", type=click.IntRange(2), default=99, show_default=True, help="Small ones.")
@click.option("--rows", type=click.IntRange(100), default=5000, show_default=True, help="Products of each.")
@click.option("--large", type=click.IntRange(100), default=2_000_000, show_default=True, help="Of the large one.")
@click.option("--trees", type=click.IntRange(1), default=50, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Of each, in turn.")
def main(clients: int, rows: int, large: int, trees: int, runs: int) -> None:
    """Train once, predict several times, and print a Markdown table."""
    with tempfile.TemporaryDirectory(prefix="bc4all-bench-") as scratch:
        unequal = Unequal(Path(scratch) / "data", clients, rows, large, trees)
        click.echo(f"{clients:,} clients of {rows:,} products, one of {large:,}, {trees} trees; {runs} rounds\n")
        click.echo("\n".join(unequal.measure(runs)))


if __name__ == "__main__":
    main()
