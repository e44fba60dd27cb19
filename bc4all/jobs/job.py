"""The two jobs, for one client at a time: from its partition to a registered version, or to published rows."""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

import bc4all
from bc4all.config.clients import Client
from bc4all.config.model_settings import AUTO, BlendSettings
from bc4all.data.audit import audit, audit_count
from bc4all.data.collection import collect
from bc4all.data.columns import MissingColumn
from bc4all.data.drift import PSI_MAX, Drift, compare, drift_metrics, is_lasting, profile
from bc4all.data.failures import as_failure
from bc4all.data.filesystem import FileSystem
from bc4all.data.journal import OUTPUT, QUARANTINE, Journal
from bc4all.data.products import Products, read_prediction, read_training
from bc4all.data.publishing import Publisher, publishing
from bc4all.errors import DataError, ModelError
from bc4all.job_kinds import JOB_KINDS, PREDICT
from bc4all.jobs import promotion
from bc4all.jobs.fleet import Outcome
from bc4all.jobs.scoring import score_products
from bc4all.jobs.session import phase
from bc4all.kinds import NUMERIC
from bc4all.layout import Layout
from bc4all.learning import training
from bc4all.learning.shared_value import SharedValue
from bc4all.logs import log_context
from bc4all.model.abstention import Thresholds, curves, thresholds
from bc4all.model.features import rows_at
from bc4all.model.ranking import TOP
from bc4all.model.training_set import SPLIT_SEED, TEST_SIZE, TrainingSet
from bc4all.registry import figures
from bc4all.registry.tracking import Run
from bc4all.registry.versions import CURVES, PROFILE, TRAINING_IDS, LoadedModel, Registry

log = logging.getLogger(__name__)

_EXAMPLE_ROWS = 5
_LONGEST_PARAM = 6000  # characters that MLflow takes
_LONGEST_TAG = 4000  # characters; MLflow takes 8000


