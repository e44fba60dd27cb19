"""The predict job, for one client at a time: from its products to published categories."""

import json
from collections.abc import Mapping

from bc4all.config.clients import Client
from bc4all.data.audit import audit
from bc4all.data.drift import PSI_MAX, Drift, bin_counter, compare, drift_metrics, is_lasting
from bc4all.data.journal import OUTPUT
from bc4all.data.products import Products, read_prediction
from bc4all.data.publishing import Publisher
from bc4all.errors import DataError, ModelError
from bc4all.job_kinds import PREDICT
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Outcome
from bc4all.jobs.quarantine import manifest, publish_refused, stage_refused
from bc4all.jobs.scoring import score_products
from bc4all.jobs.session import phase
from bc4all.learning.shared_value import SharedValue
from bc4all.model.abstention import Thresholds, thresholds
from bc4all.model.ranking import TOP
from bc4all.reading.header import MissingColumn
from bc4all.registry.tracking import Run
from bc4all.registry.versions import CURVES, PROFILE, LoadedModel

_MAX_TAG_CHARS = 4000  # MLflow takes 8000


def predict(context: JobContext, client: Client, number: int | None = None) -> Outcome:
    """Score with the champion (or version `number`), stage, audit, publish. Nothing is published by a failure."""
    with context.attempt(client, "predict") as (run, publisher):
        loaded = context.registry.load(client.id, context.registry.find(client.id, number))
        with phase(context.spark, client.id, "predict", "read"):
            products = _read_for(context, loaded, client)
        try:
            stage_refused(context, publisher, client, "predict", products)
            rows, drifted = _score_and_publish(context, publisher, client, loaded, products)
        finally:
            products.release()
        run.log({"rows_in": products.rows, "rows_out": rows, "rows_quarantined": products.refused_rows})
        run.tag({"model_version": loaded.version.number, "model_sha256": loaded.version.tags["sha256"]})
        note = _record_drift(context, run, client, loaded.version.number, drifted) if drifted else ""
    rows_in = products.accepted_rows, products.refused_rows
    version = loaded.version.number
    return Outcome(client.id, *rows_in, version=version, run_id=run.id, note=note, drifted=bool(note))


def _read_for(context: JobContext, loaded: LoadedModel, client: Client) -> Products:
    """Read the products to score, with the columns that the model was trained on."""
    stored, folder = loaded.stored.get(PROFILE), context.layout.prediction(client.id)
    count = bin_counter(stored, loaded.features) if stored else None
    try:
        return read_prediction(context.spark, context.files, folder, loaded.features, count)
    except MissingColumn as error:
        model = f"{loaded.version.name} version {loaded.version.number}"
        raise DataError(
            f"{error.what}, on which {model} was trained", error.where, "deliver it, or train the client again"
        ) from error


def _score_and_publish(
    context: JobContext, publisher: Publisher, client: Client, loaded: LoadedModel, products: Products
) -> tuple[int, Drift | None]:
    """Write, check and publish the scored rows; return how many, and how far they are from the training's."""
    limits = _thresholds(client, loaded)
    model = SharedValue(context.spark, loaded.model)
    try:
        with phase(context.spark, client.id, "predict", "score"):
            version = loaded.version.number
            scored = score_products(products.accepted, model, loaded.features, version, limits)
            staged = publisher.stage(scored, OUTPUT)
    finally:
        model.destroy()
    with phase(context.spark, client.id, "predict", "audit"):
        classes = [str(label) for label in loaded.model.classes_]
        rows, best = audit(context.spark, staged, products.accepted_rows, products.accepted_ids, classes, TOP)
    drifted = _measure_drift(loaded, products, {label: count for label, (count, _) in best.items()})
    products.check_unchanged(context.files)
    publish_refused(context, publisher, client, products)
    version_facts = {
        "model": loaded.version.name,
        "model_version": loaded.version.number,
        "model_sha256": loaded.version.tags["sha256"],
    }
    answered = sum(answered for _, answered in best.values())
    coverage = {"answered": answered, "coverage": answered / products.accepted_rows} if limits else {}
    publisher.publish(OUTPUT, manifest(context, client, products) | version_facts | {"rows_out": rows} | coverage)
    return rows, drifted


def _measure_drift(loaded: LoadedModel, products: Products, predicted: Mapping[str, int]) -> Drift | None:
    """Return how far the products are from the training's; None where that is not known."""
    stored = loaded.stored.get(PROFILE)
    if not stored:
        return None
    return compare(stored, products.bins, bin_counter(stored, loaded.features), predicted)


def _record_drift(context: JobContext, run: Run, client: Client, version: int, drifted: Drift) -> str:
    """Record the drift, and return what to say of it where it lasts."""
    run.log(drift_metrics(drifted))
    changed = {"new_values": drifted.new, "vanished_values": drifted.vanished}
    run.tag({name: json.dumps(values)[:_MAX_TAG_CHARS] for name, values in changed.items() if any(values.values())})
    recent = context.registry.tracking.recent(client, PREDICT, PSI_MAX, version, client.drift.counts[1])
    if not is_lasting(recent, client.drift.psi, client.drift.counts):
        return ""
    far = ", ".join(drifted.above(client.drift.psi)[:5])
    run.tag({"drift": far})
    return f"drift in {client.drift.windows} predictions, PSI: {far}; train again, or look at the data"


def _thresholds(client: Client, loaded: LoadedModel) -> Thresholds | None:
    """Return from which scores on products count as answered; None where the client does not ask.

    Raises ModelError where its model cannot tell.
    """
    if client.abstain is None:
        return None
    if CURVES not in loaded.stored:
        where = f"{loaded.version.name} version {loaded.version.number}"
        raise ModelError("it is not known how often it is right from which score on", where, "train the client again")
    return thresholds(loaded.stored[CURVES], client.abstain.precision, client.abstain.per_category)
