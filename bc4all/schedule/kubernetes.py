"""The fleet's schedules as Kubernetes CronJobs, one a client and job, at the same times as elsewhere.

https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import yaml

from bc4all.config.clients import Fleet
from bc4all.config.timing import Timing
from bc4all.errors import EXIT_OK, EXIT_TRANSIENT
from bc4all.identity import ClientId
from bc4all.schedule.agenda import due_timings

_MAX_NAME_CHARS = 52  # characters of a CronJob's name


def manifests(fleet: Fleet, image: str, settings: Mapping[str, str]) -> str:
    """YAML documents; `settings` are the jobs' environment variables."""
    documents = [
        _cron_job(client_id, job, timing, image, settings)
        for (client_id, job), timing in due_timings(fleet.clients.values())
    ]
    return str(yaml.safe_dump_all(documents, sort_keys=False, explicit_start=True))


def resource_name(client_id: ClientId, job: str) -> str:
    """Return a DNS label of the client's own: ids may hold capitals and underscores, and be longer."""
    plain = f"bc4all-{job}-{client_id}"
    name = re.sub(r"[^a-z0-9-]", "-", plain.lower()).strip("-")
    if name == plain and len(name) <= _MAX_NAME_CHARS:
        return name
    return f"{name[: _MAX_NAME_CHARS - 9].rstrip('-')}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def _cron_job(client_id: ClientId, job: str, timing: Timing, image: str, settings: Mapping[str, str]) -> dict[str, Any]:
    # A label's value may not end in - or _, as a client id may.
    about = {"labels": {"app": "bc4all", "bc4all/job": job}, "annotations": {"bc4all/client": str(client_id)}}
    container = {
        "name": "driver",
        "image": image,
        "command": ["/opt/bc4all/bin/submit.sh"],
        "args": [job, "--client-id", str(client_id)],
        # A run's date is the client's own.
        "env": [{"name": name, "value": value} for name, value in {**settings, "TZ": timing.zone.key}.items()],
    }
    other_codes = {"operator": "NotIn", "values": [EXIT_OK, EXIT_TRANSIENT]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": resource_name(client_id, job), **about},
        "spec": {
            "schedule": timing.expression,
            "timeZone": timing.zone.key,
            "concurrencyPolicy": "Forbid",
            # How late a missed start may be made up for: Kubernetes catches up with one at most.
            "startingDeadlineSeconds": timing.catch_up_window if timing.catch_up != "none" else 120,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": timing.retries,
                    "activeDeadlineSeconds": timing.timeout,
                    "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": other_codes}]},
                    "template": {
                        "metadata": about,
                        "spec": {"restartPolicy": "Never", "serviceAccountName": "bc4all", "containers": [container]},
                    },
                }
            },
        },
    }
