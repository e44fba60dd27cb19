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

from bc4all.kernel import compile_cached
from bc4all.preprocessing import split_columns

_SLOT = np.dtype([("key", "<u8"), ("place", "<i8")])
_SEED, _PRIME, _MIX = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)
_LAST_SPACE = 0x3000
_SPACES_IN_A_ROW = re.compile(r"\s\s+")  # which scikit-learn takes for one
_SHORTEST_WORD = 3  # a letter between two spaces: an n-gram of at most as many fits any word


@dataclass(frozen=True, eq=False)
class _Vocabulary:
    """One text column: where the hash of an n-gram stands in `slots`, its idf, and its row in `weights`."""

    column: str
    slots: np.ndarray  # _SLOT, a power of two, place -1 where free
    idf: np.ndarray  # float64 (n-grams,)
    weights: np.ndarray  # float64 (n-grams, classes)
    longest: int
    shortest: int
    within_words: bool  # n-grams of words with a space at both ends, else of the text as a whole
    sublinear: bool
    lowercase: bool


class LinearText:
    """A fitted Pipeline of columns and LogisticRegression, for DataFrames with its columns."""

    def __init__(
        self, texts: Sequence[_Vocabulary], others: Sequence[Any], intercept: np.ndarray, classes: np.ndarray
    ) -> None:
        """`others` are (transformer, columns, weights float64 (columns made, classes)) of columns that are no text."""
        self._texts, self._others, self._intercept, self.classes_ = list(texts), list(others), intercept, classes

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Probabilities, float64 of shape (rows, classes)."""
        decision = np.tile(self._intercept, (len(X), 1))
        for transformer, columns, weights in self._others:
            decision += transformer.transform(X[columns]) @ weights
        for text in self._texts:
            _add_texts(text, X[text.column].tolist(), decision)
        decision -= decision.max(axis=1, keepdims=True)
        np.exp(decision, out=decision)
        decision /= decision.sum(axis=1, keepdims=True)
        return decision


def compiled(model: Any) -> Any:
    """The same model, faster, where it is a linear one over text; else itself."""
    from sklearn.linear_model import LogisticRegression

    from bc4all.text import TextVectorizer

    columns, classifier = split_columns(model)
    if columns is None:
        return model
    fitted = [entry for entry in columns.transformers_ if entry[0] != "remainder"]
    vectorizers = [part for _, part, _ in fitted if isinstance(part, TextVectorizer)]
    if type(classifier) is not LogisticRegression or not vectorizers or not all(map(_is_supported, vectorizers)):
        return model
    weights = classifier.coef_.T if len(classifier.classes_) > 2 else _two_columns(classifier.coef_.T)
    intercept = classifier.intercept_ if len(classifier.classes_) > 2 else _two_columns(classifier.intercept_)
    texts, others = [], []
    for name, part, names in fitted:
        rows = np.ascontiguousarray(weights[columns.output_indices_[name]])
        if isinstance(part, TextVectorizer):
            texts.append(_vocabulary(names, part, rows))
        else:
            others.append((part, names, rows))
    return LinearText(texts, others, intercept, classifier.classes_)


def _two_columns(weights: np.ndarray) -> np.ndarray:
    """scikit-learn keeps the second of two categories alone: the first one's decision is zero."""
    return np.stack([np.zeros_like(weights.ravel()), weights.ravel()], axis=1).reshape(*weights.shape[:-1], 2)


def _is_supported(vectorizer: Any) -> bool:
    plain = {"strip_accents": None, "preprocessor": None, "use_idf": True, "norm": "l2", "binary": False}
    settings = vectorizer.get_params()
    known = settings["analyzer"] in ("char", "char_wb") and settings["ngram_range"][0] <= _SHORTEST_WORD
    return known and all(settings[name] == value for name, value in plain.items())


def _vocabulary(column: str, vectorizer: Any, weights: np.ndarray) -> _Vocabulary:
    terms = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    letters, ends = _letters(terms)
    slots = np.empty(1 << int(2 * len(terms) - 1).bit_length(), dtype=_SLOT)
    slots["key"], slots["place"] = 0, -1
    _fill(letters, ends, slots)
    shortest, longest = vectorizer.ngram_range
    kinds = vectorizer.analyzer == "char_wb", vectorizer.sublinear_tf, vectorizer.lowercase
    return _Vocabulary(column, slots, vectorizer.idf_, weights, longest, shortest, *kinds)


def _letters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """All letters in a row, uint32, and where each text ends, int64."""
    joined = "".join(texts).encode("utf-32-le", errors="surrogatepass")
    return np.frombuffer(joined, dtype=np.uint32), np.cumsum([len(text) for text in texts], dtype=np.int64)


def _add_texts(text: _Vocabulary, values: list[str], decision: np.ndarray) -> None:
    if text.lowercase:
        values = [value.lower() for value in values]
    letters, ends = _letters(values if text.within_words else [_SPACES_IN_A_ROW.sub(" ", value) for value in values])
    counts = np.zeros(len(text.idf), dtype=np.int32)
    met = np.empty(len(text.idf), dtype=np.int64)
    _decide(
        *(letters, ends, _SPACES, text.slots, text.idf, text.weights),
        *(text.shortest, text.longest, text.within_words, text.sublinear, counts, met, decision),
    )


@compile_cached
def _find(slots, key):
    """The slot of a hash, or the free one where it would be."""
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
def _count(letters, first, last, slots, shortest, longest, padded, counts, met, n):
    """Count the n-grams of letters[first:last], with a space at both ends if `padded`; return how many were met."""
    begin, end = (first - 1, last + 1) if padded else (first, last)
    for i in range(begin, end):
        key = _SEED
        for size in range(1, min(longest, end - i) + 1):
            j = i + size - 1
            letter = np.uint64(32) if j < first or j == last else np.uint64(letters[j])
            key = (key ^ letter) * _PRIME
            if size < shortest:
                continue
            place = slots[_find(slots, key)].place
            if place < 0:
                continue
            if counts[place] == 0:
                met[n] = place
                n += 1
            counts[place] += 1
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
def _decide(letters, ends, spaces, slots, idf, weights, shortest, longest, within, sublinear, counts, met, decision):
    """Add each text's TF-IDF row times `weights` to its row of `decision`, (rows, classes) float64.

    `within`: the n-grams are those within words, a space before and after each, else those of the text. counts
    (n-grams,) int32, all zero before and after, and met (n-grams,) int64 are room to work in.
    """
    start = 0
    classes = decision.shape[1]
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
                n = _count(letters, first, at, slots, shortest, longest, within, counts, met, n)
        squares = 0.0
        for m in range(n):
            count = counts[met[m]]
            share = ((1.0 + np.log(count)) if sublinear and count > 1 else float(count)) * idf[met[m]]
            squares += share * share
        norm = np.sqrt(squares) if squares > 0 else 1.0
        for m in range(n):
            place = met[m]
            count = counts[place]
            share = ((1.0 + np.log(count)) if sublinear and count > 1 else float(count)) * idf[place] / norm
            for c in range(classes):
                decision[row, c] += share * weights[place, c]
            counts[place] = 0
        start = end
