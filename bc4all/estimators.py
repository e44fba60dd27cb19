"""Which classifiers a client may have: those that scikit-learn itself lists and that give probabilities.

A dotted path from the configuration is looked up in that list and never imported. scikit-learn is imported when asked.
"""

import difflib
import functools
import inspect
import itertools
import threading
from collections.abc import Mapping
from typing import Any

from bc4all.errors import ConfigurationError
from bc4all.preprocessing import LINEAR_MODEL, takes_sparse

_ONE_AT_A_TIME = threading.Lock()


def classifiers() -> dict[str, type]:
    """scikit-learn's classifiers by their public dotted path."""
    # It imports every module of scikit-learn, some of which fail for want of an optional package: two threads doing
    # that at once meet half-imported modules.
    with _ONE_AT_A_TIME:
        return dict(_listed())


@functools.cache  # the list is fixed while a process runs, and walking scikit-learn's modules again takes 20 ms
def _listed() -> dict[str, type]:
    from sklearn.utils import all_estimators

    return {_public_path(kind): kind for _, kind in all_estimators(type_filter="classifier")}


def _public_path(kind: type) -> str:
    # The package that exports it ends where the first private part begins, public names further in or not.
    public = itertools.takewhile(lambda part: not part.startswith("_"), kind.__module__.split("."))
    return ".".join([*public, kind.__name__])


def estimator_class(path: str) -> type:
    """The classifier of a public dotted path. Raises ConfigurationError where scikit-learn lists none of that name."""
    listed = classifiers()
    if path not in listed:
        raise ConfigurationError(_not_listed(path, listed))
    return listed[path]


def _not_listed(path: str, listed: Mapping[str, type]) -> str:
    return f"scikit-learn lists no classifier {path!r}{did_you_mean(path, list(listed))}"


def build_estimator(path: str, params: Mapping[str, Any]) -> Any:
    """An unfitted classifier.

    Raises ConfigurationError where scikit-learn lists none of that name, or refuses a parameter or its value.
    """
    faults = [fault for _, fault in estimator_faults(path, params)]
    if faults:
        raise ConfigurationError("; ".join(faults), f"model {path}")
    return estimator_class(path)(**params)


def estimator_faults(path: str, params: Mapping[str, Any], text: bool = False) -> list[tuple[str | None, str]]:
    """What is wrong with a classifier's path and parameters: (the parameter or None for the path, message).

    `text`: whether it is to learn from text.
    """
    listed = classifiers()
    if path not in listed:
        return [(None, _not_listed(path, listed))]
    kind = listed[path]
    taken = inspect.signature(kind).parameters
    faults: list[tuple[str | None, str]] = [
        (name, f"{kind.__name__} takes no parameter {name!r}{did_you_mean(name, list(taken))}")
        for name in params
        if name not in taken
    ]
    needed = [name for name, parameter in taken.items() if parameter.default is parameter.empty and name not in params]
    if needed:
        return [*faults, (None, f"{kind.__name__} needs {', '.join(needed)}, which a file cannot give")]
    faults += _value_faults(kind, {name: value for name, value in params.items() if name in taken})
    if faults:
        return faults
    estimator: Any = kind(**params)
    if not hasattr(estimator, "predict_proba"):
        return [(None, f"{kind.__name__} gives no probabilities (predict_proba) with these parameters")]
    if text and not takes_sparse(estimator):
        return [(None, f"{kind.__name__} cannot learn from text: it takes no sparse matrix; {LINEAR_MODEL} does")]
    return []


def _value_faults(kind: type, params: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    """The values that scikit-learn refuses. It tells one at a time, so each told one is set aside for the next."""
    faults: list[tuple[str | None, str]] = []
    left = dict(params)
    while True:
        estimator: Any = kind(**left)
        try:
            # Private, but the same check that fit() makes; the lock pins the release it was tried with.
            estimator._validate_params()
        except ValueError as error:
            message = " ".join(str(error).split())
            named = next((name for name in left if message.startswith(f"The {name!r} parameter ")), None)
            faults.append((named, message))
            if named is None or inspect.signature(kind).parameters[named].default is inspect.Parameter.empty:
                return faults
            del left[named]
        else:
            return faults


def did_you_mean(word: str, known: list[str]) -> str:
    """`, did you mean 'x'?` where one of `known` is close to `word`, else nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""
