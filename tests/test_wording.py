"""Words that depend on numbers."""

import pytest

from bc4all.wording import quantity


@pytest.mark.parametrize(("count", "said"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (12_345, "12,345 jobs")])
def test_one_is_singular(count: int, said: str) -> None:
    """Zero and many are plural."""
    assert quantity(count, "job") == said
