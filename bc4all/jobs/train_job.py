"""The train job: from the training partitions of a wave's clients to their registered versions."""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from pyspark import inheritable_thread_target

from bc4all.config.clients import Client
from bc4all.config.model_settings import AUTO, BlendSettings
from bc4all.data.entry import Entry
from bc4all.data.products import Products
from bc4all.data.wave import Asked, read_wave
from bc4all.errors import Failure, TransientFailure
from bc4all.job_kinds import TRAIN
from bc4all.jobs import promotion
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Done, Outcome
from bc4all.jobs.quarantine import keep_refused, publish_refused
from bc4all.jobs.session import phase
from bc4all.jobs.waves import FINISHED_AT_ONCE, Member, Wave
from bc4all.kinds import NUMERIC
from bc4all.learning.blending import planner
from bc4all.learning.collection import training_set
from bc4all.learning.lessons import Given, learned_together
from bc4all.learning.plan import Settled
from bc4all.learning.shared_value import SharedValue
from bc4all.learning.task_results import Answers, Fetched
from bc4all.learning.training import Learned, Lesson, learn
from bc4all.model.held_out import SPLIT_SEED, TEST_SIZE
from bc4all.model.training_set import TrainingSet
from bc4all.reading.rows import Wanted
from bc4all.registry.run import Run
from bc4all.registry.versions import CURVES, PROFILE, RECIPE, SIDES

_EXAMPLE_ROWS = 5
_MAX_PARAM_CHARS = 6000  # that MLflow takes
_SMALL_ROWS = 10_000  # that one task learns from, however many cores are idle
_TASKS_A_CORE = 4  # in a lot of small clients: the last ones leave few cores idle
_ANSWER_BYTES = 128 << 20  # of what tasks have learned, that the driver holds at a time
log = logging.getLogger(__name__)


@dataclass
class _Training:
    """What a client's training has come to."""

    products: Products = field(init=False)
    quarantined: Sequence[Entry] | None = None  # the files whose refused rows are published, perhaps before a halving
    lesson: Lesson = field(init=False)
    incomparable: str = ""
    given: Given = field(init=False)
    learned: Learned = field(init=False)


_Member = Member[_Training]


def train(context: JobContext, client: Client) -> Outcome:
    """Train one client alone. Raises its failure."""
    (done,) = train_wave(context, [client])
    if isinstance(done.result, Exception):
        raise done.result
    return done.result


def train_wave(context: JobContext, clients: Sequence[Client]) -> Iterator[Done]:
    """Read, check, fit, evaluate, register; yield what became of each client. Of a failure nothing is registered."""
    with Wave(context, TRAIN.name, _Training) as wave:
        members = wave.begin(clients)
        yield from wave.left()
        if members:
            yield from wave.halving(members, partial(_learn_together, context, wave), partial(_register, context))


def _learn_together(
    context: JobContext, wave: Wave[_Training], members: Sequence[_Member]
) -> Iterator[Sequence[_Member]]:
    """Read all at once, let small clients' trainings be a task each, then train the large ones."""
    asked = {
        member.number: Asked(context.layout.training(member.client.id), Wanted(member.client.features, labelled=True))
        for member in members
    }
    with wave.together(members, "read"):
        read = read_wave(context.spark, context.files, asked)
    try:
        members = wave.each(members, lambda member: _take(member, read.found[member.number]))
        if members:
            with wave.staging(members) as folder:
                members = keep_refused(context, wave, members, folder)
        members = wave.each(members, partial(_prepare, context))
        small = _for_one_task(members, context.spark.sparkContext.defaultParallelism)
        yield from _learn_small(context, wave, small)
        for member in wave.inside(members):
            if member not in small:
                yield wave.each([member], partial(_learn_large, context, wave))
                member.progress = _Training()  # its model, above all
    finally:
        read.release()


def _take(member: _Member, found: Products | Failure) -> None:
    if isinstance(found, Failure):
        raise found
    member.progress.products = found


