"""Categories that people would take for one are kept apart, and told with the lines that would join them."""

from pathlib import Path

import pytest

from bc4all.config.category_map import read_category_map
from bc4all.learning.look_alikes import look_alikes, warning


@pytest.mark.parametrize(
    "names",
    [
        ("Shoes", "Shoes "),
        ("Shoes", "\u00a0Shoes"),
        ("Caf\u00e9", "Cafe\u0301"),
        ("A>B", "A > B"),
        ("11", "11.0"),
        ("shoes", "Shoes"),
        ("Bed & Bath", "Bed  &  Bath"),
    ],
)
def test_two_that_look_alike_are_told(names: tuple[str, str], tmp_path: Path) -> None:
    """With their rows, and a line that makes them one: the rarer is called as the more frequent one."""
    counts = {names[0]: 7, names[1]: 2, "another": 5}
    assert look_alikes(counts) == [list(names)]
    said = warning(counts)
    assert f"{names[0]!r} (7 rows); {names[1]!r} (2 rows)" in said
    (tmp_path / "category_map").mkdir()
    (tmp_path / "category_map" / "x.csv").write_text("old,new\n" + said.partition("\n")[2] + "\n")
    joined = read_category_map(tmp_path / "clients.yaml", "x")
    assert joined
    assert joined.names("2026-01-01")[names[1]] == names[0]


@pytest.mark.parametrize("names", [("Shoes", "Shoe"), ("1", "11"), ("A B", "AB"), ("1.10", "1.1"), ("A-B", "A B")])
def test_two_that_do_not_are_not(names: tuple[str, str]) -> None:
    """Names that differ to the eye give no warning."""
    assert not warning(dict.fromkeys(names, 1))


def test_many_groups_are_told_shortly() -> None:
    """The ten most frequent ones, and how many more there are."""
    counts = {f"{number}{ending}": 100 - number for number in range(30) for ending in ("", " ")}
    said = warning(counts)
    assert "20 groups more" in said
    assert len(said.splitlines()) == 11
