"""What `make docs` writes is up to date, and each environment variable is in one table."""

import importlib
import re
import runpy
from pathlib import Path

import pytest

from bc4all import variables
from tests.conftest import ROOT

DOCS = runpy.run_path(str(ROOT / "bin" / "docs.py"))
NAMES = {value for name, value in vars(variables).items() if name.isupper()}
BETWEEN_JOB_AND_STARTER = {variables.TERMINAL_COLUMNS, variables.RESULTS, variables.RUN_MARK}


@pytest.mark.parametrize(("file", "make"), [("CLI", "cli_page"), ("PICTURE", "picture")])
def test_generated_pages_are_up_to_date(file: str, make: str) -> None:
    """Where this fails, run `make docs`."""
    assert DOCS[file].read_text() == DOCS[make]()


def test_each_room_stands_in_the_picture() -> None:
    """With what lives there; a floor whose rooms are not known would push those below it to the ground."""
    folders = {file.parent.name for file in (ROOT / "bc4all").glob("*/__init__.py")}
    assert folders <= set(DOCS["_LIVES_THERE"])


def test_readme_lists_the_variables() -> None:
    """All those that people set, and no other of this project's."""
    table = (ROOT / "README.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `([A-Z0-9_]+)`", table, re.MULTILINE))
    assert listed - {"MLFLOW_DISABLE_TELEMETRY"} == NAMES - BETWEEN_JOB_AND_STARTER


def python_literals(file: Path) -> set[str]:
    """The names in quotes that look like a variable of this project."""
    return set(re.findall(r"[\"'](BC4ALL_[A-Z_]+|DATA_PREFIX|MLFLOW_TRACKING_URI)[\"']", file.read_text()))


def test_each_name_stands_in_one_module() -> None:
    """Shell scripts, Spark's own configuration and units of systemd use no other."""
    elsewhere = [file for file in (ROOT / "bc4all").rglob("*.py") if file.name != "variables.py"]
    assert {file.name: python_literals(file) for file in elsewhere if python_literals(file)} == {}
    scripts = [file for folder in ("bin", "conf", "cron", "deploy") for file in (ROOT / folder).rglob("*")]
    texts = [file.read_text(errors="replace") for file in scripts if file.is_file() and file.suffix != ".pyc"]
    used = {name for text in texts for name in re.findall(r"BC4ALL_[A-Z_]+", text)}
    assert used <= NAMES


def test_what_scripts_import_is_there() -> None:
    """The Makefile, the image and the notebook name modules, too, and no linter reads them."""
    scripts = [ROOT / "Makefile", *(ROOT / "deploy").rglob("*"), *(ROOT / "notebooks").glob("*.ipynb")]
    text = "\n".join(file.read_text() for file in scripts if file.is_file())
    imports = re.findall(r"from (bc4all[\w.]*) import (\w+)", text)
    assert len(imports) > 5
    for module, name in imports:
        assert hasattr(importlib.import_module(module), name), (module, name)


def test_every_room_is_described() -> None:
    """The README's table and the picture name each room that import-linter keeps."""
    readme, picture = (ROOT / "README.md").read_text(), DOCS["PICTURE"].read_text()
    for room in [name for floor in DOCS["floors"]()[:-1] for name in floor]:
        assert f"`{room}" in readme or room == "pyfunc"
        assert f">{room}" in picture
