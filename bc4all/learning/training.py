"""A client's model: fitted, evaluated on the rows that it was fitted on and on those held out, beside the champion.

Where the client says so, what is registered has learned from the held-out rows, too: of some hundred titles, a tenth
teaches more than any other model would. The model that was evaluated stands for it wherever versions are compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bc4all.errors import ModelError
from bc4all.identity import ClientId
from bc4all.kinds import Features
from bc4all.learning.figures import evaluation_files
from bc4all.learning.fitting import run
from bc4all.learning.folds import Rows, folds
from bc4all.learning.plan import OutOfFoldAnswers, Plan, Planner, fit_plan
from bc4all.learning.recipes import is_same, recipe_answers, with_features
from bc4all.learning.shared_value import Shared
from bc4all.learning.suspects import FILE, find_suspects
from bc4all.learning.tasks import Tasks
from bc4all.model.abstention import curves
from bc4all.model.calibration import GivenProbabilities
from bc4all.model.distribution import profile, standing_for_all
from bc4all.model.evaluation import Evaluation, evaluate
from bc4all.model.features import model_input, rows_at
from bc4all.model.held_out import Sides, distinct_rows, hold_out
from bc4all.model.ranking import Model
from bc4all.model.training_set import MIN_COMPARED_ROWS, TrainingSet

_EXAMPLES = 100  # rows that are kept: a version must answer them as the model did that it was made from


@dataclass(frozen=True)
class Lesson:
    """What a client's training takes beside its products and the champion.

    `separator` stands between the parts of categories that are paths; `refits`: whether to fit once more, on all rows;
    `new_names` are those of the category map.
    """

    client_id: ClientId
    features: Features
    model_name: str
    planner: Planner
    refits: bool
    separator: str | None = None
    new_names: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Opponent:
    """The champion that a new model is compared with, of features that are among the client's present ones.

    `sides` are None where they are not known; the model is None where it cannot be asked; `recipe` is what it was made
    by, if that was kept.
    """

    model: Model | None = None
    features: Features | None = None
    sides: Sides | None = None
    recipe: Plan | None = None


@dataclass(frozen=True)
class Learned:
    """A fitted model, and all that is kept of its training: no row of the data beyond some examples.

    `model` is to be used; `judged`, the same unless that was fitted again on all rows, is what was evaluated; `said` is
    what they were made by. `challenger` and `champion` are `Evaluation.answers` for held-out rows, as the gate compares
    them, and `recipes` are both recipes' out of fold, where those are too few. `files`: content by name, for people.
    `profile` and `curves` are stored with the model.
    """

    model: Model
    judged: Model
    said: Any
    rows: int
    categories: int
    sha256: str
    examples: pd.DataFrame
    sides: Sides
    training: Mapping[str, float]
    held_out: Mapping[str, float] | None
    challenger: pd.DataFrame | None
    champion: pd.DataFrame | None
    profile: Mapping[str, Any]
    curves: Mapping[str, Any] | None
    files: Mapping[str, bytes]
    recipes: tuple[pd.DataFrame, pd.DataFrame] | None = None
    incomparable: str = ""  # why the champion did not answer
    warnings: tuple[str, ...] = ()

    @cached_property
    def metrics(self) -> Mapping[str, float]:
        """Of the held-out rows, if there are any."""
        return self.held_out or self.training


def learn(tasks: Tasks, lesson: Lesson, data: TrainingSet, opponent: Opponent) -> Learned:
    """Fit the client's model, evaluate it on both parts, and fit it once more, on all rows, if it is to be.

    Raises ModelError where scikit-learn refuses.
    """
    training, held_out = hold_out(data, lesson.features, opponent.sides)
    with tasks.shared(Rows(data, training, folds(data.codes[training]))) as rows:
        plan, probabilities = lesson.planner(tasks, rows)
        fitted = fit_plan(tasks, rows, plan, probabilities, again=lesson.refits and len(held_out) > 0)
        parts = {"training": training, **({"held_out": held_out} if len(held_out) else {})}
        evaluated = _evaluate_parts(tasks, lesson, rows, fitted.judged, parts)
    on_training, on_held_out = evaluated["training"], evaluated.get("held_out")
    answers = (on_held_out or on_training).answers
    champion, incomparable = _champions_answers(tasks, lesson, data, held_out, opponent)
    unseen = [on_held_out.answers.set_index(held_out)] if on_held_out else []
    unseen += [_out_of_fold(data, fitted.answers)] if fitted.answers else []
    suspects = {FILE: find_suspects(data, lesson.features, unseen).stored()} if unseen else {}
    few = champion is not None and len(champion) < MIN_COMPARED_ROWS
    recipes, refused = _recipes(tasks, lesson, data, plan, opponent) if few else (None, "")
    return Learned(
        model=fitted.model,
        judged=fitted.judged,
        said=plan.said,
        rows=len(data.codes),
        categories=len(data.names),
        sha256=data.sha256,
        examples=pd.DataFrame(data.X[:_EXAMPLES], columns=list(lesson.features)),
        sides=Sides(data.ids[training], data.ids[held_out]),
        training=on_training.metrics,
        held_out=on_held_out.metrics if on_held_out else None,
        challenger=on_held_out.answers if on_held_out else None,
        champion=champion,
        recipes=recipes,
        incomparable=incomparable or refused,
        profile=_profile(lesson.features, data, training, held_out if on_held_out else training, answers),
        curves=curves(on_held_out.answers) if on_held_out else None,
        files=evaluation_files(lesson.client_id, evaluated) | suspects,
    )


def _out_of_fold(data: TrainingSet, answers: OutOfFoldAnswers) -> pd.DataFrame:
    """Return `Evaluation.answers` out of fold, by the rows' places."""
    given = GivenProbabilities(data.names)
    return evaluate(given, answers.probabilities, data.labels(answers.places)).answers.set_index(answers.places)


