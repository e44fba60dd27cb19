"""Clients side by side with joblib, pandas and scikit-learn: `train|predict MODELS INPUT_FOLDER OUTPUT_FOLDER TREES`.

A process for each core, a client at a time in each. The models are pickled forests of this benchmark's own.
"""

import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

FEATURES = ["f0", "f1", "f2", "f3", "f4"]
SEED = 1234


def train(models: Path, folder: Path, trees: int) -> None:
    """Fit a client's forest on nine tenths, look how good it is on the rest, and keep it."""
    products = pd.read_csv(next(folder.iterdir()))
    training, held_out = train_test_split(products, test_size=0.1, random_state=SEED)
    forest = RandomForestClassifier(trees, random_state=SEED)
    forest.fit(training[FEATURES].to_numpy(np.float32), training["category_id"])
    forest.score(held_out[FEATURES].to_numpy(np.float32), held_out["category_id"])
    joblib.dump(forest, models / f"{folder.name}.joblib")


def predict(models: Path, folder: Path, out: Path) -> None:
    """Write the five best categories of a client's products."""
    forest = joblib.load(models / f"{folder.name}.joblib")
    products = pd.read_csv(next(folder.iterdir()))
    probabilities = forest.predict_proba(products[FEATURES].to_numpy(np.float32))
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    table = pd.DataFrame(
        {
            "product_id": np.repeat(products["product_id"].to_numpy(), 5),
            "pred_label": forest.classes_[order.ravel()],
            "pred_score": np.take_along_axis(probabilities, order, axis=1).ravel().astype(np.float32),
            "rank": np.tile(np.arange(5, dtype=np.int32), len(products)),
        }
    )
    table.to_parquet(out / f"{folder.name}.parquet", index=False)


def main() -> None:
    """Do it for every client's folder."""
    job, models, source, out, trees = sys.argv[1], *map(Path, sys.argv[2:5]), int(sys.argv[5])
    folders = sorted(source.iterdir())
    work = (
        joblib.delayed(train)(models, folder, trees) if job == "train" else joblib.delayed(predict)(models, folder, out)
        for folder in folders
    )
    joblib.Parallel(n_jobs=-1)(work)


if __name__ == "__main__":
    main()
