"""The train job, for one client at a time: from its training partition to a registered version."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from bc4all.config.clients import Client
from bc4all.config.model_settings import AUTO, BlendSettings
from bc4all.data.collection import collect
from bc4all.data.drift import profile
from bc4all.data.products import Products
from bc4all.data.publishing import Publisher
from bc4all.data.wave import read_training
from bc4all.errors import TransientFailure
from bc4all.jobs import promotion
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Outcome
from bc4all.jobs.quarantine import keep_refused, publish_refused, stage_refused
from bc4all.jobs.session import phase
from bc4all.kinds import NUMERIC
from bc4all.learning import training
from bc4all.logs import log_context
from bc4all.model.abstention import curves
from bc4all.model.features import rows_at
from bc4all.model.training_set import SPLIT_SEED, TEST_SIZE, TrainingSet
from bc4all.registry import figures
from bc4all.registry.run import Run
from bc4all.registry.versions import CURVES, PROFILE, TRAINING_IDS

_EXAMPLE_ROWS = 5
_MAX_PARAM_CHARS = 6000  # that MLflow takes


def train(context: JobContext, client: Client) -> Outcome:
    """Read, check, fit, evaluate, register. Raises a Failure, and registers nothing, where a step fails."""
    folder = context.layout.training(client.id)
    with context.attempt(client, "train") as (run, publisher), log_context(run_id=run.id):
        with phase(context.spark, client.id, "train", "read"):
            products = read_training(context.spark, context.files, folder, client.features)
        try:
            _keep_refused(context, publisher, client, products)
            data = collect_products(context, client, "train", products)
            publish_refused(context, publisher, client, products)
        finally:
            products.release()
        rival = promotion.find_rival(context.registry, client, context.day)
        with phase(context.spark, client.id, "train", "fit"):
            fitted = training.train(context.spark, client, data, rival.learned_among(data.ids))
        _log_training(run, client, folder, products, data, fitted)
        example = pd.DataFrame(data.X[:_EXAMPLE_ROWS], columns=list(client.features))
        judged = fitted.held_out or fitted.training
        facts = {"day": context.day, **{name: f"{value:.4f}" for name, value in judged.metrics.items()}}
        learned = rows_at(data.X, fitted.training_places)
        stored = {PROFILE: profile(learned, client.features, judged.answers["predicted"])}
        if fitted.held_out:
            stored[CURVES] = curves(fitted.held_out.answers)
        version = context.registry.register(client, run, fitted.model, example, facts, stored, fitted.judged)
        with phase(context.spark, client.id, "train", "gate"):
            verdict = promotion.decide(context.spark, context.registry, client, version, data, fitted, rival)
        run.log(verdict.metrics)
        run.tag({"model_version": version.number, "promoted": verdict.promoted, "gate": verdict.reason})
    rows, top_5 = (products.accepted_rows, products.refused_rows), judged.metrics["top_5_accuracy"]
    said = "was promoted" if verdict.promoted else "was not promoted"
    note = f"version {version.number} {said}: {verdict.reason}" if verdict.told or not verdict.promoted else ""
    return Outcome(client.id, *rows, top_5, version.number, run_id=run.id, note=note)


def _keep_refused(context: JobContext, publisher: Publisher, client: Client, products: Products) -> None:
    staged = {}
    if products.refused_rows:
        with phase(context.spark, client.id, "train", "quarantine"):
            staged = stage_refused(context.spark, publisher.shared(), [products])
    keep_refused(context, publisher, client, products, staged.get(products.number))


def collect_products(context: JobContext, client: Client, job: str, products: Products) -> TrainingSet:
    """Bring what there is to learn from into memory.

    Raises a Failure where that is not enough, or files have changed.
    """
    with phase(context.spark, client.id, job, "collect"):
        new_names = client.category_map.names(context.day) if client.category_map else None
        data = collect(products.accepted, client.features, new_names)
    products.check_unchanged(context.files)
    if len(data.codes) != products.accepted_rows:
        lost = f"{len(data.codes)} rows came where {products.accepted_rows} were read"
        raise TransientFailure(lost, products.folder, "nothing was trained; run it again")
    return data


def _log_training(
    run: Run,
    client: Client,
    folder: str,
    products: Products,
    data: TrainingSet,
    fitted: training.Fitted,
) -> None:
    """Record what the model was made from and how good it is."""
    metrics = {f"training_{name}": value for name, value in fitted.training.metrics.items()}
    if fitted.held_out:
        metrics |= fitted.held_out.metrics
    rows = {"rows_in": products.rows, "rows_quarantined": products.refused_rows, "categories": len(data.names)}
    kinds = client.features.items()
    features = ", ".join(name if kind == NUMERIC else f"{name} ({kind})" for name, kind in kinds)
    params = {"features": features, "model": client.model_name, **client.model_params}
    if isinstance(client.model, BlendSettings) or client.model == AUTO:
        params["blend"] = json.dumps(fitted.choice.said())[:_MAX_PARAM_CHARS]
    params |= {"test_size": TEST_SIZE, "split_random_state": SPLIT_SEED}
    params["refitted_on_all_rows"] = fitted.model is not fitted.judged
    run.log({**metrics, **rows}, params)
    run.log_dataset(folder, data.sha256, client.features, products.accepted_rows)
    with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch:
        figures.write_evaluation(Path(scratch), client.id, fitted.training, fitted.held_out)
        np.save(Path(scratch) / TRAINING_IDS, data.ids[fitted.training_places])
        run.log_files(Path(scratch))
