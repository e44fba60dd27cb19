"""Which models a client may have: of the classifiers that scikit-learn itself lists and that give probabilities.

A blend takes those that give margins, too. A dotted path from the configuration is looked up in that list and never
imported. scikit-learn is imported when asked.
"""

import difflib
import functools
import inspect
import itertools
import threading
from collections.abc import Mapping
from typing import Any, TypeAlias

from bc4all.config.model_defaults import LINEAR_MODEL, RANDOM_FOREST
from bc4all.config.model_settings import AUTO, BlendSettings, MemberSettings, as_blend
from bc4all.errors import ConfigurationError
from bc4all.kinds import TEXT, Features, all_numeric
from bc4all.model.preprocessing import takes_sparse, with_preprocessing

EXTRA_TREES = "sklearn.ensemble.ExtraTreesClassifier"
BOOSTING = "sklearn.ensemble.HistGradientBoostingClassifier"
Place: TypeAlias = tuple[str | int, ...]
_ONE_AT_A_TIME = threading.Lock()


def listed(role: str) -> dict[str, type]:
    """scikit-learn's classifiers, or transformers, by their public dotted path."""
    # It imports every module of scikit-learn, some of which fail for want of an optional package: two threads doing
    # that at once meet half-imported modules.
    with _ONE_AT_A_TIME:
        return dict(_listed(role))


@functools.cache  # the list is fixed while a process runs, and walking scikit-learn's modules again takes 20 ms
def _listed(role: str) -> dict[str, type]:
    from sklearn.utils import all_estimators

    return {_public_path(kind): kind for _, kind in all_estimators(type_filter=role)}


def _public_path(kind: type) -> str:
    # The package that exports it ends where the first private part begins, public names further in or not.
    public = itertools.takewhile(lambda part: not part.startswith("_"), kind.__module__.split("."))
    return ".".join([*public, kind.__name__])


def estimator_class(path: str, role: str = "classifier") -> type:
    """Return the class of a public dotted path.

    Raises ConfigurationError where scikit-learn lists none of that name.
    """
    known = listed(role)
    if path not in known:
        raise ConfigurationError(_not_listed(path, role, known))
    return known[path]


def _not_listed(path: str, role: str, known: Mapping[str, type]) -> str:
    return f"scikit-learn lists no {role} {path!r}{did_you_mean(path, list(known))}"


def build_estimator(path: str, params: Mapping[str, Any], role: str = "classifier", margins: bool = False) -> Any:
    """Return an unfitted classifier or transformer; with `margins`, also a classifier that gives nothing else.

    Raises ConfigurationError where scikit-learn lists none of that name, or refuses a parameter or its value.
    """
    faults = [fault for _, fault in estimator_faults(path, params, role=role, margins=margins)]
    if faults:
        raise ConfigurationError("; ".join(faults), f"model {path}")
    return estimator_class(path, role)(**params)


def build_member(member: MemberSettings, features: Features, separator: str | None = None) -> Any:
    """Return an unfitted classifier of one core, behind what makes numbers of its features.

    `separator`: between the parts of categories that are paths. Raises ConfigurationError as `build_estimator`.
    """
    classifier = build_estimator(member.classifier, member.params, margins=True)
    if classifier.get_params().get("n_jobs") not in (None, 1):
        classifier.set_params(n_jobs=1)  # a task has one core
    if not hasattr(classifier, "predict_proba"):
        from bc4all.model.margins import MarginClassifier

        classifier = MarginClassifier(classifier, separator)
    if not member.transform:
        return with_preprocessing(classifier, features)
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*(build_estimator(*step, role="transformer") for step in member.transform), classifier)


def model_faults(model: str | BlendSettings, params: Mapping[str, Any], features: Features) -> list[tuple[Place, str]]:
    """Return what is wrong with a client's choice of a model: (where, below the client, message)."""
    text = TEXT in features.values()
    if model == AUTO:
        return [(("model_params", name), f"`model: {AUTO}` chooses {name} itself") for name in params]
    if isinstance(model, str):
        faults = estimator_faults(model, params, text)
        return [(("model",) if name is None else ("model_params", name), fault) for name, fault in faults]
    found: list[tuple[Place, str]] = []
    if len(model.blend) > 1:
        told = "a blend's parameters stand with its members, as `params`"
        found, params = [(("model_params", name), told) for name in params], {}
    for number, member in enumerate(as_blend(model, params).blend):
        at: Place = ("model", "blend", number)
        for name, fault in estimator_faults(member.classifier, member.params, text, margins=True):
            place = ("model_params",) if name in params else (*at, "params")
            found.append(((*at, "classifier") if name is None else (*place, name), fault))
        found += [((*at, "transform"), fault) for fault in _transform_faults(member, features)]
    return found


def _transform_faults(member: MemberSettings, features: Features) -> list[str]:
    if member.transform and not all_numeric(features):
        return ["only numbers are transformed: text and categories are prepared for every classifier alike"]
    if member.transform and member.classifier in (RANDOM_FOREST, EXTRA_TREES):
        return ["a forest needs no transform: its trees ask which of two numbers is larger"]
    return [
        fault for path, params in member.transform for _, fault in estimator_faults(path, params, role="transformer")
    ]


def estimator_faults(
    path: str, params: Mapping[str, Any], text: bool = False, role: str = "classifier", margins: bool = False
) -> list[tuple[str | None, str]]:
    """Return what is wrong with an estimator's path and parameters: (the parameter or None for the path, message).

    `text`: whether it is to learn from text; `margins`: whether it may give those instead of probabilities.
    """
    known = listed(role)
    if path not in known:
        return [(None, _not_listed(path, role, known))]
    kind = known[path]
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
    if faults or role != "classifier":
        return faults
    estimator: Any = kind(**params)
    if not hasattr(estimator, "predict_proba") and not (margins and hasattr(estimator, "decision_function")):
        remedy = "; a blend takes its margins" if hasattr(estimator, "decision_function") else ""
        return [(None, f"{kind.__name__} gives no probabilities (predict_proba) with these parameters{remedy}")]
    if text and not takes_sparse(estimator):
        return [(None, f"{kind.__name__} cannot learn from text: it takes no sparse matrix; {LINEAR_MODEL} does")]
    return []


def _value_faults(kind: type, params: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    """Return the values that scikit-learn refuses.

    It tells one at a time, so each told one is set aside for the next.
    """
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
