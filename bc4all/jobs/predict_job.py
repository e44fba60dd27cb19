"""The predict job: from the products of a wave's clients to their published categories."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import bc4all
from bc4all.config.clients import Client
from bc4all.data.audit import Audited, Due, audit
from bc4all.data.drift import PSI_MAX, Drift, bin_counter, compare, drift_metrics, is_lasting
from bc4all.data.entry import Entry
from bc4all.data.journal import OUTPUT, QUARANTINE
from bc4all.data.partition import check_unchanged, data_files
from bc4all.data.products import Products
from bc4all.data.publishing import stage_together, staged_part
from bc4all.data.unchanged import MADE_FROM, Before, find_before, made_from
from bc4all.data.wave import Asked, read_wave
from bc4all.errors import DataError, Failure, ModelError
from bc4all.job_kinds import PREDICT
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Done, Outcome
from bc4all.jobs.quarantine import keep_refused, manifest, publish_refused
from bc4all.jobs.scoring import Scorer, score_products, scored_schema
from bc4all.jobs.waves import Member, Wave
from bc4all.learning.shared_value import SharedValue
from bc4all.model.abstention import NEVER, Thresholds, thresholds
from bc4all.model.ranking import TOP
from bc4all.packing import packed
from bc4all.reading.header import MissingColumn
from bc4all.reading.rows import Wanted
from bc4all.registry.run import Run
from bc4all.registry.versions import CURVES, PROFILE, LoadedModel, Version

log = logging.getLogger(__name__)

_MAX_TAG_CHARS = 4000  # MLflow takes 8000
_MODEL_BYTES = 100 << 20  # of models' files, which take up to five times as much in memory


@dataclass
class _Prediction:
    """What a client's prediction has come to."""

    version: Version = field(init=False)
    is_unchanged: bool = False  # since `before`, which is staged again
    before: Before = field(init=False)
    loaded: LoadedModel = field(init=False)
    limits: Thresholds | None = None
    asked: Asked = field(init=False)
    products: Products = field(init=False)
    audited: Audited = field(init=False)


_Member = Member[_Prediction]


def predict(context: JobContext, client: Client, number: int | None = None) -> Outcome:
    """Score one client alone. Raises its failure."""
    (done,) = predict_wave(context, [client], number, force=True)
    if isinstance(done.result, Exception):
        raise done.result
    return done.result


def predict_wave(
    context: JobContext, clients: Sequence[Client], number: int | None = None, force: bool = False
) -> Iterator[Done]:
    """Score with the champions (or version `number`), stage, audit, publish; yield what became of each client.

    Of a failure nothing is published. What was published before, of the same files by the same model, code and
    configuration, is published again without scoring, unless `force`. Clients whose models would not fit into memory
    together come one part after the other.
    """
    with Wave(context, PREDICT.name, _Prediction) as wave:
        members = wave.each(wave.begin(clients), partial(_find, context, number))
        yield from wave.left()
        if not force:
            with wave.at(members, "compare"):
                members = wave.each(members, partial(_compare, context))
        unchanged = [member for member in members if member.progress.is_unchanged]
        yield from wave.finishing(unchanged, partial(_publish_again, context))
        for part in packed(wave.inside(members), _model_bytes, _MODEL_BYTES):
            with wave.at(part, "load"):
                loaded = wave.each(part, partial(_load, context))
            yield from wave.left()
            if loaded:
                yield from wave.halving(loaded, partial(_predict_together, context, wave), partial(_publish, context))
            for member in part:
                member.progress = _Prediction()  # its model, above all


def _find(context: JobContext, number: int | None, member: _Member) -> None:
    member.progress.version = context.registry.find(member.client.id, number)


def _model_bytes(member: _Member) -> int:
    return int(member.progress.version.tags.get("bytes", 0))


