"""Ctrl-C while a program starts."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
from bc4all.interrupts import give_up, leave_at_once
leave_at_once("x")
{then}
import time
try:
    print("ready", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("given up")
"""


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [("", 130, "x: interrupted before anything was begun\n"), ("give_up()", 0, "given up\n")],
)
def test_ctrl_c_while_a_program_starts(then: str, code: int, said: str) -> None:
    """It is one line and 130, whatever is being imported; from then on where something can be given up, it is."""
    command = [sys.executable, "-c", PROGRAM.format(then=then)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert program.stdout
    assert program.stdout.readline() == "ready\n"
    program.send_signal(signal.SIGINT)
    printed, _ = program.communicate(timeout=60)
    assert (program.returncode, printed) == (code, said)
