"""Ctrl-C while a program starts: a line instead of a traceback of imports, and the exit code that shells expect."""

import os
import signal
import threading
from types import FrameType

from bc4all.errors import EXIT_INTERRUPTED


def leave_at_once(name: str) -> None:
    """Let Ctrl-C end this process with one line, while there is nothing to give up: until `give_up`, or an exec."""
    line = f"{name}: interrupted before anything was begun\n".encode()

    def leave(number: int, frame: FrameType | None) -> None:
        os.write(2, line)
        os._exit(EXIT_INTERRUPTED)

    signal.signal(signal.SIGINT, leave)


def give_up() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, where what was begun can be given up."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