def _prepare(context: JobContext, member: _Member) -> None:
    """Publish what was refused, and say what is to be learned."""
    client, products = member.client, member.progress.products
    products.check_unchanged(context.files)
    if member.progress.quarantined is None:
        publish_refused(context, member.publisher, client, products)
        member.progress.quarantined = products.source
    elif list(member.progress.quarantined) != list(products.source):
        raise TransientFailure("the partition changed while others of its wave failed", products.folder, "run it again")
    new_names = client.category_map.names(context.day) if client.category_map else None
    member.progress.lesson = Lesson(
        client_id=client.id,
        features=client.features,
        model_name=client.model_name,
        planner=planner(client),
        refits=client.refits,
        separator=client.category_separator,
        new_names=new_names,
    )


def _for_one_task(members: Sequence[_Member], at_once: int) -> list[_Member]:
    """Return the clients whose training is a task, large ones first: others' keep all cores busy.

    A client that is to be searched a model for is worth many tasks, whatever its size.
    """
    rows = {member.number: member.progress.products.accepted_rows for member in members}
    most = max(_SMALL_ROWS, sum(rows.values()) // (2 * at_once))
    small = [
        member
        for member in members
        if rows[member.number] <= most and isinstance(member.progress.lesson.planner, Settled)
    ]
    return sorted(small, key=lambda member: -rows[member.number])


@dataclass(frozen=True)
class _Fitted:
    """A lot of clients whose trainings are done, in the order of their answers, and what is to be let go of then."""

    members: Sequence[_Member]
    answers: Answers
    shared: ExitStack


def _learn_small(context: JobContext, wave: Wave[_Training], members: Sequence[_Member]) -> Iterator[Sequence[_Member]]:
    """Train clients by a task each, lot after lot; yield them as what was learned comes to the driver.

    While the clients of a lot are registered, the next lot is fitted.
    """
    size = max(FINISHED_AT_ONCE, _TASKS_A_CORE * context.spark.sparkContext.defaultParallelism)
    lots = [members[start : start + size] for start in range(0, len(members), size)]
    fit = inheritable_thread_target(context.spark)(_fit_lot)
    with ThreadPoolExecutor(1, thread_name_prefix="fit") as ahead:

        def begin(lot: Sequence[_Member]) -> Future[_Fitted | None]:
            return ahead.submit(copy_context().run, fit, context, wave, lot)

        running = begin(lots[0]) if lots else None
        try:
            for following in [*lots[1:], None]:
                fitted = running.result() if running else None
                running = begin(following) if following else None
                if fitted:
                    with fitted.shared:
                        yield from _receive_lot(context, wave, fitted)
        finally:
            if running and not running.exception() and (unused := running.result()):
                unused.shared.close()


def _fit_lot(context: JobContext, wave: Wave[_Training], lot: Sequence[_Member]) -> _Fitted | None:
    """Train clients by a task each; None where all of them have left."""
    jobs = context.spark.sparkContext
    # A pool beside the wave's own: within one, what the lot before still has to bring would wait for all of these.
    jobs.setLocalProperty("spark.scheduler.pool", f"{jobs.getLocalProperty('spark.scheduler.pool')} fit")
    with ExitStack() as shared:

        def give(member: _Member) -> None:
            rival = promotion.find_rival(context.registry, member.client, context.day)
            member.progress.incomparable = rival.incomparable
            member.progress.given = SharedValue(context.spark, (member.progress.lesson, rival.opponent))
            shared.callback(member.progress.given.destroy)

        members = wave.each(lot, give)
        if not members:
            return None
        given = {member.number: member.progress.given for member in members}
        packs = members[0].progress.products.kept.accepted(given)
        with wave.together(members, "fit"):
            answers = shared.enter_context(learned_together(packs, given))
        return _Fitted(members, answers, shared.pop_all())


def _receive_lot(context: JobContext, wave: Wave[_Training], fitted: _Fitted) -> Iterator[Sequence[_Member]]:
    """Yield clients as what was learned comes to the driver, a batch at a time."""
    for batch in fitted.answers.batches(range(len(fitted.members)), _ANSWER_BYTES, FINISHED_AT_ONCE):
        members = [fitted.members[place] for place in batch]
        with wave.together(members, "collect"):
            fetched = fitted.answers.fetch(batch)
        places = {member.number: place for member, place in zip(members, batch, strict=True)}

        def receive(member: _Member, places: Mapping[int, int] = places, fetched: Fetched = fetched) -> None:
            _receive(context, member, fitted.answers.opened(places[member.number], fetched))

        yield wave.each(members, receive)
        for member in members:
            member.progress = _Training()  # its model, above all


def _receive(context: JobContext, member: _Member, learned: Learned | Exception) -> None:
    if isinstance(learned, Exception):
        raise learned
    for warning in learned.warnings:
        log.warning("%s", warning)
    member.progress.learned = learned
    member.progress.products.check_unchanged(context.files)
    _check_whole(member.progress.products, learned.rows)


def _learn_large(context: JobContext, wave: Wave[_Training], member: _Member) -> None:
    """Train a client with all cores."""
    rival = promotion.find_rival(context.registry, member.client, context.day)
    member.progress.incomparable = rival.incomparable
    data = collect_products(context, member.client, TRAIN.name, member.progress.products)
    with wave.at([member], "fit"), phase(context.spark, member.client.id, TRAIN.name, "fit"):
        tasks = context.tasks(member.client, TRAIN.name)
        member.progress.learned = learn(tasks, member.progress.lesson, data, rival.opponent)


def collect_products(context: JobContext, client: Client, job: str, products: Products) -> TrainingSet:
    """Bring what there is to learn from into memory.

    Raises a Failure where that is not enough, or files have changed.
    """
    with phase(context.spark, client.id, job, "collect"):
        new_names = client.category_map.names(context.day) if client.category_map else None
        packs = products.accepted.toArrow()["rows"]
        data = training_set((pack.as_buffer() for pack in packs), client.features, new_names)
    products.check_unchanged(context.files)
    _check_whole(products, len(data.codes))
    return data


def _check_whole(products: Products, rows: int) -> None:
    if rows != products.accepted_rows:
        lost = f"{rows} rows came where {products.accepted_rows} were read"
        raise TransientFailure(lost, products.folder, "nothing was trained; run it again")


def _register(context: JobContext, member: _Member) -> Outcome:
    """Record what was learned, and register it."""
    client, run, products, learned = member.client, member.run, member.progress.products, member.progress.learned
    _log_training(run, client, products, learned)
    facts = {"day": context.day, **{name: f"{value:.4f}" for name, value in learned.metrics.items()}}
    stored = {PROFILE: learned.profile, RECIPE: learned.said} | ({CURVES: learned.curves} if learned.curves else {})
    example = learned.examples[:_EXAMPLE_ROWS]
    version = context.registry.register(client, run, learned.model, example, facts, stored, learned.judged)
    verdict = promotion.decide(context.registry, client, version, learned, member.progress.incomparable)
    run.log(
        verdict.metrics, tags={"model_version": version.number, "promoted": verdict.promoted, "gate": verdict.reason}
    )
    rows, top_5 = (products.accepted_rows, products.refused_rows), learned.metrics["top_5_accuracy"]
    said = "was promoted" if verdict.promoted else "was not promoted"
    note = f"version {version.number} {said}: {verdict.reason}" if verdict.told or not verdict.promoted else ""
    return Outcome(client.id, *rows, top_5, version.number, run_id=run.id, note=note)


def _log_training(run: Run, client: Client, products: Products, learned: Learned) -> None:
    """Record what the model was made from and how good it is."""
    metrics = {f"training_{name}": value for name, value in learned.training.items()} | dict(learned.held_out or {})
    rows = {"rows_in": products.rows, "rows_quarantined": products.refused_rows, "categories": learned.categories}
    features = ", ".join(name if kind == NUMERIC else f"{name} ({kind})" for name, kind in client.features.items())
    params = {"features": features, "model": client.model_name, **client.model_params}
    if isinstance(client.model, BlendSettings) or client.model == AUTO:
        params["blend"] = json.dumps(learned.said)[:_MAX_PARAM_CHARS]
    refitted = learned.model is not learned.judged
    params |= {"test_size": TEST_SIZE, "split_random_state": SPLIT_SEED, "refitted_on_all_rows": refitted}
    run.log({**metrics, **rows}, params)
    run.log_dataset(products.folder, learned.sha256, client.features, products.accepted_rows)
    with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch:
        for name, content in learned.files.items():
            (Path(scratch) / name).write_bytes(content)
        np.save(Path(scratch) / SIDES, learned.sides.stored())
        run.log_files(Path(scratch))
