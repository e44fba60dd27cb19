"""Which of a client's versions is asked: the champion, how it came to be it, and which old versions are kept.

Every change is recorded in a tag of the registered model. `gate` decides, people do by `bc4all promote`; this carries
it out.
"""

import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from bc4all.errors import ConfigurationError, ModelError
from bc4all.identity import ClientId
from bc4all.registry.deletion import delete_version
from bc4all.registry.versions import CHALLENGER, CHAMPION, Registered, Registry, Version, as_registered, model_name

_RECORD = "champions"  # the tag
_WHOLE_REASONS, _SHORT = 10, 40  # of the latest changes, where there are many; characters of the others' reasons
_REMEMBERED = timedelta(days=365)  # a champion of before is no bar for what comes
_MODELS_A_PAGE = 1000
_MAX_TAG_CHARS = 4900  # characters of it; MLflow's own databases take 5000


class Compared(NamedTuple):
    """How a champion did beside the one before it, on the same rows: its metric was better by `gain`, give or take."""

    gain: float
    doubt: float
    metric: str


@dataclass(frozen=True)
class Change:
    """A version that became champion: when (ISO 8601, UTC), why, and whether by taking the one after it back.

    `gain`: by how much its `metric` was better than that of the champion before it, on the same rows, give or take
    `doubt`; None where the two were not compared.
    """

    version: int
    at: str
    why: str
    back: bool = False
    gain: float | None = None
    doubt: float = 0.0
    metric: str = ""


class Champions:
    """The champions of all clients of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def changes(self, client_id: ClientId) -> list[Change]:
        """Return the client's champions, the latest last.

        One that MLflow's pages made so among them, once it is met.
        """
        return _changes(self._registry.registered(client_id))

    def registered(self) -> dict[ClientId, Registered]:
        """Return every client's registered model, asked for many at a time."""
        tracking, models = self._registry.tracking, dict[ClientId, Registered]()
        token: str | None = None
        while True:
            search = partial(tracking.client.search_registered_models, max_results=_MODELS_A_PAGE, page_token=token)
            page = tracking.ask(search)
            for model in page:
                with contextlib.suppress(ConfigurationError):  # another team's, of whatever name
                    client_id = ClientId(str(model.name).removesuffix("_model"))
                    if model.name == model_name(client_id):
                        models[client_id] = as_registered(model)
            token = page.token
            if not token:
                return models

    def promote(
        self, client_id: ClientId, version: Version, why: str, back: bool = False, compared: Compared | None = None
    ) -> None:
        """Make a version the champion, and record it as a `Change`; the challenger is one no more if it is older."""
        registered = self._registry.registered(client_id)
        changes = _changes(registered)
        self._registry.set_alias(version, CHAMPION)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        gain, doubt, metric = compared or (None, 0.0, "")
        changes.append(Change(version.number, now, why[:150], back, gain, doubt, metric))
        self._registry.tag_model(client_id, _RECORD, recorded(changes))
        if registered.aliases.get(CHALLENGER, version.number + 1) <= version.number:
            self._registry.remove_alias(client_id, CHALLENGER)

    def rollback(self, client_id: ClientId, why: str) -> Version:
        """Make the champion before this one the champion again; once more, the one before that.

        Raises ModelError where there is none.
        """
        before = self.before(client_id)
        if before is None:
            where, remedy = model_name(client_id), "see `bc4all versions`, and name one to `bc4all promote`"
            raise ModelError("no version was champion before this one", where, remedy)
        version = self._registry.find(client_id, before)
        self._registry.load(client_id, version)  # one that cannot be read would be no help
        self.promote(client_id, version, why, back=True)
        return version

    def before(self, client_id: ClientId) -> int | None:
        """Return the number of the champion that the present one has followed, and that is still there."""
        return _before(self.changes(client_id), self._registry.versions(client_id))

    def prune(self, client_id: ClientId, newest: int, keep: int) -> list[int]:
        """Delete all but the newest `keep` versions, the champion, the one before it, and the challenger.

        `newest` is the number of the newest version: where it is at most `keep`, there is none to delete.
        """
        if newest <= keep:
            return []
        versions = sorted(self._registry.versions(client_id), key=lambda version: version.number)
        kept = {version.number for version in versions[-keep:]}
        registered = self._registry.registered(client_id)
        kept |= {*registered.aliases.values(), _before(_changes(registered), versions) or 0}
        gone = [version for version in versions if version.number not in kept]
        for version in gone:
            shared = any(other.uri == version.uri for other in versions if other.number != version.number)
            delete_version(self._registry.tracking, client_id, version, files=not shared)
        return [version.number for version in gone]


