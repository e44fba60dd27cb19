"""What a job is asked to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bc4all.identity import ClientId, Day


@dataclass(frozen=True)
class JobRequest:
    """What a job was asked to do. `spark_options` (after `--`) are for spark-submit alone."""

    job: str
    client_ids: tuple[ClientId, ...]
    every_client: bool
    day: Day
    config: Path
    max_parallel: int
    features: list[Any] | None = None  # as in the configuration
    model_params: dict[str, Any] | None = None
    model_version: int | None = None
    force: bool = False
    backfilled: bool = False
    budget: int | None = None
    minutes: float | None = None
    max_megabytes: float | None = None
    max_fit_seconds: float | None = None
    max_score_microseconds: float | None = None
    write: bool = False
    log_level: str | None = None
    spark_options: tuple[str, ...] = ()
