"""What MLflow's own loader finds in a registered version: a model whose `predict` answers with the top five.

For people and tools that load `models:/client_0_model@champion` by MLflow. The jobs never come this way.
"""

import json
from pathlib import Path

import pandas as pd

from bc4all.kinds import NUMERIC, Features
from bc4all.model_file import FOREST_FILE, SKOPS_FILE, read_model
from bc4all.scoring import Model, score_frame

FEATURES_FILE = "features.json"  # name -> kind, beside the model


class TopCategories:
    """A model behind MLflow's `predict(DataFrame) -> DataFrame`."""

    def __init__(self, model: Model, features: Features) -> None:
        self._model, self._features = model, features

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The best categories of each row: product_id (else the row's index), pred_label, pred_score, rank."""
        named = frame if "product_id" in frame else frame.assign(product_id=frame.index)
        return score_frame(self._model, named, self._features, version=0).drop(columns="model_version")


def _load_pyfunc(path: str) -> TopCategories:
    """MLflow's entry point; `path` is the folder of `save_model`, with the features' names beside it."""
    folder = Path(path)
    file = next(folder / name for name in (FOREST_FILE, SKOPS_FILE) if (folder / name).exists())
    return TopCategories(read_model(file), _features(folder))


def _features(folder: Path) -> Features:
    file = folder / FEATURES_FILE
    if file.exists():
        features: Features = json.loads(file.read_text())
        return features
    return dict.fromkeys((folder / "features.txt").read_text().splitlines(), NUMERIC)  # of before they had kinds
