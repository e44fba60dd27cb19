"""How good the published categories are: train and predict a fleet by the command line, then compare with the truth.

Of each client's labelled products a part is held out and delivered as its products to predict. Titles that are nearly
the same stand on one side: a shop that offers a phone in three spellings would otherwise be asked what it was told.
Run by `make quality`; writes a table for docs/quality.md.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GroupShuffleSplit

from bc4all.arguments import DATE_OPTION
from bench.fleet import markdown, submit, write_fleet

# Cosine of the sets of three letters. With this one, held-out titles are as close to the nearest one of the training
# part as the real prediction part's are (medians 0.78 and 0.80): docs/quality.md.
NEARLY_THE_SAME = 0.95
HELD_OUT = 0.1
DAY = "2026-01-31"


def near_identical(titles: pd.Series) -> np.ndarray:
    """A number for each title, equal for those that are nearly the same, directly or by way of others."""
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), binary=True, use_idf=False)
    rows = letters.fit_transform(titles)
    alike = (rows @ rows.T).tocsr()
    alike.data = np.where(alike.data > NEARLY_THE_SAME, 1.0, 0.0)
    alike.eliminate_zeros()
    groups: np.ndarray = connected_components(alike, directed=False)[1]
    return groups


def hold_out(source: Path, out: Path, features: list[str], seed: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Write each client's two parts below `out`, and yield its id and the held-out products with their categories."""
    for folder in sorted((source / "train").glob("client_id=*")):
        data = pd.concat(pd.read_csv(file, dtype=str, keep_default_na=False) for file in sorted(folder.iterdir()))
        text = len(features) == 1
        groups = near_identical(data[features[0]]) if text else np.arange(len(data))
        splitter = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=seed)
        training, held_out = next(splitter.split(data, groups=groups))
        for kind, places in (("train", training), ("prediction", held_out)):
            (out / kind / folder.name).mkdir(parents=True)
            part = data.iloc[places] if kind == "train" else data.iloc[places].drop(columns="category_id")
            part.to_csv(out / kind / folder.name / "data.csv.gz", index=False)
        yield folder.name.removeprefix("client_id="), data.iloc[held_out]


def compared(prefix: Path, client_id: str, truth: pd.DataFrame) -> dict[str, object]:
    """A client's figures."""
    rows = pd.read_parquet(prefix / "products_categories" / f"client_id={client_id}" / f"date={DAY}")
    wanted = truth.set_index("product_id")["category_id"]
    best = rows[rows["rank"] == 0].set_index("product_id")["pred_label"].reindex(wanted.index)
    probability = rows.merge(wanted.rename("truth"), left_on="product_id", right_index=True)
    found = probability[probability["pred_label"] == probability["truth"]].set_index("product_id")["pred_score"]
    # A truth that is not among the five counts with what they leave.
    left = (1 - rows.groupby("product_id")["pred_score"].sum()).clip(lower=0)
    score = found.reindex(wanted.index).fillna(left.reindex(wanted.index)).clip(1e-6, 1)
    return {
        "client": client_id,
        "held out": len(wanted),
        "categories": wanted.nunique(),
        "accuracy": accuracy_score(wanted, best),
        "macro F1": f1_score(wanted, best, average="macro", zero_division=0),
        "top-5": wanted.index.isin(found.index).mean(),
        "log-loss": -np.log(score).mean(),
    }


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--features", required=True, help="As in the configuration, a JSON list.")
@click.option("--settings", default="{}", help="More of the configuration's defaults, a JSON object.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Draws of the held-out part.")
def main(source: Path, features: str, settings: str, seeds: int) -> None:
    """Hold out, train, predict, compare, and print a table in Markdown: the mean over the draws, a line a client."""
    names = [one if isinstance(one, str) else one["name"] for one in json.loads(features)]
    tables = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory(prefix="bc4all-quality-") as folder:
            prefix = Path(folder)
            truths = dict(hold_out(source, prefix, names, seed))
            defaults = {"features": json.loads(features), **json.loads(settings)}
            config = write_fleet(prefix / "clients.yaml", defaults, truths)
            for job in ("train", "predict"):
                submit(prefix, config, job, DATE_OPTION[job], DAY)
            tables.append(pd.DataFrame([compared(prefix, client_id, truth) for client_id, truth in truths.items()]))
    means = pd.concat(tables).groupby("client", sort=False).mean()
    click.echo(markdown(means, "client", whole=("held out", "categories")))


if __name__ == "__main__":
    main()
