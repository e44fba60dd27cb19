"""A model as one file: what comes back, and what is refused before anything in it is looked at."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from bc4all.config.estimators import build_estimator, estimator_faults, listed
from bc4all.errors import ModelError
from bc4all.model.forest import CompactForest
from bc4all.model.model_file import FOREST_FILE, SKOPS_FILE, digest, load_model, read_model, save_model

X = np.abs(np.random.default_rng(0).normal(size=(90, 4))).round()
Y = np.array(["a", "b", "c"], dtype=object)[np.arange(90) % 3]
# Their fits, not their files, differ from run to run in the last bits of a float.
INEXACT = ("LabelPropagation", "LabelSpreading")
ALLOWED = sorted(path for path in listed("classifier") if not estimator_faults(path, {}))


@pytest.mark.parametrize("path", ALLOWED)
def test_every_allowed_classifier_comes_back_as_it_was(tmp_path: Path, path: str) -> None:
    """Each classifier that a configuration may name can be stored and read, and answers as before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 90 made-up rows do not make every optimiser converge
        model = build_estimator(path, {}).fit(X, Y)
    file = save_model(model, tmp_path)
    loaded = load_model(file, digest(file))
    if path.endswith(INEXACT):
        np.testing.assert_allclose(loaded.predict_proba(X), model.predict_proba(X))
    else:
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert list(loaded.classes_) == ["a", "b", "c"]


def test_a_forest_is_kept_compact(tmp_path: Path) -> None:
    """A compact forest has a file of its own format."""
    forest = CompactForest.from_sklearn(RandomForestClassifier(3, random_state=0).fit(X, Y))
    file = save_model(forest, tmp_path)
    assert file.name == FOREST_FILE
    np.testing.assert_array_equal(load_model(file, digest(file)).predict_proba(X), forest.predict_proba(X))


def test_refuses_a_file_of_another_digest(tmp_path: Path) -> None:
    """A changed file is refused before it is opened."""
    file = save_model(build_estimator("sklearn.naive_bayes.GaussianNB", {}).fit(X, Y), tmp_path)
    with pytest.raises(ModelError, match="has the digest"):
        load_model(file, "0" * 64)


class _Touch:
    """Makes a file when unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("name", [FOREST_FILE, SKOPS_FILE])
def test_never_unpickles(tmp_path: Path, name: str) -> None:
    """A pickle with the right name and the right digest runs nothing."""
    file, proof = tmp_path / name, tmp_path / "proof"
    file.write_bytes(pickle.dumps(_Touch(str(proof))))
    with pytest.raises(ModelError):
        load_model(file, digest(file))
    assert not proof.exists()


def test_refuses_types_that_are_not_listed(tmp_path: Path) -> None:
    """What a file holds is compared with this project's list, not with one in the file."""
    from skops import io

    file = tmp_path / SKOPS_FILE
    io.dump({"run": print, "path": Path}, file)
    with pytest.raises(ModelError, match=r"is refused|holds no classifier"):
        read_model(file)
