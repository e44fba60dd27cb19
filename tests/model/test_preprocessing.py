"""What stands before a classifier: what training has not seen is scored, and what is stored comes back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from bc4all.model.features import model_input
from bc4all.model.linear_text import LinearText, compiled
from bc4all.model.model_file import digest, load_model, save_model
from bc4all.model.preprocessing import takes_sparse, with_preprocessing
from bc4all.model.text import TextVectorizer, TitleVectorizer
from tests.model.test_linear_text import FRAME, KINDS, LABELS


def test_numbers_alone_need_nothing() -> None:
    """A classifier of numeric features stays itself, and sees a plain matrix with NaN where a value is missing."""
    model = LogisticRegression()
    assert with_preprocessing(model, {"price": "numeric"}) is model
    X = model_input(FRAME, {"price": "numeric"})
    assert (X.shape, X.dtype, np.isnan(X).sum()) == ((12, 1), np.float64, 1)


@pytest.mark.parametrize("classifier", [LogisticRegression(), DecisionTreeClassifier(random_state=0)])
def test_what_is_missing_or_unseen_is_scored(classifier: object) -> None:
    """No title, no brand, no price, or ones that training has not seen: an answer, with probabilities."""
    pipeline = with_preprocessing(classifier, KINDS).fit(model_input(FRAME, KINDS), LABELS)
    missing = pd.DataFrame({name: [None, np.nan] for name in KINDS}).assign(price=[np.nan, 5.0])
    unseen = pd.DataFrame({"title": ["\u4e2d\u6587"], "brand": ["x"], "price": [-1e30], "color": ["\U0001f600"]})
    for frame in (missing, unseen):
        probabilities = pipeline.predict_proba(model_input(frame, KINDS))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_the_order_of_features_is_theirs() -> None:
    """Columns go to the model as the configuration lists them, wherever they lie in the data."""
    shuffled = FRAME[["color", "price", "title", "brand"]]
    pd.testing.assert_frame_equal(model_input(shuffled, KINDS), model_input(FRAME, KINDS))
    assert list(model_input(FRAME, KINDS)) == list(KINDS)


def test_several_text_columns_tell_apart_and_together() -> None:
    """Each has a vocabulary of its own, and all of them have one more; a single column has no second."""
    parts = with_preprocessing(LogisticRegression(), KINDS)[0].transformers[:3]
    columns = {label: names for label, _, names in parts}
    assert columns == {"text 0": "title", "text 1": "color", "texts": ["title", "color"]}
    alone = with_preprocessing(LogisticRegression(), {"title": "text", "price": "numeric"})[0].transformers
    assert [label for label, _, _ in alone] == ["text 0", "numbers"]


def test_a_stored_model_answers_as_before(tmp_path: Path) -> None:
    """A Pipeline with text comes back from its file, compiled, with the same probabilities."""
    X = model_input(FRAME, KINDS)
    pipeline = with_preprocessing(LogisticRegression(C=100.0, max_iter=1000), KINDS).fit(X, LABELS)
    file = save_model(pipeline, tmp_path)
    loaded = load_model(file, digest(file))
    assert isinstance(loaded, LinearText)
    np.testing.assert_allclose(loaded.predict_proba(X), pipeline.predict_proba(X), rtol=1e-9)


def test_a_vocabulary_is_stored_as_one_text() -> None:
    """Terms of any character come back at their places."""
    vectorizer = TextVectorizer(analyzer="char", ngram_range=(1, 5)).fit([*FRAME["title"], "\0 \x85 \u2028 a\n'\""])
    stored = vectorizer.__getstate__()
    assert isinstance(stored["vocabulary_"], str)
    again = TextVectorizer()
    again.__setstate__(stored)
    assert again.vocabulary_ == vectorizer.vocabulary_


def test_a_number_has_a_shape() -> None:
    """A model of another size is nearer than a word that is another: 36 is not 39, and both are two digits."""
    vectorizer = TitleVectorizer(analyzer="char", ngram_range=(1, 4)).fit(["kgn36", "kgn39", "kgn48", "kgnab"])
    rows = vectorizer.transform(["kgn36", "kgn39", "kgn48", "kgnab"]).toarray()
    same, other_digit, other_digits, letters = (rows @ rows[0]).tolist()
    assert same > other_digit > other_digits > letters
    assert vectorizer.build_analyzer()("a1") == ["a", "a", "1", "0", "a1", "a0"]


def test_n_grams_of_each_length_weigh_the_same() -> None:
    """However many there are of a length, and however often they are met: together they are 1, or nothing."""
    vectorizer = TitleVectorizer(analyzer="char", ngram_range=(1, 4))
    rows = vectorizer.fit_transform([*FRAME["title"], "ab", ""]).toarray()
    again = vectorizer.transform([*FRAME["title"], "ab", ""]).toarray()
    np.testing.assert_allclose(rows, again)
    lengths = np.array([len(term) for term in vectorizer.get_feature_names_out()])
    norms = np.stack([np.linalg.norm(rows[:, lengths == length], axis=1) for length in (1, 2, 3, 4)], axis=1)
    np.testing.assert_allclose(norms, [*[[1, 1, 1, 1]] * len(FRAME), [1, 1, 0, 0], [0, 0, 0, 0]])


def test_says_which_classifiers_take_text() -> None:
    """scikit-learn's own tag tells."""
    assert takes_sparse(LogisticRegression())
    assert not takes_sparse(GaussianNB())


def test_any_legal_column_can_be_learned_from() -> None:
    """A name with underscores, a text that no product has, a category that all have, a number that is never there."""
    features = {"a__b": "text", "none": "text", "same": "category", "missing": "numeric", "title": "text"}
    frame = FRAME.assign(a__b=FRAME["title"], none=None, same="x", missing=np.nan)
    X = model_input(frame, features)
    pipeline = with_preprocessing(LogisticRegression(C=100.0, max_iter=1000), features).fit(X, LABELS)
    np.testing.assert_array_equal(pipeline.predict(X), LABELS)
    np.testing.assert_allclose(compiled(pipeline).predict_proba(X), pipeline.predict_proba(X), rtol=1e-9)


def test_a_kind_that_nothing_prepares_is_refused() -> None:
    """Its column would be left out in silence."""
    with pytest.raises(ValueError, match="nothing prepares features of kind date"):
        with_preprocessing(LogisticRegression(), {"price": "numeric", "since": "date"})
