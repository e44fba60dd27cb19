"""What each letter of a text adds to the margins, held against the probabilities that the model answers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier

from bc4all.model.contributions import contributions
from bc4all.model.linear_text import LinearText, compiled
from bc4all.model.margins import MarginClassifier
from tests.model.test_linear_text import FRAME, KINDS, TITLES, fitted, within_words

_RIDGE = MarginClassifier(RidgeClassifier())
PIPELINES = {
    "one text": fitted({"title": "text"}, classifier=clone(_RIDGE)),
    "within words": within_words(),
    "two texts": fitted({"title": "text", "color": "text"}, classifier=clone(_RIDGE)),
    "all kinds": fitted(KINDS, classifier=clone(_RIDGE)),
    "two categories": fitted({"title": "text"}, rows=8, classifier=clone(_RIDGE)),
}


def explained(pipeline: Any, X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What letters and all else add up to, as probabilities, and the model's own."""
    model = compiled(pipeline)
    assert isinstance(model, LinearText)
    shares, rest = contributions(model, X)
    total = rest + sum(share.letters.sum(axis=0) for share in shares)
    return softmax(total), model.predict_proba(X)[0]


@pytest.mark.parametrize("title", [*TITLES, "", " \t ", "x", "İ 36 kgn36 kgn36", "unknown ☃ 雪 1234567"])
@pytest.mark.parametrize("kind", PIPELINES)
def test_letters_add_up_to_what_the_model_answers(title: str, kind: str) -> None:
    """Exactly: nothing of a probability comes of anything else."""
    X = FRAME[:1].assign(title=title, color="blue")
    np.testing.assert_allclose(*explained(PIPELINES[kind], X), rtol=1e-5)


@settings(max_examples=50)
@given(st.text(alphabet="kgn369 aß\tİ", max_size=30))
def test_letters_add_up_for_any_text(title: str) -> None:
    np.testing.assert_allclose(*explained(PIPELINES["one text"], FRAME[:1].assign(title=title)), rtol=1e-5)


def test_the_words_that_tell_a_category_speak_for_it() -> None:
    """Of a title with a word of each of two categories, each word for its own."""
    model = compiled(PIPELINES["one text"])
    assert isinstance(model, LinearText)
    ((share,), _) = contributions(model, FRAME[:1].assign(title="fridge iphone"))
    names = list(model.classes_)
    fridge, iphone = share.letters[:6].sum(axis=0), share.letters[7:].sum(axis=0)
    assert names[int(fridge.argmax())] == "fridge"
    assert names[int(iphone.argmax())] == "phone"
