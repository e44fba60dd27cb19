"""What a job does to clients, and the MLflow that it does it with.

Imported while Spark starts, in a thread beside it: MLflow and scikit-learn take as long, and either has a core.
"""

import importlib
from collections.abc import Sequence
from functools import partial

from rich.console import Console

from bc4all.config.clients import Client
from bc4all.errors import Failure
from bc4all.job_kinds import PREDICT, TRAIN, TUNE
from bc4all.jobs.context import JobContext as JobContext
from bc4all.jobs.fleet import Work, alone
from bc4all.jobs.session import MAX_WAVE
from bc4all.layout import Layout
from bc4all.packing import packed
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.registry.versions import Registry
from bc4all.request import JobRequest

_MODULES = {"train": "bc4all.jobs.train_job", "predict": "bc4all.jobs.predict_job", "tune": "bc4all.jobs.tune_job"}

# As files lie in storage, for each task that runs at a time: of .csv.gz, a million products of five long numbers to
# predict, a hundred thousand to learn from.
_WAVE_BYTES = {PREDICT.name: 64 << 20, TRAIN.name: 8 << 20}
_LARGE = 0.25  # of a wave's bytes: clients with more come after the others


def open_registry(layout: Layout, job: str, clients: Sequence[Client]) -> Registry:
    """Return the clients' registry, everything imported that the job needs.

    Raises ConfigurationError where it belongs to another DATA_PREFIX, TransientFailure where MLflow cannot be reached.
    """
    registry = Registry(Tracking(tracking_uri(layout), layout))
    registry.tracking.check_owner([client.id for client in clients])
    importlib.import_module(_MODULES[job])
    return registry


def job_work(context: JobContext, request: JobRequest, out: Console) -> Work:
    """Return what the job asked for does to a wave of clients."""
    module = importlib.import_module(_MODULES[request.job])
    if request.job == PREDICT.name:
        return partial(module.predict_wave, context, number=request.model_version, force=request.force)
    if request.job == TUNE.name:
        return alone(module.TuneJob.asked(context, request, out).tune)
    return partial(module.train_wave, context)


def job_waves(
    context: JobContext, request: JobRequest, clients: Sequence[Client]
) -> tuple[list[list[Client]], list[list[Client]]]:
    """Return the clients as waves, in their order: of small ones, and of large ones, which those would wait for.

    A wave's files take at most _WAVE_BYTES for each task that runs at a time, about a minute of work.
    """
    if request.job == TUNE.name or len(clients) == 1:  # whose files are listed when they are read
        return [[client] for client in clients], []
    budget = _WAVE_BYTES[request.job] * context.spark.sparkContext.defaultParallelism
    size = {client.id: _delivered_bytes(context, request.job, client) for client in clients}
    small = [client for client in clients if size[client.id] <= budget * _LARGE]
    large = [client for client in clients if size[client.id] > budget * _LARGE]
    small_waves, large_waves = (
        list(packed(some, lambda client: size[client.id], budget, MAX_WAVE)) for some in (small, large)
    )
    return small_waves, large_waves


def _delivered_bytes(context: JobContext, job: str, client: Client) -> int:
    """Return the size of a client's files; nothing where they cannot be listed, which reading them will tell."""
    folder = context.layout.prediction if job == PREDICT.name else context.layout.training
    try:
        return sum(entry.size for entry in context.files.listing(folder(client.id)))
    except Failure:
        return 0