def _profile(
    features: Features, data: TrainingSet, training: np.ndarray, places: np.ndarray, answers: pd.DataFrame
) -> Mapping[str, Any]:
    """Return what drift is measured from: the rows learned from, and the answers for those at some places."""
    distinct, best = distinct_rows(rows_at(data.X, places), features), answers["predicted"].to_numpy()
    predicted = standing_for_all(best, data.codes[places], data.codes, data.names)
    return profile(rows_at(data.X, training), features, *predicted, distinct)


def _champions_answers(
    tasks: Tasks, lesson: Lesson, data: TrainingSet, held_out: np.ndarray, opponent: Opponent
) -> tuple[pd.DataFrame | None, str]:
    """Return the champion's answers for the held-out rows that it has not learned from, by their places there.

    Where it cannot answer: None, and why.
    """
    if opponent.model is None or opponent.features is None or opponent.sides is None:
        return None, ""
    new = np.flatnonzero(~np.isin(data.ids[held_out], opponent.sides.learned))
    if len(new) < MIN_COMPARED_ROWS:
        return pd.DataFrame(index=new), ""
    places = held_out[new]
    frame = pd.DataFrame(rows_at(data.X, places), columns=list(lesson.features))
    asked = opponent.model, model_input(frame, opponent.features), data.labels(places)
    with tasks.shared(asked) as shared:
        try:
            about, named = lesson.model_name, "evaluate champion"
            evaluated: list[Evaluation] = run(tasks, about, [None], lambda _: evaluate(*shared.value), named)
        except ModelError as error:
            return None, f"the champion cannot answer, and was not compared: {error.what}"
    return evaluated[0].answers.set_index(new), ""


def _recipes(
    tasks: Tasks, lesson: Lesson, data: TrainingSet, plan: Plan, opponent: Opponent
) -> tuple[tuple[pd.DataFrame, pd.DataFrame] | None, str]:
    """Return what the new recipe and the champion's answer out of fold; or why the new one cannot.

    None where the champion's is not known, is the same, or cannot be fitted on this data any more.
    """
    before, features = opponent.recipe, opponent.features
    if before is None or features is None or (is_same(before, plan) and list(features) == list(lesson.features)):
        return None, ""
    if (np.bincount(data.codes)[data.codes] > 1).sum() < MIN_COMPARED_ROWS:
        return None, ""
    try:
        challenger = recipe_answers(tasks, data, plan)
    except ModelError as error:
        return None, f"the model cannot be asked out of fold, and was not compared: {error.what}"
    try:
        return (challenger, recipe_answers(tasks, with_features(data, lesson.features, features), before)), ""
    except ModelError:  # it is no bar
        return None, ""


def _evaluate_parts(
    tasks: Tasks, lesson: Lesson, rows: Shared[Rows], model: Model, parts: dict[str, np.ndarray]
) -> dict[str, Evaluation]:
    """Return how the model does on each part, given by its rows' places."""
    separator = lesson.separator
    with tasks.shared((model, parts)) as shared:

        def work(name: str) -> Evaluation:
            data, (fitted, places) = rows.value.data, shared.value
            return evaluate(fitted, rows_at(data.X, places[name]), data.labels(places[name]), separator)

        return dict(zip(parts, run(tasks, lesson.model_name, list(parts), work, "evaluate"), strict=True))
