"""What jobs remove once a day, because `keep:` of the configuration lets it go: of every client of DATA_PREFIX.

It is done by the first application that ends on a day, after its clients' results are told, and what fails is left for
the next day. Elsewhere go: replaced partitions, at each start (`recovery`); the history and its logs, by what starts
jobs (`dispatch`); versions, with each training (`champions`).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from bc4all.config.settings import KeepSettings
from bc4all.data.filesystem import Entry, FileSystem
from bc4all.errors import ConfigurationError, Failure
from bc4all.identity import ClientId
from bc4all.job_kinds import PREDICT, TRAIN, JobKind
from bc4all.layout import Layout
from bc4all.registry.deletion import delete_old_predictions
from bc4all.registry.tracking import Tracking
from bc4all.state import State
from bc4all.wording import quantity

log = logging.getLogger(__name__)


def clean_up(
    files: FileSystem,
    layout: Layout,
    state: State,
    tracking: Tracking,
    keep: KeepSettings,
    looked_at: Mapping[ClientId, int],
) -> None:
    """Remove what need not be kept, unless that was done within a day.

    `looked_at` says how many of a client's last predictions tell its drift: their runs stay.
    """
    if not _tried("whether it is due", state.claim_day):
        return
    now = time.time()
    works: tuple[tuple[str, str, Callable[[], int]], ...] = (
        ("date", "of refused rows", partial(_refused, files, layout, state, now - keep.quarantine)),
        ("log", "of Spark's events", partial(_event_logs, files, layout, now - keep.event_logs)),
        ("run", "of predictions", partial(delete_old_predictions, tracking, now - keep.prediction_runs, looked_at)),
    )
    for noun, of_what, work in works:
        count = _tried(f"{noun}s {of_what}", work)
        if count:
            log.info("clean-up: %s %s removed", quantity(count, noun), of_what)


def _tried(what: str, work: Callable[[], int]) -> int:
    """Return what `work` does; nothing where it fails, which is for the next day."""
    try:
        return work()
    except (Failure, OSError) as failure:
        log.warning("clean-up: %s: %s", what, failure)
        return 0


def _refused(files: FileSystem, layout: Layout, state: State, before: float) -> int:
    """Remove the refused rows of dates of before a time, but for a client's last one; return how many dates."""
    count = 0
    for kind in (TRAIN, PREDICT):
        for client_id in _clients(files, f"{layout.refused}/{kind.data}"):
            found = files.listing(layout.refused_client(kind.data, client_id))
            for entry in [entry for entry in found if entry.name.startswith("date=")][:-1]:
                count += _removed(files, state, client_id, kind, entry, before)
    return count


def _clients(files: FileSystem, folder: str) -> Iterator[ClientId]:
    for entry in files.listing(folder):
        try:
            yield ClientId(entry.name.removeprefix("client_id="))
        except ConfigurationError:  # a person's own folder
            continue


def _removed(files: FileSystem, state: State, client_id: ClientId, kind: JobKind, entry: Entry, before: float) -> bool:
    """Remove a date if all of its files are older, and no job of the client is at work that may replace it."""
    with state.unless_busy(client_id, kind.name) as free:
        if not free or _changed(files, entry) >= before:
            return False
        files.delete(entry.uri)
        return True


def _event_logs(files: FileSystem, layout: Layout, before: float) -> int:
    """Remove the event logs of applications that have told nothing since a time; return how many."""
    old = [entry for entry in files.listing(layout.events) if _changed(files, entry) < before]
    for entry in old:
        files.delete(entry.uri)
    return len(old)


def _changed(files: FileSystem, entry: Entry) -> float:
    """Return when a file, or the newest file of a folder, last changed, in seconds since 1970."""
    inside = [] if entry.is_file else files.listing(entry.uri)
    return max([file.changed for file in inside], default=entry.changed) / 1000
