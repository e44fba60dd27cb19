"""Stage, publish: an output partition becomes the live one only when it is whole.

Output is written below `_staging/<run>`, outside every root that readers discover, and moved in place by rename. What
clients stage together lies below the first one's run, until each has moved its part to its own. The partition that it
replaces goes to `_trash/<run>` first, and stays there for a while, so that a reader that has it open can finish. Where
a folder cannot be renamed in one step (an object store), files go one by one, and `_SUCCESS` comes last and goes
first: a partition with it is whole. Whatever a killed run left, `complete` finishes or rolls back. What is written,
and what it means, is not decided here.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from pyspark.sql import DataFrame

from bc4all.column_names import CLIENT
from bc4all.data.entry import Entry
from bc4all.data.filesystem import FileSystem
from bc4all.data.journal import JOURNAL, Journal
from bc4all.errors import Failure, TransientFailure
from bc4all.layout import MANIFEST, Layout

log = logging.getLogger(__name__)

_SUCCESS, _SHARED = "_SUCCESS", "shared"
_LAST = {MANIFEST: 1, _SUCCESS: 2}  # the order in which files go live, where they go one by one


class Publisher:
    """Publishes the partitions of one run, of which its journal says whose they are."""

    def __init__(self, files: FileSystem, layout: Layout, journal: Journal) -> None:
        self._files, self._journal = files, journal
        self._targets = journal.targets(layout)
        self._staging, self._trash = layout.staging(journal.run_id), layout.trash(journal.run_id)
        self._prefix = layout.prefix
        self.unsettled = False  # whether a partition is neither the old one nor the new one

    @cached_property
    def _is_atomic(self) -> bool:
        return self._files.renames_atomically

    def begin(self) -> None:
        """Write the journal: from here on a later run knows what this one left."""
        self._files.write_text(f"{self._staging}/{JOURNAL}", self._journal.dumps())

    def end(self) -> None:
        """Remove the staging folder, the journal last: what is left of it by a kill is still known by its run."""
        for entry in self._files.listing(self._staging):
            if entry.name != JOURNAL:
                self._files.delete(entry.uri)
        self._files.delete(self._staging)

    def target(self, name: str) -> str:
        """Return where the staged folder `name` is published."""
        return self._targets[name]

    def shared(self) -> str:
        """Return an empty folder for what several clients stage together, which is gone with this run's own."""
        folder = f"{self._staging}/{_SHARED}"
        self._clear(folder)
        return folder

    def adopt(self, staged: str, name: str) -> None:
        """Make a client's part of what was staged together the staged folder `name`."""
        self._clear(f"{self._staging}/{name}")
        self._move(staged, f"{self._staging}/{name}")

    def stage_again(self, partition: str, name: str) -> None:
        """Make a copy of a published partition's data the staged folder `name`."""
        for entry in self._files.listing(partition):
            if entry.name.endswith(".parquet"):
                self._files.copy(entry.uri, f"{self._staging}/{name}/{entry.name}")

    def _clear(self, folder: str) -> None:
        """Remove what a wave left there before it was halved."""
        if self._files.exists(folder):
            self._files.delete(folder)

    def publish(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Make the staged folder the live partition, with its manifest; the one before is replaced whole.

        Where that fails, the one before is live again; where even that fails, both are kept, for the next job that
        starts to put right.
        """
        staged, target = f"{self._staging}/{name}", self._targets[name]
        parts = [{"name": e.name, "bytes": e.size} for e in self._files.listing(staged) if e.name.endswith(".parquet")]
        if not self._files.exists(f"{staged}/{_SUCCESS}"):  # some committers leave it out, and readers look for it
            self._files.write_text(f"{staged}/{_SUCCESS}", "")
        described = {"run_id": self._journal.run_id, **manifest, "files": parts}
        # The manifest comes last: a staged folder that has one is whole, and may be published by another run.
        self._files.write_text(f"{staged}/{MANIFEST}", json.dumps(described, indent=2) + "\n")
        replaced = self._withdraw(target, self._kept(target))
        try:
            self._move(staged, target)
        except BaseException as error:
            if replaced:
                self._put_back(self._kept(target), target, error, clear=True)
            raise

    def remove(self, name: str) -> None:
        """Take a live partition away, if there is one."""
        target = self._targets[name]
        self._withdraw(target, f"{self._trash}/removed{target.removeprefix(self._prefix)}")

    def complete(self) -> list[str]:
        """Finish or roll back what this run left when it was killed, and say what was done.

        A partition that is live stays as it is: nothing of it was moved yet, or all of it, or another run has come
        since. Of one that is not, the successor is moved in if it is whole, else the one before is put back.
        """
        done = []
        for name, target in self._targets.items():
            staged, kept = f"{self._staging}/{name}", self._kept(target)
            if self._is_live(target):
                continue
            if self._is_whole(staged, target):
                before = [e for e in self._files.listing(target) if not self._is_mine(e.name, staged, target)]
                self._move_files(before, kept)
                self._move(staged, target)
                done.append(f"{target} is published")
            elif self._files.exists(kept):
                self._move(kept, target)
                done.append(f"{target} is as it was before")
        return done

    def _kept(self, target: str) -> str:
        return f"{self._trash}{target.removeprefix(self._prefix)}"

    def _is_live(self, target: str) -> bool:
        return self._files.exists(target if self._is_atomic else f"{target}/{_SUCCESS}")

    def _is_whole(self, staged: str, target: str) -> bool:
        """Return whether every file of this run's partition is there, in the staged folder or at its target already."""
        manifest = self._manifest(staged) or self._manifest(target)
        if not manifest:
            return False
        found = {e.name: e.size for folder in (target, staged) for e in self._files.listing(folder)}
        return _SUCCESS in found and all(found.get(part["name"]) == part["bytes"] for part in manifest["files"])

    def _is_mine(self, name: str, staged: str, target: str) -> bool:
        """Return whether a file that lies at the target is one that this run has moved there."""
        if name == MANIFEST:
            return self._manifest(target) is not None
        manifest = self._manifest(staged) or self._manifest(target) or {"files": []}
        return name in [part["name"] for part in manifest["files"]]

    def _manifest(self, folder: str) -> dict[str, Any] | None:
        """Return this run's manifest, if it lies in `folder`; one that was being written when it was killed is none."""
        try:
            manifest = json.loads(self._files.read_text(f"{folder}/{MANIFEST}") or "null")
        except ValueError:
            return None
        mine = isinstance(manifest, dict) and manifest.get("run_id") == self._journal.run_id
        return manifest if mine else None

    def _withdraw(self, target: str, kept: str) -> bool:
        """Take a live partition out of the readers' sight, to `kept`; False if there was none."""
        if not self._files.exists(target):
            return False
        self._files.write_text(f"{self._trash}/{JOURNAL}", self._journal.dumps())  # its age is that of the trash
        try:
            if not self._is_atomic and self._files.exists(f"{target}/{_SUCCESS}"):
                self._files.rename(f"{target}/{_SUCCESS}", f"{kept}/{_SUCCESS}")
            self._move(target, kept)
        except BaseException as error:
            self._put_back(kept, target, error)
            raise
        return True

    def _move(self, source: str, target: str) -> None:
        """Move the folder in one step, or its files."""
        if self._is_atomic:
            self._files.rename(source, target)
        else:
            self._move_files(self._files.listing(source), target)

    def _move_files(self, entries: list[Entry], target: str) -> None:
        """Move data, then the manifest, then `_SUCCESS`.

        An object store copies a file, then deletes it. One that lies in `target` already, in its size, was copied by a
        move that ended between the two.
        """
        there = {entry.name: entry.size for entry in self._files.listing(target)}
        for entry in sorted(entries, key=lambda entry: _LAST.get(entry.name, 0)):
            if there.get(entry.name) == entry.size:
                self._files.delete(entry.uri)
            else:
                self._files.rename(entry.uri, f"{target}/{entry.name}")

    def _put_back(self, kept: str, target: str, error: BaseException, clear: bool = False) -> None:
        """Make the partition that was withdrawn live again; `clear`: in place of what `error` left of its successor."""
        try:
            if self._is_atomic and self._files.exists(target):
                return  # nothing was moved, or the successor came through all the same
            if clear:
                self._files.delete(target)
            self._move(kept, target)
        except Failure as second:
            self.unsettled = True
            raise TransientFailure(
                f"{error}; and putting back what was live failed: {second}",
                target,
                f"what was live is kept in {kept}: once the storage is well, the next job that starts puts it right",
            ) from error


def stage_together(rows: DataFrame, folder: str) -> None:
    """Write rows of several clients as parquet to a folder each, `staged_part` of their number CLIENT."""
    rows.write.partitionBy(CLIENT).parquet(folder)


def staged_part(folder: str, client: int) -> str:
    """Return where `stage_together` has written a client's rows, without their number."""
    return f"{folder}/{CLIENT}={client}"


@contextmanager
def publishing(files: FileSystem, layout: Layout, journal: Journal) -> Iterator[Publisher]:
    """Open a Publisher; what it staged is removed at the end, and no failure to do so is one of the block."""
    publisher = Publisher(files, layout, journal)
    publisher.begin()
    try:
        yield publisher
    finally:
        try:
            if not publisher.unsettled:
                publisher.end()
        except Failure as failure:  # the next job that starts removes it, by its journal
            log.warning("%s is left behind: %s", layout.staging(journal.run_id), failure)
