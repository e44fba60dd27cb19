# mypy: disable-error-code="no-untyped-def"
# numba infers the types of what it compiles; the docstrings give them.
"""Texts x linear model -> probabilities: what a Pipeline of `preprocessing` answers, 15 times as fast.

scikit-learn makes every n-gram a Python string and every batch a sparse matrix. Here the n-grams of a text are looked
up by a hash of their letters where they stand, and the rows of coefficients that they stand for are added up.
Made from a Pipeline when a model is read, never stored; `compiled` leaves every other model as it is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bc4all.model.blend import Blend
from bc4all.model.kernel import compile_cached
from bc4all.model.preprocessing import split_columns

_SLOT = np.dtype([("key", "<u8"), ("place", "<i8")])
_SEED, _PRIME, _MIX = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)
_LAST_SPACE = 0x3000
_SPACES_IN_A_ROW = re.compile(r"\s\s+")  # which scikit-learn takes for one
_MIN_WORD_CHARS = 3  # a letter between two spaces: an n-gram of at most as many fits any word


@dataclass(frozen=True, eq=False)
class _Vocabulary:
    """One text column: where the hash of an n-gram stands in `slots`, its weight, and its row in `weights`."""

    column: str
    slots: np.ndarray  # _SLOT, a power of two, place -1 where free
    idf: np.ndarray  # float64 (n-grams,), 1 where rare ones count no more than others
    weights: np.ndarray  # (n-grams, margins), float32 as trained now, float64 in versions of before
    parts: np.ndarray  # uint8 (n-grams,): those of each part of a text are scaled to a length of 1
    longest: int
    shortest: int
    within_words: bool  # n-grams of words with a space at both ends, else of the text as a whole
    sublinear: bool
    lowercase: bool
    shaped: bool  # each n-gram with its shape, by TitleVectorizer


class LinearText:
    """A fitted Pipeline of columns and a linear classifier, for DataFrames with its columns."""

    def __init__(
        self,
        texts: Sequence[_Vocabulary],
        others: Sequence[Any],
        intercept: np.ndarray,
        sides: np.ndarray,
        classes: np.ndarray,
    ) -> None:
        """`others` are (transformer, columns, weights (columns made, margins)) of columns that are no text.

        There is a margin a class, or one for two classes; `intercept` (margins,) is its start. The probabilities are
        the softmax of margins times `sides` float64, () or, of one margin, (2,): coefficients stay as they were stored.
        """
        self._texts, self._others, self._intercept = list(texts), list(others), intercept
        self._sides, self.classes_ = sides, classes

    def sharpened(self, beta: float) -> "LinearText":
        """Return the same at another temperature: the softmax of `beta` times as much."""
        return LinearText(self._texts, self._others, self._intercept, beta * self._sides, self.classes_)

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Probabilities, float64 of shape (rows, classes)."""
        decision: np.ndarray = np.tile(self._intercept, (len(X), 1))
        for transformer, columns, weights in self._others:
            decision += transformer.transform(X[columns]) @ weights
        for text in self._texts:
            _add_texts(text, X[text.column].tolist(), decision)
        decision = decision * self._sides
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
            texts.append(_vocabulary(names, part, rows))
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
    plain = {"strip_accents": None, "preprocessor": None, "norm": "l2", "binary": False}
    settings = vectorizer.get_params()
    known = settings["analyzer"] in ("char", "char_wb") and settings["ngram_range"][0] <= _MIN_WORD_CHARS
    return known and all(settings[name] == value for name, value in plain.items())


def _vocabulary(column: str, vectorizer: Any, weights: np.ndarray) -> _Vocabulary:
    from bc4all.model.text import TitleVectorizer

    terms = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    letters, ends = _letters(terms)
    slots = np.empty(1 << int(2 * len(terms) - 1).bit_length(), dtype=_SLOT)
    slots["key"], slots["place"] = 0, -1
    _fill(letters, ends, slots)
    shortest, longest = vectorizer.ngram_range
    shaped = isinstance(vectorizer, TitleVectorizer)
    parts = np.array([len(term) if shaped else 0 for term in terms], dtype=np.uint8)
    kinds = vectorizer.analyzer == "char_wb", vectorizer.sublinear_tf, vectorizer.lowercase, shaped
    idf = vectorizer.idf_ if vectorizer.use_idf else np.ones(len(terms))
    return _Vocabulary(column, slots, idf, weights, parts, longest, shortest, *kinds)


