"""Packs keep order, leave nothing out, and take no more than they may."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bc4all.packing import packed


@given(st.lists(st.integers(0, 20)), st.integers(1, 30), st.none() | st.integers(1, 5))
def test_packs(sizes: list[int], budget: int, most: int | None) -> None:
    """Each is as full as it may be: the next item would not have gone in."""
    packs = list(packed(sizes, int, budget, most))
    assert [size for pack in packs for size in pack] == sizes
    assert all(pack for pack in packs)
    assert all(sum(pack) <= budget or len(pack) == 1 for pack in packs)
    assert all(len(pack) <= (most or len(sizes)) for pack in packs)
    for pack, following in pairwise(packs):
        assert sum(pack) + following[0] > budget or len(pack) == most
