"""docs/reliability.md keeps its word: each line has a test that is there, and a guard that the test would miss."""

import ast
import re

import pytest

from tests.conftest import ROOT
from tests.guards import GUARDS, NOT_OURS, unguarded

PAGE = (ROOT / "docs" / "reliability.md").read_text()
LINES = [line for line in PAGE.splitlines() if line.startswith("| ") and "`tests/" in line]
TESTS = [re.findall(r"`(tests/\S+?)`", line)[-1] for line in LINES]


def exists(test: str) -> bool:
    """Whether a file has a test of this name (or, without a name, any)."""
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    return any(isinstance(node, ast.FunctionDef) and node.name.startswith(name or "test_") for node in tree.body)


def test_every_line_has_a_test() -> None:
    """Each line of both tables names a test, in its last column, that exists."""
    tables = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| what", "|---"))]
    assert len(LINES) == len(tables) > 50
    assert [test for test in TESTS if not exists(test)] == []


def test_every_line_has_a_guard() -> None:
    """Each test of the page is missed by `make guards`, unless the guard is somebody else's."""
    missing = [test for test in TESTS if test not in GUARDS and test.partition("::")[0] not in GUARDS]
    assert sorted(set(missing)) == sorted(NOT_OURS)


@pytest.mark.parametrize("test", GUARDS)
def test_the_guards_are_there(test: str) -> None:
    """What would be taken away stands once in its symbol, the rest compiles, and the test that must fail exists."""
    assert exists(test)
    for guard in GUARDS[test]:
        file, code = unguarded(guard)
        compile(code, str(file), "exec")
        assert guard.without != guard.text
