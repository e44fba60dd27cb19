"""Gradient boosting in `model: auto`: tried where it pays, chosen where it is best, kept as others are."""

from pathlib import Path

import numpy as np
import pytest

from bc4all.config.clients import Client
from bc4all.config.estimators import BOOSTING, build_member
from bc4all.config.model_settings import BlendSettings
from bc4all.learning import blending
from bc4all.learning.blending import Sample, choose, planned
from bc4all.learning.candidates import families, fixed_list
from bc4all.learning.folds import Rows, folds
from bc4all.learning.model_size import Room
from bc4all.learning.plan import fit_plan
from bc4all.learning.tasks import OneTask
from bc4all.model.model_file import digest, load_model, save_model
from bc4all.model.training_set import TrainingSet
from tests.conftest import make_training_set

ROWS = 2_400
TASK = OneTask(Room(1 << 30, "this test"))
COUNTS = {f"f{number}": "numeric" for number in range(20)}


def products() -> TrainingSet:
    """Two categories; each of twenty counts tells a little, and some are missing."""
    rng = np.random.default_rng(1)
    X = rng.poisson(rng.exponential(2.0, size=(ROWS, len(COUNTS)))).astype(np.float64)
    evidence = (2.0 * (X > 1) - 1.0) @ rng.normal(size=len(COUNTS))
    X[rng.random(X.shape) < 0.02] = np.nan
    codes = (evidence > np.median(evidence)).astype(np.int32)
    return make_training_set(X, codes, ["a", "b"])


@pytest.mark.parametrize(
    ("features", "rows", "categories", "offered"),
    [
        (93, 55_690, 9, True),
        (93, 4_000, 9, False),  # too few of a category
        (5, 55_690, 9, False),  # of few features others know more
        (93, 1_000_000, 50, False),  # hours
        (93, 55_690, 60, False),
    ],
)
def test_boosting_is_tried_where_it_pays(features: int, rows: int, categories: int, offered: bool) -> None:
    """Of many features, with many products of each category, and no more of all than a core boosts in minutes."""
    kinds = {f"f{number}": "numeric" for number in range(features)}
    assert ("boosting" in families(kinds, rows, categories)) == offered


def test_auto_chooses_it_where_it_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of counts that tell a little each, it is clearly better than forests, and stands in the blend."""
    monkeypatch.setattr(
        blending,
        "fixed_list",
        lambda *given: [one for one in fixed_list(*given) if one[0] in ("extra_trees", "forest", "boosting")],
    )
    data, client = products(), Client(id="x", features=COUNTS, model="auto")
    with TASK.shared(Rows(data, np.arange(ROWS), folds(data.codes))) as rows:
        choice, candidates = choose(TASK, client, Sample.of(rows))
    losses = {one.name: one.scores.log_loss for one in candidates if one.scores}
    assert losses["boosting"] < min(losses["forest"], losses["extra_trees"]) - 0.05
    weights = {member.classifier: member.weight for member in choice.blend.blend}
    assert max(weights, key=lambda path: weights[path]) == BOOSTING


@pytest.mark.parametrize("calibrate", [None, "temperature"])
def test_it_comes_back_from_its_file(tmp_path: Path, calibrate: str | None) -> None:
    """Alone and in a calibrated blend: the file is read without a pickle, and answers the same, missing counts, too."""
    data, member = products(), dict(fixed_list(COUNTS, ROWS, 2))["boosting"]
    settings = BlendSettings(blend=[member], calibrate=calibrate)
    with TASK.shared(Rows(data, np.arange(ROWS), folds(data.codes))) as rows:
        model = fit_plan(TASK, rows, planned("x", COUNTS, settings, None)).model
    file = save_model(model, tmp_path)
    loaded = load_model(file, digest(file))
    np.testing.assert_array_equal(loaded.predict_proba(data.X), model.predict_proba(data.X))
    if calibrate is None:
        alone = build_member(member, COUNTS).fit(data.X, data.labels(np.arange(ROWS)))
        np.testing.assert_array_equal(loaded.predict_proba(data.X), alone.predict_proba(data.X))
