"""Split, fit on executors, evaluate.

A forest is fitted in chunks of trees, each a Spark task that turns its chunk into compact arrays at once: nowhere is
the dense forest held whole, and one large client uses the whole cluster. Every other classifier fits in one task.
"""

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from bc4all.errors import DataError, ModelError
from bc4all.estimators import build_estimator
from bc4all.evaluation import Evaluation, evaluate
from bc4all.features import Matrix, model_input, rows_at
from bc4all.forest import CompactForest
from bc4all.gate import FEWEST
from bc4all.kinds import Features, all_numeric
from bc4all.partition import named
from bc4all.preprocessing import with_preprocessing
from bc4all.products import CATEGORY, PRODUCT, ROW
from bc4all.scoring import Model
from bc4all.taxonomy import rename

if TYPE_CHECKING:  # fits run in Python workers, which need neither YAML nor pydantic
    from bc4all.config import Client

# The split of the system that this one replaces, so that figures compare.
TEST_SIZE = 0.1
SPLIT_SEED = 1234

log = logging.getLogger(__name__)
_ID = "_id"
_FORESTS = ("sklearn.ensemble.RandomForestClassifier", "sklearn.ensemble.ExtraTreesClassifier")
_CHUNK_BYTES = 512 << 20  # of scikit-learn's dense trees, in one task
_NODE_BYTES = 64  # of a scikit-learn tree's node, beside its float64 for every category


@dataclass(frozen=True)
class TrainingSet:
    """Labelled rows in file order.

    X (rows, features) of `model_input`; codes int32 (rows,): each row's place in `names`, the sorted categories; ids
    int64 (rows,): hashes of the products' ids.
    """

    X: Matrix
    codes: np.ndarray
    names: np.ndarray
    ids: np.ndarray

    def labels(self, places: np.ndarray) -> np.ndarray:
        """The category names of some rows."""
        return self.names[self.codes[places]]

    @property
    def sha256(self) -> str:
        """The digest of values and labels, in order: equal data has an equal digest, whatever the file format."""
        content = hashlib.sha256()
        for part in [self.X[name] for name in self.X] if isinstance(self.X, pd.DataFrame) else [self.X]:
            content.update("\0".join(part).encode() if part.dtype == object else np.asarray(part).tobytes())
        content.update(self.codes.tobytes())
        content.update("\0".join(self.names).encode())
        return content.hexdigest()


@dataclass(frozen=True)
class Fitted:
    """A fitted model, how it does on the rows it was fitted on, and on the held-out ones (None without any).

    The places are those of the rows of both parts, as `split` gives them.
    """

    model: Model
    training: Evaluation
    held_out: Evaluation | None
    training_places: np.ndarray
    held_out_places: np.ndarray


def collect(accepted: DataFrame, features: Features, new_names: Mapping[str, str] | None = None) -> TrainingSet:
    """Bring the accepted rows to the driver, in the order of their files, their categories under their new names.

    Raises DataError where they hold fewer than two categories.
    """
    hashed = F.xxhash64(PRODUCT).alias(_ID)
    table: pa.Table = accepted.select(ROW, CATEGORY, hashed, *map(named, features)).toArrow().sort_by(ROW)
    codes, names = pd.factorize(table[CATEGORY].to_numpy(zero_copy_only=False), sort=True)
    if new_names:
        unmet = sorted(set(new_names) - set(names))
        if unmet:
            shown = ", ".join(unmet[:10]) + (", …" if len(unmet) > 10 else "")
            log.warning("%d old names of the category map are no product's any more: %s", len(unmet), shown)
        names, codes = rename(names, codes, new_names)
    if len(names) < 2:
        found = f"{len(names)} category" if len(names) else "no category"
        raise DataError(f"there is {found} where a classifier needs two", CATEGORY, "deliver more products")
    X = model_input(table.select(list(features)).to_pandas(), features)
    return TrainingSet(X, codes.astype(np.int32), np.asarray(names, dtype=object), table[_ID].to_numpy())


