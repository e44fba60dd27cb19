"""Trainings that no schedule asks for: of a client that has no model yet, and of one whose products have drifted.

A prediction that finds no model tells so; its run then waits, and no attempt is lost, for a training of the same time.
"""

import logging
from collections.abc import Sequence

from bc4all.config.clients import Fleet
from bc4all.identity import ClientId
from bc4all.job_kinds import PREDICT, TRAIN
from bc4all.schedule.history import BACKFILL, SCHEDULED, History, Run
from bc4all.schedule.verdict import WAITING

log = logging.getLogger(__name__)

WAITS = "waits for its first training"  # the note of such a prediction


def waiting_predictions(unfinished: Sequence[Run]) -> set[int]:
    """Return the numbers of the predictions that a training goes before: due at the same time, or the client's first.

    A retry of a training goes before none but those of a client without a model.
    """
    trainings: dict[ClientId, list[Run]] = {}
    for run in unfinished:
        if run.job == TRAIN.name:
            trainings.setdefault(run.client, []).append(run)

    def waits(run: Run) -> bool:
        own = _under_way(trainings.get(run.client, ()), run)
        is_behind = any(one.attempt == 1 and one.scheduled_for == run.scheduled_for for one in own)
        return is_behind or (run.note == WAITS and bool(own))

    return {run.id for run in unfinished if run.job == PREDICT.name and waits(run)}


def _under_way(trainings: Sequence[Run], prediction: Run) -> list[Run]:
    """Return those of its client that will end by themselves: they run, or wait for the same kind of starter.

    A queued run of a scheduler that is gone is started by no line of cron.
    """
    is_scheduled = prediction.trigger in SCHEDULED
    own = (run for run in trainings if run.client == prediction.client)
    return [run for run in own if run.state == "running" or (run.trigger in SCHEDULED) == is_scheduled]


def train_first(history: History, fleet: Fleet, run: Run, now: float) -> None:
    """Queue a training of a client that has no model, and its prediction again, behind that.

    Once a day: what has failed for good would fail again. Where the client has no model afterwards, its prediction has
    failed.
    """
    client = fleet.clients.get(run.client)
    if client is None or client.train.first is False or not client.due(TRAIN.name) or run.trigger == BACKFILL:
        return
    under_way = _under_way([one for one in history.unfinished() if one.job == TRAIN.name], run)
    tried = [one for one in history.of_day(run.client, TRAIN.name, run.day) if one.started]
    if (run.client, TRAIN.name) in history.pauses() or (tried and not under_way):
        return
    again = (run.client, TRAIN.name, run.day, run.scheduled_for, run.trigger)
    if not under_way and history.add(*again, not_before=now) is None:  # it is another starter's, which may be gone
        return
    history.update([run.id], **WAITING, ended=None, exit_code=None, error=None, note=WAITS, not_before=now)
    log.info("%s: has no model yet: its prediction waits for its training", run.client)


def train_drifted(history: History, fleet: Fleet, run: Run, now: float) -> None:
    """Queue a training of a client whose products have drifted, where it asks for that.

    After a training, only when there were as many predictions again as `windows` looks at: a version that was not
    promoted would otherwise be trained anew each day.
    """
    client = fleet.clients.get(run.client)
    if client is None or not client.drift.train or not client.due(TRAIN.name) or run.trigger == BACKFILL:
        return
    since = history.predictions_since_training(run.client)
    enough = since is None or len({one.day for one in since}) >= client.drift.counts[1]
    if enough and (run.client, TRAIN.name) not in history.pauses():
        history.add(run.client, TRAIN.name, run.day, run.scheduled_for, run.trigger, not_before=now)
        log.info("%s: drifted, and will be trained", run.client)
