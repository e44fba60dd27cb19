"""A run's journal: who works in a staging folder, told before anything else is written there.

It is the last thing to go, so a journal whose run is dead names what a killed job left (see `recovery`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId, Day, RunId
from bc4all.job_kinds import JOB_KINDS, TUNE
from bc4all.layout import Layout

JOURNAL = "_run.json"
OUTPUT, QUARANTINE = "products_categories", "quarantine"  # the folders that a run stages


@dataclass(frozen=True)
class Journal:
    """One run of one client's job. `locks` names the state folder whose locks tell whether it lives."""

    run_id: RunId
    client_id: ClientId
    job: str
    day: Day
    locks: str

    def targets(self, layout: Layout) -> Mapping[str, str]:
        """Return the partitions that the run may replace, by the name of the folder in which it stages them."""
        if self.job == TUNE.name:  # which changes no data
            return {}
        return {
            QUARANTINE: layout.quarantine(JOB_KINDS[self.job].data, self.client_id, self.day),
            OUTPUT: layout.published_partition(self.client_id, self.day),
        }

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def loads(cls, text: str | None) -> "Journal | None":
        """Return what `dumps` made; None for anything else, such as what was being written when its run was killed."""
        try:
            given = json.loads(text or "")
            run_id, client_id, day = RunId(given["run_id"]), ClientId(given["client_id"]), Day(given["day"])
            found = cls(run_id, client_id, str(given["job"]), day, str(given["locks"]))
        except (ValueError, KeyError, TypeError, ConfigurationError):
            return None
        return found if found.job in JOB_KINDS else None
