"""How far a large client's training is, from what its pieces report and when they end."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc4all.learning.progress import Progress


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def progress(pieces: int, at_once: int) -> tuple[Clock, Progress]:
    """A fit that begins now."""
    clock = Clock()
    return clock, Progress("fit", pieces, at_once, clock)


def test_a_fit_says_what_it_is_at() -> None:
    """Pieces alone are counted; once one has ended, what is left is foreseen; of none left there is none."""
    clock, fit = progress(3, 2)
    assert str(fit) == "fit 0 of 3, 0:00"
    clock.now += 130
    assert str(fit) == "fit 0 of 3, 2:10"
    fit.end([0])
    assert str(fit) == "fit 1 of 3, 2:10, about 2 min left"
    clock.now += 10
    fit.end([0, 1])
    assert str(fit) == "fit 2 of 3, 2:20, about 2 min left"
    clock.now += 100
    fit.end([0, 1, 2])
    assert fit.left() == 0


def test_what_a_running_piece_reports_is_foreseen_from_its_own_pace() -> None:
    """Not from the time before its first report, in which it did something else: a minute of n-grams, say."""
    clock, fit = progress(1, 2)
    clock.now += 60
    fit.report(0, 0.05)
    assert fit.left() is None
    clock.now += 10
    fit.report(0, 0.25)
    assert fit.left() == pytest.approx(0.75 * 50)
    assert str(fit) == "fit 0 of 1, 25%, 1:10, about 40 s left"
    clock.now += 20  # and no word since
    assert fit.left() == pytest.approx(0.75 * 50 - 20)


def test_pieces_that_wait_take_as_long_as_others_on_the_cores_that_come_free() -> None:
    """Two cores and five pieces of 100 s: after 50 s two and a half rounds are left."""
    clock, fit = progress(5, 2)
    for piece in (0, 1):
        fit.report(piece, 0)
    clock.now += 50
    for piece in (0, 1):
        fit.report(piece, 0.5)
    assert fit.left() == pytest.approx(250)


def test_a_piece_that_takes_longer_than_others_is_not_foreseen() -> None:
    """What has ended does not tell when it ends; a report does."""
    clock, fit = progress(3, 2)
    clock.now += 30
    fit.end([0, 1])
    clock.now += 31
    assert fit.left() is None
    assert str(fit) == "fit 2 of 3, 1:01"
    fit.report(2, 0.1)
    clock.now += 10
    fit.report(2, 0.3)
    assert fit.left() == pytest.approx(35)


def test_a_piece_that_begins_again_is_foreseen_anew() -> None:
    """Its task failed, and is tried again."""
    clock, fit = progress(1, 1)
    fit.report(0, 0)
    clock.now += 10
    fit.report(0, 0.9)
    fit.report(0, 0.01)
    assert fit.left() is None
    clock.now += 10
    fit.report(0, 0.11)
    assert fit.left() == pytest.approx(89)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
def test_what_is_no_report_is_passed_over(share: float) -> None:
    """Nor is one of a piece that there is not."""
    _, fit = progress(1, 1)
    fit.report(0, share)
    fit.report(1, 0.5)
    fit.report(-1, 0.5)
    assert str(fit) == "fit 0 of 1, 0:00"


@given(
    st.integers(1, 8),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 7), st.floats(0, 1), st.booleans(), st.floats(0, 100)), max_size=30),
)
def test_whatever_comes_in_any_order_is_told(
    pieces: int, at_once: int, events: Sequence[tuple[int, float, bool, float]]
) -> None:
    """On a cluster that has more cores than were counted on, with reports that come late: a line, and no less than no
    time left."""
    clock, fit = progress(pieces, at_once)
    for piece, share, ended, seconds in events:
        clock.now += seconds
        fit.report(piece, share)
        if ended and piece < pieces:
            fit.end([piece])
        left = fit.left()
        assert left is None or left >= 0
        assert str(fit).startswith("fit ")
