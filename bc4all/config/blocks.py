"""A mapping of a YAML file -> settings, with every fault noted at the key where it stands."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bc4all.config.estimators import did_you_mean
from bc4all.config.model_settings import KIND_TAGS, MemberSettings
from bc4all.config.settings import INNER, plain_message
from bc4all.config.yaml_source import YamlSource

_Block = TypeVar("_Block", bound=BaseModel)

# Keys that earlier versions had elsewhere.
_MOVED = {"scheduler.keep": "keep: {history: …}", "publishing": "keep: {replaced: …}"}


def read_block(source: YamlSource, at: tuple[str, ...], said: Any, kind: type[_Block]) -> _Block | None:
    """Return the sound settings of the mapping `said`, which stands at `at`; None where it is no mapping.

    Faults are noted in `source`.
    """
    try:
        return kind.model_validate({} if said is None else said)
    except ValidationError as error:
        faulty = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
        for fault in error.errors():
            where = tuple(part for part in fault["loc"] if part not in KIND_TAGS)
            place = (*at, *where)
            if fault["type"] == "extra_forbidden":
                message = unknown_key((*at, *where), _known_keys(kind, where[:-1]))
            elif not where:
                message = "this must be a mapping"
            else:
                name = ".".join(part for part in where if isinstance(part, str))
                message = f"{name}: {plain_message(fault['msg'])}"
            source.add_fault(place, message)
        if not isinstance(said, dict):
            return None
        return kind.model_validate({key: value for key, value in said.items() if key not in faulty})


def unknown_key(place: Sequence[str | int], known: Sequence[str]) -> str:
    """Return the message for a key that is none of the `known` ones of its place."""
    key = str(place[-1])
    moved = _MOVED.get(".".join(map(str, place)))
    return f"unknown key {key!r}{f': it is `{moved}` now' if moved else did_you_mean(key, list(known))}"


def _known_keys(kind: type[BaseModel], at: Sequence[str | int]) -> list[str]:
    """Return the keys that a block may have at a place inside it."""
    if "blend" in at:
        kind = MemberSettings
    elif at:
        kind = INNER.get(str(at[0]), kind)
    return list(kind.model_fields)
