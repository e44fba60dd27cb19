"""One large client, trained by the job, beside plain scikit-learn: wall time and peak memory of all processes.

Each way is a process tree of its own. Its memory is the sum of its processes' proportional set sizes (shared pages
counted once), read twice a second. scikit-learn gets fewer rows by default: its fitted forest grows with rows x
categories and would need some 36 GB at a million. Run by `make bench-large`.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from bc4all.data.sample_data import FEATURES, write_sample_data
from bc4all.project import SUBMIT

_INTERVAL = 0.5  # seconds
_CATEGORIES = 55
_TREES = 100
_SEED = 1

# What a user without bc4all would write, with the same split, seed and number of cores.
_PLAIN = f"""
import sys
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
products = pd.read_csv(sys.argv[1])
X, y = products[{list(FEATURES)!r}].to_numpy("float32"), products["category_id"]
X, X_test, y, y_test = train_test_split(X, y, test_size=0.1, random_state=1234)
forest = RandomForestClassifier({_TREES}, random_state=1234, n_jobs=int(sys.argv[2])).fit(X, y)
print(f"accuracy {{forest.score(X_test, y_test):.4f}}", file=sys.stderr)
"""


@dataclass(frozen=True)
class Measured:
    """Wall time in seconds and peak memory in bytes of a process and all that it started."""

    seconds: float
    peak_bytes: int


def _memory(process: psutil.Process) -> int:
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended between the two calls
            continue
    return total


def watch(command: list[str], environment: dict[str, str]) -> Measured:
    """Run a command to its end. Raises CalledProcessError where it fails."""
    start = time.perf_counter()
    running = subprocess.Popen(command, env=os.environ | environment, stdout=sys.stderr)
    watched, peak = psutil.Process(running.pid), 0
    while running.poll() is None:
        try:
            peak = max(peak, _memory(watched))
        except psutil.NoSuchProcess:
            break
        time.sleep(_INTERVAL)
    if running.wait():
        raise subprocess.CalledProcessError(running.returncode, command)
    return Measured(time.perf_counter() - start, peak)


def _sample(folder: Path, rows: int) -> Path:
    for _ in write_sample_data(folder, 1, rows, _SEED, _CATEGORIES):
        pass
    return folder / "train" / "client_id=client_0" / "data_train.csv.gz"


def _train_by_job(rows: int, cores: int) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        _sample(Path(folder), rows)
        job = [str(SUBMIT), "train", "--client-id", "client_0", "--", "--master", f"local[{cores}]"]
        return watch(job, {"DATA_PREFIX": folder, "MLFLOW_TRACKING_URI": ""})


def _train_plainly(rows: int, cores: int) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        return watch([sys.executable, "-c", _PLAIN, str(_sample(Path(folder), rows)), str(cores)], {})


@click.command()
@click.option("--rows", type=int, multiple=True, default=(200_000, 1_000_000), show_default=True, help="For the job.")
@click.option("--plain-rows", type=int, multiple=True, default=(200_000,), show_default=True, help="For scikit-learn.")
@click.option("--cores", type=click.IntRange(1), default=2, show_default=True, help="For either.")
def main(rows: tuple[int, ...], plain_rows: tuple[int, ...], cores: int) -> None:
    """Train one client with 55 categories and 100 trees and print a Markdown table."""
    click.echo("| training rows | by | wall time s | peak memory GB |\n| ---: | --- | ---: | ---: |")
    for count in plain_rows:
        _show(count, "scikit-learn", _train_plainly(count, cores))
    for count in rows:
        _show(count, "the train job", _train_by_job(count, cores))


def _show(rows: int, name: str, measured: Measured) -> None:
    click.echo(f"| {rows:,} | {name} | {measured.seconds:.0f} | {measured.peak_bytes / 1e9:.1f} |")


if __name__ == "__main__":
    main()
