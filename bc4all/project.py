"""Where the project lies on this machine. A job that runs from a bundle does not know; its starter passes the paths."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUBMIT = ROOT / "bin" / "submit.sh"  # the one way to start a Spark job
CONFIG = ROOT / "conf" / "clients.yaml"
