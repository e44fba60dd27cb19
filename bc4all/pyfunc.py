"""What MLflow's own loader finds in a registered version: a model whose `predict` answers with the top five.

For people and tools that load `models:/client_0_model@champion` by MLflow. The jobs never come this way: they check a
version's digests against its tags in the registry, which MLflow does not tell a loader. Here the digests come from the
MLmodel file beside the model.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from bc4all.errors import ModelError
from bc4all.kinds import Features
from bc4all.model.model_file import FOREST_FILE, SKOPS_FILE, check_digest, read_model
from bc4all.model.ranking import Model, score_frame

FEATURES_FILE = "features.json"  # name -> kind, beside the model
DIGESTS = "sha256"  # in MLmodel's metadata: JSON, a file's path below the model's folder -> its digest
_MLMODEL = Path("..", "..", "MLmodel")  # from the model's folder, `data/model`


class TopCategories:
    """A model behind MLflow's `predict(DataFrame) -> DataFrame`."""

    def __init__(self, model: Model, features: Features) -> None:
        self._model, self._features = model, features

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the best categories of each row: product_id (else the row's index), pred_label, pred_score, rank."""
        ids = frame.get("product_id", frame.index).to_numpy()
        named = frame.assign(product_id=[str(product) for product in ids])
        scored = score_frame(self._model, named, self._features, version=0).drop(columns="model_version")
        ranks = len(scored) // max(len(ids), 1)
        return scored.assign(product_id=np.repeat(ids, ranks), pred_label=scored["pred_label"].astype(object))


def _load_pyfunc(path: str) -> TopCategories:
    """Load the model in `path`, the folder of `save_model`: MLflow's entry point.

    Raises ModelError where a file is not the one whose digest MLmodel holds, or, where MLmodel holds none, as a release
    before wrote it, where the model has parts whose contents are checked by their digest alone.
    """
    folder = Path(path)
    digests = _digests(folder / _MLMODEL)
    file = next(folder / name for name in (FOREST_FILE, SKOPS_FILE) if (folder / name).exists())
    for one in (file, folder / FEATURES_FILE):
        if digests is not None:
            check_digest(one, digests.get(one.name, ""))
    features: Features = json.loads((folder / FEATURES_FILE).read_text())
    return TopCategories(read_model(file, is_checked=digests is not None), features)


def _digests(description: Path) -> Mapping[str, str] | None:
    """Return the digests that an MLmodel file holds; None where it holds none."""
    try:
        document = yaml.safe_load(description.read_text())  # as MLflow has just done
        stored = (document.get("metadata") or {}).get(DIGESTS)
        digests = None if stored is None else {str(name): str(value) for name, value in json.loads(stored).items()}
    except (yaml.YAMLError, OSError, AttributeError, ValueError) as error:
        raise ModelError("the version's MLmodel cannot be read", str(description), "train the client again") from error
    return digests
