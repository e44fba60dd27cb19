"""What this project takes beside what people would write instead, written down: `make bench`, `make bench-full`.

Whole processes in turn on the same inputs, this project as it is shipped with everything on. Ratios count, and medians:
machines are shared. `--check` measures again and leaves with 1 where a ratio has lost more than a fifth.
"""

import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from bc4all.project import ROOT
from bench import forest, many_clients, one_client
from bench.pictures import draw_lines
from bench.results import RESULTS, Weight, lost, machine, read_ratios, render
from bench.turns import OURS, Turns

_PARTS = ("rows", "clients", "memory")
_CLIENT_ROWS, _CLIENT_TREES = 5000, 50
_CATEGORIES = (15, 55, 200, 1000)
_FOREST_TREES = 100


@dataclass(frozen=True)
class Sizes:
    """How many rounds for how many rows of one client, and for how many clients."""

    rows: Mapping[int, int]
    clients: Mapping[int, int]


_SHORT = Sizes({100_000: 3, 1_000_000: 2}, {10: 2, 100: 1})
_FULL = Sizes({**_SHORT.rows, 10_000_000: 1}, {**_SHORT.clients, 1000: 1})


def _of_rows(sizes: Sizes) -> Iterator[Turns]:
    with tempfile.TemporaryDirectory(prefix="bc4all-bench-") as scratch:
        bench = one_client.prepare(Path(scratch) / "data")
        bench.save_for_mlflow_and_spark_ml()
        for rows, rounds in sizes.rows.items():
            one_client.deliver(bench, rows, 1, "csv.gz")
            yield one_client.measure(bench, rows, rounds, once=(one_client.UDF, one_client.SPARK_ML))


def _of_clients(sizes: Sizes) -> Iterator[Turns]:
    for clients, rounds in sizes.clients.items():
        with tempfile.TemporaryDirectory(prefix="bc4all-bench-") as scratch:
            fleet = many_clients.Fleet(Path(scratch) / "data", clients, _CLIENT_ROWS, _CLIENT_TREES)
            yield many_clients.measure(fleet, "train", 1)
            yield many_clients.measure(fleet, "predict", rounds)


def _of_memory() -> Iterator[Weight]:
    for categories in _CATEGORIES:
        yield Weight(categories, *forest.weigh(_FOREST_TREES, categories))


def _measure(sizes: Sizes, parts: Collection[str]) -> tuple[list[Turns], list[Turns], list[Weight]]:
    """Measure each part, and tell each result as soon as it is there."""
    rows, clients, weights = list[Turns](), list[Turns](), list[Weight]()
    if "memory" in parts:
        weights += _of_memory()
    for part, kept, turns in (("rows", rows, _of_rows(sizes)), ("clients", clients, _of_clients(sizes))):
        for turn in turns if part in parts else ():
            kept.append(turn)
            click.echo("\n".join(turn.lines()))
    return rows, clients, weights


def _draw(rows: list[Turns], clients: list[Turns], weights: list[Weight]) -> None:
    """Draw docs/bench-*.svg."""
    by_way = {way: [turns.median(way) for turns in rows] for way in rows[0].seconds}
    sizes = [turns.size for turns in rows]
    draw_lines(ROOT / "docs" / "bench-rows.svg", sizes, by_way, "products of one client", "seconds to predict")
    by_way = {
        f"{job}, {way}": [turns.median(way) for turns in clients if turns.what.startswith(job)]
        for job in ("train", "predict")
        for way in (OURS, many_clients.PEER)
    }
    counts = [turns.size for turns in clients if turns.what.startswith("train")]
    draw_lines(ROOT / "docs" / "bench-clients.svg", counts, by_way, "clients of 5,000 products", "seconds")
    megabytes = {
        OURS: [weight.ours / 1e6 for weight in weights],
        "scikit-learn": [weight.theirs / 1e6 for weight in weights],
    }
    place = ROOT / "docs" / "bench-memory.svg"
    draw_lines(place, [weight.categories for weight in weights], megabytes, "categories", "MB of a forest in memory")


@click.command()
@click.option("--full", is_flag=True, help="Ten million products and a thousand clients, too: an hour and a half.")
@click.option("--part", "parts", type=click.Choice(_PARTS), multiple=True, help="Only this; nothing is written then.")
@click.option("--check", is_flag=True, help="Compare with bench/RESULTS.md instead of writing it.")
def main(full: bool, parts: tuple[str, ...], check: bool) -> None:
    """Measure, and write bench/RESULTS.md and docs/bench-*.svg."""
    if check and not RESULTS.exists():
        raise click.UsageError(f"There is no {RESULTS.relative_to(ROOT)} to compare with: run make bench first.")
    before = read_ratios(RESULTS.read_text()) if check else {}
    started = time.monotonic()
    rows, clients, weights = _measure(_FULL if full else _SHORT, parts or _PARTS)
    text = render([*rows, *clients], weights, machine(time.monotonic() - started))
    if check:
        losses = lost(before, read_ratios(text))
        click.echo("\n".join(losses or ["no ratio has lost more than a fifth"]))
        sys.exit(1 if losses else 0)
    if parts:
        click.echo(text)
        return
    RESULTS.write_text(text)
    _draw(rows, clients, weights)
    click.echo(f"written: {RESULTS.relative_to(ROOT)} and docs/bench-*.svg")


if __name__ == "__main__":
    main()
