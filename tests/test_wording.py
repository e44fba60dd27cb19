"""Words that depend on numbers."""

import pytest

from bc4all.wording import about_time, elapsed_time, quantity


@pytest.mark.parametrize(("count", "said"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (12_345, "12,345 jobs")])
def test_one_is_singular(count: int, said: str) -> None:
    """Zero and many are plural."""
    assert quantity(count, "job") == said


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (42.9, "0:42"), (725, "12:05"), (3600, "1:00:00"), (90_061, "25:01:01")]
)
def test_a_time_that_passed_is_to_the_second(seconds: float, text: str) -> None:
    """Whole seconds, as a clock shows them."""
    assert elapsed_time(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "10 s"), (31, "40 s"), (90, "90 s"), (91, "2 min"), (149, "2 min"), (7200, "120 min"), (9000, "2 h")],
)
def test_an_estimate_is_no_finer_than_it_can_be(seconds: float, text: str) -> None:
    """Tens of seconds, then minutes, then hours."""
    assert about_time(seconds) == text
