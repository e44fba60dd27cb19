"""What killed jobs left behind, put right by the next job that starts, of any client.

Publications are finished or rolled back, staging folders removed, MLflow's runs closed; and what was replaced long
enough ago is deleted. Whether a run is dead is told by its lock, which the kernel takes from a process that ends.
"""

import logging
from collections.abc import Callable
from functools import partial

from bc4all.data.entry import Entry
from bc4all.data.filesystem import FileSystem
from bc4all.data.journal import JOURNAL, Journal
from bc4all.data.publishing import Publisher
from bc4all.errors import Failure
from bc4all.identity import RunId
from bc4all.layout import Layout
from bc4all.state import State

log = logging.getLogger(__name__)

# Of folders whose runs no lock of this machine speaks for: those of other machines, and those whose journal was just
# being written.
_FOREIGN_AFTER_S, _UNKNOWN_AFTER_S = 24 * 3600.0, 600.0  # seconds


def recover(
    files: FileSystem, layout: Layout, state: State, keep_replaced: float, close_run: Callable[[RunId], None]
) -> None:
    """Settle what dead runs left, and delete what was replaced more than `keep_replaced` seconds ago.

    `close_run` is told the id of each run that was found dead. What fails is logged, and left for the next job.
    """
    left, replaced = files.listing(layout.staged), files.listing(layout.replaced)
    if not left and not replaced:
        return
    now = files.time(layout.replaced)
    for entry in left:
        _tried(entry, partial(_settle, files, layout, state, entry, now, close_run))
    at_work = {entry.name for entry in left}  # what these have replaced, they may have to put back
    for entry in replaced:
        if entry.name not in at_work and _age(files, entry, now) > keep_replaced:
            _tried(entry, partial(files.delete, entry.uri))


def _tried(entry: Entry, work: Callable[[], None]) -> None:
    try:
        work()
    except (Failure, OSError) as failure:  # OSError: a lock file of another user, for one
        log.warning("%s is left as it is: %s", entry.uri, failure)


def _settle(
    files: FileSystem, layout: Layout, state: State, entry: Entry, now: float, close_run: Callable[[RunId], None]
) -> None:
    journal = Journal.loads(files.read_text(f"{entry.uri}/{JOURNAL}"))
    age = _age(files, entry, now)
    if journal is None or journal.run_id != entry.name:
        if age > _UNKNOWN_AFTER_S:
            files.delete(entry.uri)
        return
    if not state.speaks_for(journal.locks) and age < _FOREIGN_AFTER_S:
        return
    with state.unless_busy(journal.client_id, journal.job) as dead:
        # Once more: its run may have ended between the first look and the lock.
        if not dead or files.read_text(f"{entry.uri}/{JOURNAL}") is None:
            return
        publisher = Publisher(files, layout, journal)
        done = publisher.complete()
        close_run(journal.run_id)
        publisher.end()
    said = f": {', '.join(done)}" if done else ""
    log.warning("%s: a killed %s of %s was put right%s", journal.client_id, journal.job, journal.day, said)


def _age(files: FileSystem, entry: Entry, now: float) -> float:
    """Return the seconds since a run's journal was written, or, without one, since its folder changed."""
    written = [file.changed for file in files.listing(entry.uri) if file.name == JOURNAL]
    return now - (written or [entry.changed])[0] / 1000
