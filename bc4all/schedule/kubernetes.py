"""The fleet's schedules as Kubernetes CronJobs, one a client and job, at the same times as elsewhere.

https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
"""

import hashlib
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from bc4all.config.clients import Fleet
from bc4all.config.timing import Timing
from bc4all.config.yaml_source import PlainDumper
from bc4all.errors import EXIT_JAVA_MEMORY, EXIT_OK, EXIT_TRANSIENT
from bc4all.identity import ClientId
from bc4all.schedule.agenda import due_timings

_MAX_NAME_CHARS = 52  # characters of a CronJob's name
_KILLED = 128 + signal.SIGKILL  # such as a container that was over its memory
_TRIED_AGAIN = (EXIT_OK, EXIT_JAVA_MEMORY, EXIT_TRANSIENT, _KILLED)  # EXIT_OK: Kubernetes wants it named, too


@dataclass(frozen=True)
class Pod:
    """What each job's pod is made of: its image, its environment variables, and what it asks for and may take."""

    image: str
    settings: Mapping[str, str]
    cpu: str = "1"
    memory: str = "4Gi"


def manifests(fleet: Fleet, pod: Pod) -> str:
    """Return YAML documents, a CronJob each."""
    options = ["--", *fleet.scheduler.spark_options] if fleet.scheduler.spark_options else []
    documents = [
        _cron_job(client_id, job, timing, pod, options)
        for (client_id, job), timing in due_timings(fleet.clients.values())
    ]
    return str(yaml.dump_all(documents, Dumper=PlainDumper, sort_keys=False, explicit_start=True))


def resource_name(client_id: ClientId, job: str) -> str:
    """Return a DNS label of the client's own: ids may hold capitals and underscores, and be longer."""
    plain = f"bc4all-{job}-{client_id}"
    name = re.sub(r"[^a-z0-9-]", "-", plain.lower()).strip("-")
    if name == plain and len(name) <= _MAX_NAME_CHARS:
        return name
    return f"{name[: _MAX_NAME_CHARS - 9].rstrip('-')}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def _cron_job(client_id: ClientId, job: str, timing: Timing, pod: Pod, options: list[str]) -> dict[str, Any]:
    # A label's value may not end in - or _, as a client id may.
    about = {"labels": {"app": "bc4all", "bc4all/job": job}, "annotations": {"bc4all/client": str(client_id)}}
    container = {
        "name": "driver",
        "image": pod.image,
        "command": ["/opt/bc4all/bin/submit.sh"],
        "args": [job, "--client-id", str(client_id), *options],
        # A run's date is the client's own.
        "env": [{"name": name, "value": value} for name, value in {**pod.settings, "TZ": timing.zone.key}.items()],
        "resources": {"requests": {"cpu": pod.cpu, "memory": pod.memory}, "limits": {"memory": pod.memory}},
    }
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    for_good = {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": list(_TRIED_AGAIN)}}
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
                    "podFailurePolicy": {"rules": [disrupted, for_good]},
                    "template": {
                        "metadata": about,
                        "spec": {
                            "restartPolicy": "Never",
                            "serviceAccountName": "bc4all",
                            "activeDeadlineSeconds": timing.timeout,  # of the pod: a job's would span its retries
                            "containers": [container],
                        },
                    },
                }
            },
        },
    }
