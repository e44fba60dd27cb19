"""Client ids, days and run ids: nothing else becomes one, and nothing inside takes mere text for one."""

import ast
import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId, Day, RunId, equal_numbers
from tests.conftest import ROOT

HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a b",
    "a\n",
    "-a",
    "_a",
    "a@b",
    "a%b",
    "$(x)",
    "a" * 65,
    "é",
    "ａ",
    "a%2e",
    None,
]


@pytest.mark.parametrize("client_id", HOSTILE)
def test_refuses_a_hostile_client_id(client_id: str) -> None:
    """An id that could leave its folder, its crontab line or its model name never becomes one."""
    with pytest.raises(ConfigurationError, match="is not a client id"):
        ClientId(client_id)


@given(st.text())
def test_lets_in_nothing_but_the_alphabet(text: str) -> None:
    """Whatever is let in is made of ASCII letters, digits, - and _ alone."""
    try:
        checked = ClientId(text)
    except ConfigurationError:
        return
    assert checked == text
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("day", ["2026-02-30", "2026-1-1", "20260131", "2026-01-31\n", "٢٠٢٦-٠١-٣١", "today", None])
def test_refuses_what_is_no_date(day: str) -> None:
    """Only a calendar date written YYYY-MM-DD names a partition."""
    with pytest.raises(ConfigurationError, match="is not a date"):
        Day(day)


def test_takes_a_date() -> None:
    """A leap day is a date."""
    assert Day("2028-02-29") == "2028-02-29"


@pytest.mark.parametrize("value", [ClientId("client_0"), Day("2026-01-31"), RunId("0f" * 16)])
def test_stays_what_it_is(value: str) -> None:
    """It is its text to everything else, and keeps its type through a copy and on the way to another process."""
    assert type(str(value)) is str
    assert {str(value): True}[value]
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):  # noqa: S301 - our own
        assert (type(other), other) == (type(value), value)


def test_inside_is_no_mere_text() -> None:
    """No function takes and no class holds a client's id, a day or a run's id as any text: mypy sees to the rest."""
    names = {"client_id", "client_ids", "day", "days", "run_id"}
    taken, loose = set(), []
    for file in (ROOT / "bc4all").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.arg):
                name, kind = node.arg, node.annotation
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name, kind = node.target.id, node.annotation
            else:
                continue
            if name in names and kind is not None:
                taken.add(name)
                if any(isinstance(part, ast.Name) and part.id == "str" for part in ast.walk(kind)):
                    loose.append(f"{file.name}:{node.lineno}: {name}")
    assert taken == names
    assert loose == []


def test_ids_that_are_equal_as_numbers_are_found() -> None:
    """As readers that infer types would read them: leading zeros and exponents, and nothing else."""
    ids = [ClientId(one) for one in ("123", "0123", "a1", "1e3", "1000", "7", "shop-1", "2026-01-01")]
    assert equal_numbers(ids) == [["123", "0123"], ["1e3", "1000"]]
    assert equal_numbers(ids[1:3]) == []
