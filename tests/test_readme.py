"""Every command of the README is one that exists; tests/spark/test_fleet.py runs the jobs among them."""

import re
import shlex
import shutil
import subprocess

import click
import pytest

from bc4all import cli, submit
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line.partition(" # ")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]


def test_finds_the_commands() -> None:
    """The README has commands to test: make, bin/submit.sh and bc4all."""
    assert {shlex.split(command)[0] for command in COMMANDS} == {"make", "bin/submit.sh", "bc4all"}


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
    context = group.commands[name].make_context(name, list(arguments))
    assert context.params
