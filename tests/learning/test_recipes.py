"""What two recipes answer out of fold, for a client of whom hardly a row is held out."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier

from bc4all.identity import ClientId
from bc4all.learning.model_size import Room
from bc4all.learning.plan import Plan, Settled
from bc4all.learning.recipes import recipe_answers
from bc4all.learning.tasks import OneTask
from bc4all.learning.training import Learned, Lesson, Opponent, learn
from bc4all.model.held_out import Sides
from bc4all.model.training_set import TrainingSet
from tests.conftest import make_training_set

NAMES = np.array([f"n{place:02}" for place in range(20)], dtype=object)
FEATURES = {"a": "numeric", "b": "numeric"}
TASK = OneTask(Room(1 << 30, "this test"))
GOOD = Plan("good", [LogisticRegression()], [1.0], "temperature", {"blend": "good"})
BAD = Plan("bad", [DummyClassifier(strategy="most_frequent")], [1.0], None, {"blend": "bad"})


def products(rows: int = 120) -> TrainingSet:
    """Three categories that follow from the first feature, and a fourth of one product."""
    rng = np.random.default_rng(4)
    codes = (np.arange(rows) % 3).astype(np.int32)
    codes[0] = 3
    X = np.column_stack([codes + rng.normal(scale=0.2, size=rows), rng.normal(size=rows)])
    return make_training_set(X, codes, list("abcd"))


def learned(plan: Plan, recipe: Plan | None, features: dict[str, str] = FEATURES, rows: int = 120) -> Learned:
    """What comes of a training while the champion was made by `recipe`, of some of the features."""
    data = products(rows)
    columns = [list(FEATURES).index(name) for name in features]
    champion = DummyClassifier().fit(data.X[:, columns], data.labels(np.arange(rows)))
    opponent = Opponent(champion, features, Sides(np.zeros(0, np.int64), None), recipe)
    lesson = Lesson(ClientId("x"), FEATURES, "test", Settled(plan), refits=False)
    return learn(TASK, lesson, data, opponent)


def test_all_rows_that_can_be_known_are_asked() -> None:
    answers = recipe_answers(TASK, products(), GOOD)
    assert list(answers.index) == list(range(1, 120))
    assert answers["correct"].mean() > 0.95
    sharp = recipe_answers(TASK, products(), replace(GOOD, calibrate=None))
    assert answers["loss"].mean() < sharp["loss"].mean()


def test_another_recipe_is_compared_and_the_same_is_not() -> None:
    """Where few rows are held out; where there are more, these tell."""
    recipes = learned(BAD, GOOD).recipes
    assert recipes is not None
    challenger, champion = recipes
    assert champion["correct"].mean() > challenger["correct"].mean() + 0.5
    assert learned(GOOD, GOOD).recipes is None
    assert learned(GOOD, None).recipes is None
    assert learned(BAD, GOOD, rows=600).recipes is None


def test_other_features_are_another_recipe() -> None:
    """The champion's is made of its own ones."""
    recipes = learned(GOOD, GOOD, {"b": "numeric"}).recipes
    assert recipes is not None
    challenger, champion = recipes
    assert challenger["correct"].mean() > champion["correct"].mean() + 0.3


def test_a_recipe_that_the_data_refuses_is_no_bar() -> None:
    negative = Plan("bayes", [MultinomialNB()], [1.0], None, {"blend": "bayes"})
    assert learned(GOOD, negative).recipes is None


def test_a_model_that_folds_are_too_small_for_is_not_compared() -> None:
    """It says so, and is trained all the same."""
    many = Plan("near", [KNeighborsClassifier(100)], [1.0], None, {"blend": "near"})
    found = learned(many, GOOD)
    assert found.recipes is None
    assert found.incomparable.startswith(
        "the model cannot be asked out of fold, and was not compared: Expected n_neigh"
    )


def test_where_hardly_a_row_can_be_known_nothing_is_compared() -> None:
    data = make_training_set(np.arange(40.0).reshape(20, 2), np.arange(20), NAMES)
    champion = DummyClassifier().fit(data.X, data.labels(np.arange(20)))
    lesson = Lesson(ClientId("x"), FEATURES, "test", Settled(BAD), refits=False)
    rival = Opponent(champion, FEATURES, Sides(np.zeros(0, np.int64), None), GOOD)
    assert learn(TASK, lesson, data, rival).recipes is None


@pytest.mark.parametrize("rows", [120, 600])
def test_the_rest_is_as_without_a_rival(rows: int) -> None:
    data = products(rows)
    lesson = Lesson(ClientId("x"), FEATURES, "test", Settled(GOOD), refits=False)
    assert learned(GOOD, BAD, rows=rows).metrics == learn(TASK, lesson, data, Opponent()).metrics
