"""A new version's way to champion: read back, compared with the champion on rows that neither has learned from, judged.

What decides is `gate`, what changes is recorded by `champions`; this brings the rows and the models together.
"""

import logging

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from bc4all.champions import Champions
from bc4all.config import Client
from bc4all.errors import ModelError
from bc4all.gate import FEWEST, Verdict, judge
from bc4all.registry import CHALLENGER, CHAMPION, Registry, Version
from bc4all.scoring import score_frame
from bc4all.training import Fitted, TrainingSet, evaluate_other

log = logging.getLogger(__name__)

_EXAMPLES = 100  # rows that a version must answer as the model did that it was made from


def decide(
    spark: SparkSession, registry: Registry, client: Client, version: Version, data: TrainingSet, fitted: Fitted
) -> Verdict:
    """Let `version` be the challenger, and the champion where it passes the gate; prune versions that are old.

    Raises ModelError where it cannot be read back, or answers otherwise than the model that was fitted.
    """
    champions = Champions(registry)
    registry.set_alias(version, CHALLENGER)
    _check_reloaded(registry, client, version, data, fitted)
    answers, incomparable = _champions_answers(spark, registry, client, data, fitted)
    challenger = fitted.held_out.answers if fitted.held_out else None
    verdict = judge(client.promotion, challenger, answers, incomparable)
    if verdict.promoted:
        champions.promote(client.id, version, verdict.reason)
        log.info("%s: version %d is champion: %s", client.id, version.number, verdict.reason)
    else:
        log.warning("%s: version %d is not promoted: %s", client.id, version.number, verdict.reason)
    gone = champions.prune(client.id, client.keep_versions)
    if gone:
        log.info("%s: old versions are deleted: %s", client.id, ", ".join(map(str, gone)))
    return verdict


def _check_reloaded(registry: Registry, client: Client, version: Version, data: TrainingSet, fitted: Fitted) -> None:
    loaded = registry.load(client.id, version)
    examples = pd.DataFrame(data.X[:_EXAMPLES], columns=list(client.features)).assign(product_id="")
    wanted, found = (score_frame(model, examples, client.features, 0) for model in (fitted.model, loaded.model))
    if not np.allclose(wanted["pred_score"], found["pred_score"], atol=1e-6):
        where = f"{version.name} version {version.number}"
        raise ModelError("read back, the model answers otherwise than it did", where, "train the client again")


def _champions_answers(
    spark: SparkSession, registry: Registry, client: Client, data: TrainingSet, fitted: Fitted
) -> tuple[pd.DataFrame | None, str]:
    """The champion's answers for the held-out rows that it has not learned from, by their place among these rows.

    None, and why, where there is no champion, or none to compare with.
    """
    if CHAMPION not in registry.aliases(client.id) or client.promotion.mode == "disabled":
        return None, ""
    try:
        champion = registry.load(client.id, registry.find(client.id))
    except ModelError as error:
        return None, f"the champion cannot be read, and was not compared: {error}"
    missing = sorted(set(champion.features) - set(client.features))
    if missing:
        return None, f"the champion needs {', '.join(missing)}, which is no feature any more: not compared"
    learned = registry.training_ids(champion.version)
    if learned is None:
        return None, "what the champion has learned from is not known: not compared"
    new = np.flatnonzero(~np.isin(data.ids[fitted.held_out_places], learned))
    if len(new) < FEWEST:
        return pd.DataFrame(index=new), ""
    places = fitted.held_out_places[new]
    evaluated = evaluate_other(spark, client, data, places, champion.model, champion.features)
    return evaluated.answers.set_index(new), ""
