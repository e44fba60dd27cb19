"""`bc4all forget`: all that there is of one client, in the order in which it can be removed.

The champion goes first, so that no prediction is made by it any more; then what a killed run has left, which the next
job would publish; then what readers see, in one step. Until all has gone, a mark below DATA_PREFIX keeps the client's
jobs from beginning anew among what is left: a client of the same name gets nothing of the one before.
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bc4all.config.category_map import map_file
from bc4all.config.tuned import tuned_file
from bc4all.data.entry import Entry
from bc4all.data.filesystem import FileSystem
from bc4all.data.journal import JOURNAL, Journal
from bc4all.data.recovery import recover
from bc4all.errors import Failure, TransientFailure
from bc4all.identity import ClientId
from bc4all.job_kinds import JOB_KINDS, PREDICT, TRAIN
from bc4all.layout import Layout
from bc4all.registry.deletion import check_deletable, delete_experiments, delete_registered, experiments_of
from bc4all.registry.tracking import Tracking
from bc4all.registry.versions import Registry, model_name
from bc4all.state import State
from bc4all.wording import quantity

log = logging.getLogger(__name__)

_BEGUN = "begun"  # the file of the mark: an object store has no empty folders
_DELIVERIES = "--deliveries"  # what it holds where deliveries are to go, too


@dataclass(frozen=True)
class Belonging:
    """One kind of thing that a client has, how much of it there is ("" for none), and how it is removed."""

    name: str
    amount: str
    remove: Callable[[], None]


@dataclass(frozen=True)
class Departure:
    """A client that is to be forgotten, and where it may have left something."""

    client_id: ClientId
    files: FileSystem
    layout: Layout
    state: State
    tracking: Tracking
    config: Path

    def belongings(self, deliveries: bool) -> Iterator[Belonging]:
        """Yield what there is, in the order of removal; what clients deliver only where `deliveries` are to go, too."""
        client_id, layout = self.client_id, self.layout
        versions = Registry(self.tracking).versions(client_id)
        removal = partial(delete_registered, self.tracking, client_id)
        amount = f"{model_name(client_id)}, {quantity(len(versions), 'version')}" if versions else ""
        yield Belonging("registered model", amount, removal)
        left = self._left()
        yield Belonging("left by runs", quantity(len(left), "folder") if left else "", partial(self._delete, left))
        yield self._folder("published", layout.published_client(client_id), "date")
        for kind in (TRAIN, PREDICT):
            folder = layout.refused_client(kind.data, client_id)
            yield self._folder(f"refused by {kind.name}", folder, "date")
        found = experiments_of(self.tracking, client_id)
        names = f"{quantity(len(found), 'experiment')}, with runs, figures and models" if found else ""
        yield Belonging("MLflow", names, partial(delete_experiments, self.tracking, client_id))
        logs = self.state.logs_of(client_id)
        count = len(list(logs.glob("*"))) if logs.is_dir() else 0
        yield Belonging("logs", quantity(count, "file") if count else "", partial(_remove_tree, logs))
        if deliveries:
            yield self._folder("delivered to train", layout.training(client_id), "file")
            yield self._folder("delivered to predict", layout.prediction(client_id), "file")
        beside = {"tuned model": tuned_file(self.config, client_id), "category map": map_file(self.config, client_id)}
        for name, file in beside.items():
            yield Belonging(name, str(file) if file.exists() else "", partial(_unlink, file))

    @property
    def takes_deliveries(self) -> bool:
        """Whether a removal that has not come to its end is to take what was delivered along."""
        return _DELIVERIES in (self.files.read_text(self._mark) or "")

    @contextmanager
    def begun(self, keep_replaced: float, deliveries: bool) -> Iterator[None]:
        """Keep the client's jobs out, during the block and, where it does not come to its end, until one does.

        Raises TransientFailure where a job of the client is at work, Failure where an experiment may be another's.
        """
        check_deletable(self.tracking, self.client_id)
        recover(self.files, self.layout, self.state, keep_replaced, self.tracking.close_run)
        folder = self.layout.forgetting(self.client_id)
        with ExitStack() as stack:
            for job in JOB_KINDS:
                stack.enter_context(self.state.exclusive(self.client_id, job))
            was_begun = self.files.exists(folder)
            self.files.write_text(self._mark, _DELIVERIES if deliveries else "")
            # Of another machine, whose locks are not to be seen from here. A job looks for the mark after its journal.
            alive = list(self._of_client(self.files.listing(self.layout.staged)))
            if alive:
                if not was_begun:
                    self.files.delete(folder)
                what = "a job of this client is running, or was killed on another machine"
                remedy = "wait for its end; the next job on any machine puts right what a killed one has left for a day"
                raise TransientFailure(what, alive[0].uri, remedy)
            yield
            self.files.delete(folder)

    @property
    def _mark(self) -> str:
        return f"{self.layout.forgetting(self.client_id)}/{_BEGUN}"

    def _folder(self, name: str, folder: str, unit: str) -> Belonging:
        entries = [entry for entry in self.files.listing(folder) if not entry.name.startswith((".", "_"))]
        remove = self._withdraw if unit == "date" else self.files.delete
        return Belonging(name, quantity(len(entries), unit) if entries else "", partial(remove, folder))

    def _withdraw(self, folder: str) -> None:
        """Remove a folder of dates; out of its readers' sight in one step, where the storage can.

        Elsewhere each date loses _SUCCESS first: what has it is whole.
        """
        if self.files.renames_atomically and self.files.exists(folder):
            aside = f"{self.layout.forgetting(self.client_id)}{folder.removeprefix(self.layout.prefix)}"
            self.files.delete(aside)
            try:
                self.files.rename(folder, aside)
            except Failure as failure:  # below a viewfs, each may be a storage of its own
                log.info("%s is removed where it lies: %s", folder, failure)
        for entry in self.files.listing(folder):
            if not entry.is_file:
                self.files.delete(f"{entry.uri}/_SUCCESS")
        self.files.delete(folder)

    def _left(self) -> list[Entry]:
        """Return the folders of the client's runs: of killed ones, and of those that have replaced something."""
        roots = (self.layout.staged, self.layout.replaced)
        return [entry for root in roots for entry in self._of_client(self.files.listing(root))]

    def _of_client(self, entries: list[Entry]) -> Iterator[Entry]:
        for entry in entries:
            journal = Journal.loads(self.files.read_text(f"{entry.uri}/{JOURNAL}"))
            if journal and journal.client_id == self.client_id:
                yield entry

    def _delete(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.files.delete(entry.uri)


def _remove_tree(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _unlink(file: Path) -> None:
    file.unlink(missing_ok=True)
