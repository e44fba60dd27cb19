"""Texts x linear model -> probabilities: what a Pipeline of `preprocessing` answers, 15 times as fast.

scikit-learn makes every n-gram a Python string and every batch a sparse matrix. Here the n-grams of a text are looked
up by a hash of their letters where they stand, and the rows of coefficients that they stand for are added up.
Made from a Pipeline when a model is read, never stored; `compiled` leaves every other model as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from bc4all.model.blend import Blend
from bc4all.model.features import joined
from bc4all.model.ngrams import SPACES, NGrams, decide, slots_of
from bc4all.model.preprocessing import split_columns


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """One text column, or several as one.

    Where the hash of an n-gram stands in `slots`, its weight, and its row in `weights`.
    """

    columns: Sequence[str]
    ngrams: NGrams
    slots: np.ndarray  # of `slots_of`
    idf: np.ndarray  # float64 (n-grams,), 1 where rare ones count no more than others
    weights: np.ndarray  # (n-grams, margins), float32 as trained now, float64 in versions of before
    parts: np.ndarray  # uint8 (n-grams,): those of each part of a text are scaled to a length of 1
    sublinear: bool

    def value(self, place: int, count: int) -> float:
        """Return the weight of an n-gram that a text has so often, before its part is scaled; as in `decide`."""
        return float((1.0 + np.log(count) if self.sublinear else count) * self.idf[place])


class LinearText:
    """A fitted Pipeline of columns and a linear classifier, for DataFrames with its columns."""

    def __init__(
        self,
        texts: Sequence[Vocabulary],
        others: Sequence[Any],
        intercept: np.ndarray,
        sides: np.ndarray,
        classes: np.ndarray,
    ) -> None:
        """`others` are (transformer, columns, weights (columns made, margins)) of columns that are no text.

        There is a margin a class, or one for two classes; `intercept` (margins,) is its start. The probabilities are
        the softmax of margins times `sides` float64, () or, of one margin, (2,): coefficients stay as they were stored.
        """
        self.vocabularies, self._others, self._intercept = list(texts), list(others), intercept
        self._sides, self.classes_ = sides, classes

    def sharpened(self, beta: float) -> "LinearText":
        """Return the same at another temperature: the softmax of `beta` times as much."""
        return LinearText(self.vocabularies, self._others, self._intercept, beta * self._sides, self.classes_)

    def start(self, X: pd.DataFrame) -> np.ndarray:
        """Return the margins without any text, float64 of shape (rows, margins)."""
        decision: np.ndarray = np.tile(self._intercept, (len(X), 1))
        for transformer, columns, weights in self._others:
            decision += transformer.transform(X[columns]) @ weights
        return decision

    def sided(self, margins: np.ndarray) -> np.ndarray:
        """Return what a softmax makes probabilities of (rows, classes), from margins (rows, margins)."""
        return np.asarray(margins * self._sides)

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Probabilities, float64 of shape (rows, classes)."""
        decision = self.start(X)
        for text in self.vocabularies:
            (first, *others) = text.columns
            _add_texts(text, joined(X[list(text.columns)]) if others else X[first].tolist(), decision)
        decision = self.sided(decision)
        decision -= decision.max(axis=1, keepdims=True)
        np.exp(decision, out=decision)
        decision /= decision.sum(axis=1, keepdims=True)
        return decision


def compiled(model: Any) -> Any:
    """Return the same model, faster, where it is a linear one over text, or a Blend of such; else itself."""
    from bc4all.model.text import TextVectorizer

    if isinstance(model, Blend):
        return _compiled_blend(model)
    columns, classifier = split_columns(model)
    if columns is None:
        return model
    fitted = [entry for entry in columns.transformers_ if entry[0] != "remainder"]
    vectorizers = [part for _, part, _ in fitted if isinstance(part, TextVectorizer)]
    linear = _linear(classifier)
    if linear is None or not vectorizers or not all(map(_is_supported, vectorizers)):
        return model
    weights, intercept, sides = linear
    texts, others = [], []
    for name, part, names in fitted:
        rows = np.ascontiguousarray(weights[columns.output_indices_[name]])
        if isinstance(part, TextVectorizer):
            texts.append(_vocabulary([names] if isinstance(names, str) else names, part, rows))
        else:
            others.append((part, names, rows))
    return LinearText(texts, others, intercept, sides, classifier.classes_)


def _compiled_blend(blend: Blend) -> Any:
    """Return the model of a blend of one linear model, so that workers need not import scikit-learn; else the blend."""
    blend.members = [compiled(member) for member in blend.members]
    (first, *others), calibrator = blend.members, blend.calibrator
    if others or not isinstance(first, LinearText) or list(first.classes_) != list(blend.classes_):
        return blend
    if calibrator is None:
        return first
    if calibrator.method != "temperature":
        return blend
    ((temperature,),) = [one.calibrators for one in calibrator.calibrated_classifiers_]
    return first.sharpened(float(temperature.beta_))


def _linear(classifier: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(weights (columns, margins), intercept (margins,), sides) of a LinearText; None of what has no such."""
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.svm import LinearSVC

    from bc4all.model.margins import MarginClassifier

    two = len(classifier.classes_) == 2  # of which scikit-learn keeps the second alone
    if type(classifier) is MarginClassifier and type(classifier.classifier_) in (RidgeClassifier, LinearSVC):
        sharp = classifier.sharpness_
        classifier, sides = classifier.classifier_, [-sharp, sharp] if two else sharp
    elif type(classifier) is LogisticRegression:
        sides = [0.0, 1.0] if two else 1.0
    else:
        return None
    weights = np.atleast_2d(classifier.coef_)
    intercept = np.broadcast_to(classifier.intercept_, len(weights))  # one 0 where there is to be none
    return weights.T, intercept, np.asarray(sides, dtype=np.float64)


def _is_supported(vectorizer: Any) -> bool:
    return NGrams.of(vectorizer) is not None and vectorizer.norm == "l2" and not vectorizer.binary


def _vocabulary(columns: Sequence[str], vectorizer: Any, weights: np.ndarray) -> Vocabulary:
    terms, ngrams = list(vectorizer.get_feature_names_out()), cast(NGrams, NGrams.of(vectorizer))
    parts = np.array([len(term) if vectorizer.shaped else 0 for term in terms], dtype=np.uint8)
    idf = vectorizer.idf_ if vectorizer.use_idf else np.ones(len(terms))
    return Vocabulary(columns, ngrams, slots_of(terms), idf, weights, parts, vectorizer.sublinear_tf)


def _add_texts(text: Vocabulary, values: list[str], decision: np.ndarray) -> None:
    counts = np.zeros(len(text.idf), dtype=np.int32)
    met = np.empty(len(text.idf), dtype=np.int64)
    kinds = text.ngrams.within_words, text.ngrams.shaped, text.sublinear
    decide(
        *(*text.ngrams.letters(values), SPACES, text.slots, text.idf, text.weights, text.parts),
        *(text.ngrams.sizes, kinds, (counts, met), decision),
    )
