#!/usr/bin/env bash
# The one way to start a Spark job; see --help. bc4all/cli/submit.py checks, bc4all/launch/spark_submit.py starts it.
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
python=${BC4ALL_PYTHON:-$root/.venv/bin/python}
if [[ ! -x $python ]]; then
    echo "bin/submit.sh: there is no $python: run 'make setup' first, or set BC4ALL_PYTHON" >&2
    exit 2
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec "$python" -m bc4all.cli.submit "$@"