def _letters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return all letters in a row, uint32, and where each text ends, int64."""
    joined = "".join(texts).encode("utf-32-le", errors="surrogatepass")
    return np.frombuffer(joined, dtype=np.uint32), np.cumsum([len(text) for text in texts], dtype=np.int64)


def _add_texts(text: _Vocabulary, values: list[str], decision: np.ndarray) -> None:
    if text.lowercase:
        values = [value.lower() for value in values]
    letters, ends = _letters(values if text.within_words else [_SPACES_IN_A_ROW.sub(" ", value) for value in values])
    counts = np.zeros(len(text.idf), dtype=np.int32)
    met = np.empty(len(text.idf), dtype=np.int64)
    _decide(
        *(letters, ends, _SPACES, text.slots, text.idf, text.weights, text.parts),
        *((text.shortest, text.longest), (text.within_words, text.shaped, text.sublinear), (counts, met), decision),
    )


@compile_cached
def _find(slots, key):
    """Return the slot of a hash, or the free one where it would be."""
    mask = np.uint64(len(slots) - 1)
    at = (key * _MIX) >> np.uint64(20) & mask
    while slots[at].place >= 0 and slots[at].key != key:
        at = (at + np.uint64(1)) & mask
    return at


@compile_cached
def _fill(letters, ends, slots):
    """Note each n-gram, letters (all,) uint32 up to ends (n-grams,) int64, by its place."""
    start = 0
    for place in range(len(ends)):
        key = _SEED
        for i in range(start, ends[place]):
            key = (key ^ np.uint64(letters[i])) * _PRIME
        at = _find(slots, key)
        slots[at].key, slots[at].place = key, place
        start = ends[place]


@compile_cached
def _count(letters, first, last, slots, shortest, longest, padded, shaped, counts, met, n):
    """Count the n-grams of letters[first:last], with a space at both ends if `padded`, and their shapes if `shaped`.

    Return how many were met.
    """
    begin, end = (first - 1, last + 1) if padded else (first, last)
    for i in range(begin, end):
        key, shape = _SEED, _SEED
        is_own_shape = shaped
        for size in range(1, min(longest, end - i) + 1):
            j = i + size - 1
            letter = np.uint64(32) if j < first or j == last else np.uint64(letters[j])
            key = (key ^ letter) * _PRIME
            if shaped:
                if np.uint64(49) <= letter <= np.uint64(57):  # 1 to 9, whose shape is 0
                    letter, is_own_shape = np.uint64(48), False
                shape = (shape ^ letter) * _PRIME
            if size < shortest:
                continue
            for form in range(2 if shaped and not is_own_shape else 1):
                place = slots[_find(slots, shape if form else key)].place
                if place < 0:
                    continue
                if counts[place] == 0:
                    met[n] = place
                    n += 1
                counts[place] += 2 if is_own_shape else 1
    return n


@compile_cached
def _is_space(spaces, letter):
    """Whether Python's str.split splits there."""
    if letter <= np.uint32(32):
        return letter == np.uint32(32) or np.uint32(9) <= letter <= np.uint32(13) or letter >= np.uint32(28)
    if letter < np.uint32(0x85) or letter > np.uint32(_LAST_SPACE):
        return False
    return spaces[np.searchsorted(spaces, letter)] == letter


@compile_cached
def _decide(letters, ends, spaces, slots, idf, weights, parts, sizes, kinds, room, decision):
    """Add each text's row of n-grams times `weights` to its row of `decision`, (rows, margins) float64.

    parts (n-grams,) uint8: what is scaled together, at most the length of the longest. sizes: of the shortest and the
    longest n-gram. kinds: whether n-grams are those within words, a space before and after each, or else of the text;
    whether each has a shape; whether counts are damped. room: counts (n-grams,) int32, all zero before and after, and
    met (n-grams,) int64.
    """
    (shortest, longest), (within, shaped, sublinear), (counts, met) = sizes, kinds, room
    start = 0
    margins = decision.shape[1]
    norms = np.empty(longest + 1)
    for row in range(len(ends)):
        end, n = ends[row], 0
        at = start
        while at < end:
            first = at
            if within:
                while first < end and _is_space(spaces, letters[first]):
                    first += 1
                at = first
                while at < end and not _is_space(spaces, letters[at]):
                    at += 1
            else:
                at = end
            if at > first:
                n = _count(letters, first, at, slots, shortest, longest, within, shaped, counts, met, n)
        norms[:] = 0.0
        for m in range(n):
            count = counts[met[m]]
            share = ((1.0 + np.log(count)) if sublinear and count > 1 else float(count)) * idf[met[m]]
            norms[parts[met[m]]] += share * share
        for part in range(longest + 1):
            norms[part] = np.sqrt(norms[part])
        for m in range(n):
            place = met[m]
            count = counts[place]
            share = ((1.0 + np.log(count)) if sublinear and count > 1 else float(count)) * idf[place]
            share /= norms[parts[place]]
            for margin in range(margins):
                decision[row, margin] += share * weights[place, margin]
            counts[place] = 0
        start = end
