"""MLflow's own loader: it checks the digests in MLmodel, and requires published packages alone."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from bc4all.config.estimators import build_estimator
from bc4all.errors import ModelError
from bc4all.model.forest import CompactForest, is_forest
from bc4all.pyfunc import DIGESTS
from bc4all.registry.artifact import write_model
from tests.conftest import FEATURES, make_client

TREES = ("sklearn.tree.DecisionTreeClassifier", {"max_depth": 3})
FOREST = ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 2})
LINEAR = ("sklearn.linear_model.LogisticRegression", {"max_iter": 10})


Saved = Callable[[tuple[str, dict[str, object]]], Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """Fit some classifier and save it as a training does; return the version's folder."""

    def save(model: tuple[str, dict[str, object]]) -> Path:
        rng = np.random.default_rng(1)
        labels = np.array([f"category {number % 5}" for number in range(100)], dtype=object)
        fitted = build_estimator(*model).fit(rng.normal(size=(100, len(FEATURES))), labels)
        compact = CompactForest.from_sklearn(fitted) if is_forest(fitted) else fitted
        client = make_client("client_0", model=model[0], model_params=model[1])
        write_model(tmp_path, client, compact, rows(), {}, None)
        return tmp_path / "saved"

    return save


def rows() -> pd.DataFrame:
    """Return three products."""
    return pd.DataFrame(np.zeros((3, len(FEATURES))), columns=list(FEATURES))


def without_digests(folder: Path) -> None:
    """Take the digests out of MLmodel, as a release before wrote it."""
    described = yaml.safe_load((folder / "MLmodel").read_text())
    del described["metadata"][DIGESTS]
    (folder / "MLmodel").write_text(yaml.safe_dump(described))


def test_a_model_that_is_not_the_registered_one_is_not_read(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other bytes under the model's name, or its features', are refused before anything of them is read."""
    folder = saved(TREES)
    assert len(mlflow.pyfunc.load_model(str(folder)).predict(rows())) == 15
    monkeypatch.setattr("bc4all.pyfunc.read_model", lambda *_, **__: pytest.fail("it was read"))
    for name in ("model.skops", "features.json"):
        file = folder / "data" / "model" / name
        content = file.read_bytes()
        file.write_bytes(content + b" ")
        with pytest.raises(ModelError, match=f"the model file {name} has the digest .* was registered"):
            mlflow.pyfunc.load_model(str(folder))
        file.write_bytes(content)
    described = yaml.safe_load((folder / "MLmodel").read_text())
    described["metadata"][DIGESTS] = json.dumps({})
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    with pytest.raises(ModelError, match=r"the model file model.skops has the digest"):
        mlflow.pyfunc.load_model(str(folder))


@pytest.mark.parametrize(
    ("model", "loads"),
    [
        (TREES, False),
        (("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 2}), False),
        (("sklearn.neighbors.KNeighborsClassifier", {"algorithm": "kd_tree"}), False),
        (LINEAR, True),
        (FOREST, True),
    ],
    ids=["tree", "boosting", "neighbours", "linear", "forest"],
)
def test_without_digests_no_unchecked_part_is_taken(
    saved: Saved, model: tuple[str, dict[str, object]], loads: bool
) -> None:
    """Of a version without digests, what checks itself still loads; a Tree, whose indices go unchecked, does not."""
    folder = saved(model)
    without_digests(folder)
    if loads:
        assert len(mlflow.pyfunc.load_model(str(folder)).predict(rows())) == 15
        return
    with pytest.raises(ModelError, match=r"^the model file model.skops is refused: .*\(train the client again\)$"):
        mlflow.pyfunc.load_model(str(folder))


def test_a_version_requires_published_packages_alone(saved: Saved) -> None:
    """What MLflow would install to serve a version is pinned, and bc4all, which is in no index, is not among it."""
    folder = saved(LINEAR)
    listed = (folder / "requirements.txt").read_text().split()
    assert all(re.fullmatch(r"[a-z-]+==[\d.]+(post\d+)?", requirement) for requirement in listed)
    assert {requirement.partition("==")[0] for requirement in listed} == {
        *("mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "numba", "skops"),
    }
    assert "bc4all" not in (folder / "conda.yaml").read_text()
