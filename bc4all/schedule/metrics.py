"""The scheduler and the history as Prometheus metrics.

Collectors only show what was read before; each text has a registry of its own. A time is a `…_timestamp_seconds`, a
share a `…_ratio`. Names: https://prometheus.io/docs/practices/naming/
"""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from bc4all.schedule.snapshot import JobRecord, Records, Snapshot

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# Of a client's job: the field of its record, and what it says.
_OF_JOB = {
    "last_run_ok": ("ok", "1 where the last run that ended succeeded, else 0."),
    "last_success_timestamp_seconds": ("last_success", "When the last successful run ended."),
    "next_due_timestamp_seconds": ("next_due", "When the job is due next; absent while it is paused or not enabled."),
    "allowed_age_seconds": (
        "allowed_age",
        "How old the last success may become by the job's own schedule; absent while it is paused or not enabled.",
    ),
    "duration_seconds": ("seconds", "How long the last successful run took."),
    "rows": ("rows", "Rows that the last successful run accepted."),
    "top_5_accuracy_ratio": ("top_5", "Top-5 accuracy of the version that the last successful run trained or used."),
}


def text(*collectors: Collector) -> str:
    """Return what the collectors yield in Prometheus' text format."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry).decode()


def gauge(
    name: str, meaning: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float | None]]
) -> Metric:
    """Return the metric `bc4all_<name>`, with a sample for each value that there is."""
    family = GaugeMetricFamily(f"bc4all_{name}", meaning, labels=labels)
    for values, number in samples:
        if number is not None:
            family.add_metric(values, float(number))
    return family


class RecordsCollector:
    """What the history tells."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield gauge("runs", "Runs in the history, by job and state.", ["job", "state"], self._records.runs.items())
        for name, (field, meaning) in _OF_JOB.items():
            yield gauge(name, meaning, ["client", "job"], _values(self._records.jobs, field))


class SchedulerCollector:
    """What the scheduler was like at its last step."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        now = self._snapshot
        for name, meaning, number in (
            ("last_tick_timestamp_seconds", "When the scheduler last looked what was due.", now.last_tick),
            ("running", "Spark applications under way.", now.running),
            ("queued", "Runs that are due and wait for room.", now.queued),
            ("configuration_valid", "1 while the configuration file, as it is, is in force, else 0.", now.valid),
            ("undelivered_notices", "Notices that no receiver took.", now.undelivered),
        ):
            yield gauge(name, meaning, [], [([], number)])
        yield from RecordsCollector(now.records).collect()


def _values(jobs: Iterable[JobRecord], field: str) -> Iterator[tuple[Sequence[str], float | None]]:
    return (((record.client, record.job), getattr(record, field)) for record in jobs)
