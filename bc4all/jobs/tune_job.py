"""The tune job, for one client at a time: from its training partition to a better model beside the configuration."""

import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bc4all.config.clients import Client
from bc4all.config.estimators import model_faults
from bc4all.config.fleet_file import load_fleet
from bc4all.config.model_settings import BlendSettings, counted
from bc4all.config.tuned import as_yaml, tuned_file, write_tuned
from bc4all.data.products import Products
from bc4all.data.wave import read_training
from bc4all.errors import ConfigurationError, DataError, Failure
from bc4all.identity import ClientId, Day
from bc4all.jobs import promotion
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Outcome
from bc4all.jobs.session import phase
from bc4all.jobs.train_job import collect_products
from bc4all.learning.blending import Candidate, Limits, Scores, cost
from bc4all.learning.folds import Rows, folds
from bc4all.learning.tuning import Effort, Tuned, tune
from bc4all.logs import log_context
from bc4all.model.held_out import hold_out
from bc4all.model.training_set import TrainingSet
from bc4all.registry.run import Run
from bc4all.request import JobRequest
from bc4all.wording import about_time

log = logging.getLogger(__name__)

_DEFAULT_BUDGET = 60  # candidates of a client, where neither they nor the time are limited
_FOUND_FILE = "found.yaml"  # what a run in MLflow keeps of what it found
_SHOWN_CANDIDATES = 5  # candidates of a client's table


@dataclass(frozen=True)
class TuneJob:
    """What tuning works with, beside a client: `config` is the file to write the winner beside, None to print it."""

    context: JobContext
    effort: Effort
    limits: Limits
    config: Path | None
    out: Console

    @classmethod
    def asked(cls, context: JobContext, request: JobRequest, out: Console) -> "TuneJob":
        """Return the tune job that the command line asks for."""
        candidates = request.budget or (None if request.minutes else _DEFAULT_BUDGET)
        effort = Effort(candidates, request.minutes and request.minutes * 60)
        limits = Limits(request.max_megabytes, request.max_fit_seconds, request.max_score_microseconds)
        return cls(context, effort, limits, request.config if request.write else None, out)

    def tune(self, client: Client) -> Outcome:
        """Read, check, look for a better model, write or print it. Raises a Failure, and changes nothing, otherwise."""
        context = self.context
        with context.attempt(client, "tune") as (run, _), log_context(run_id=run.id):
            products, data = self._collect(client)
            rival = promotion.find_rival(context.registry, client, context.day)
            training, _ = hold_out(data, client.features, rival.opponent.sides)
            tasks, fitted_on = context.tasks(client, "tune"), Rows(data, training, folds(data.codes[training]))
            with tasks.shared(fitted_on) as rows, phase(context.spark, client.id, "tune", "search"):
                tuned = tune(tasks, client, rows, self.effort, self.limits, _Progress(self, client, run).tell)
            text = as_yaml(tuned.choice.blend, _note(context.day, tuned))
            try:
                self._show(client, tuned, text)
            finally:
                self._record(client, run, tuned, text)
            scores = tuned.choice.scores
            note = "" if tuned.is_better else f"the present model stays: {tuned.present}; the best found: {scores}"
        rows_in = products.accepted_rows, products.refused_rows
        return Outcome(client.id, *rows_in, scores.top_5_accuracy, run_id=run.id, note=note)

    def _collect(self, client: Client) -> tuple[Products, TrainingSet]:
        """Return what a training would learn from; what it would refuse is refused, and left for it to tell."""
        context, folder = self.context, self.context.layout.training(client.id)
        with phase(context.spark, client.id, "tune", "read"):
            products = read_training(context.spark, context.files, folder, client.features)
        try:
            if products.too_many_refused(client.max_quarantine):
                told = f"{products.refused_rows} of {products.rows} rows refused"
                raise DataError(told, folder, "train the client: its quarantine says why")
            return products, collect_products(context, client, "tune", products)
        finally:
            products.release()

    def _record(self, client: Client, run: Run, tuned: Tuned, text: str) -> None:
        """Keep in MLflow what was found."""
        run.log(_metrics(tuned), {"model": client.model_name, "candidates": len(tuned.tried)})
        run.tag({"found": tuned.choice.blend.name, "better": tuned.is_better})
        with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch:
            (Path(scratch) / _FOUND_FILE).write_text(text)
            run.log_files(Path(scratch))

    def _show(self, client: Client, tuned: Tuned, text: str) -> None:
        """Print what was tried and the winner, and write the winner, if it is to be."""
        self.out.print(_table(client, tuned))
        if not tuned.is_better:
            return
        if not self.config:
            self._print(f"{client.id}: to use it, tune with --write, or write it beside the configuration:\n{text}")
            return
        try:
            self._print(f"{client.id}: {_write(self.config, client.id, tuned.choice.blend, text)}\n{text}")
        except ConfigurationError:  # the search was long: what it found is not lost
            self._print(text)
            raise

    def _print(self, text: str) -> None:
        self.out.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class _Progress:
    """Reports a client's rounds on the terminal, and each candidate to MLflow."""

    work: TuneJob
    client: Client
    run: Run
    begun: float = field(default_factory=time.monotonic)

    def tell(self, found: Sequence[Candidate], tried: int, best: Candidate | None) -> None:
        for candidate in found:
            error, tracking = candidate.answers.error, self.work.context.registry.tracking
            try:
                tracking.record_child(self.run, candidate.name, _params(candidate), _measured(candidate), error)
            except Failure as failure:  # the search goes on: what it finds is what matters
                log.warning("%s: tune: a candidate is not recorded: %s", self.client.id, failure)
        best_so_far = f"best: {best.scores} ({best.name})" if best else "none can be had so far"
        effort = self.work.effort
        of = f" of {effort.candidates}" if effort.candidates else ""
        left = effort.left(tried, time.monotonic() - self.begun)
        time_left = f", about {about_time(left)} left" if left else ""
        self.work._print(f"{self.client.id}: tune: {tried}{of} tried, {best_so_far}{time_left}")


