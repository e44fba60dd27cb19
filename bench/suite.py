"""What this project takes beside what people would write instead, written down: `make bench`, `make bench-full`.

Whole processes in turn on the same inputs, this project as it is shipped with everything on. Ratios count, and medians:
machines are shared. `--check` measures again and leaves with 1 where a ratio has lost more than a fifth.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import click

from bc4all.project import ROOT
from bench import forest, many_clients, one_client
from bench.pictures import draw_lines
from bench.results import (
    MEMORY_HEAD,
    RESULTS,
    Weight,
    lost,
    machine,
    read_ratios,
    read_sections,
    render,
    render_section,
)
from bench.turns import HEAD, OURS, Turns

T = TypeVar("T", Turns, Weight)

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
            slow = (one_client.UDF, one_client.SPARK_ML)  # measured up to a million products
            yield one_client.measure(bench, rows, rounds, without=slow if rows > 1_000_000 else (), once=slow)


def _of_clients(sizes: Sizes) -> Iterator[Turns]:
    for clients, rounds in sizes.clients.items():
        with tempfile.TemporaryDirectory(prefix="bc4all-bench-") as scratch:
            fleet = many_clients.Fleet(Path(scratch) / "data", clients, _CLIENT_ROWS, _CLIENT_TREES)
            yield many_clients.measure(fleet, "train", 1)
            yield many_clients.measure(fleet, "predict", rounds)
            yield many_clients.measure_again(fleet, rounds)


def _of_memory(sizes: Sizes) -> Iterator[Weight]:
    for categories in _CATEGORIES:
        yield Weight(categories, *forest.weigh(_FOREST_TREES, categories))


def _draw_rows(rows: Sequence[Turns]) -> None:
    by_way = {way: [turns.median(way) for turns in rows if way in turns.seconds] for way in rows[0].seconds}
    sizes = [turns.size for turns in rows]
    draw_lines(ROOT / "docs" / "bench-rows.svg", sizes, by_way, "products of one client", "seconds to predict")


def _draw_clients(clients: Sequence[Turns]) -> None:
    both = [turns for turns in clients if many_clients.PEER in turns.seconds]
    by_way = {
        f"{job}, {way}": [turns.median(way) for turns in both if turns.what.startswith(job)]
        for job in ("train", "predict")
        for way in (OURS, many_clients.PEER)
    }
    counts = [turns.size for turns in both if turns.what.startswith("train")]
    draw_lines(ROOT / "docs" / "bench-clients.svg", counts, by_way, "clients of 5,000 products", "seconds")


def _draw_memory(weights: Sequence[Weight]) -> None:
    megabytes = {
        OURS: [weight.ours / 1e6 for weight in weights],
        "scikit-learn": [weight.theirs / 1e6 for weight in weights],
    }
    place = ROOT / "docs" / "bench-memory.svg"
    draw_lines(place, [weight.categories for weight in weights], megabytes, "categories", "MB of a forest in memory")


@dataclass(frozen=True)
class Part(Generic[T]):
    """A part of what is measured: a section of bench/RESULTS.md and a figure."""

    title: str
    head: str  # of its table
    measure: Callable[[Sizes], Iterator[T]]
    draw: Callable[[Sequence[T]], None]


_PARTS: Mapping[str, Part[Any]] = {
    "rows": Part("Products of one client", HEAD, _of_rows, _draw_rows),
    "clients": Part("Clients", HEAD, _of_clients, _draw_clients),
    "memory": Part("Memory", MEMORY_HEAD, _of_memory, _draw_memory),
}


@click.command()
@click.option("--full", is_flag=True, help="Ten million products and a thousand clients, too: an hour and a half.")
@click.option("--part", "parts", type=click.Choice(list(_PARTS)), multiple=True, help="Only this; the rest stays.")
@click.option("--check", is_flag=True, help="Compare with bench/RESULTS.md instead of writing it.")
def main(full: bool, parts: tuple[str, ...], check: bool) -> None:
    """Measure, and write bench/RESULTS.md and docs/bench-*.svg: each part as soon as it is there."""
    if check and not RESULTS.exists():
        raise click.UsageError(f"There is no {RESULTS.relative_to(ROOT)} to compare with: run make bench first.")
    sections = read_sections(RESULTS.read_text()) if RESULTS.exists() else {}
    losses: list[str] = []
    for part in (_PARTS[name] for name in parts or _PARTS):
        started, found = time.monotonic(), []
        for one in part.measure(_FULL if full else _SHORT):
            found.append(one)
            click.echo("\n".join(one.lines()))
        section = render_section(part.head, found, machine(time.monotonic() - started))
        if check:
            losses += lost(read_ratios(sections.get(part.title, "")), read_ratios(section))
            continue
        sections[part.title] = section
        ordered = {one.title: sections[one.title] for one in _PARTS.values() if one.title in sections}
        RESULTS.write_text(render(ordered))
        part.draw(found)
        click.echo(f"written: {part.title} in {RESULTS.relative_to(ROOT)}, and its figure in docs")
    if check:
        click.echo("\n".join(losses or ["no ratio has lost more than a fifth"]))
        sys.exit(1 if losses else 0)


if __name__ == "__main__":
    main()