@dataclass(frozen=True)
class Job:
    """What every client's job works with. `day` (YYYY-MM-DD) names the run and the partitions it writes.

    `locks` names the state folder whose locks keep a client's job from running twice.
    """

    spark: SparkSession
    layout: Layout
    registry: Registry
    day: str
    locks: str

    @property
    def files(self) -> FileSystem:
        """The storage of all data."""
        return FileSystem(self.spark, self.layout.prefix)

    @contextmanager
    def attempt(self, client: Client, job: str) -> Iterator[tuple[Run, Publisher]]:
        """A run in MLflow, and its journal, which is there before it does anything and goes when all is done."""
        context = self.spark.sparkContext
        page = {"application_page": context.uiWebUrl} if context.uiWebUrl else {}
        tags = {"application_id": context.applicationId, **page}
        run = self.registry.start_run(client, JOB_KINDS[job], self.day, tags)
        journal = Journal(run.id, client.id, job, self.day, self.locks)
        with log_context(run_id=run.id), publishing(self.files, self.layout, journal) as publisher, run.recorded():
            yield run, publisher

    def train(self, client: Client) -> Outcome:
        """Read, check, fit, evaluate, register. Raises a Failure, and registers nothing, where a step fails."""
        folder = self.layout.training(client.id)
        with self.attempt(client, "train") as (run, publisher):
            with phase(self.spark, client.id, "train", "read"):
                products = read_training(self.spark, self.files, folder, client.features)
            try:
                self._stage_refused(publisher, client, "train", products)
                data = self.collect(client, "train", products)
                self._publish_refused(publisher, client, products)
            finally:
                products.release()
            rival = promotion.find_rival(self.registry, client, self.day)
            with phase(self.spark, client.id, "train", "fit"):
                fitted = training.train(self.spark, client, data, rival.learned_among(data.ids))
            self._log_training(run, client, folder, products, data, fitted)
            example = pd.DataFrame(data.X[:_EXAMPLE_ROWS], columns=list(client.features))
            judged = fitted.held_out or fitted.training
            facts = {"day": self.day, **{name: f"{value:.4f}" for name, value in judged.metrics.items()}}
            learned = rows_at(data.X, fitted.training_places)
            stored = {PROFILE: profile(learned, client.features, judged.answers["predicted"])}
            if fitted.held_out:
                stored[CURVES] = curves(fitted.held_out.answers)
            version = self.registry.register(client, run, fitted.model, example, facts, stored, fitted.judged)
            with phase(self.spark, client.id, "train", "gate"):
                verdict = promotion.decide(self.spark, self.registry, client, version, data, fitted, rival)
            run.log(verdict.metrics)
            run.tag({"model_version": version.number, "promoted": verdict.promoted, "gate": verdict.reason})
        rows, top_5 = (products.accepted_rows, products.refused_rows), judged.metrics["top_5_accuracy"]
        said = "was promoted" if verdict.promoted else "was not promoted"
        note = f"version {version.number} {said}: {verdict.reason}" if verdict.told or not verdict.promoted else ""
        return Outcome(client.id, *rows, top_5, version.number, run_id=run.id, note=note)

    def collect(self, client: Client, job: str, products: Products) -> TrainingSet:
        """What there is to learn from, in memory. Raises a Failure where that is not enough, or files have changed."""
        with phase(self.spark, client.id, job, "collect"):
            new_names = client.category_map.names(self.day) if client.category_map else None
            data = collect(products.accepted, client.features, new_names)
        products.check_unchanged(self.files)
        return data

    def predict(self, client: Client, number: int | None = None) -> Outcome:
        """Score with the champion (or version `number`), stage, audit, publish. Nothing is published by a failure."""
        with self.attempt(client, "predict") as (run, publisher):
            loaded = self.registry.load(client.id, self.registry.find(client.id, number))
            with phase(self.spark, client.id, "predict", "read"):
                products = self._read_for(loaded, client)
            try:
                self._stage_refused(publisher, client, "predict", products)
                rows, drifted = self._publish(publisher, client, loaded, products)
            finally:
                products.release()
            run.log({"rows_in": products.rows, "rows_out": rows, "rows_quarantined": products.refused_rows})
            run.tag({"model_version": loaded.version.number, "model_sha256": loaded.version.tags["sha256"]})
            note = self._tell_drift(run, client, loaded.version.number, drifted) if drifted else ""
        rows_in = products.accepted_rows, products.refused_rows
        version = loaded.version.number
        return Outcome(client.id, *rows_in, version=version, run_id=run.id, note=note, drifted=bool(note))

    def _tell_drift(self, run: Run, client: Client, version: int, drifted: Drift) -> str:
        """Record the drift; what to know of it, where it lasts."""
        run.log(drift_metrics(drifted))
        changed = {"new_values": drifted.new, "vanished_values": drifted.vanished}
        run.tag({name: json.dumps(values)[:_LONGEST_TAG] for name, values in changed.items() if any(values.values())})
        recent = self.registry.recent(client, PREDICT, PSI_MAX, version, client.drift.counts[1])
        if not is_lasting(recent, client.drift.psi, client.drift.counts):
            return ""
        far = ", ".join(drifted.above(client.drift.psi)[:5])
        run.tag({"drift": far})
        return f"drift in {client.drift.windows} predictions, PSI: {far}; train again, or look at the data"

    def _read_for(self, loaded: LoadedModel, client: Client) -> Products:
        """The products to score, with the columns that the model was trained on."""
        try:
            return read_prediction(self.spark, self.files, self.layout.prediction(client.id), loaded.features)
        except MissingColumn as error:
            model = f"{loaded.version.name} version {loaded.version.number}"
            raise DataError(
                f"{error.what}, on which {model} was trained", error.where, "deliver it, or train the client again"
            ) from error

    def _stage_refused(self, publisher: Publisher, client: Client, job: str, products: Products) -> None:
        """Write the refused rows; publish them, and raise DataError, where they are too many or all."""
        if products.refused_rows:
            with phase(self.spark, client.id, job, "quarantine"):
                staged = publisher.stage(products.refused.coalesce(1), QUARANTINE)
                audit_count(self.spark, staged, products.refused_rows)
        if products.too_many_refused(client.max_quarantine):
            products.check_unchanged(self.files)
            self._publish_refused(publisher, client, products)
            worst = max(products.refusals, key=lambda reason: products.refusals[reason])
            raise DataError(
                f"{products.refused_rows} of {products.rows} rows refused, most for: {worst}",
                f"see {publisher.target(QUARANTINE)}",
                f"mend the data or raise max_quarantine above {products.refused_rows / products.rows:.2f}",
            )

    def _drift(
        self, client: Client, loaded: LoadedModel, products: Products, predicted: Mapping[str, int]
    ) -> Drift | None:
        """How far the products are from the training's; None where that is not known."""
        stored = loaded.stored.get(PROFILE)
        if not stored:
            return None
        try:
            with phase(self.spark, client.id, "predict", "drift"):
                return compare(stored, products.accepted, loaded.features, predicted)
        except (Py4JError, PySparkException) as error:  # a by-product: what was asked for is the categories
            log.warning("%s: the drift was not measured: %s", client.id, as_failure(error))
            return None

    def _publish_refused(self, publisher: Publisher, client: Client, products: Products) -> None:
        """Make the refused rows the date's quarantine, or take that of a run before away."""
        if products.refused_rows:
            publisher.publish(QUARANTINE, self._manifest(client, products) | {"reasons": dict(products.refusals)})
        else:
            publisher.remove(QUARANTINE)

    def _manifest(self, client: Client, products: Products) -> dict[str, Any]:
        """What both kinds of published partitions tell of where they come from."""
        return {
            "client_id": client.id,
            "date": self.day,
            "code_version": bc4all.__version__,
            "config_sha": client.sha,
            "rows_in": products.rows,
            "rows_quarantined": products.refused_rows,
        }

    def _publish(
        self, publisher: Publisher, client: Client, loaded: LoadedModel, products: Products
    ) -> tuple[int, Drift | None]:
        """Write, check and publish the scored rows; return how many, and how far they are from the training's."""
        limits = _thresholds(client, loaded)
        model = SharedValue(self.spark, loaded.model)
        try:
            with phase(self.spark, client.id, "predict", "score"):
                version = loaded.version.number
                scored = score_products(products.accepted, model, loaded.features, version, limits)
                staged = publisher.stage(scored, OUTPUT)
        finally:
            model.destroy()
        with phase(self.spark, client.id, "predict", "audit"):
            classes = [str(label) for label in loaded.model.classes_]
            rows, best = audit(self.spark, staged, products.accepted_rows, products.accepted_ids, classes, TOP)
        drifted = self._drift(client, loaded, products, {label: count for label, (count, _) in best.items()})
        products.check_unchanged(self.files)
        self._publish_refused(publisher, client, products)
        version_facts = {
            "model": loaded.version.name,
            "model_version": loaded.version.number,
            "model_sha256": loaded.version.tags["sha256"],
        }
        answered = sum(answered for _, answered in best.values())
        coverage = {"answered": answered, "coverage": answered / products.accepted_rows} if limits else {}
        publisher.publish(OUTPUT, self._manifest(client, products) | version_facts | {"rows_out": rows} | coverage)
        return rows, drifted

    def _log_training(
        self,
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
            params["blend"] = json.dumps(fitted.choice.said())[:_LONGEST_PARAM]
        params |= {"test_size": TEST_SIZE, "split_random_state": SPLIT_SEED}
        params["refitted_on_all_rows"] = fitted.model is not fitted.judged
        run.log({**metrics, **rows}, params)
        run.log_dataset(folder, data.sha256, client.features, products.accepted_rows)
        with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch:
            figures.write_evaluation(Path(scratch), client.id, fitted.training, fitted.held_out)
            np.save(Path(scratch) / TRAINING_IDS, data.ids[fitted.training_places])
            run.log_files(Path(scratch))


def _thresholds(client: Client, loaded: LoadedModel) -> Thresholds | None:
    """Which products count as answered, if the client wants to know. Raises ModelError where its model cannot tell."""
    if client.abstain is None:
        return None
    if CURVES not in loaded.stored:
        where = f"{loaded.version.name} version {loaded.version.number}"
        raise ModelError("it is not known how often it is right from which score on", where, "train the client again")
    return thresholds(loaded.stored[CURVES], client.abstain.precision, client.abstain.per_category)