def _write(config: Path, client_id: ClientId, model: BlendSettings, text: str) -> str:
    """Write a tuned model beside the configuration, and return what to say of it.

    Raises ConfigurationError, and writes nothing, where the client as the configuration has it now cannot use it.
    """
    fleet = load_fleet(config)
    client = fleet.select([client_id])[0]
    faults = [message for _, message in model_faults(model, {}, client.features)]
    if faults:
        where = str(tuned_file(config, client_id))
        raise ConfigurationError("; ".join(faults), where, "tune the client with the configuration's own features")
    file = write_tuned(config, client_id, text)
    hidden_by = fleet.own_models[client_id]
    if hidden_by:
        return f"{file} is written, but {client_id}'s own entry in {config} hides it: remove {' and '.join(hidden_by)}"
    return f"{file} is written, and used from now on"


def _note(day: Day, tuned: Tuned) -> str:
    """Return how good a tuned model was, and when: what stands above it in its file."""
    scores, present = tuned.choice.scores, tuned.present
    before = f", before {present.log_loss:.3f}" if present else ""
    return f"tuned {day}: log-loss {scores.log_loss:.3f}{before}, top-5 {scores.top_5_accuracy:.3f}"


def _params(candidate: Candidate) -> dict[str, Any]:
    """Return all that tells a candidate from others."""
    member = candidate.member
    steps = ((path.rpartition(".")[2], params) for path, params in member.transform)
    transform = {f"{step}.{name}": value for step, params in steps for name, value in params.items()}
    return {"family": candidate.name, "classifier": member.classifier, **transform, **member.params}


def _measured(candidate: Candidate) -> dict[str, float]:
    """Return what MLflow keeps of a candidate."""
    return cost([candidate]) | (vars(candidate.scores) if candidate.scores else {})


def _metrics(tuned: Tuned) -> dict[str, float]:
    found = vars(tuned.choice.scores)
    return found | ({f"present_{name}": value for name, value in vars(tuned.present).items()} if tuned.present else {})


def _table(client: Client, tuned: Tuned) -> Table:
    """Return the winner, the present model and the best candidates, by falling merit."""
    table = Table(title=f"{client.id}: {len(tuned.tried)} candidates, the best of them", title_justify="left")
    table.add_column("candidate")
    for name in ("log-loss", "top-5", "accuracy", "MB", "fit s", "us/row"):
        table.add_column(name, justify="right")
    winner = tuned.choice.candidates
    lines: list[tuple[str, Scores, Sequence[Candidate]]] = [
        (f"found: {counted(candidate.name for candidate in winner)}", tuned.choice.scores, winner)
    ]
    if tuned.present:
        lines.append((f"present: {client.model_name.rpartition('.')[2]}", tuned.present, []))
    sound = sorted((one for one in tuned.tried if one.scores), key=lambda one: one.scores.log_loss if one.scores else 0)
    lines += [(one.name, one.scores, [one]) for one in sound[:_SHOWN_CANDIDATES] if one.scores]
    for name, scores, parts in lines:
        shown = [f"{value:.1f}" if parts else "–" for value in cost(parts).values()]
        table.add_row(name, f"{scores.log_loss:.4f}", f"{scores.top_5_accuracy:.3f}", f"{scores.accuracy:.3f}", *shown)
    return table
