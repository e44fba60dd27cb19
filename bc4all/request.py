"""What a job is asked to do, and the variables by which its starter tells it more."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Set by bin/submit.sh: spark-submit stands between it and a terminal.
TERMINAL_COLUMNS = "BC4ALL_TERMINAL_COLUMNS"  # set where a person watches
LOG_FORM = "BC4ALL_LOG"  # text or json
# Set by the scheduler and run-now: the file to which the job appends what became of each client.
RESULTS = "BC4ALL_RESULTS"


@dataclass(frozen=True)
class JobArguments:
    """What a job was asked to do. `spark_options` (after `--`) are for spark-submit alone."""

    job: str
    client_ids: tuple[str, ...]
    every_client: bool
    day: str
    config: Path
    max_parallel: int
    features: list[Any] | None = None  # as in the configuration
    model_params: dict[str, Any] | None = None
    model_version: int | None = None
    budget: int | None = None
    minutes: float | None = None
    max_megabytes: float | None = None
    max_fit_seconds: float | None = None
    max_score_microseconds: float | None = None
    write: bool = False
    log_level: str | None = None
    spark_options: tuple[str, ...] = ()
