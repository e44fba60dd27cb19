"""Where the project lies on this machine. A job runs from a bundle that does not know: it is told by its starter."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUBMIT = ROOT / "bin" / "submit.sh"  # the one way to start a Spark job
CONFIG = ROOT / "conf" / "clients.yaml"
