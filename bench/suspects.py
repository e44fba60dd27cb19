"""How many wrong labels `bc4all suspects` shows: some are planted into shops, which are trained by the command line.

Run by `make bench-suspects`; writes a table for docs/quality.md, and what the shops' own labels look like.
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import pandas as pd

from bc4all.job_kinds import TRAIN
from bench.fleet import markdown, submit, write_fleet

DAY = "2026-01-31"
_PLANTED, _SHOWN = 20, 25
_TIMES = 3  # that other products of a shop are chosen
_LEAST_ROWS = 500  # of a shop in which labels are planted


def plant(source: Path, out: Path) -> dict[str, set[str]]:
    """Write each shop as it is, and larger ones with wrong labels, too; return these products' ids by client."""
    planted: dict[str, set[str]] = {}
    for folder in sorted((source / "train").glob("client_id=*")):
        data = pd.concat(pd.read_csv(file, dtype=str, keep_default_na=False) for file in sorted(folder.iterdir()))
        data, name = data.reset_index(drop=True), folder.name.removeprefix("client_id=")
        _write(out, name, data)
        planted[name] = set()
        categories = data["category_id"].unique()
        for time in range(_TIMES if len(data) >= _LEAST_ROWS else 0):
            rng, changed = np.random.default_rng(time), data.copy()
            rows = rng.choice(len(data), _PLANTED, replace=False)
            labels = data.loc[rows, "category_id"]
            changed.loc[rows, "category_id"] = [rng.choice(categories[categories != label]) for label in labels]
            _write(out, f"{name}-planted-{time}", changed)
            planted[f"{name}-planted-{time}"] = set(data.loc[rows, "product_id"])
    return planted


def _write(out: Path, client_id: str, data: pd.DataFrame) -> None:
    folder = out / "train" / f"client_id={client_id}"
    folder.mkdir(parents=True)
    data.to_csv(folder / "data.csv.gz", index=False)


def suspects(prefix: Path, client_id: str) -> pd.DataFrame:
    """Return what the command says of a client. Raises CalledProcessError where it fails."""
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-m", "bc4all.cli.main", "suspects", "--client-id", client_id, "--csv"]
    done = subprocess.run(
        command, env={**inherited, "DATA_PREFIX": str(prefix)}, stdout=subprocess.PIPE, text=True, check=True
    )
    return pd.read_csv(io.StringIO(done.stdout), dtype=str, keep_default_na=False)


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
def main(source: Path) -> None:
    """Plant, train, ask, and print a table in Markdown; SOURCE's clients have a product_title."""
    with tempfile.TemporaryDirectory(prefix="bc4all-suspects-") as folder:
        prefix = Path(folder)
        planted = plant(source, prefix)
        features = [{"name": "product_title", "kind": "text"}]
        config = write_fleet(prefix / "clients.yaml", {"features": features}, planted)
        submit(prefix, config, "train", TRAIN.date_option, DAY)
        found = {client_id: suspects(prefix, client_id) for client_id in planted}
    rows = {
        client_id: {
            "suspects": len(found[client_id]),
            f"planted among the first {_SHOWN}": found[client_id]["product_id"][:_SHOWN].isin(ids).sum(),
            f"of all {_PLANTED}": found[client_id]["product_id"].isin(ids).sum(),
        }
        for client_id, ids in planted.items()
        if ids
    }
    table = pd.DataFrame.from_dict(rows, orient="index").astype(float)
    click.echo(markdown(table, "client", whole=table.columns))
    own = [found[client_id].assign(client=client_id) for client_id, ids in planted.items() if not ids]
    listed = pd.concat(own, ignore_index=True)
    margin = listed["suggested_score"].astype(float) - listed["label_score"].astype(float)
    listed = listed.loc[margin.sort_values(ascending=False, kind="stable").index]
    click.echo(f"\n{len(listed)} suspects among the products as they are; the first 50:\n")
    click.echo(listed[:50].to_csv(index=False, columns=["client", "title", "label", "suggested", "similar"]), nl=False)


if __name__ == "__main__":
    main()
