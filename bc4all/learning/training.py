"""A client's model: fitted on executors, evaluated on the rows that it was fitted on and on those held out.

Where the client says so, what is registered has learned from the held-out rows, too: of some hundred titles, a tenth
teaches more than any other model would. The model that was evaluated stands for it wherever versions are compared.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark import Broadcast
from pyspark.sql import SparkSession

from bc4all.kinds import Features
from bc4all.learning.blending import Sample, choose, fit_blend
from bc4all.learning.fitting import Rows, folds, run
from bc4all.learning.shared_value import SharedValue
from bc4all.model.evaluation import Evaluation, evaluate
from bc4all.model.features import model_input, rows_at
from bc4all.model.ranking import Model
from bc4all.model.training_set import TrainingSet, split

if TYPE_CHECKING:
    from bc4all.config.clients import Client
    from bc4all.config.model_settings import BlendSettings


@dataclass(frozen=True)
class Fitted:
    """A fitted model, how it does on the rows it was fitted on, and on the held-out ones (None without any).

    `model` is to be used; `judged`, the same unless that was fitted again on all rows, is what was evaluated. `choice`
    is what they were made by. The places are those of the rows of both parts, as `split` gives them.
    """

    model: Model
    judged: Model
    choice: "BlendSettings"
    training: Evaluation
    held_out: Evaluation | None
    training_places: np.ndarray
    held_out_places: np.ndarray


def train(spark: SparkSession, client: "Client", data: TrainingSet, learned: np.ndarray | None = None) -> Fitted:
    """Fit the client's model, evaluate it on both parts, and fit it once more, on all rows, if it is to be.

    `learned` (rows,): whether the champion was fitted on a row, if there is one. Raises ModelError where scikit-learn
    refuses.
    """
    training, held_out = split(data.codes, learned)
    shared = spark.sparkContext.broadcast(Rows(data, training, folds(data.codes[training])))
    try:
        if client.blend:
            choice, judged = client.blend, fit_blend(spark, client, shared, client.blend)
        else:
            found, _ = choose(spark, client, Sample.of(shared))
            choice, judged = found.blend, fit_blend(spark, client, shared, found.blend, found.probabilities)
        parts = {"training": training, **({"held out": held_out} if len(held_out) else {})}
        evaluated = _evaluate_parts(spark, client, shared, judged, parts)
    finally:
        shared.destroy()
    model = _fit_again(spark, client, data, choice, judged) if client.refits and len(held_out) else judged
    return Fitted(model, judged, choice, evaluated["training"], evaluated.get("held out"), training, held_out)


def _fit_again(
    spark: SparkSession, client: "Client", data: TrainingSet, choice: "BlendSettings", judged: Model
) -> Model:
    """Return what `judged` is, fitted on all rows; its calibration, learned from rows that it had not seen, stays."""
    calibrator = getattr(judged, "calibrator", None)
    if calibrator is None:  # as there was nothing to learn it from, though there may be now
        choice = choice.model_copy(update={"calibrate": None})
    shared = spark.sparkContext.broadcast(Rows(data, np.arange(len(data.codes)), folds(data.codes)))
    try:
        return fit_blend(spark, client, shared, choice, calibrator=calibrator)
    finally:
        shared.destroy()


def evaluate_other(
    spark: SparkSession, client: "Client", data: TrainingSet, places: np.ndarray, model: Model, features: Features
) -> Evaluation:
    """Return how another of the client's models, of features that are among its present ones, does on some rows."""
    frame = pd.DataFrame(rows_at(data.X, places), columns=list(client.features))
    shared = SharedValue(spark, (model, model_input(frame, features), data.labels(places)))
    try:
        evaluated: list[Evaluation] = run(spark, client.model_name, [None], lambda _: evaluate(*shared.value))
    finally:
        shared.destroy()
    return evaluated[0]


def _evaluate_parts(
    spark: SparkSession, client: "Client", rows: Broadcast[Rows], model: Model, parts: dict[str, np.ndarray]
) -> dict[str, Evaluation]:
    """Return how the model does on each part, given by its rows' places."""
    shared, separator = SharedValue(spark, (model, parts)), client.category_separator

    def work(name: str) -> Evaluation:
        data, (fitted, places) = rows.value.data, shared.value
        return evaluate(fitted, rows_at(data.X, places[name]), data.labels(places[name]), separator)

    try:
        return dict(zip(parts, run(spark, client.model_name, list(parts), work), strict=True))
    finally:
        shared.destroy()
