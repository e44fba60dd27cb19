"""Objects taken apart and put together again."""

import hashlib
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc4all.learning.pieces import read_pieces, write_pieces

_plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(_plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES, st.integers(1, 50))
def test_comes_back_whatever_the_size_of_a_piece(value: object, size: int) -> None:
    """Many pieces mean what one does; none is larger than asked, and length and digest are those of all together."""
    pieces: list[bytes] = []
    length, sha256 = write_pieces(value, size, pieces.append)
    content = b"".join(pieces)
    assert read_pieces(pieces) == pickle.loads(content) == value  # noqa: S301 - what this test pickled
    assert {len(piece) for piece in pieces[:-1]} <= {size}
    assert 0 < len(pieces[-1]) <= size
    assert (length, sha256) == (len(content), hashlib.sha256(content).digest())


@pytest.mark.parametrize("size", [1000, 1 << 16, 1 << 30])
def test_arrays_come_back(size: int) -> None:
    """Large buffers, which pickle writes by themselves, are cut like everything else."""
    arrays = [np.arange(100_000.0), np.asfortranarray(np.arange(12.0).reshape(3, 4)), np.zeros(0, dtype=np.int32)]
    pieces: list[bytes] = []
    write_pieces(arrays, size, pieces.append)
    assert max(map(len, pieces)) <= size
    for found, array in zip(read_pieces(iter(pieces)), arrays, strict=True):
        np.testing.assert_array_equal(found, array)


def test_pieces_that_are_not_all_there_are_refused() -> None:
    """Half of an object is none."""
    pieces: list[bytes] = []
    write_pieces(list(range(1000)), 100, pieces.append)
    with pytest.raises((EOFError, pickle.UnpicklingError)):
        read_pieces(pieces[:-1])