def split(codes: np.ndarray, learned: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The places of the rows to train on and of those held out: scikit-learn's `train_test_split`, seed 1234.

    With `learned` (rows,), whether the champion was fitted on a row, as many are drawn from those that it was not
    fitted on: what was held out then is so now, or the two could not be compared. A category keeps at least one row in
    the training part: its first one moves back if all of them were held out.
    """
    from sklearn.model_selection import train_test_split

    drawn = train_test_split(np.arange(len(codes)), test_size=TEST_SIZE, random_state=SPLIT_SEED)
    training, held_out = _with_every_category(codes, *drawn)
    new = np.flatnonzero(~learned) if learned is not None else np.zeros(0, dtype=int)
    if len(new) < FEWEST or np.array_equal(new, np.sort(held_out)):  # equal: the data has not changed since
        return training, held_out
    held_out = np.random.default_rng(SPLIT_SEED).permutation(new)[: len(held_out)]
    return _with_every_category(codes, np.setdiff1d(np.arange(len(codes)), held_out), held_out)


def _with_every_category(
    codes: np.ndarray, training: np.ndarray, held_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    unseen = np.setdiff1d(codes[held_out], codes[training])
    places = np.sort(held_out)
    back = [places[codes[places] == code][0] for code in unseen]
    return np.concatenate([training, np.array(back, dtype=training.dtype)]), held_out[~np.isin(held_out, back)]


def train(spark: SparkSession, client: "Client", data: TrainingSet, learned: np.ndarray | None = None) -> Fitted:
    """Fit the client's classifier and evaluate it on both parts. Raises ModelError where scikit-learn refuses.

    `learned`: the hashes of the products that the champion was fitted on.
    """
    training, held_out = split(data.codes, None if learned is None else np.isin(data.ids, learned))
    parts = spark.sparkContext.broadcast({"training": training, "held out": held_out})
    shared = spark.sparkContext.broadcast(data)
    try:
        model = _fit(spark, client, shared, parts)
        fitted = spark.sparkContext.broadcast(model)
        try:
            names = ["training", "held out"] if len(held_out) else ["training"]
            separator = client.category_separator
            evaluated = _run(spark, client, names, lambda name: _evaluate(shared, parts, fitted, name, separator))
        finally:
            fitted.destroy()
    finally:
        shared.destroy()
        parts.destroy()
    return Fitted(model, evaluated[0], evaluated[1] if len(evaluated) > 1 else None, training, held_out)


def evaluate_other(
    spark: SparkSession, client: "Client", data: TrainingSet, places: np.ndarray, model: Model, features: Features
) -> Evaluation:
    """How another of the client's models, of features that are among its present ones, does on some rows."""
    frame = pd.DataFrame(rows_at(data.X, places), columns=list(client.features))
    shared = spark.sparkContext.broadcast((model, model_input(frame, features), data.labels(places)))
    try:
        evaluated: list[Evaluation] = _run(spark, client, [None], lambda _: evaluate(*shared.value))
    finally:
        shared.destroy()
    return evaluated[0]


def _run(spark: SparkSession, client: "Client", items: list[Any], work: Any) -> list[Any]:
    """`work` on each item, a Spark task each; the client's errors come back as ModelError."""

    def answer(item: Any) -> tuple[Any, str]:
        try:
            return work(item), ""
        except ValueError as error:  # what scikit-learn raises for data and parameters that it does not take
            return None, str(error) or type(error).__name__

    answers = spark.sparkContext.parallelize(items, len(items)).map(answer).collect()
    for _, error in answers:
        if error:
            raise ModelError(error.splitlines()[0], client.model, "change its data, `model` or `model_params`")
    return [result for result, _ in answers]


def _fit(spark: SparkSession, client: "Client", data: Broadcast[TrainingSet], parts: Broadcast[Any]) -> Model:
    # Made here, because looking a classifier up imports all of scikit-learn: seconds, in every worker.
    estimator = build_estimator(client.model, client.model_params)
    if estimator.get_params().get("n_jobs") not in (None, 1):
        estimator.set_params(n_jobs=1)  # a task has one core
    estimator = with_preprocessing(estimator, client.features)
    if not is_chunked(client):
        whole = _run(spark, client, [None], lambda _: _fit_whole(estimator, data.value, parts.value["training"]))
        model: Model = whole[0]
        return model
    if estimator.random_state is None:  # all chunks must draw from one generator
        estimator.set_params(random_state=int(np.random.SeedSequence().generate_state(1)[0]))
    rows, categories = len(data.value.codes), len(data.value.names)
    chunks = _chunks(estimator.n_estimators, rows, categories, spark.sparkContext.defaultParallelism)
    forests = _run(
        spark, client, chunks, lambda chunk: _fit_chunk(estimator, data.value, parts.value["training"], *chunk)
    )
    return CompactForest.merge(forests)


def is_chunked(client: "Client") -> bool:
    """Whether the classifier is a forest whose trees can be fitted apart and kept as compact arrays."""
    params: Mapping[str, Any] = client.model_params
    plain = client.model in _FORESTS and all_numeric(client.features)
    return plain and not params.get("oob_score") and not params.get("warm_start")


def _chunks(trees: int, rows: int, categories: int, cores: int) -> list[tuple[int, int]]:
    """[start, stop) of the trees of each task: enough tasks for the cores, none above _CHUNK_BYTES."""
    tree_bytes = 2 * rows * (categories * 8 + _NODE_BYTES)
    size = max(1, min(math.ceil(trees / cores), _CHUNK_BYTES // tree_bytes))
    return [(start, min(start + size, trees)) for start in range(0, trees, size)]


def _fit_whole(estimator: Any, data: TrainingSet, places: np.ndarray) -> Model:
    fitted: Model = estimator.fit(rows_at(data.X, places), data.labels(places))
    return fitted


def _fit_chunk(forest: Any, data: TrainingSet, places: np.ndarray, start: int, stop: int) -> CompactForest:
    """The trees [start, stop) of the forest that scikit-learn would fit in one go, node for node.

    scikit-learn draws each tree's seed from one generator in turn; with `warm_start` it skips as many draws as there
    are trees already, so that place holders for the trees before `start` are enough.
    """
    forest.set_params(n_estimators=stop, warm_start=start > 0)
    if start:
        forest.estimators_ = [None] * start
    X = data.X[places].astype(np.float32)
    if isinstance(forest.class_weight, dict):  # whose keys are names
        forest.fit(X, data.labels(places))
    else:  # the same forest, without every chunk sorting the names
        forest.fit(X, data.codes[places])
        forest.classes_ = data.names[forest.classes_]
    forest.estimators_ = forest.estimators_[start:]
    return CompactForest.from_sklearn(forest)


def _evaluate(
    data: Broadcast[TrainingSet], parts: Broadcast[Any], model: Broadcast[Model], part: str, separator: str | None
) -> Evaluation:
    places = parts.value[part]
    return evaluate(model.value, rows_at(data.value.X, places), data.value.labels(places), separator)
