"""import-linter holds the contracts of pyproject.toml: a copy of the package that breaks one is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("", "", 0),
        ("model/ranking.py", "import mlflow", 3),  # a worker, a task, MLflow's one door
        ("data/drift.py", "from bc4all.jobs import context", 1),  # up
        ("data/drift.py", "from bc4all.learning import pieces", 1),  # sideways
        ("learning/heap.py", "import yaml", 1),  # by way of what tasks run
        ("strangers.py", "", 1),  # on no floor
    ],
)
def test_an_import_that_breaks_a_contract_fails_the_lint(module: str, line: str, broken: int, tmp_path: Path) -> None:
    """As many contracts are broken as the line breaks; the package as it is breaks none."""
    shutil.copytree(ROOT / "bc4all", tmp_path / "bc4all", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if module:
        with (tmp_path / "bc4all" / module).open("a") as source:
            source.write(f"{line}\n")
    lint = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(lint, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PATH": ""})
    assert f"{broken} broken" in done.stdout, done.stdout + done.stderr
    assert done.returncode == bool(broken)
