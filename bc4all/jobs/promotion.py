"""A new version's way to champion: read back, compared with the champion on rows that neither has learned from, judged.

What decides is `gate`, what changes is recorded by `champions`; this brings the rows and the models together.
"""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from bc4all.config.clients import Client
from bc4all.data.failures import as_failure
from bc4all.errors import ModelError
from bc4all.identity import Day
from bc4all.learning.training import Fitted, evaluate_other
from bc4all.model.ranking import score_frame
from bc4all.model.training_set import MIN_COMPARED_ROWS, TrainingSet
from bc4all.registry.champions import Champions
from bc4all.registry.gate import Verdict, judge
from bc4all.registry.versions import CHALLENGER, CHAMPION, LoadedModel, Registry, Version

log = logging.getLogger(__name__)

_EXAMPLES = 100  # rows that a version must answer as the model did that it was made from


@dataclass(frozen=True)
class Rival:
    """The champion that a new version is compared with: None, and why, where there is none to compare with."""

    champion: LoadedModel | None
    learned: np.ndarray | None  # int64 hashes of the products that it was fitted on
    incomparable: str = ""

    def learned_among(self, ids: np.ndarray) -> np.ndarray | None:
        """Return whether it was fitted on each of some products; None where that is not known."""
        return None if self.learned is None else np.isin(ids, self.learned)


def find_rival(registry: Registry, client: Client, day: Day) -> Rival:
    """Return the champion, if it can be asked of the client's present features and categories."""
    if client.promotion.mode == "disabled" or CHAMPION not in registry.aliases(client.id):
        return Rival(None, None)
    try:
        champion = registry.load_judged(client.id, registry.find(client.id))
    except ModelError as error:
        return Rival(None, None, f"the champion cannot be read, and was not compared: {error}")
    learned = registry.training_ids(champion.version)
    other = sorted(name for name, kind in champion.features.items() if client.features.get(name) != kind)
    if other:
        return Rival(None, learned, f"the champion needs {', '.join(other)} as it was: not compared")
    renamed = client.category_map.names(day) if client.category_map else {}
    if set(renamed) & set(map(str, champion.model.classes_)):
        return Rival(None, learned, "the champion knows categories by their old names: not compared")
    if learned is None:
        return Rival(None, None, "what the champion has learned from is not known: not compared")
    return Rival(champion, learned)


def decide(
    spark: SparkSession,
    registry: Registry,
    client: Client,
    version: Version,
    data: TrainingSet,
    fitted: Fitted,
    rival: Rival,
) -> Verdict:
    """Let `version` be the challenger, and the champion where it passes the gate; prune versions that are old.

    Raises ModelError where it cannot be read back, or answers otherwise than the model that was fitted.
    """
    champions = Champions(registry)
    registry.set_alias(version, CHALLENGER)
    _check_reloaded(registry, client, version, data, fitted)
    challenger = fitted.held_out.answers if fitted.held_out else None
    answers = _champions_answers(spark, client, data, fitted, rival)
    verdict = judge(client.promotion, challenger, answers, rival.incomparable)
    if verdict.promoted:
        champions.promote(client.id, version, verdict.reason)
        log.info("%s: version %d is champion: %s", client.id, version.number, verdict.reason)
    else:
        log.warning("%s: version %d is not promoted: %s", client.id, version.number, verdict.reason)
    _prune(champions, client)
    return verdict


def _prune(champions: Champions, client: Client) -> None:
    try:
        gone = champions.prune(client.id, client.keep_versions)
    except Exception as error:  # noqa: BLE001 - a storage's client may raise anything, and the champion is one already
        log.warning("%s: old versions were not deleted: %s", client.id, as_failure(error))
        return
    if gone:
        log.info("%s: old versions are deleted: %s", client.id, ", ".join(map(str, gone)))


def _check_reloaded(registry: Registry, client: Client, version: Version, data: TrainingSet, fitted: Fitted) -> None:
    loaded = registry.load(client.id, version)
    examples = pd.DataFrame(data.X[:_EXAMPLES], columns=list(client.features)).assign(product_id="")
    wanted, found = (score_frame(model, examples, client.features, 0) for model in (fitted.model, loaded.model))
    if not np.allclose(wanted["pred_score"], found["pred_score"], atol=1e-6):
        where = f"{version.name} version {version.number}"
        raise ModelError("read back, the model answers otherwise than it did", where, "train the client again")


def _champions_answers(
    spark: SparkSession, client: Client, data: TrainingSet, fitted: Fitted, rival: Rival
) -> pd.DataFrame | None:
    """Return the champion's answers for the held-out rows that it has not learned from, by their places."""
    if rival.champion is None or rival.learned is None:
        return None
    new = np.flatnonzero(~np.isin(data.ids[fitted.held_out_places], rival.learned))
    if len(new) < MIN_COMPARED_ROWS:
        return pd.DataFrame(index=new)
    places, champion = fitted.held_out_places[new], rival.champion
    evaluated = evaluate_other(spark, client, data, places, champion.model, champion.features)
    return evaluated.answers.set_index(new)
