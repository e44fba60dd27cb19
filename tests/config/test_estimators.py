"""Which classifiers a configuration may name."""

import importlib
import subprocess
import sys

import pytest

from bc4all.config.estimators import build_estimator, estimator_class, estimator_faults, listed
from bc4all.errors import ConfigurationError


def test_builds_what_scikit_learn_lists() -> None:
    """A public dotted path gives an unfitted classifier with the parameters asked for."""
    model = build_estimator("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 3})
    assert (type(model).__name__, model.n_estimators) == ("RandomForestClassifier", 3)


def test_gives_the_very_class_that_scikit_learn_exports() -> None:
    """Every listed path is where scikit-learn's own users import that class from."""
    for path, kind in listed("classifier").items():
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name) is kind is estimator_class(path)


def test_changing_the_list_changes_nothing() -> None:
    """What a caller does to the list that it was given stays its own affair."""
    listed("classifier").clear()
    assert estimator_class("sklearn.ensemble.RandomForestClassifier")


def test_a_class_that_was_meant_is_named() -> None:
    """A path that is nearly right is answered with the right one."""
    with pytest.raises(ConfigurationError, match=r"did you mean 'sklearn\.naive_bayes\.GaussianNB'"):
        estimator_class("sklearn.naive_bayes.GausianNB")


def test_tells_each_wrong_parameter() -> None:
    """scikit-learn stops at its first complaint; here each parameter gets its own, unknown names included."""
    params = {"n_estimators": "max_depth", "max_depth": "x", "criterion": "gini", "depth": 1}
    faults = estimator_faults("sklearn.ensemble.RandomForestClassifier", params)
    assert sorted(str(name) for name, _ in faults) == ["depth", "max_depth", "n_estimators"]


def test_a_required_parameter_of_the_wrong_kind_is_told() -> None:
    """A class that cannot be made without a parameter is judged all the same when a file gives a useless one."""
    ((name, _),) = estimator_faults("sklearn.multiclass.OneVsRestClassifier", {"estimator": "x"})
    assert name == "estimator"


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.linear_model.Ridge",
        "RandomForestClassifier",
    ],
)
def test_refuses_everything_else(path: str) -> None:
    """Functions, private paths and regressors are no classifiers, and nothing of them is imported."""
    with pytest.raises(ConfigurationError, match="scikit-learn lists no classifier"):
        build_estimator(path, {})


@pytest.mark.parametrize(
    ("path", "params", "complaint"),
    [
        ("sklearn.svm.LinearSVC", {}, "gives no probabilities"),
        ("sklearn.ensemble.VotingClassifier", {}, "needs estimators, which a file cannot give"),
        ("sklearn.naive_bayes.GaussianNB", {"alpha": 1}, "takes no parameter 'alpha'"),
        ("sklearn.naive_bayes.MultinomialNB", {"alpha": -1.0}, "The 'alpha' parameter of MultinomialNB must be"),
    ],
)
def test_tells_what_a_classifier_does_not_take(path: str, params: dict[str, object], complaint: str) -> None:
    """Missing probabilities, unknown parameters and values that scikit-learn would refuse are told beforehand."""
    ((_, message),) = estimator_faults(path, params)
    assert complaint in message


@pytest.mark.slow
def test_many_threads_may_ask_first() -> None:
    """Clients are trained side by side: the first look-up imports all of scikit-learn, and several may come at once."""
    program = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from bc4all.config.estimators import listed\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    counts = {len(found) for found in pool.map(lambda _: listed('classifier'), range(8))}\n"
        "assert len(counts) == 1, counts\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
