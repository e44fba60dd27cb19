"""Text -> its character n-grams, weighed, as scikit-learn does it, with a vocabulary that is small where it is kept."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse  # type: ignore[import-untyped]
from sklearn.feature_extraction.text import TfidfVectorizer

from bc4all.model.features import joined
from bc4all.model.ngrams import NGrams

_DIGITS = str.maketrans("123456789", "0" * 9)


def shape_of(ngram: str) -> str:
    """Return an n-gram with every digit as 0."""
    return ngram.translate(_DIGITS)


class TextVectorizer(TfidfVectorizer):
    """scikit-learn's TfidfVectorizer; stored, its vocabulary is one text instead of a hundred thousand entries.

    A model of 38,000 n-grams takes skops 7 s to write and to read as a dictionary, which is more than the job.
    """

    shaped = False  # each n-gram beside its shape

    def fit_transform(self, raw_documents: Iterable[str], y: object = None) -> Any:
        """As scikit-learn's; where no text has a letter, none tells anything, which is no reason to fail."""
        texts = list(raw_documents)
        if any(text.split() for text in texts):
            return super().fit_transform(texts, y)
        super().fit_transform(["none"], y)
        return self.transform(texts)

    def _count_vocab(self, raw_documents: Iterable[str], fixed_vocab: bool) -> tuple[Mapping[str, int], Any]:
        """As scikit-learn's, in a twentieth of the time: it makes a Python string of every n-gram.

        Private, but where all its ways meet; the lock pins the release it was tried with.
        """
        ngrams, texts = NGrams.of(self), list(raw_documents)
        if ngrams is None:
            return super()._count_vocab(texts, fixed_vocab)  # type: ignore[no-any-return]
        terms, (counts, indices, indptr) = ngrams.count(texts, self._terms() if fixed_vocab else None)
        if not terms:  # scikit-learn says why that is a fault
            return super()._count_vocab(texts, fixed_vocab)  # type: ignore[no-any-return]
        rows = sparse.csr_matrix((counts.astype(self.dtype), indices, indptr), shape=(len(texts), len(terms)))
        rows.sort_indices()
        return self.vocabulary_ if fixed_vocab else {term: place for place, term in enumerate(terms)}, rows

    def _terms(self) -> list[str]:
        """Return the n-grams by their columns."""
        return sorted(self.vocabulary_, key=self.vocabulary_.__getitem__)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__().copy()
        if "vocabulary_" in state:
            state["vocabulary_"] = json.dumps(self._terms())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if isinstance(state.get("vocabulary_"), str):
            self.vocabulary_ = {term: place for place, term in enumerate(json.loads(state["vocabulary_"]))}


class TitleVectorizer(TextVectorizer):
    """As TextVectorizer; beside each n-gram stands its shape, and those of each length have the same weight together.

    The shape is the n-gram with every digit as 0: `kgn36` is then much like `kgn39`, and not the same. Of a title's
    n-grams the longest are the most, and are seldom met again: taken all alike, the few letters that a new product does
    share with others would hardly count. Measured in docs/quality.md.
    """

    shaped = True

    def build_analyzer(self) -> Callable[[str], list[str]]:
        """scikit-learn's n-grams, each with its shape."""
        find = super().build_analyzer()
        return lambda text: [form for found in find(text) for form in (found, shape_of(found))]

    def fit_transform(self, raw_documents: Iterable[str], y: object = None) -> Any:
        """As `transform` gives them."""
        return self._balanced(super().fit_transform(raw_documents, y))

    def transform(self, raw_documents: Iterable[str]) -> Any:
        """Rows whose part of each length of n-grams is of length 1, or 0 where there is none."""
        return self._balanced(super().transform(raw_documents))

    def _balanced(self, rows: Any) -> Any:
        lengths = np.array([len(term) for term in self._terms()])[rows.indices]
        parts = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)) * (self.ngram_range[1] + 1) + lengths
        rows.data /= np.sqrt(np.bincount(parts, rows.data**2))[parts]
        return rows


class JoinedVectorizer(TitleVectorizer):
    """As TitleVectorizer, of several columns' texts as one; beside each column's own it is what they say together."""

    def fit_transform(self, raw_documents: Any, y: object = None) -> Any:
        """As `transform` gives them; a DataFrame of texts is taken."""
        return super().fit_transform(_as_one(raw_documents), y)

    def transform(self, raw_documents: Any) -> Any:
        """As TitleVectorizer's; a DataFrame of texts is taken."""
        return super().transform(_as_one(raw_documents))


def _as_one(texts: Any) -> Iterable[str]:
    return joined(texts) if isinstance(texts, pd.DataFrame) else texts
