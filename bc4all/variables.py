"""The environment variables of bc4all, each name in one place.

README's table explains those that people set; a test compares the two. The others pass between a job and its starter.
"""

DATA_PREFIX = "DATA_PREFIX"  # where all data lies
TRACKING_URI = "MLFLOW_TRACKING_URI"  # MLflow's own name
CONFIG_FILE = "BC4ALL_CONFIG"
MASTER = "BC4ALL_MASTER"
HEALTH_TOKEN = "BC4ALL_HEALTH_TOKEN"  # noqa: S105  # nosec B105 - a variable's name
STATE_FOLDER = "BC4ALL_STATE"
LOG_FORM = "BC4ALL_LOG"  # text or json
PYTHON = "BC4ALL_PYTHON"

# Set by bin/submit.sh where a person watches: spark-submit stands between it and a terminal.
TERMINAL_COLUMNS = "BC4ALL_TERMINAL_COLUMNS"
# Set by the scheduler and run-now: the file to which the job appends each client's outcome.
RESULTS = "BC4ALL_RESULTS"
# Set by the scheduler and run-now: marks a job and all its descendants.
RUN_MARK = "BC4ALL_RUN"
