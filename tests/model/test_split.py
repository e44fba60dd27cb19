"""Which products are held out, at first and when a client is trained again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from bc4all.model.training_set import MIN_COMPARED_ROWS, split


def test_at_first_it_is_scikit_learns() -> None:
    """The split of the system that this one replaces, row for row."""
    training, held_out = split(np.arange(1000) % 7)
    expected = train_test_split(np.arange(1000), test_size=0.1, random_state=1234)
    np.testing.assert_array_equal(training, expected[0])
    np.testing.assert_array_equal(held_out, expected[1])


def test_unchanged_data_is_split_as_before() -> None:
    """The same products again: the same parts, in the same order."""
    codes = np.arange(1000) % 7
    first = split(codes)
    again = split(codes, np.isin(np.arange(1000), first[0]))
    for before, after in zip(first, again, strict=True):
        np.testing.assert_array_equal(before, after)


@given(st.integers(400, 900), st.integers(0, 300), st.integers(2, 90))
def test_what_the_champion_has_learned_is_not_held_out(rows: int, more: int, categories: int) -> None:
    """With products that came, in any order: a tenth is held out, none of it learned, every category can be learned."""
    codes = np.arange(rows + more) % categories
    before, _ = split(codes[:rows])
    order = np.random.default_rng(rows).permutation(rows + more)
    learned = np.isin(order, before)
    training, held_out = split(codes[order], learned)
    assert sorted([*training, *held_out]) == list(range(rows + more))
    assert set(codes[order][training]) == set(codes)
    assert not learned[held_out].any()
    wanted = min((~learned).sum(), np.ceil((rows + more) / 10))
    assert MIN_COMPARED_ROWS - categories <= len(held_out) <= wanted
    assert len(held_out) >= wanted - categories
