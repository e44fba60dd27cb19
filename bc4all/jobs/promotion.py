"""A new version's way to champion: read back, and judged by how both answered rows that neither has learned from.

What decides is `gate`, what changes is recorded by `champions`; this brings their parts together.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from bc4all.config.clients import Client
from bc4all.config.model_settings import BlendSettings
from bc4all.data.failures import as_failure
from bc4all.errors import ConfigurationError, ModelError
from bc4all.identity import Day
from bc4all.learning.blending import SEPARATOR, planned
from bc4all.learning.plan import Plan
from bc4all.learning.training import Learned, Opponent
from bc4all.model.ranking import score_frame
from bc4all.registry.champions import Champions, Compared, behind_best
from bc4all.registry.gate import Verdict, judge
from bc4all.registry.versions import CHALLENGER, CHAMPION, RECIPE, LoadedModel, Registry, Version

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rival:
    """The champion that a new version is compared with, and why it cannot be asked where it cannot."""

    opponent: Opponent
    incomparable: str = ""


def find_rival(registry: Registry, client: Client, day: Day) -> Rival:
    """Return the champion, if it can be asked of the client's present features and categories."""
    if CHAMPION not in registry.aliases(client.id):
        return Rival(Opponent())
    version = registry.find(client.id)
    sides = registry.sides(version)
    if client.promotion.mode == "disabled":
        return Rival(Opponent(sides=sides))
    try:
        champion = registry.load_judged(client.id, version)
    except ModelError as error:
        return Rival(Opponent(sides=sides), f"the champion cannot be read, and was not compared: {error}")
    other = sorted(name for name, kind in champion.features.items() if client.features.get(name) != kind)
    if other:
        told = f"the champion needs {', '.join(other)} as it was: not compared"
        return Rival(Opponent(sides=sides), told)
    renamed = client.category_map.names(day) if client.category_map else {}
    if set(renamed) & set(map(str, champion.model.classes_)):
        told = "the champion knows categories by their old names: not compared"
        return Rival(Opponent(sides=sides), told)
    if sides is None:
        return Rival(Opponent(), "what the champion has learned from is not known: not compared")
    return Rival(Opponent(champion.model, champion.features, sides, _recipe(champion)))


def _recipe(champion: LoadedModel) -> Plan | None:
    """Return what the champion was made by; None where it was not kept, or is none any more."""
    try:
        recipe = dict(champion.stored[RECIPE])
        separator = recipe.pop(SEPARATOR, None)
        settings = BlendSettings.model_validate(recipe)
        return planned(settings.name, champion.features, settings, separator)
    except (KeyError, TypeError, ValueError, ImportError, ConfigurationError):
        return None


def decide(registry: Registry, client: Client, version: Version, learned: Learned, incomparable: str) -> Verdict:
    """Let `version` be the champion where it passes the gate, else the challenger; prune versions that are old.

    `incomparable`: why the champion was not asked. Raises ModelError where the version cannot be read back, or answers
    otherwise than the model that was fitted.
    """
    champions, metric = Champions(registry), client.promotion.metric
    _check_reloaded(registry, client, version, learned)
    asked = learned.champion is not None
    lost = behind_best(champions.changes(client.id), metric, datetime.now(UTC)) if asked else (0.0, 0.0)
    answers = learned.challenger, learned.champion, learned.recipes
    verdict = judge(client.promotion, *answers, incomparable or learned.incomparable, lost)
    if verdict.promoted:
        champions.promote(client.id, version, verdict.reason, compared=_compared(verdict, metric))
        log.info("%s: version %d is champion: %s", client.id, version.number, verdict.reason)
    else:
        registry.set_alias(version, CHALLENGER)
        log.warning("%s: version %d is not promoted: %s", client.id, version.number, verdict.reason)
    _prune(champions, client, version)
    return verdict


def _compared(verdict: Verdict, metric: str) -> Compared | None:
    """Return what the gate has found, rounded as it is recorded; None where it had nothing to compare with."""
    if not verdict.metrics:
        return None
    gain, low, high = (verdict.metrics[name] for name in ("gate_difference", "gate_low", "gate_high"))
    return Compared(round(gain, 5), round((high - low) / 2, 5), metric)


def _prune(champions: Champions, client: Client, newest: Version) -> None:
    try:
        gone = champions.prune(client.id, newest.number, client.keep_versions)
    except Exception as error:  # noqa: BLE001 - a storage's client may raise anything, and the champion is one already
        log.warning("%s: old versions were not deleted: %s", client.id, as_failure(error))
        return
    if gone:
        log.info("%s: old versions are deleted: %s", client.id, ", ".join(map(str, gone)))


def _check_reloaded(registry: Registry, client: Client, version: Version, learned: Learned) -> None:
    loaded = registry.load(client.id, version)
    examples = learned.examples.assign(product_id="")
    wanted, found = (score_frame(model, examples, client.features, 0) for model in (learned.model, loaded.model))
    if not np.allclose(wanted["pred_score"], found["pred_score"], atol=1e-6):
        where = f"{version.name} version {version.number}"
        raise ModelError("read back, the model answers otherwise than it did", where, "train the client again")
