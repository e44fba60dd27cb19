"""Titles by the thousand categories: whole trainings beside a linear SVM and fastText, and how often each is right.

A tenth of each set is kept from all ways; this project's training holds out a tenth of the rest once more, as ever,
judges, calibrates, fits again, evaluates, draws and registers: its time is the train job's own, without Spark's start.
The peers' is that of vectorising and fitting alone. Run by `make bench-text`.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pandas as pd

from bc4all.data.sample_data import TITLE, write_sample_data
from bc4all.identity import ClientId, Day
from bc4all.job_kinds import PREDICT, TRAIN
from bc4all.layout import Layout, local_path
from bc4all.project import ROOT
from bc4all.starter import read_report
from bench.fleet import submit, write_fleet
from bench.turns import OURS

_DAY = "2026-01-31"
_SEED = 1
_PEERS = {"linear SVM": "with_linear_svc", "fastText": "with_fasttext"}
_PACKAGES = ROOT / "dist" / "bench-packages"  # of bench/requirements.txt
_SIZES = ((3_000, 200), (3_000, 1_000), (20_000, 100))
_HEAD = """\
| titles | categories | way | training s | of bc4all | accuracy |
|--:|--:|---|--:|--:|--:|"""


@click.command()
@click.option("--size", "sizes", type=(int, int), multiple=True, default=_SIZES, help="Titles and categories made up.")
@click.option("--source", type=click.Path(exists=True, path_type=Path), help="All clients' titles of such a folder.")
@click.option("--column", default="product_title", show_default=True, help="Their column in SOURCE.")
def main(sizes: tuple[tuple[int, int], ...], source: Path | None, column: str) -> None:
    """Print a table."""
    click.echo(_HEAD)
    peers = {way: peer for way, peer in _PEERS.items() if way != "fastText" or (_PACKAGES / "fasttext").exists()}
    with tempfile.TemporaryDirectory(prefix="bc4all-text-") as folder:  # what is compiled once is no set's time
        first = _made_up(3_000, 3)
        _ours(
            Path(folder),
            first.assign(product_id=first.index.astype(str)),
            first.assign(product_id=first.index + 10_000),
        )
    for data in (*([_delivered(source, column)] if source else []), *(_made_up(*size) for size in sizes)):
        with tempfile.TemporaryDirectory(prefix="bc4all-text-") as folder:
            for line in _compared(Path(folder), data, peers):
                click.echo(line)


def _delivered(source: Path, column: str) -> pd.DataFrame:
    files = sorted((source / "train").glob("client_id=*/*"))
    data = pd.concat([pd.read_csv(file, dtype=str, keep_default_na=False) for file in files], ignore_index=True)
    return pd.DataFrame({"category_id": data["category_id"], TITLE: data[column]})


def _made_up(rows: int, categories: int) -> pd.DataFrame:
    with tempfile.TemporaryDirectory(prefix="bc4all-text-") as folder:
        for _ in write_sample_data(Path(folder), 1, rows, _SEED, categories, titles=True):
            pass
        (file,) = (Path(folder) / "train").glob("client_id=*/*")
        return pd.read_csv(file, dtype=str, keep_default_na=False, usecols=["category_id", TITLE])


def _compared(folder: Path, data: pd.DataFrame, peers: dict[str, str]) -> Iterator[str]:
    """Yield a row for each way."""
    order = np.random.default_rng(_SEED).permutation(len(data))
    data = data.iloc[order].reset_index(drop=True).assign(product_id=np.arange(len(data)).astype(str))
    test, training = data[: len(data) // 10], data[len(data) // 10 :]
    size = f"| {len(training):,} | {training['category_id'].nunique():,} |"
    ours, answers = _ours(folder, training, test)
    yield f"{size} {OURS} | {ours:.1f} | 1.00 | {(answers == test['category_id']).mean():.4f} |"
    training.to_parquet(folder / "training.parquet")
    test.to_parquet(folder / "test.parquet")
    for way, peer in peers.items():
        seconds, answers = _theirs(folder, peer)
        right = (answers == test["category_id"]).mean()
        yield f"{size} {way} | {seconds:.1f} | {seconds / ours:.2f} | {right:.4f} |"


def _ours(folder: Path, training: pd.DataFrame, test: pd.DataFrame) -> tuple[float, pd.Series]:
    """Train and predict by the command line: the training's seconds, and the published answers."""
    prefix = folder / "data"
    for kind, part in (("train", training), ("prediction", test.drop(columns="category_id"))):
        (prefix / kind / "client_id=shop").mkdir(parents=True)
        part.to_parquet(prefix / kind / "client_id=shop" / "data.parquet", index=False)
    # Those that are made up are paths; to delivered ones without such a letter it makes no difference.
    settings = {"features": [{"name": TITLE, "kind": "text"}], "category_separator": ">"}
    config = write_fleet(folder / "clients.yaml", settings, ["shop"])
    took = {}
    for job in (TRAIN, PREDICT):
        results = folder / f"{job.name}.jsonl"
        submit(prefix, config, job.name, job.date_option, _DAY, BC4ALL_RESULTS=str(results))
        took[job] = float(read_report(results).results[ClientId("shop")]["seconds"])
    published = pd.read_parquet(local_path(Layout.at(str(prefix)).published_partition(ClientId("shop"), Day(_DAY))))
    best = published[published["rank"] == 0].set_index("product_id")["pred_label"]
    return took[TRAIN], test["product_id"].map(best)


def _theirs(folder: Path, peer: str) -> tuple[float, pd.Series]:
    command = [sys.executable, str(ROOT / "bench" / "peers" / f"{peer}.py"), "training.parquet", "test.parquet", "out"]
    environment = {**os.environ, "PYTHONPATH": str(_PACKAGES)}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout), pd.read_parquet(folder / "out")["category_id"]


if __name__ == "__main__":
    main()
