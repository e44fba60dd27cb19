"""How good the published categories are: train and predict a fleet by the command line, then compare with the truth.

Of each client's labelled products every part is held out in turn, and delivered as the products to predict of a client
of its own, so that each product is judged once. Titles that are nearly the same stand on one side: a shop that offers a
phone in three spellings would otherwise be asked what it was told.
Run by `make quality`; writes a table for docs/quality.md.
"""

import json
import tempfile
from pathlib import Path

import click
import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GroupKFold

from bc4all.job_kinds import JOB_KINDS
from bench.fleet import markdown, submit, write_fleet

# Cosine of the sets of three letters. With this one, held-out titles are as close to the nearest one of the training
# part as the real prediction part's are (medians 0.78 and 0.80): docs/quality.md.
NEARLY_THE_SAME = 0.95
DAY = "2026-01-31"
_SEED = 0


def near_identical(titles: pd.Series) -> np.ndarray:
    """A number for each title, equal for those that are nearly the same, directly or by way of others."""
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), binary=True, use_idf=False)
    rows = letters.fit_transform(titles)
    alike = (rows @ rows.T).tocsr()
    alike.data = np.where(alike.data > NEARLY_THE_SAME, 1.0, 0.0)
    alike.eliminate_zeros()
    groups: np.ndarray = connected_components(alike, directed=False)[1]
    return groups


def hold_out(source: Path, out: Path, features: list[str], folds: int) -> dict[str, pd.Series]:
    """Write both parts of each client and fold below `out`, for a client `<client>-<fold>`.

    Return each client's categories by product id.
    """
    truths = {}
    for folder in sorted((source / "train").glob("client_id=*")):
        data = pd.concat(pd.read_csv(file, dtype=str, keep_default_na=False) for file in sorted(folder.iterdir()))
        groups = near_identical(data[features[0]]) if len(features) == 1 else np.arange(len(data))
        splits = GroupKFold(folds, shuffle=True, random_state=_SEED).split(data, groups=groups)
        for fold, (training, held_out) in enumerate(splits):
            parts = {"train": data.iloc[training], "prediction": data.iloc[held_out].drop(columns="category_id")}
            for kind, part in parts.items():
                (out / kind / f"{folder.name}-{fold}").mkdir(parents=True)
                part.to_csv(out / kind / f"{folder.name}-{fold}" / "data.csv.gz", index=False)
        truths[folder.name.removeprefix("client_id=")] = data.set_index("product_id")["category_id"]
    return truths


def compared(prefix: Path, client_id: str, wanted: pd.Series, folds: int) -> dict[str, object]:
    """A client's figures, of all its folds together."""
    published = prefix / "products_categories"
    parts = [published / f"client_id={client_id}-{fold}" / f"date={DAY}" for fold in range(folds)]
    rows = pd.concat(map(pd.read_parquet, parts), ignore_index=True)
    best = rows[rows["rank"] == 0].set_index("product_id")["pred_label"].reindex(wanted.index)
    probability = rows.merge(wanted.rename("truth"), left_on="product_id", right_index=True)
    found = probability[probability["pred_label"] == probability["truth"]].set_index("product_id")["pred_score"]
    # A truth that is not among the five counts with what they leave.
    left = (1 - rows.groupby("product_id")["pred_score"].sum()).clip(lower=0)
    score = found.reindex(wanted.index).fillna(left.reindex(wanted.index)).clip(1e-6, 1)
    return {
        "client": client_id,
        "products": len(wanted),
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
@click.option("--folds", type=click.IntRange(2), default=10, show_default=True, help="Parts to hold out in turn.")
def main(source: Path, features: str, settings: str, folds: int) -> None:
    """Hold out, train, predict, compare, and print a table in Markdown, a line a client."""
    names = [one if isinstance(one, str) else one["name"] for one in json.loads(features)]
    with tempfile.TemporaryDirectory(prefix="bc4all-quality-") as folder:
        prefix = Path(folder)
        truths = hold_out(source, prefix, names, folds)
        defaults = {"features": json.loads(features), **json.loads(settings)}
        clients = [f"{client_id}-{fold}" for client_id in truths for fold in range(folds)]
        config = write_fleet(prefix / "clients.yaml", defaults, clients)
        for job in ("train", "predict"):
            submit(prefix, config, job, JOB_KINDS[job].date_option, DAY)
        table = pd.DataFrame([compared(prefix, client_id, truth, folds) for client_id, truth in truths.items()])
    click.echo(markdown(table.set_index("client"), "client", whole=("products", "categories")))


if __name__ == "__main__":
    main()
