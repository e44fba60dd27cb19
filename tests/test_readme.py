"""Every command of README and docs is one that exists; tests/spark and tests/cluster run the jobs among them."""

import re
import shlex
import shutil
import subprocess

import click
import pytest

from bc4all.cli import main as cli
from bc4all.cli import submit
from tests.conftest import ROOT

DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "cron/README.md")),
    *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "cli.md"}),  # which holds no commands to type
)
PROGRAMS = {"make", "bin/submit.sh", "bc4all"}


def commands(text: str) -> list[str]:
    """The lines of the shell examples that call this project, joined where they go on."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    bare = [re.split(r"\s+#\s|\s&&\s", line)[0].strip().removeprefix(".venv/bin/") for line in lines]
    return [line for line in bare if line.split(" ")[0] in PROGRAMS]


COMMANDS = [command for document in DOCUMENTS for command in commands(document.read_text())]


def test_finds_the_commands() -> None:
    """Every document has commands to test, and between them all three programs are called."""
    assert all(commands(document.read_text()) for document in DOCUMENTS)
    assert {shlex.split(command)[0] for command in COMMANDS} == PROGRAMS


@pytest.mark.parametrize("command", COMMANDS)
def test_takes_the_command(command: str) -> None:
    """The command line parses each command as it stands there; make has the target."""
    program, name, *arguments = shlex.split(command)
    if program == "make":
        make = shutil.which("make")
        assert make
        subprocess.run([make, "-n", name], cwd=ROOT, check=True, capture_output=True)
        return
    group: click.Group = submit.main if program == "bin/submit.sh" else cli.main
    called = group.commands[name]
    if isinstance(called, click.Group):
        name, *arguments = arguments
        called = called.commands[name]
    assert called.make_context(name, list(arguments))
