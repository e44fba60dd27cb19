"""A fleet below a folder of its own, run by the command line, and its figures as Markdown: for other benchmarks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bc4all.project import SUBMIT


def write_fleet(file: Path, defaults: Mapping[str, Any], clients: Iterable[str]) -> Path:
    """Write a configuration of clients that have nothing of their own."""
    file.write_text(json.dumps({"defaults": dict(defaults), "clients": dict.fromkeys(clients)}))  # YAML, too
    return file


def submit(prefix: Path, config: Path, job: str, *words: str, **environment: str) -> None:
    """Run a job of the whole fleet, with an MLflow of its own. Raises CalledProcessError where it fails."""
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [str(SUBMIT), job, "--all", "--config", str(config), *words]
    subprocess.run(command, env={**inherited, "DATA_PREFIX": str(prefix), **environment}, stdout=sys.stderr, check=True)


def markdown(table: pd.DataFrame, title: str, whole: Iterable[str] = ()) -> str:
    """A table with its means below; columns of `whole` without decimals."""
    table = table.copy()
    table.loc["mean"] = table.mean()
    lines = [f"| {title} | " + " | ".join(table.columns) + " |", "|---|" + "--:|" * len(table.columns)]
    for name, row in table.iterrows():
        shown = [f"{row[column]:.0f}" if column in whole else f"{row[column]:.3f}" for column in table.columns]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)
