"""The compiled linear model over text, held against the scikit-learn Pipeline that it is made from."""

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier
from sklearn.naive_bayes import ComplementNB
from sklearn.svm import LinearSVC

from bc4all.model.blend import Blend
from bc4all.model.calibration import fit_calibrator
from bc4all.model.coefficients import narrowed
from bc4all.model.linear_text import LinearText, compiled
from bc4all.model.margins import MarginClassifier
from bc4all.model.preprocessing import with_preprocessing
from bc4all.model.text import TextVectorizer

TITLES = [
    *("apple iphone x 64gb", "Apple iPhone XS 256 GB", "samsung galaxy s9 blue", "sony xperia z5 compact"),
    *("bosch fridge kgn 36", "beko fridge freezer white", "smeg FAB28 retro fridge", "fridge fridge fridge"),
    *("canon eos 80d body", "nikon d3500 + 18-55 mm", "ÄÖÜ straße  İstanbul", "sony alpha 6000 \t black"),
]
FRAME = pd.DataFrame(
    {
        "title": TITLES,
        "brand": [title.split()[0].lower() for title in TITLES],
        "price": [100.0, np.nan, *np.linspace(3, 9, 10)],
        "color": ["", "red", "blue", *["white"] * 9],
    }
)
LABELS = np.array(["phone", "fridge", "camera"], dtype=object)[np.arange(12) // 4]
KINDS = {"title": "text", "brand": "category", "price": "numeric", "color": "text"}


def fitted(features: dict[str, str], rows: int = 12, classifier: Any = None) -> Any:
    """The Pipeline of some features, fitted on the first rows."""
    pipeline = with_preprocessing(classifier or LogisticRegression(C=100.0, max_iter=1000), features)
    return pipeline.fit(FRAME[list(features)][:rows], LABELS[:rows])


CLASSIFIERS = [
    LogisticRegression(C=100.0, max_iter=1000),
    MarginClassifier(RidgeClassifier()),
    MarginClassifier(RidgeClassifier(fit_intercept=False)),
    MarginClassifier(LinearSVC(random_state=0)),
]
TITLE = fitted({"title": "text"})


def within_words() -> Any:
    """The Pipeline of titles whose n-grams do not go over the ends of words, and weigh by how rare they are."""
    pipeline = with_preprocessing(LogisticRegression(C=100.0, max_iter=1000), {"title": "text"})
    settings = {"analyzer": "char_wb", "sublinear_tf": True, "use_idf": True}
    pipeline.set_params(**{f"columns__text 0__{name}": value for name, value in settings.items()})
    return pipeline.fit(FRAME[["title"]], LABELS)


def of_before() -> Any:
    """The Pipeline of a version that was registered before n-grams had shapes."""
    pipeline = with_preprocessing(LogisticRegression(C=100.0, max_iter=1000), {"title": "text"})
    vectorizer = TextVectorizer(analyzer="char", ngram_range=(1, 5))
    pipeline.named_steps["columns"].transformers = [("text 0", vectorizer, "title")]
    return pipeline.fit(FRAME[["title"]], LABELS)


RIDGE = fitted({"title": "text"}, classifier=MarginClassifier(RidgeClassifier()))
# As trained now, beside versions of before, whose coefficients are float64.
NARROWED = [narrowed(copy.deepcopy(pipeline)) for pipeline in (TITLE, RIDGE)]
PIPELINES = [(pipeline, compiled(pipeline)) for pipeline in (TITLE, within_words(), of_before(), RIDGE, *NARROWED)]


@pytest.mark.slow
@settings(max_examples=300)
@given(
    st.lists(
        st.text() | st.text("ab e\t\n\u3000\x1c\x85 é😀", max_size=40) | st.text("a019 ", max_size=9),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_the_text_the_answer_is_scikit_learns(texts: list[str]) -> None:
    """Any characters, spaces of any kind, any length: the same probabilities, to the last digits."""
    frame = pd.DataFrame({"title": texts})
    for pipeline, fast in PIPELINES:
        assert isinstance(fast, LinearText)
        np.testing.assert_allclose(fast.predict_proba(frame), pipeline.predict_proba(frame), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", CLASSIFIERS, ids=repr)
@pytest.mark.parametrize("as_trained", [narrowed, lambda model: model], ids=["float32", "float64"])
@pytest.mark.parametrize("rows", [8, 12])
@pytest.mark.parametrize("names", [["title"], ["title", "color"], ["price", "title"], list(KINDS)])
def test_every_kind_of_column_counts(names: list[str], rows: int, as_trained: Any, kind: Any) -> None:
    """Several texts, categories and numbers, with two categories or more: as scikit-learn has it."""
    features = {name: KINDS[name] for name in names}
    pipeline = as_trained(fitted(features, rows, clone(kind)))
    fast = compiled(pipeline)
    assert isinstance(fast, LinearText)
    unseen = pd.DataFrame({"title": ["", "zzz"], "brand": ["nobody's", ""], "price": [np.nan, 1e9], "color": ["", "x"]})
    X = pd.concat([FRAME, unseen], ignore_index=True)[names]
    np.testing.assert_allclose(fast.predict_proba(X), pipeline.predict_proba(X), rtol=1e-9, atol=1e-12)
    assert np.isfinite(fast.predict_proba(X)).all()
    assert list(fast.classes_) == list(pipeline.classes_)


@pytest.mark.parametrize("rows", [8, 12])
@pytest.mark.parametrize("beta", [None, 2.0])
@pytest.mark.parametrize("kind", CLASSIFIERS[:2], ids=repr)
def test_workers_hold_the_coefficients_as_they_are_stored(rows: int, beta: float | None, kind: Any) -> None:
    """One float32 a term and category, or a term of two categories, whatever they are multiplied with."""
    pipeline = narrowed(fitted({"title": "text"}, rows, clone(kind)))
    fast = compiled(pipeline)
    (text,) = (fast if beta is None else fast.sharpened(beta)).vocabularies
    classifier = pipeline.named_steps["classifier"]
    coefficients = getattr(classifier, "classifier_", classifier).coef_
    assert text.weights.dtype == np.float32
    np.testing.assert_array_equal(text.weights.T, np.atleast_2d(coefficients))


@pytest.mark.parametrize("rows", [8, 12])
def test_a_temperature_goes_into_the_weights(rows: int) -> None:
    """A blend of one at a temperature is that one, answering as scikit-learn's calibrator has it."""
    pipeline = fitted(KINDS, rows, MarginClassifier(RidgeClassifier()))
    names, codes = np.unique(LABELS[:rows], return_inverse=True)
    codes[::4] = (codes[::4] + 1) % len(names)  # too sure
    calibrator = fit_calibrator(pipeline.predict_proba(FRAME[:rows]), codes, names, "temperature")
    blend = Blend([pipeline], [2.0], names, calibrator)
    wanted = blend.predict_proba(FRAME)
    assert np.abs(wanted - pipeline.predict_proba(FRAME)).max() > 0.01
    fast = compiled(blend)
    assert isinstance(fast, LinearText)
    np.testing.assert_allclose(fast.predict_proba(FRAME), wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["temperature", "sigmoid", None])
@pytest.mark.parametrize("members", [1, 2])
def test_other_blends_stay_blends(members: int, method: str | None) -> None:
    """Of more members, or calibrated otherwise, whatever of it is linear is compiled, and the answer is the same."""
    names, codes = np.unique(LABELS, return_inverse=True)
    calibrator = fit_calibrator(TITLE.predict_proba(FRAME), codes, names, method) if method else None
    blend = Blend([TITLE] * members, [1.0] * members, names, calibrator)
    wanted = blend.predict_proba(FRAME)
    fast = compiled(blend)
    assert isinstance(fast, LinearText) == (members == 1 and method != "sigmoid")
    np.testing.assert_allclose(fast.predict_proba(FRAME), wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression().fit([[0.0], [1.0]], [0, 1]),
        fitted({"price": "numeric", "brand": "category"}),
        fitted({"title": "text"}, classifier=ComplementNB()),
        fitted({"title": "text"}, classifier=MarginClassifier(Perceptron())),
        fitted({"title": "text"}, 4, MarginClassifier(RidgeClassifier())),
    ],
    ids=["numbers", "no text", "another classifier", "other margins", "one category"],
)
def test_other_models_stay_as_they_are(model: Any) -> None:
    """What it was not made for is left to scikit-learn."""
    assert compiled(model) is model


@pytest.mark.parametrize("setting", [{"analyzer": "word"}, {"ngram_range": (4, 5)}, {"norm": "l1"}, {"binary": True}])
def test_other_vectorizers_are_left_alone(setting: dict[str, Any]) -> None:
    """A vectorizer with other settings than the kernel knows is scikit-learn's to apply."""
    pipeline = with_preprocessing(LogisticRegression(), {"title": "text"})
    pipeline.set_params(**{f"columns__text 0__{name}": value for name, value in setting.items()})
    pipeline.fit(FRAME[["title"]], LABELS)
    assert compiled(pipeline) is pipeline
