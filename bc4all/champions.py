"""Which of a client's versions is asked: the champion, how it came to be it, and which old versions are kept.

Every change is recorded in a tag of the registered model. `gate` decides, people do by `bc4all promote`; this carries
it out.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from bc4all.errors import ConfigurationError, ModelError
from bc4all.registry import CHALLENGER, CHAMPION, Registry, Version, model_name

_RECORD = "champions"  # the tag
_REMEMBERED = 30  # changes; MLflow's tags are not endless


@dataclass(frozen=True)
class Change:
    """A version that became champion: when (ISO 8601, UTC), and why."""

    version: int
    at: str
    why: str


class Champions:
    """The champions of all clients of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def changes(self, client_id: str) -> list[Change]:
        """The client's champions, the latest last."""
        tags = self._registry.model_tags(client_id)
        try:
            return [Change(int(one["version"]), str(one["at"]), str(one["why"])) for one in json.loads(tags[_RECORD])]
        except (KeyError, ValueError, TypeError):
            return []

    def promote(self, client_id: str, version: Version, why: str) -> None:
        """Make a version the champion. It is recorded first: what was never recorded could not be taken back."""
        changes = self.changes(client_id)
        current = self.number(client_id, CHAMPION)
        if not changes and current is not None:  # of before changes were recorded
            changes = [Change(current, "", "before this was recorded")]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        changes = [*changes, Change(version.number, now, why)][-_REMEMBERED:]
        self._registry.tag_model(client_id, _RECORD, json.dumps([asdict(change) for change in changes]))
        self._registry.set_alias(version, CHAMPION)
        if self.number(client_id, CHALLENGER) == version.number:
            self._registry.remove_alias(client_id, CHALLENGER)

    def rollback(self, client_id: str, why: str) -> Version:
        """Make the champion before this one the champion again. Raises ModelError where there is none."""
        before = self.before(client_id)
        if before is None:
            where, remedy = model_name(client_id), "see `bc4all versions`, and name one to `bc4all promote`"
            raise ModelError("no version was champion before this one", where, remedy)
        version = self._registry.find(client_id, before)
        self._registry.load(client_id, version)  # one that cannot be read would be no help
        self.promote(client_id, version, why)
        return version

    def before(self, client_id: str) -> int | None:
        """The number of the latest champion that is not the present one and is still there."""
        current, there = self.number(client_id, CHAMPION), {v.number for v in self._registry.versions(client_id)}
        past = [change.version for change in self.changes(client_id) if change.version in there - {current}]
        return past[-1] if past else None

    def number(self, client_id: str, alias: str) -> int | None:
        """The version that an alias points to."""
        return self._registry.aliases(client_id).get(alias)

    def prune(self, client_id: str, keep: int) -> list[int]:
        """Delete all but the newest `keep` versions, the champion, the one before it, and the challenger."""
        versions = sorted(self._registry.versions(client_id), key=lambda version: version.number)
        kept = {version.number for version in versions[-keep:]}
        kept |= {*self._registry.aliases(client_id).values(), self.before(client_id) or 0}
        gone = [version for version in versions if version.number not in kept]
        for version in gone:
            self._registry.delete(version)
        return [version.number for version in gone]


def check_promotable(registry: Registry, client_id: str, number: int) -> Version:
    """A version that a person names, read once as proof that it can be. Raises ConfigurationError, ModelError."""
    if number not in {version.number for version in registry.versions(client_id)}:
        listed = ", ".join(str(version.number) for version in registry.versions(client_id)) or "none"
        raise ConfigurationError(f"{model_name(client_id)} has no version {number}", f"it has {listed}")
    version = registry.find(client_id, number)
    registry.load(client_id, version)
    return version
