"""Two recipes compared, where too few rows are held out to compare two models by them.

A recipe is what a model is made by: the champion's is fitted on the present data, as the new one is, and both are asked
out of fold, about all rows. That tells whether a change of the configuration is for the worse; not whether the data is.
"""

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from bc4all.kinds import Features
from bc4all.learning.folds import Rows, folds
from bc4all.learning.plan import Plan, plan_answers
from bc4all.learning.tasks import Tasks
from bc4all.model.calibration import GivenProbabilities, cross_fitted
from bc4all.model.evaluation import evaluate
from bc4all.model.features import model_input
from bc4all.model.training_set import TrainingSet


def recipe_answers(tasks: Tasks, data: TrainingSet, plan: Plan) -> pd.DataFrame:
    """Return `Evaluation.answers` of a recipe out of fold, for the rows whose category another row has.

    Raises ModelError where scikit-learn refuses.
    """
    with tasks.shared(Rows(data, np.arange(len(data.codes)), folds(data.codes))) as rows:
        codes, known = rows.value.asked(rows.value.is_sampled)
        probabilities = plan_answers(tasks, rows, plan)
    if plan.calibrate:
        probabilities = cross_fitted(probabilities, codes, plan.calibrate)
    answers = evaluate(GivenProbabilities(data.names), probabilities[known], data.names[codes[known]]).answers
    return answers.set_index(np.flatnonzero(known))


def is_same(one: Plan, other: Plan) -> bool:
    """Return whether two recipes say the same, whether they were kept as JSON or not."""
    return json.dumps(one.said, sort_keys=True) == json.dumps(other.said, sort_keys=True)


def with_features(data: TrainingSet, own: Features, wanted: Features) -> TrainingSet:
    """Return the same rows with the wanted ones of their own features, in that order."""
    if list(own) == list(wanted):
        return data
    X = model_input(pd.DataFrame(data.X, columns=list(own)), wanted)
    return replace(data, X=X)
