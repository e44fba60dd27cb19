"""bench/RESULTS.md: what was measured, where and with what, for people; and read again, for `--check`."""

import math
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from bc4all.environment import java_version
from bc4all.project import ROOT
from bench.turns import OURS, Turns

RESULTS = ROOT / "bench" / "RESULTS.md"
_LOSS = 0.2  # of a ratio
_PACKAGES = ("pyspark", "mlflow", "scikit-learn", "numpy", "pandas", "pyarrow", "numba", "joblib")
_ABOUT = """\
Made by `make bench` (`make bench-full` for the largest sizes): whole processes, from start to exit, in turn. bc4all
runs as it is shipped: checks, quarantine, audit, drift, MLflow, Spark's pages and event log. The peers are in
`bench/peers`, at their best ordinary settings, and do less. `of bc4all` is how many times as long, or as large, as
bc4all."""
MEMORY_HEAD = "| forest of 100 trees | in | MB | of bc4all |\n|---|---|--:|--:|"


@dataclass(frozen=True)
class Weight:
    """What a forest of so many categories takes in memory, in bytes."""

    categories: int
    theirs: int  # scikit-learn's
    ours: int

    def lines(self) -> list[str]:
        """Return the rows of its table."""
        what = f"{self.categories:,} categories"
        return [
            f"| {what} | {OURS} | {self.ours / 1e6:.1f} | 1.00 |",
            f"| {what} | scikit-learn | {self.theirs / 1e6:.1f} | {self.theirs / self.ours:.2f} |",
        ]


def machine(seconds: float) -> str:
    """Return what was measured with."""
    cpu = next((line.split(":")[1].strip() for line in _cpu_info() if line.startswith("model name")), "")
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    memory = psutil.virtual_memory().total >> 30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {_commit()}; {os.cpu_count()} cores ({cpu}), {memory} GiB, "
        f"{platform.system()}, Python {platform.python_version()}, Java {java_version()}; {packages}. "
        f"Measured in {seconds / 60:.0f} minutes."
    )


def _cpu_info() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    command = [git, "describe", "--always", "--dirty"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


def render_section(head: str, measured: Iterable[Turns | Weight], about: str) -> str:
    """Return a section's text: what was measured with, and a table."""
    return "\n".join([about, "", head, *(line for one in measured for line in one.lines())])


def render(sections: Mapping[str, str]) -> str:
    """Return the file's text, of sections by their titles."""
    parts = ["# What was measured", _ABOUT, *(f"## {title}\n\n{section}" for title, section in sections.items())]
    return "\n\n".join(parts) + "\n"


def read_sections(text: str) -> dict[str, str]:
    """Return the sections of a text by their titles."""
    parts = (part.partition("\n") for part in text.split("\n## ")[1:])
    return {title: section.strip() for title, _, section in parts}


def read_ratios(text: str) -> dict[tuple[str, str], float]:
    """Return (what, way) -> how many times as much as this project, from the tables of a text."""
    return dict(_ratios(text))


def _ratios(text: str) -> Iterator[tuple[tuple[str, str], float]]:
    place = 0
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "of bc4all" in cells:
            place = cells.index("of bc4all")
        elif line.startswith("| ") and cells[1] != OURS:
            yield (cells[0], cells[1]), float(cells[place])


def lost(before: Mapping[tuple[str, str], float], now: Mapping[tuple[str, str], float]) -> list[str]:
    """Return a line for each ratio that is smaller by more than a fifth than it was, or was not there to compare."""
    return [
        f"{what}, {way}: {ratio:.2f} times as much as bc4all, was {before.get((what, way), 'not measured')}"
        for (what, way), ratio in now.items()
        if ratio < before.get((what, way), math.inf) * (1 - _LOSS)
    ]
