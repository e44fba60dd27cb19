"""Unfitted classifiers -> fitted ones, as tasks over rows that are shared once.

A forest is fitted in chunks of trees that are turned into compact arrays at once: nowhere is the dense forest held
whole, and one large client uses the whole cluster. Every other classifier fits in one task.
"""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast

import numpy as np

from bc4all.errors import ModelError
from bc4all.learning.folds import FOLDS, Rows
from bc4all.learning.model_size import REMEDY, refusal
from bc4all.learning.pieces import write_pieces
from bc4all.learning.shared_value import Shared
from bc4all.learning.smoothing import Votes, smoothing, unseen_votes
from bc4all.learning.tasks import Tasks
from bc4all.model.blend import EmbeddedForest, placed
from bc4all.model.coefficients import narrowed
from bc4all.model.features import rows_at
from bc4all.model.forest import CompactForest, is_forest
from bc4all.model.preprocessing import split_columns
from bc4all.model.ranking import Model
from bc4all.model.training_set import TrainingSet

T = TypeVar("T")

COSTS = ("megabytes", "fit_seconds", "score_microseconds")
_CHUNK_BYTES = 512 << 20  # of scikit-learn's dense trees, in one task
_PIECE_BYTES = 1 << 20  # of a pickled model that is only measured
_NODE_BYTES = 64  # of a scikit-learn tree's node, beside its float64 for every category


@dataclass(frozen=True)
class OutOfFold:
    """What an estimator answers for rows that it was not fitted on, and what it costs.

    probabilities float32 (rows, categories), of the rows that were `Rows.asked`, in order; the costs by the
    names of COSTS: the size in memory, the time to fit on the other rows, to score one. With an `error`, scikit-learn
    refused.
    """

    probabilities: np.ndarray
    costs: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(COSTS, 0.0))
    error: str = ""


def run(tasks: Tasks, about: str, items: Sequence[Any], work: Callable[[Any], Any], name: str = "fit") -> list[Any]:
    """`work` of a name on each item; what scikit-learn refuses comes back as a ModelError `about` it."""

    def answer(item: Any) -> tuple[Any, str]:
        try:
            return work(item), ""
        except (ValueError, MemoryError) as error:  # of data and parameters that it does not take, or cannot hold
            return None, _refusal(error)

    answers = tasks.each(items, answer, name)
    for _, error in answers:
        if error:
            raise ModelError(error, about, "change its data, `model` or `model_params`")
    return [result for result, _ in answers]


def _refusal(error: Exception) -> str:
    told = (str(error) or type(error).__name__).splitlines()[0]
    return f"there is not memory enough for it ({told}): {REMEDY}" if isinstance(error, MemoryError) else told


@dataclass(frozen=True)
class Work(Generic[T]):
    """Items that tasks `do`, and what becomes of their answers, in order."""

    items: Sequence[Any]
    do: Callable[[Any], Any]
    end: Callable[[Sequence[Any]], T]


def side_by_side(tasks: Tasks, about: str, works: Sequence[Work[Any]], name: str = "fit") -> list[Any]:
    """Return what each of some works comes to, handed out together: a core that one leaves idle does another's.

    Raises ModelError as `run` does.
    """
    doing = [work.do for work in works]
    items = [(n, item) for n, work in enumerate(works) for item in work.items]
    answers = iter(run(tasks, about, items, lambda item: doing[item[0]](item[1]), name))
    return [work.end([next(answers) for _ in work.items]) for work in works]


def fits(
    tasks: Tasks, about: str, rows: Shared[Rows], estimators: Sequence[Any], every: bool = False
) -> Work[list[Model]]:
    """Return the work that fits each of the unfitted estimators on the rows to fit on, or on `every` row of the data.

    Raises ModelError, before any is fitted, where the driver could not hold them.
    """
    from sklearn.base import clone

    data = rows.value.data
    shape = len(data.codes) if every else len(rows.value.places), len(data.names)
    error = refusal(tasks.room, estimators, *shape, data.X)
    if error:
        raise ModelError(error, about)
    at_once, estimators = tasks.at_once, [clone(one) for one in estimators]  # each fit draws a seed of its own
    items = [(n, chunk) for n, one in enumerate(estimators) for chunk in _chunks(_with_seed(one), *shape, at_once)]

    def fit_part(item: tuple[int, tuple[int, int]]) -> Any:
        estimator, data = estimators[item[0]], rows.value.data
        places = np.arange(len(data.codes)) if every else rows.value.places
        if is_forest(estimator):
            return _fit_chunk(estimator, data, places, *item[1])
        return _fit_whole(estimator, data, places)

    def merge(parts: Sequence[Any]) -> list[Model]:
        fitted: list[Model] = []
        for n, estimator in enumerate(estimators):
            own = [part for (place, _), part in zip(items, parts, strict=True) if place == n]
            fitted.append(_merged(own) if is_forest(estimator) else own[0])
        return fitted

    return Work(items, fit_part, merge)


def out_of_fold(
    tasks: Tasks, rows: Shared[Rows], estimators: Sequence[Any], once: bool = False
) -> Work[list[OutOfFold]]:
    """Return the work that says what each estimator answers for every fold, fitted on the others.

    Of one that is too large it is an error. `once`: for the first fold alone.
    """
    asked = range(1) if once else range(FOLDS)
    data, fitted_on = rows.value.data, len(rows.value.others(0))
    refused = {n: refusal(tasks.room, [one], fitted_on, len(data.names), data.X) for n, one in enumerate(estimators)}
    sound = [n for n, error in refused.items() if not error]

    def work(item: tuple[int, int]) -> OutOfFold:
        try:
            return _fold(estimators[item[0]], rows.value, item[1])
        except (ValueError, ArithmeticError, MemoryError) as error:  # another candidate may do
            return OutOfFold(np.zeros((0, 0)), error=_refusal(error))

    def join(answers: Sequence[OutOfFold]) -> list[OutOfFold]:
        found = {n: OutOfFold(np.zeros((0, 0)), error=error) for n, error in refused.items() if error}
        for at, place in enumerate(sound):
            found[place] = _joined(answers[at * len(asked) : (at + 1) * len(asked)], rows.value)
        return [found[n] for n in range(len(refused))]

    return Work([(place, fold) for place in sound for fold in asked], work, join)