def recorded(changes: Sequence[Change]) -> str:
    """Return the changes as JSON that a tag holds: of many, older ones with short reasons, and the oldest left out."""

    def written(some: Sequence[Change]) -> str:
        return json.dumps([asdict(change) for change in some], separators=(",", ":"))

    if len(written(changes)) > _MAX_TAG_CHARS:
        older, latest = changes[:-_WHOLE_REASONS], changes[-_WHOLE_REASONS:]
        changes = [*(replace(change, why=change.why[:_SHORT]) for change in older), *latest]
    while len(record := written(changes)) > _MAX_TAG_CHARS:
        changes = changes[1:]
    return record


def behind_best(changes: Sequence[Change], metric: str, now: datetime) -> tuple[float, float]:
    """Return by how much the present champion is behind the best one of the last year, give or take how much.

    Zeros where it is that one. As far back as is recorded, and each was compared with the one before it by this metric:
    what a person promoted begins anew.
    """
    best, sum_of_gains, squares = (0.0, 0.0), 0.0, 0.0
    for change in reversed(changes):
        if change.gain is None or change.metric != metric or not _is_recent(change.at, now):
            break
        sum_of_gains, squares = sum_of_gains + change.gain, squares + change.doubt**2
        best = max(best, (-sum_of_gains, squares**0.5))
    return best


def rolled_back(changes: Iterable[Change]) -> set[int]:
    """Return the versions that were champion until a person took them back, and are not again."""
    back: set[int] = set()
    current: int | None = None
    for change in changes:
        if change.back and current is not None:
            back.add(current)
        back.discard(change.version)
        current = change.version
    return back


def _is_recent(at: str, now: datetime) -> bool:
    try:
        return now - datetime.fromisoformat(at) < _REMEMBERED
    except (ValueError, TypeError):  # not recorded, or by another's hand
        return False


def _changes(registered: Registered) -> list[Change]:
    current = registered.aliases.get(CHAMPION)
    try:
        record = json.loads(registered.tags[_RECORD])
        told = [
            Change(int(one.pop("version")), one.pop("at"), one.pop("why"), one.pop("back"), **one) for one in record
        ]
    except (KeyError, ValueError, TypeError):
        told = []
    if current is not None and (not told or told[-1].version != current):
        told.append(Change(current, "", "not recorded"))
    return told


def _before(changes: Iterable[Change], versions: Iterable[Version]) -> int | None:
    """Return the champion that the present one has followed, of the versions that are there."""
    there = {version.number for version in versions}
    line: list[int] = []
    for change in changes:
        if change.back and change.version in line:
            del line[line.index(change.version) + 1 :]
        else:
            line = [number for number in line if number != change.version] + [change.version]
    past = [number for number in line[:-1] if number in there]
    return past[-1] if past else None


def check_promotable(registry: Registry, client_id: ClientId, number: int) -> Version:
    """Return a version that a person names, read once as proof that it can be.

    Raises ConfigurationError, ModelError.
    """
    if number not in {version.number for version in registry.versions(client_id)}:
        listed = ", ".join(str(version.number) for version in registry.versions(client_id)) or "none"
        raise ConfigurationError(f"{model_name(client_id)} has no version {number}", f"it has {listed}")
    version = registry.find(client_id, number)
    registry.load(client_id, version)
    return version
