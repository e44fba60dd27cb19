"""Text -> TF-IDF of its character n-grams, by scikit-learn, with a vocabulary that is small where it is kept."""

from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer


class TextVectorizer(TfidfVectorizer):
    """scikit-learn's TfidfVectorizer; stored, its vocabulary is one text instead of a hundred thousand entries.

    A model of 38,000 n-grams takes skops 7 s to write and to read as a dictionary, which is more than the job.
    """

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__().copy()
        if "vocabulary_" in state:  # n-grams within words hold no line break, nor do words
            state["vocabulary_"] = "\n".join(sorted(self.vocabulary_, key=self.vocabulary_.__getitem__))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if isinstance(state.get("vocabulary_"), str):
            terms = state["vocabulary_"].split("\n")
            self.vocabulary_ = {term: place for place, term in enumerate(terms)}
