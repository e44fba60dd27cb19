"""Better Categories 4All: one product-category model per client, trained and applied with Spark."""

import os
import sys

__version__ = "0.1.0"

if sys.version_info < (3, 11):  # noqa: UP036 - said here, before a module that an older Python would stumble over
    version = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(f"Python is {version} ({sys.executable}, use 3.11 or newer: set BC4ALL_PYTHON)\n")
    sys.exit(2)

# MLflow reports its use to its makers, unless it is told not to before it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
