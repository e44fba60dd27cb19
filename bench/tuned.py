"""What `model: auto` and tuning are worth, beside a fleet's own models, on the held-out parts.

All by the command line. The figures are those that each training measures on the tenth that it holds out, the same for
all three, which tuning has not seen. Run by `make quality-tuned`; writes a table for docs/quality.md.
"""

import json
import shutil
import tempfile
from pathlib import Path

import click
import pandas as pd

from bc4all.identity import ClientId
from bc4all.layout import Layout
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.registry.versions import Registry
from bench.fleet import markdown, submit, write_fleet

_SHOWN = {
    "accuracy": "accuracy",
    "top_5_accuracy": "top-5",
    "log_loss": "log-loss",
    "expected_calibration_error": "ECE",
}


def figures(prefix: Path, number: int) -> pd.DataFrame:
    """What the trainings of all clients' versions of this number measured, a row a client."""
    layout = Layout.at(str(prefix))
    registry = Registry(Tracking(tracking_uri(layout), layout))
    rows = {}
    for folder in sorted((prefix / "train").glob("client_id=*")):
        client_id = ClientId(folder.name.removeprefix("client_id="))
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
    """Train, train with `model: auto`, tune and train; print a table in Markdown for each."""
    with tempfile.TemporaryDirectory(prefix="bc4all-tuned-") as folder:
        prefix = Path(folder)
        shutil.copytree(source / "train", prefix / "train", copy_function=shutil.copyfile)
        clients = [one.name.removeprefix("client_id=") for one in sorted((prefix / "train").iterdir())]
        defaults = {"features": json.loads(features), **json.loads(settings)}
        config = write_fleet(prefix / "clients.yaml", defaults, clients)
        chosen = {"features": json.loads(features), "model": "auto", "promotion": {"mode": "disabled"}}
        auto = write_fleet(prefix / "auto.yaml", chosen, clients)
        submit(prefix, config, "train")
        submit(prefix, auto, "train")
        submit(prefix, config, "tune", "--write", *words.split())
        submit(prefix, config, "train")
        for title, number in (("as configured", 1), ("auto", 2), ("tuned", 3)):
            click.echo(f"\n{markdown(figures(prefix, number), title)}")


if __name__ == "__main__":
    main()
