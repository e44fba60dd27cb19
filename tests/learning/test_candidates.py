"""What `model: auto` and the tune job try: sound for every kind of client, and never the same twice."""

import numpy as np
import pytest

from bc4all.config.clients import Client
from bc4all.config.estimators import build_member, model_faults
from bc4all.config.model_settings import BlendSettings
from bc4all.learning.blending import Candidate, Limits, Scores
from bc4all.learning.candidates import Defaults, families, fixed_list
from bc4all.learning.fitting import COSTS, OutOfFold
from bc4all.learning.folds import FOLDS, folds
from bc4all.learning.tuning import Proposals

NUMBERS = {f"f{i}": "numeric" for i in range(5)}
MANY = {f"f{i}": "numeric" for i in range(30)}
MIXED = {"price": "numeric", "brand": "category"}
TITLES = {"title": "text"}


@pytest.mark.parametrize("features", [NUMBERS, MIXED, TITLES, dict.fromkeys(map(str, range(500)), "numeric")])
@pytest.mark.parametrize("rows", [50, 100_000, 10_000_000])
@pytest.mark.parametrize("categories", [2, 50])
def test_each_candidate_may_stand_in_a_configuration(features: dict[str, str], rows: int, categories: int) -> None:
    """The fixed list has one candidate at least, and scikit-learn takes each of them."""
    listed = fixed_list(features, rows, categories)
    assert listed
    for _, member in listed:
        assert model_faults(BlendSettings(blend=[member]), {}, features) == []
        build_member(member, features)


def test_what_would_not_fit_into_memory_is_not_tried() -> None:
    """A client of ten million rows, or of hundreds of features, has no kernel and no polynomial."""
    assert {"kernel", "polynomial"} <= set(families(NUMBERS, 10_000, 30))
    assert not {"kernel", "polynomial"} & set(families(NUMBERS, 10_000_000, 30))
    assert "polynomial" not in families(dict.fromkeys(map(str, range(500)), "numeric"), 1000, 30)


def answered(name: str, member: object, loss: float | None) -> Candidate:
    """A candidate with a made-up log-loss."""
    scores = None if loss is None else Scores(loss, 0.5, 0.5)
    return Candidate(name, member, OutOfFold(np.zeros((0, 0))), scores)  # type: ignore[arg-type]


@pytest.mark.parametrize("features", [NUMBERS, MANY, MIXED, TITLES])
def test_proposals_begin_with_the_defaults_and_never_repeat(features: dict[str, str]) -> None:
    """First the fixed list, then other members, each sound and new, whether they fail or not."""
    client = Client(id="x", features=features)
    proposals, seen = Proposals(client, 5000, 4), []
    while len(seen) < 40:
        members = proposals.next(4)
        assert members
        for _, member in members:
            assert model_faults(BlendSettings(blend=[member]), {}, features) == []
        seen += members
        proposals.learn([answered(name, one, None if len(seen) % 3 else 2.0) for name, one in members])
    listed = fixed_list(features, 5000, 4)
    assert seen[: len(listed)] == listed
    assert len({member.model_dump_json() for _, member in seen}) == len(seen)


def test_optuna_learns_what_is_good() -> None:
    """Told that one family is best by far, it proposes that one far oftener than one in seven."""
    proposals = Proposals(Client(id="x", features=NUMBERS), 5000, 30)
    names = []
    for _ in range(30):
        members = proposals.next(2)
        names += [name for name, _ in members]
        proposals.learn([answered(name, one, 1.0 if name == "kernel" else 3.0) for name, one in members])
    assert names[7:].count("kernel") > (len(names) - 7) / 3


@pytest.mark.parametrize("most", [21, 90, 1000])
def test_folds_hold_a_share_of_every_category(most: int) -> None:
    """Each category's rows are spread over the folds; of many rows a sample has a fold, and every category is in it."""
    codes = np.repeat(np.arange(10), [1, 2, 3, 4, 5, 6, 20, 30, 60, 100])
    found = folds(codes, most)
    assert (folds(codes, 1000, 10 * most // FOLDS) == found).all()
    sampled = found < FOLDS
    unmet = sampled.sum() - min(most, len(codes))
    assert 0 <= unmet < 10
    assert set(codes[sampled]) == set(range(10))
    for code in range(10):
        counts = np.bincount(found[(codes == code) & sampled], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


def test_a_limit_is_on_the_sum_of_what_is_blended() -> None:
    """Each part may be within a limit, and the blend of them over it."""
    costs = dict(zip(COSTS, (3.0, 4.0, 10.0), strict=True))
    part = Candidate("x", Defaults(), OutOfFold(np.zeros((0, 0)), costs), None)  # type: ignore[arg-type]
    limits = Limits(megabytes=5, score_microseconds=50)
    assert limits.fault([part]) is None
    assert limits.fault([part, part]) == "6.0 megabytes, over the limit of 5.0"
    assert Limits().fault([part] * 9) is None
