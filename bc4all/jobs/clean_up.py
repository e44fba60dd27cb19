"""What jobs remove once a day, because `keep:` of the configuration lets it go: of all its clients.

It is done by the first application that ends on a day, after its clients' results are shown, and what fails is left for
the next day. Elsewhere go: replaced partitions, at each start (`recovery`); the history and its logs, by what starts
jobs (`dispatch`); versions, with each training (`champions`).
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

from bc4all.config.settings import KeepSettings
from bc4all.data.drift import PSI_MAX
from bc4all.data.entry import Entry
from bc4all.data.filesystem import FileSystem
from bc4all.errors import Failure
from bc4all.identity import ClientId
from bc4all.job_kinds import PREDICT, TRAIN, JobKind
from bc4all.layout import Layout
from bc4all.registry.deletion import old_predictions
from bc4all.registry.tracking import Tracking
from bc4all.state import State
from bc4all.wording import quantity

log = logging.getLogger(__name__)

_MAX_SECONDS = 60  # a job's place is not held for longer: what is left is for the next day

Removal = Callable[[], bool]  # returns whether something was removed


def clean_up(
    files: FileSystem,
    layout: Layout,
    state: State,
    tracking: Tracking,
    keep: KeepSettings,
    drift_dates: Mapping[ClientId, int],
) -> None:
    """Remove what need not be kept of these clients, unless that was done within a day; raise nothing.

    `drift_dates` says how many of each client's last predictions tell its drift: their runs stay. Ctrl-C ends this, and
    not the job, whose clients are done.
    """
    now, end = time.time(), time.monotonic() + _MAX_SECONDS
    refused = _old_dates(files, layout, state, drift_dates, now - keep.quarantine)
    predictions = old_predictions(tracking, now - keep.prediction_runs, drift_dates, PSI_MAX)
    works = (
        ("date", "of refused rows", refused),
        ("log", "of Spark's events", _old_event_logs(files, layout, now - keep.event_logs)),
        ("run", "of predictions", predictions),
    )
    try:
        if not state.claim_day():
            return
        for noun, of_what, removals in works:
            count = _remove_all(removals, end)
            if count:
                log.info("clean-up: %s %s removed", quantity(count, noun), of_what)
    except Exception as error:  # noqa: BLE001 - the clients are done, whatever this comes to
        log.warning("clean-up: %s", error)
    except KeyboardInterrupt:
        log.warning("clean-up: interrupted; the rest is for the next day")


def _remove_all(removals: Iterator[Removal], end: float) -> int:
    """Do each removal; return how many have removed something. What fails, or comes too late, is for the next day."""
    count = 0
    while True:
        try:
            removal = next(removals, None)
            if removal is None:
                return count
            if time.monotonic() > end:
                log.warning(
                    "clean-up: more is left than %d s are enough for: the rest is for the next day", _MAX_SECONDS
                )
                return count
            count += removal()
        except (Failure, OSError) as failure:  # of one removal; where looking for them has failed, there is no next
            log.warning("clean-up: %s", failure)


def _old_dates(
    files: FileSystem, layout: Layout, state: State, clients: Iterable[ClientId], before: float
) -> Iterator[Removal]:
    """Yield the removal of each date of refused rows of before a time, but for a client's last one."""
    last = datetime.fromtimestamp(before, UTC).date().isoformat()
    for client_id in clients:
        for kind in (TRAIN, PREDICT):
            found = files.listing(layout.refused_client(kind.data, client_id))
            dates = [entry for entry in found if entry.name.startswith("date=")][:-1]
            for entry in dates:
                if entry.name <= f"date={last}":
                    yield partial(_remove_date, files, state, client_id, kind, entry, before)


def _remove_date(
    files: FileSystem, state: State, client_id: ClientId, kind: JobKind, entry: Entry, before: float
) -> bool:
    """Remove a date if all of its files are older, and no job of the client is at work that may replace it."""
    with state.unless_busy(client_id, kind.name) as free:
        if not free or _changed(files, entry) >= before:
            return False
        files.delete(entry.uri)
        return True


def _old_event_logs(files: FileSystem, layout: Layout, before: float) -> Iterator[Removal]:
    """Yield the removal of each event log of an application that has told nothing since a time."""
    for entry in files.listing(layout.events):
        if _changed(files, entry) < before:
            yield partial(_delete, files, entry)


def _delete(files: FileSystem, entry: Entry) -> bool:
    files.delete(entry.uri)
    return True


def _changed(files: FileSystem, entry: Entry) -> float:
    """Return when a file, or the newest file of a folder, last changed, in seconds since 1970."""
    inside = [] if entry.is_file else files.listing(entry.uri)
    return max([file.changed for file in inside], default=entry.changed) / 1000