def _load(context: JobContext, member: _Member) -> None:
    """Load the model, and see what to read: the columns that it was trained on."""
    loaded = member.progress.loaded = context.registry.load(member.client.id, member.progress.version)
    member.progress.limits = _thresholds(member.client, loaded)
    stored = loaded.stored.get(PROFILE)
    count = bin_counter(stored, loaded.features) if stored else None
    folder = context.layout.prediction(member.client.id)
    member.progress.asked = Asked(folder, Wanted(loaded.features, labelled=False, count=count))


def _predict_together(
    context: JobContext, wave: Wave[_Prediction], members: Sequence[_Member]
) -> Iterator[Sequence[_Member]]:
    """Read, score and audit in the same Spark jobs; then all are ready."""
    asked = {member.number: member.progress.asked for member in members}
    with wave.together(members, "read"):
        read = read_wave(context.spark, context.files, asked)
    try:
        members = wave.each(members, lambda member: _take(member, read.found[member.number]))
        if members:
            with wave.staging(members) as folder:
                members = keep_refused(context, wave, members, folder)
                for answered in (False, True):
                    some = [member for member in members if (member.progress.limits is not None) == answered]
                    if some:
                        _stage_scored(context, wave, some, f"{folder}/{OUTPUT}-{answered}")
    finally:
        read.release()
    yield members


def _take(member: _Member, found: Products | Failure) -> None:
    if isinstance(found, MissingColumn):
        version = member.progress.loaded.version
        model = f"{version.name} version {version.number}"
        raise DataError(
            f"{found.what}, on which {model} was trained", found.where, "deliver it, or train the client again"
        ) from found
    if isinstance(found, Failure):
        raise found
    member.progress.products = found


def _stage_scored(context: JobContext, wave: Wave[_Prediction], members: list[_Member], folder: str) -> None:
    """Write the categories of all, audit them, and give each client its own."""
    with ExitStack() as shared, wave.together(members, "score"):
        scorers = {}
        for member in members:
            model = SharedValue(context.spark, member.progress.loaded.model)
            shared.callback(model.destroy)
            scorers[member.number] = _scorer(member, model)
        packs = members[0].progress.products.kept.accepted(scorers)
        stage_together(score_products(packs, scorers), folder)
    with wave.together(members, "audit"):
        schema = scored_schema(members[0].progress.limits is not None)
        audited = audit(context.spark, folder, schema, {member.number: _due(member) for member in members}, TOP)

    def adopt(member: _Member) -> None:
        found = audited[member.number]
        if isinstance(found, Failure):
            raise found
        member.progress.audited = found
        member.publisher.adopt(staged_part(folder, member.number), OUTPUT)

    wave.each(members, adopt)


def _scorer(member: _Member, model: SharedValue[Any]) -> Scorer:
    loaded = member.progress.loaded
    return Scorer(model, loaded.features, loaded.version.number, member.progress.limits)


def _due(member: _Member) -> Due:
    products, model = member.progress.products, member.progress.loaded.model
    return Due(products.accepted_rows, products.accepted_ids, [str(label) for label in model.classes_])


def _publish(context: JobContext, member: _Member) -> Outcome:
    """Publish what was audited, and record it."""
    client, products, (rows, best) = member.client, member.progress.products, member.progress.audited
    version = member.progress.version
    predicted = {label: count for label, (count, _) in best.items()}
    drifted = None if context.backfilled else _measure_drift(member.progress.loaded, products, predicted)
    products.check_unchanged(context.files)
    publish_refused(context, member.publisher, client, products)
    sha256 = version.tags["sha256"]
    facts = {"model": version.name, "model_version": version.number, "model_sha256": sha256, "rows_out": rows}
    if member.progress.limits:
        answered = sum(answered for _, answered in best.values())
        facts |= {"answered": answered, "coverage": answered / products.accepted_rows}
    facts |= {MADE_FROM: _made_from(client, version, products.source)}
    if drifted:
        facts["drift"] = asdict(drifted)
    told = manifest(context, client, products) | facts
    member.publisher.publish(OUTPUT, told)
    return _record(context, member, told, {})


