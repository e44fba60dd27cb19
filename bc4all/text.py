"""Text -> TF-IDF of its character n-grams, by scikit-learn, with a vocabulary that is small where it is kept."""

import json
from collections.abc import Iterable
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer


class TextVectorizer(TfidfVectorizer):
    """scikit-learn's TfidfVectorizer; stored, its vocabulary is one text instead of a hundred thousand entries.

    A model of 38,000 n-grams takes skops 7 s to write and to read as a dictionary, which is more than the job.
    """

    def fit_transform(self, raw_documents: Iterable[str], y: object = None) -> Any:
        """As scikit-learn's; where no text has a letter, none tells anything, which is no reason to fail."""
        texts = list(raw_documents)
        if any(text.split() for text in texts):
            return super().fit_transform(texts, y)
        super().fit_transform(["none"], y)
        return self.transform(texts)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__().copy()
        if "vocabulary_" in state:
            state["vocabulary_"] = json.dumps(sorted(self.vocabulary_, key=self.vocabulary_.__getitem__))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if isinstance(state.get("vocabulary_"), str):
            self.vocabulary_ = {term: place for place, term in enumerate(json.loads(state["vocabulary_"]))}
