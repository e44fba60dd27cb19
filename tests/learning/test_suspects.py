"""Training products whose label is probably wrong."""

import csv
import io
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from bc4all.errors import ModelError
from bc4all.identity import ClientId
from bc4all.learning.folds import Rows, folds
from bc4all.learning.model_size import Room
from bc4all.learning.plan import Plan, Settled
from bc4all.learning.suspects import FILE, Suspect, Suspects, find_suspects
from bc4all.learning.tasks import OneTask
from bc4all.learning.training import Lesson, Opponent, learn
from bc4all.model.calibration import GivenProbabilities
from bc4all.model.evaluation import evaluate
from bc4all.model.training_set import TrainingSet
from tests.conftest import make_training_set

TASK = OneTask(Room(1 << 30, "this test"))
NUMBERS = {"f0": "numeric", "f1": "numeric"}
CENTRES = np.array([[0, 0], [4, 0], [0, 4]])


def products(rows: int = 300) -> tuple[TrainingSet, np.ndarray]:
    """Three categories far from one another; every thirtieth product has another one's label. Which ones these are."""
    rng = np.random.default_rng(7)
    truth = np.arange(rows) % 3
    wrong = np.arange(0, rows, 30)
    labels = truth.copy()
    labels[wrong] = (truth[wrong] + 1 + rng.integers(0, 2, len(wrong))) % 3
    X = CENTRES[truth] + rng.normal(scale=0.2, size=(rows, 2))
    return make_training_set(X, labels, list("abc")), wrong


def asked(data: TrainingSet, places: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """What a model answers for some products."""
    names = data.names[: probabilities.shape[1]]
    return evaluate(GivenProbabilities(names), probabilities, data.labels(places)).answers.set_index(places)


def lesson(plan: Plan) -> Lesson:
    return Lesson(ClientId("x"), NUMBERS, "test", Settled(plan), refits=False)


@given(st.integers(0, 10_000))
def test_a_suspect_reaches_the_threshold_of_its_best_category(seed: int) -> None:
    """Row by row as the definition has it; of categories with ten products, the surest first."""
    rng = np.random.default_rng(seed)
    rows, categories = int(rng.integers(1, 200)), int(rng.integers(2, 6))
    codes, answers = rng.integers(0, categories, rows), rng.dirichlet(np.ones(categories), rows)
    expected = {}
    for row, (code, answer) in enumerate(zip(codes, answers, strict=True)):
        best = int(answer.argmax())
        if best == code or min((codes == best).sum(), (codes == code).sum()) < 10:
            continue
        if answer[best] >= min(answers[codes == best, best].mean(), 0.8):
            expected[row] = answer[code] - answer[best]
    data = make_training_set(np.zeros((rows, 2)), codes, list("abcdef")[:categories])
    found = find_suspects(data, NUMBERS, [asked(data, np.arange(rows), answers)]).suspects
    assert {int(suspect.product_id) for suspect in found} == set(expected)
    assert [suspect.suggested for suspect in found] == [
        "abcdef"[answers[int(suspect.product_id)].argmax()] for suspect in found
    ]
    margins = [expected[int(suspect.product_id)] for suspect in found]
    np.testing.assert_allclose(margins, sorted(margins), atol=1e-12)


def test_planted_faults_are_what_a_training_finds() -> None:
    """Most of them, and no others: by their ids, with the category that they are of."""
    data, wrong = products()
    learned = learn(TASK, lesson(Plan("test", [GaussianNB()], [1.0], "temperature", {})), data, Opponent())
    found = Suspects.read(learned.files[FILE])
    assert {suspect.product_id for suspect in found.suspects} <= {str(row) for row in wrong}
    assert len(found.suspects) == found.count > len(wrong) / 2
    assert (found.products, found.asked) == (300, 300)
    for suspect in found.suspects:
        row = int(suspect.product_id)
        assert (suspect.label, suspect.suggested) == (data.names[data.codes[row]], "abc"[row % 3])
        assert suspect.label_score < suspect.suggested_score


def test_of_a_sample_it_is_known_how_many_were_looked_at() -> None:
    """The rows of one fold, by their own places in the data."""
    data, wrong = products()
    places = np.arange(300)[::-1]
    rows = Rows(data, places, folds(data.codes[places], most_rows=90))
    one_fold = rows.asked_places(once=True)
    np.testing.assert_array_equal(data.codes[one_fold], rows.asked(once=True)[0])
    probabilities: np.ndarray = LogisticRegression().fit(CENTRES, [0, 1, 2]).predict_proba(data.X[one_fold])
    found = find_suspects(data, NUMBERS, [asked(data, one_fold, probabilities)])
    assert (found.products, found.asked) == (300, 30)
    assert found.small == (np.bincount(data.codes[one_fold]) < 10).sum()
    assert {int(suspect.product_id) for suspect in found.suspects} == set(wrong) & set(one_fold)


def test_of_a_model_that_is_not_calibrated_the_held_out_products_are_looked_at() -> None:
    """A plain forest, which is asked of no others."""
    data, _ = products()
    plan = Plan("test", [RandomForestClassifier(5, random_state=0)], [1.0], None, {})
    found = Suspects.read(learn(TASK, lesson(plan), data, Opponent()).files[FILE])
    assert (found.products, found.asked) == (300, 30)


def test_a_title_is_shown_beside_the_most_similar_one() -> None:
    """Of the suggested category; all text features together, and no others."""
    kinds = {"price": "numeric", "name": "text", "maker": "category", "details": "text"}
    names = ["fridge freezer", "dishwasher slim"]
    codes = np.arange(40) % 2
    texts = [f"{names[code]} model {row}" for row, code in enumerate(codes)]
    texts[1], codes[1] = "fridge freezer model 22b", 1  # labelled as a dishwasher
    columns = {"price": np.ones(40), "name": texts, "maker": ["m"] * 40, "details": ["", "white"] * 20}
    data = make_training_set(pd.DataFrame(columns)[list(kinds)], codes, ["fridge", "washer"])
    probabilities = np.where(np.array([text.startswith("fridge") for text in texts])[:, None], [0.9, 0.1], [0.1, 0.9])
    (suspect,) = find_suspects(data, kinds, [asked(data, np.arange(40), probabilities)]).suspects
    assert suspect == Suspect("1", "washer", 0.1, "fridge", 0.9, "fridge freezer model 22b · white", texts[22])


def test_a_spreadsheet_takes_no_text_for_a_formula() -> None:
    """Ids, labels and titles are delivered: a cell that begins as a formula does is made text."""
    suspect = Suspect("-1", "=a", 0.1, "@b", 0.9, "+title, x", "\trest")
    rows = list(csv.reader(io.StringIO(Suspects(2, 1, 0, 1, (suspect,)).csv())))
    assert rows[0] == [field.name for field in fields(Suspect)]
    assert rows[1] == ["'-1", "'=a", "0.1", "'@b", "0.9", "'+title, x", "'\trest"]
    assert Suspects(2, 1, 0, 0, ()).csv() == ",".join(rows[0]) + "\n"


def test_what_is_stored_is_read_again() -> None:
    suspects = Suspects(9, 5, 2, 1, (Suspect("1", "ä", 0.1, "b", 0.9, "<b>", ""),))
    assert Suspects.read(suspects.stored()) == suspects


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"suspects": [{"id": 1}]}', b'{"suspects": [], "more": 1}'])
def test_what_is_no_list_of_suspects_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"suspects\.json is not what a training has written"):
        Suspects.read(content)