def _publish_again(context: JobContext, member: _Member) -> Outcome:
    """Publish what was published before, and record it as it was recorded then."""
    before = member.progress.before
    check_unchanged(context.files, context.layout.prediction(member.client.id), before.source)
    if QUARANTINE not in before.folders:
        member.publisher.remove(QUARANTINE)
    new = {"date": context.day, "published_before": before.day, "backfilled": context.backfilled}
    for name in sorted(before.folders, reverse=True):  # what was refused first
        gone = {"run_id", "files"} | ({"drift"} if context.backfilled else set())
        told = {key: value for key, value in before.manifests[name].items() if key not in gone}
        member.publisher.publish(name, told | new)
    return _record(context, member, dict(before.manifests[OUTPUT]), {"published_before": before.day})


def _record(context: JobContext, member: _Member, told: Mapping[str, Any], also: Mapping[str, str]) -> Outcome:
    """Tell MLflow what a manifest says, with further tags, and return the outcome."""
    client, run, version = member.client, member.run, member.progress.version
    counts: dict[str, float] = {name: told[name] for name in ("rows_in", "rows_out", "rows_quarantined")}
    tags = {"model_version": version.number, "model_sha256": version.tags["sha256"], **also}
    if context.backfilled:
        tags["backfilled"] = "true"
    drifted = Drift(**told["drift"]) if "drift" in told and not context.backfilled else None
    if drifted:
        counts, tags = counts | drift_metrics(drifted), tags | _changed_values(drifted)
    run.log(counts, tags=tags)
    note = _tell_drift(context, run, client, version.number, drifted) if drifted else ""
    rows = told["rows_in"] - told["rows_quarantined"], told["rows_quarantined"]
    return Outcome(client.id, *rows, version.top_5, version.number, run_id=run.id, note=note, drifted=bool(note))


def _made_from(client: Client, version: Version, source: Sequence[Entry]) -> dict[str, Any]:
    """Return all that decides what is published."""
    facts = {"model_version": version.number, "model_sha256": version.tags["sha256"]}
    return made_from(source, facts | {"code_version": bc4all.__version__, "config_sha": client.sha})


def _compare(context: JobContext, member: _Member) -> None:
    """Stage what was published before, where that would come out again; else it is scored."""
    client, version = member.client, member.progress.version
    try:
        source = data_files(context.files, context.layout.prediction(client.id))
        before = find_before(context.files, context.layout, client.id, source, _made_from(client, version, source))
        if before is None:
            return
        for name, folder in before.folders.items():
            member.publisher.stage_again(folder, name)
    except Failure as failure:  # scoring does without, or fails by the same
        log.info("%s: what was published before cannot be taken: %s", client.id, failure)
        return
    member.progress.is_unchanged, member.progress.before = True, before


def _measure_drift(loaded: LoadedModel, products: Products, predicted: Mapping[str, int]) -> Drift | None:
    """Return how far the products are from the training's; None where that is not known."""
    stored = loaded.stored.get(PROFILE)
    if not stored:
        return None
    return compare(stored, products.bins, bin_counter(stored, loaded.features), predicted)


def _changed_values(drifted: Drift) -> dict[str, str]:
    changed = {"new_values": drifted.new, "vanished_values": drifted.vanished}
    return {name: json.dumps(values)[:_MAX_TAG_CHARS] for name, values in changed.items() if any(values.values())}


def _tell_drift(context: JobContext, run: Run, client: Client, version: int, drifted: Drift) -> str:
    """Return what to say of a drift that lasts, by this run and those before it."""
    above = drifted.above(client.drift.psi)
    if not above:
        return ""
    recent = context.registry.tracking.recent(client, PREDICT, PSI_MAX, version, client.drift.counts[1])
    if not is_lasting(recent, client.drift.psi, client.drift.counts):
        return ""
    far = ", ".join(above[:5])
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
    asked = client.abstain
    found = thresholds(loaded.stored[CURVES], asked.precision, asked.per_category)
    if min(found.overall, *found.categories.values(), NEVER) == NEVER:
        told = (
            "from no score on do the held-out products tell surely enough that so many are right, and none is answered"
        )
        log.warning("%s: abstain: %s: %s; ask for less", client.id, asked.precision, told)
    return found
