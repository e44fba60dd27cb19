"""What `model: auto` and tuning are worth, beside a fleet's own models, on the held-out parts.

All by the command line. The figures are those that each training measures on the tenth that it holds out, the same for
all three, which tuning has not seen. Run by `make quality-tuned`; writes a table for docs/quality.md.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pandas as pd

from bc4all.layout import Layout
from bc4all.registry import Registry
from bc4all.tracking import tracking_uri

ROOT = Path(__file__).resolve().parent.parent
_SHOWN = {
    "accuracy": "accuracy",
    "top_5_accuracy": "top-5",
    "log_loss": "log-loss",
    "expected_calibration_error": "ECE",
}


def submit(prefix: Path, config: Path, *words: str) -> None:
    """Run a job of the whole fleet."""
    environment = {**os.environ, "DATA_PREFIX": str(prefix)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [str(ROOT / "bin" / "submit.sh"), words[0], "--all", "--config", str(config), *words[1:]]
    subprocess.run(command, env=environment, stdout=sys.stderr, check=True)


def figures(prefix: Path, number: int) -> pd.DataFrame:
    """What the trainings of all clients' versions of this number measured, a row a client."""
    layout = Layout.at(str(prefix))
    registry = Registry(tracking_uri(layout), layout)
    rows = {}
    for folder in sorted((prefix / "train").glob("client_id=*")):
        client_id = folder.name.removeprefix("client_id=")
        tags = registry.find(client_id, number).tags
        rows[client_id] = {shown: float(tags[name]) for name, shown in _SHOWN.items()} | {
            "MB": float(tags["bytes"]) / 1e6
        }
    return pd.DataFrame(rows).T


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--features", required=True, help="As in the configuration, a JSON list.")
@click.option("--settings", default="{}", help="More of the configuration's defaults, a JSON object.")
@click.option("--tune", "words", default="--budget 30", show_default=True, help="Options of the tune job.")
def main(source: Path, features: str, settings: str, words: str) -> None:
    """Train, train with `model: auto`, tune and train, and print a table in Markdown for each."""
    with tempfile.TemporaryDirectory(prefix="bc4all-tuned-") as folder:
        prefix = Path(folder)
        shutil.copytree(source / "train", prefix / "train", copy_function=shutil.copyfile)
        clients = [one.name.removeprefix("client_id=") for one in sorted((prefix / "train").iterdir())]
        defaults = {"features": json.loads(features), **json.loads(settings)}
        config = prefix / "clients.yaml"
        config.write_text(json.dumps({"defaults": defaults, "clients": dict.fromkeys(clients)}))  # YAML, too
        submit(prefix, config, "train")
        auto = prefix / "auto.yaml"
        chosen = {"features": json.loads(features), "model": "auto", "promotion": {"mode": "disabled"}}
        auto.write_text(json.dumps({"defaults": chosen, "clients": dict.fromkeys(clients)}))
        submit(prefix, auto, "train")
        submit(prefix, config, "tune", "--write", *words.split())
        submit(prefix, config, "train")
        for title, number in (("as configured", 1), ("auto", 2), ("tuned", 3)):
            table = figures(prefix, number)
            table.loc["mean"] = table.mean()
            click.echo(f"\n| {title} | " + " | ".join(table.columns) + " |\n|---|" + "--:|" * len(table.columns))
            for client_id, row in table.iterrows():
                click.echo(f"| {client_id} | " + " | ".join(f"{value:.3f}" for value in row) + " |")


if __name__ == "__main__":
    main()
