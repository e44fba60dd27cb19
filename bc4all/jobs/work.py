"""What a job does to a client, and the MLflow that it does it with.

Imported while Spark starts, in a thread beside it: MLflow and scikit-learn take as long, and either has a core.
"""

import importlib
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Console

from bc4all.config.clients import Client
from bc4all.jobs.context import JobContext as JobContext
from bc4all.jobs.fleet import Outcome
from bc4all.layout import Layout
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.registry.versions import Registry
from bc4all.request import JobRequest

_MODULES = {"train": "bc4all.jobs.train_job", "predict": "bc4all.jobs.predict_job", "tune": "bc4all.jobs.tune_job"}


def open_registry(layout: Layout, job: str, clients: Sequence[Client]) -> Registry:
    """Return the clients' registry, everything imported that the job needs.

    Raises ConfigurationError where it belongs to another DATA_PREFIX, TransientFailure where MLflow cannot be reached.
    """
    registry = Registry(Tracking(tracking_uri(layout), layout))
    registry.tracking.check_owner([client.id for client in clients])
    importlib.import_module(_MODULES[job])
    return registry


def client_work(context: JobContext, request: JobRequest, out: Console) -> Callable[[Client], Outcome]:
    """Return what the job asked for does to a client."""
    module = importlib.import_module(_MODULES[request.job])
    if request.job == "tune":
        work: Callable[[Client], Outcome] = module.TuneJob.asked(context, request, out).tune
    elif request.job == "predict":
        work = partial(module.predict, context, number=request.model_version)
    else:
        work = partial(module.train, context)
    return work
