"""What is published, and by which model, as Prometheus metrics of each client."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time

from prometheus_client.core import InfoMetricFamily, Metric

from bc4all.job_kinds import PREDICT
from bc4all.schedule.metrics import gauge
from bc4all.site.fleet import ClientFacts


class PublishedCollector:
    """The facts of some clients."""

    def __init__(self, facts: Sequence[ClientFacts]) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for name, (meaning, number) in _NUMBERS.items():
            yield gauge(name, meaning, ["client"], (([one.id], number(one)) for one in self._facts))
        yield _model_info(self._facts)


def _model_info(facts: Sequence[ClientFacts]) -> Metric:
    family = InfoMetricFamily("bc4all_model", "The champion's version, and the model that the client is set to train.")
    for one in facts:
        if one.champion is not None:
            family.add_metric([], {"client": one.id, "model": one.client.model_name, "version": str(one.champion)})
    return family


def _published(one: ClientFacts) -> float | None:
    """Return when the newest published date began, in the client's zone, in seconds since 1970."""
    if not one.newest:
        return None
    zone = one.client.timing(PREDICT.name).zone
    return datetime.combine(date.fromisoformat(one.newest.day), time.min, zone).timestamp()


def _refused(one: ClientFacts) -> float | None:
    """Return the share of the newest date's rows that were refused; None where it had none."""
    manifest = one.newest.manifest if one.newest else {}
    rows, refused = manifest.get("rows_in"), manifest.get("rows_quarantined")
    return refused / rows if rows and refused is not None else None


# By name: what a number says, and how it comes from a client's facts.
_NUMBERS: Mapping[str, tuple[str, Callable[[ClientFacts], float | None]]] = {
    "published_date_timestamp_seconds": ("When the newest published date began, in the client's zone.", _published),
    "refused_ratio": ("Refused rows of the newest published date, as a share of all.", _refused),
    "refused_limit_ratio": ("Share of refused rows above which a job fails.", lambda one: one.client.max_quarantine),
    "coverage_ratio": ("Share of the newest date's products that count as answered.", lambda one: one.coverage),
    "drift_psi": ("Largest population stability index of the newest date.", lambda one: one.drift),
    "drift_limit_psi": ("Index above which a client counts as drifted.", lambda one: one.client.drift.psi),
}
