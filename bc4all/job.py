"""The two jobs, for one client at a time: from its partition to a registered version, or to published rows."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

import bc4all
from bc4all import figures, training
from bc4all.config import Client
from bc4all.errors import DataError
from bc4all.filesystem import FileSystem
from bc4all.fleet import Outcome
from bc4all.layout import Layout
from bc4all.logs import log_context
from bc4all.products import Products, read_prediction, read_training
from bc4all.publishing import Publisher, audit, publishing
from bc4all.registry import CHAMPION, PREDICTION, TRAINING, LoadedModel, Registry, Run
from bc4all.scoring import TOP, score_products
from bc4all.session import phase

_EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Job:
    """What every client's job works with. `day` (YYYY-MM-DD) names the run and the partitions it writes."""

    spark: SparkSession
    layout: Layout
    registry: Registry
    day: str

    @property
    def _tags(self) -> dict[str, str]:
        context = self.spark.sparkContext
        page = {"application_page": context.uiWebUrl} if context.uiWebUrl else {}
        return {"application_id": context.applicationId, **page}

    def train(self, client: Client) -> Outcome:
        """Read, check, fit, evaluate, register. Raises a Failure, and registers nothing, where a step fails."""
        files = FileSystem(self.spark, self.layout.prefix)
        folder = self.layout.training(client.id)
        with self.registry.run(client, TRAINING, self.day, self._tags) as run, log_context(run_id=run.id):
            with publishing(files, self.layout, run.id) as publisher:
                with phase(self.spark, client.id, "train", "read"):
                    products = read_training(self.spark, files, folder, client.features)
                try:
                    self._quarantine(publisher, client, "train", "train", products)
                    with phase(self.spark, client.id, "train", "collect"):
                        data = training.collect(products.accepted, client.features)
                finally:
                    products.release()
                with phase(self.spark, client.id, "train", "fit"):
                    fitted = training.train(self.spark, client, data)
            self._log_training(run, client, folder, products, data, fitted)
            example = pd.DataFrame(data.X[:_EXAMPLE_ROWS], columns=list(client.features))
            version = self.registry.register(client, run, fitted.model, example)
            self.registry.set_alias(version, CHAMPION)
            run.tag({"model_version": version.number})
        judged = fitted.held_out or fitted.training
        rows, top_5 = (products.accepted_rows, products.refused_rows), judged.metrics["top_5_accuracy"]
        return Outcome(client.id, *rows, top_5, version.number, run_id=run.id)

    def predict(self, client: Client, number: int | None = None) -> Outcome:
        """Score with the champion (or version `number`), stage, audit, publish. Nothing is published by a failure."""
        files = FileSystem(self.spark, self.layout.prefix)
        with self.registry.run(client, PREDICTION, self.day, self._tags) as run, log_context(run_id=run.id):
            loaded = self.registry.load(client.id, self.registry.find(client.id, number))
            with publishing(files, self.layout, run.id) as publisher:
                with phase(self.spark, client.id, "predict", "read"):
                    folder = self.layout.prediction(client.id)
                    products = read_prediction(self.spark, files, folder, loaded.features)
                try:
                    self._quarantine(publisher, client, "predict", "prediction", products)
                    rows = self._publish(publisher, client, loaded, products)
                finally:
                    products.release()
            run.log({"rows_in": products.rows, "rows_out": rows, "rows_quarantined": products.refused_rows})
            run.tag({"model_version": loaded.version.number, "model_sha256": loaded.version.tags["sha256"]})
        rows_in = products.accepted_rows, products.refused_rows
        return Outcome(client.id, *rows_in, version=loaded.version.number, run_id=run.id)

    def _quarantine(self, publisher: Publisher, client: Client, job: str, kind: str, products: Products) -> None:
        """Keep the refused rows, and raise DataError where they are too many or all."""
        target = self.layout.quarantine(kind, client.id, self.day)
        if products.refused_rows:
            with phase(self.spark, client.id, job, "quarantine"):
                staged = publisher.stage(products.refused.coalesce(1), "quarantine")
                manifest = {"client_id": client.id, "date": self.day, "reasons": dict(products.refusals)}
                publisher.publish(staged, target, manifest)
        else:
            publisher.remove(target)
        share = products.refused_rows / products.rows
        if share > client.max_quarantine or not products.accepted_rows:
            worst = max(products.refusals, key=lambda reason: products.refusals[reason])
            raise DataError(
                f"{products.refused_rows} of {products.rows} rows refused, most for: {worst}",
                f"see {target}",
                f"mend the data or raise max_quarantine above {share:.2f}",
            )

    def _publish(self, publisher: Publisher, client: Client, loaded: LoadedModel, products: Products) -> int:
        """Write, check and publish the scored rows; return how many."""
        broadcast = self.spark.sparkContext.broadcast(loaded.model)
        try:
            with phase(self.spark, client.id, "predict", "score"):
                scored = score_products(products.accepted, broadcast, loaded.features, loaded.version.number)
                staged = publisher.stage(scored, "products_categories")
        finally:
            broadcast.destroy()
        with phase(self.spark, client.id, "predict", "audit"):
            classes = [str(label) for label in loaded.model.classes_]
            rows = audit(self.spark, staged, products.accepted_rows, classes, TOP)
        manifest = {
            "client_id": client.id,
            "date": self.day,
            "model": loaded.version.name,
            "model_version": loaded.version.number,
            "model_sha256": loaded.version.tags["sha256"],
            "code_version": bc4all.__version__,
            "config_sha": client.sha,
            "rows_in": products.rows,
            "rows_out": rows,
            "rows_quarantined": products.refused_rows,
        }
        publisher.publish(staged, self.layout.published_partition(client.id, self.day), manifest)
        return rows

    def _log_training(
        self,
        run: Run,
        client: Client,
        folder: str,
        products: Products,
        data: training.TrainingSet,
        fitted: training.Fitted,
    ) -> None:
        """Record what the model was made from and how good it is."""
        metrics = {f"training_{name}": value for name, value in fitted.training.metrics.items()}
        if fitted.held_out:
            metrics |= fitted.held_out.metrics
        rows = {"rows_in": products.rows, "rows_quarantined": products.refused_rows, "categories": len(data.names)}
        params = {"features": ", ".join(client.features), "model": client.model, **client.model_params}
        params |= {"test_size": training.TEST_SIZE, "split_random_state": training.SPLIT_SEED}
        run.log({**metrics, **rows}, params)
        run.log_dataset(folder, data.sha256, client.features, products.accepted_rows)
        with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch:
            figures.write_evaluation(Path(scratch), client.id, fitted.training, fitted.held_out)
            run.log_files(Path(scratch))
