"""The compiled counting of n-grams, held against the scikit-learn code that it stands for."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from bc4all.model import ngrams
from bc4all.model.text import JoinedVectorizer, TextVectorizer, TitleVectorizer

TEXTS = st.lists(
    st.text() | st.text("ab eÄİ\t\n\u3000\x1c\x00\ud800 é😀", max_size=40) | st.text("aA0195 ", max_size=9),
    min_size=1,
    max_size=8,
)
KINDS: list[tuple[type, dict[str, Any]]] = [
    (TitleVectorizer, {"analyzer": "char", "ngram_range": (1, 4), "use_idf": False}),
    (TitleVectorizer, {"analyzer": "char", "ngram_range": (1, 4), "use_idf": False, "max_features": 9}),
    (TitleVectorizer, {"analyzer": "char_wb", "ngram_range": (2, 5), "lowercase": False}),
    (TextVectorizer, {"analyzer": "char_wb", "ngram_range": (3, 6), "sublinear_tf": True}),
    (TextVectorizer, {"analyzer": "char", "ngram_range": (1, 2), "min_df": 2, "binary": True}),
]


def counted_by_scikit_learn(kind: type) -> type:
    """The same vectorizer, whose n-grams are Python's strings."""
    return type(kind.__name__, (kind,), {"_count_vocab": TfidfVectorizer._count_vocab})


def answer(vectorizer: Any, texts: list[str], others: list[str]) -> Any:
    """What it makes of texts to learn from and of others, or how it refuses them."""
    try:
        return vectorizer.fit_transform(texts), vectorizer.transform(others), vectorizer.vocabulary_
    except ValueError as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "params"), KINDS)
@settings(max_examples=100)
@given(texts=TEXTS, others=TEXTS)
def test_whatever_the_texts_the_counts_are_scikit_learns(
    kind: type, params: dict[str, Any], texts: list[str], others: list[str]
) -> None:
    """The same vocabulary in the same order, the same rows but for rounding, the same refusals."""
    found = answer(kind(**params), texts, others)
    wanted = answer(counted_by_scikit_learn(kind)(**params), texts, others)
    if isinstance(wanted, str):
        assert found == wanted
        return
    assert found[2] == wanted[2]
    for mine, theirs in zip(found[:2], wanted[:2], strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(mine.toarray(), theirs.toarray(), rtol=1e-12)


def test_many_texts_fill_the_room_that_there_is() -> None:
    """Tables that grow keep what stands in them."""
    numbers = np.random.default_rng(0).integers(0x4E00, 0x9FFF, (400, 60))
    texts = ["".join(map(chr, row)) for row in numbers]
    kind, params = KINDS[0]
    found, wanted = kind(**params), counted_by_scikit_learn(kind)(**params)
    assert (found.fit_transform(texts) != wanted.fit_transform(texts)).nnz == 0
    assert len(found.vocabulary_) > 50_000
    assert found.vocabulary_ == wanted.vocabulary_


def test_of_a_long_text_the_first_letters_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is learned from and where it is scored; what follows costs no memory."""
    monkeypatch.setattr(ngrams, "_MOST_LETTERS", 20)
    kind, params = KINDS[0]
    rows = kind(**params).fit_transform(["abc" * 7, "abc" * 6 + "ab", "x"])
    assert (rows[0] != rows[1]).nnz == 0


def test_what_is_no_n_gram_of_characters_is_scikit_learns() -> None:
    """Words, accents taken off: as scikit-learn has them."""
    for params in ({"analyzer": "word"}, {"analyzer": "char", "strip_accents": "unicode"}):
        found, wanted = TextVectorizer(**params), TfidfVectorizer(**params)
        assert (found.fit_transform(["Ä b cd cd", "cd ef"]) != wanted.fit_transform(["Ä b cd cd", "cd ef"])).nnz == 0
        assert found.vocabulary_ == wanted.vocabulary_


def test_several_columns_are_one_text() -> None:
    """Those of a row, a space between them; what is empty is not there."""
    frame = pd.DataFrame({"name": ["Bosch KGN36", "", "Smeg"], "path": ["", "", "Fridges"]}, dtype=object)
    params: dict[str, Any] = {"analyzer": "char", "ngram_range": (1, 4), "use_idf": False}
    one, plain = JoinedVectorizer(**params), TitleVectorizer(**params)
    texts = ["Bosch KGN36", "", "Smeg Fridges"]
    assert (one.fit_transform(frame) != plain.fit_transform(texts)).nnz == 0
    assert (one.transform(frame[::-1]) != plain.transform(texts[::-1])).nnz == 0
    assert list(one.get_feature_names_out()) == list(plain.get_feature_names_out())
    none = pd.DataFrame({"name": ["", ""], "path": ["", ""]}, dtype=object)
    assert JoinedVectorizer(**params).fit_transform(none).nnz == 0