def _joined(parts: Sequence[OutOfFold], rows: Rows) -> OutOfFold:
    """Return one estimator's answers of all folds, back in the rows' order."""
    refused = next((part for part in parts if part.error), None)
    if refused:
        return refused
    own = rows.folds[rows.folds < len(parts)]
    probabilities = np.zeros((len(own), len(rows.data.names)), dtype=np.float32)
    for fold, part in enumerate(parts):
        probabilities[own == fold] = part.probabilities
    # The least of the folds: the others may have been the first in their worker.
    return OutOfFold(probabilities, {name: min(part.costs[name] for part in parts) for name in COSTS})


def _pickled_bytes(model: Model) -> int:
    length, _ = write_pieces(model, _PIECE_BYTES, lambda piece: None)
    return length


def _fold(estimator: Any, rows: Rows, fold: int) -> OutOfFold:
    data, asked = rows.data, rows.places[rows.folds == fold]
    started = time.perf_counter()
    model = _fit_whole(estimator, data, rows.others(fold))
    X = rows_at(data.X, asked)
    model.predict_proba(X[:1])  # what is compiled or loaded at the first time is no cost of the model
    fitted = time.perf_counter()
    probabilities = placed(model.predict_proba(X), model.classes_, data.names).astype(np.float32)
    scored = time.perf_counter() - fitted
    size = model.nbytes if isinstance(model, CompactForest | EmbeddedForest) else _pickled_bytes(model)
    costs = (size / 1e6, fitted - started, scored / max(1, len(asked)) * 1e6)
    return OutOfFold(probabilities, dict(zip(COSTS, costs, strict=True)))


def _with_seed(estimator: Any) -> Any:
    if is_forest(estimator) and estimator.random_state is None:  # all chunks must draw from one generator
        estimator.set_params(random_state=int(np.random.SeedSequence().generate_state(1)[0]))
    return estimator


def _chunks(estimator: Any, rows: int, categories: int, at_once: int) -> list[tuple[int, int]]:
    """[start, stop) of the trees of each task: enough tasks for all cores, none above _CHUNK_BYTES."""
    if not is_forest(estimator):
        return [(0, 0)]
    trees, tree_bytes = estimator.n_estimators, 2 * rows * (categories * 8 + _NODE_BYTES)
    size = max(1, min(math.ceil(trees / at_once), _CHUNK_BYTES // tree_bytes))
    return [(start, min(start + size, trees)) for start in range(0, trees, size)]


def _fit_whole(estimator: Any, data: TrainingSet, places: np.ndarray) -> Model:
    """Fitted on some rows in this task alone; a forest chunk by chunk, behind columns or not."""
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    estimator = clone(estimator)  # which is fitted in this process more than once, if all is done in one task
    if is_forest(estimator):
        chunks = _chunks(_with_seed(estimator), len(places), len(data.names), 1)
        return _merged([_fit_chunk(estimator, data, places, *chunk) for chunk in chunks])
    columns, classifier = split_columns(estimator)
    if columns is not None and is_forest(classifier):
        numbers = columns.fit_transform(rows_at(data.X, places))
        if isinstance(numbers, np.ndarray):  # text becomes a sparse matrix, which compact trees do not take
            prepared = replace(data, X=numbers, codes=data.codes[places])
            forest = _fit_whole(classifier, prepared, np.arange(len(numbers)))
            return EmbeddedForest(cast(CompactForest, forest), columns)
    with warnings.catch_warnings():
        # `max_iter` restrains a model as others do: what it is worth is measured on rows that it has not seen.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted: Model = narrowed(estimator.fit(rows_at(data.X, places), data.labels(places)))
    return fitted


def _fit_chunk(
    forest: Any, data: TrainingSet, places: np.ndarray, start: int, stop: int
) -> tuple[CompactForest, Votes]:
    """Return the trees [start, stop) of the forest that scikit-learn would fit in one go, and their votes.

    Node for node they are: scikit-learn draws each tree's seed from one generator in turn; with `warm_start` it skips
    as many draws as there are trees already, so that place holders for the trees before `start` are enough.
    """
    from sklearn.base import clone

    forest = clone(forest).set_params(n_estimators=stop, warm_start=start > 0)
    if start:
        forest.estimators_ = [None] * start
    X = data.X[places].astype(np.float32)
    if isinstance(forest.class_weight, dict):  # whose keys are names
        forest.fit(X, data.labels(places))
    else:  # the same forest, without every chunk sorting the names
        forest.fit(X, data.codes[places])
        forest.classes_ = data.names[forest.classes_]
    forest.estimators_ = forest.estimators_[start:]
    compact = CompactForest.from_sklearn(forest)
    return compact, unseen_votes(forest, compact, data, places)


def _merged(parts: Sequence[tuple[CompactForest, Votes]]) -> CompactForest:
    """Return the forest of some chunks, smoothed as their votes tell."""
    forest = CompactForest.merge([part for part, _ in parts])
    return replace(forest, smoothing=smoothing([votes for _, votes in parts], len(forest.classes_)))
