"""Which classifiers to blend, with what weights, and whether to calibrate: decided from out-of-fold answers.

A classifier is added again and again, whichever lowers the blend's log-loss most (Caruana et al., Ensemble selection
from libraries of models, 2004); how often it was added is its weight.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bc4all.config.estimators import build_member
from bc4all.config.model_settings import BlendSettings, MemberSettings
from bc4all.errors import DataError, ModelError
from bc4all.kinds import Features
from bc4all.learning import fitting
from bc4all.learning.candidates import fixed_list
from bc4all.learning.fitting import COSTS, OutOfFold
from bc4all.learning.folds import Rows
from bc4all.learning.plan import Plan, Planner, Settled
from bc4all.learning.shared_value import Shared
from bc4all.learning.tasks import Tasks
from bc4all.model import blend
from bc4all.model.calibration import best_method, cross_fitted, log_loss, mean_loss
from bc4all.model.margins import is_by_margins
from bc4all.model.ranking import rank

if TYPE_CHECKING:
    from bc4all.config.clients import Client

_BOOTSTRAP_DRAWS = 20
_OF_FAMILY = 4  # candidates of which a blend is made: the best of each family, since unlike ones vote better
SEPARATOR = "category_separator"  # in what a plan is made of
MIN_GAIN = 0.003  # of log-loss, by which a blend must be better than its best member: it costs more
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """How good out-of-fold answers are: log-loss (natural), and the shares of rows right at first, and among five."""

    log_loss: float
    top_5_accuracy: float
    accuracy: float

    def __str__(self) -> str:
        return f"log-loss {self.log_loss:.4f}, top-5 {self.top_5_accuracy:.3f}, accuracy {self.accuracy:.3f}"


@dataclass(frozen=True)
class Candidate:
    """One classifier, what it answered out of fold, and how good that is. `scores` are None where it was refused."""

    name: str
    member: MemberSettings
    answers: OutOfFold
    scores: Scores | None


@dataclass(frozen=True)
class Choice:
    """The best that was found, and what it is made of.

    Out of fold: `probabilities`, what that answers together before it is calibrated, and the scores after that.
    """

    blend: BlendSettings
    candidates: Sequence[Candidate]
    probabilities: np.ndarray
    scores: Scores


def cost(parts: Sequence[Candidate]) -> dict[str, float]:
    """Return what candidates cost together, by the names of COSTS."""
    return {name: sum(part.answers.costs[name] for part in parts) for name in COSTS}


@dataclass(frozen=True)
class Limits:
    """What a model may cost at most; None for anything."""

    megabytes: float | None = None  # in memory
    fit_seconds: float | None = None  # in one task
    score_microseconds: float | None = None  # a row

    def fault(self, parts: Sequence[Candidate]) -> str | None:
        """Return how candidates together are over a limit; None where they are not."""
        for name, value in cost(parts).items():
            limit = getattr(self, name)
            if limit is not None and value > limit:
                return f"{value:.1f} {name.replace('_', ' ')}, over the limit of {limit:.1f}"
        return None


@dataclass(frozen=True)
class Sample:
    """The rows that candidates are compared on, of one fold where there are many; `codes` (rows,) are their categories.

    Left out of all scores are rows whose category no other row has: it could not be known.
    """

    rows: Shared[Rows]
    codes: np.ndarray
    scored: np.ndarray

    @classmethod
    def of(cls, rows: Shared[Rows]) -> "Sample":
        """Return such rows among those to fit on. Raises DataError where no category has two of them."""
        codes, scored = rows.value.asked(rows.value.is_sampled)
        if not scored.any():
            raise DataError("no category has two products: models cannot be compared", remedy="deliver more products")
        return cls(rows, codes, scored)

    def scores(self, probabilities: np.ndarray) -> Scores:
        """Return how good probabilities (rows, categories) are."""
        asked, truth = probabilities[self.scored], self.codes[self.scored]
        best, _ = rank(asked)
        hits = best == truth[:, None]
        return Scores(log_loss(asked, truth), float(hits.any(axis=1).mean()), float(hits[:, 0].mean()))


def compare(
    tasks: Tasks, client: "Client", sample: Sample, members: Sequence[tuple[str, MemberSettings]]
) -> list[Candidate]:
    """Return each member's answers out of fold, all of them fitted side by side."""
    estimators = [build_member(member, client.features, client.category_separator) for _, member in members]
    asking = fitting.out_of_fold(tasks, sample.rows, estimators, sample.rows.value.is_sampled)
    (answers,) = fitting.side_by_side(tasks, "candidates", [asking], "compare")
    return [
        Candidate(name, member, answer, None if answer.error else scores_of(sample, estimator, answer.probabilities))
        for (name, member), estimator, answer in zip(members, estimators, answers, strict=True)
    ]


def scores_of(sample: Sample, estimator: Any, probabilities: np.ndarray) -> Scores:
    """Return how good its answers are.

    Those by margins once they are calibrated, as before that their size means little.
    """
    margins = is_by_margins(estimator)
    return sample.scores(cross_fitted(probabilities, sample.codes, "temperature") if margins else probabilities)


def select(sample: Sample, candidates: Sequence[Candidate], limits: Limits | None = None) -> Choice:
    """Return the best single candidate, or a blend of some where that is clearly better, calibrated where that helps.

    One candidate at least has scores, and those that have are within the limits, each alone.
    """
    ordered = best_of_each(candidates)
    counts = _greedy(sample, ordered, limits or Limits())
    chosen = [ordered[place] for place in counts]
    blended = _choice(sample, chosen, [float(count) for count in counts.values()])
    alone = _choice(sample, ordered[:1], [1.0])
    return blended if blended.scores.log_loss < alone.scores.log_loss - MIN_GAIN else alone


def _choice(sample: Sample, chosen: Sequence[Candidate], weights: Sequence[float]) -> Choice:
    """Candidates together, calibrated where that helps."""
    mean = blend.soft_vote((one.answers.probabilities for one in chosen), weights)
    method, calibrated = best_method(mean, sample.codes, sample.scored)
    members = [one.member.model_copy(update={"weight": weight}) for one, weight in zip(chosen, weights, strict=True)]
    return Choice(BlendSettings(blend=members, calibrate=method), chosen, mean, sample.scores(calibrated))


def best_of_each(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the best few candidates of each family that have scores, the best one first."""
    left: Counter[str] = Counter()
    found = []
    for candidate in sorted((one for one in candidates if one.scores), key=_loss):
        left[candidate.name] += 1
        if left[candidate.name] <= _OF_FAMILY:
            found.append(candidate)
    return found


def _loss(candidate: Candidate) -> float:
    return candidate.scores.log_loss if candidate.scores else float("inf")


def _greedy(sample: Sample, candidates: Sequence[Candidate], limits: Limits) -> Counter[int]:
    """Return how often each candidate was added. Of each row, only its true category's probability counts for that."""
    asked = np.flatnonzero(sample.scored)
    truth = np.stack([one.answers.probabilities[asked, sample.codes[asked]] for one in candidates]).astype(np.float64)
    counts: Counter[int] = Counter()
    total, best = np.zeros(len(asked)), (np.inf, counts)
    for drawn in range(1, _BOOTSTRAP_DRAWS + 1):
        within = [
            place
            for place in range(len(candidates))
            if limits.fault([candidates[one] for one in {*counts, place}]) is None
        ]
        losses = {place: mean_loss((total + truth[place]) / drawn) for place in within}
        place = min(losses, key=lambda one: losses[one])
        total += truth[place]
        counts[place] += 1
        if losses[place] < best[0]:
            best = losses[place], counts.copy()
    return best[1]


def choose(tasks: Tasks, client: "Client", sample: Sample) -> tuple[Choice, list[Candidate]]:
    """Return the best blend of the fixed list, for `model: auto`, and all of the list.

    Raises ModelError where scikit-learn refuses all of it.
    """
    rows = sample.rows.value
    members = fixed_list(client.features, len(rows.places), len(rows.data.names))
    candidates = compare(tasks, client, sample, members)
    for candidate in candidates:
        log.info("%s: %s: %s", client.id, candidate.name, candidate.scores or candidate.answers.error)
    if not best_of_each(candidates):
        raise ModelError(candidates[0].answers.error, "auto", "change the client's data or its `model`")
    choice = select(sample, candidates)
    log.info("%s: chosen: %s: %s", client.id, choice.blend.name, choice.scores)
    return choice, candidates


def planned(name: str, features: Features, settings: BlendSettings, separator: str | None) -> Plan:
    """Return the plan of some settings; `name` is its model's in errors, `separator` that of categories' parts."""
    # Made on the driver, because looking a classifier up imports all of scikit-learn: seconds, in every worker.
    estimators = [build_member(member, features, separator) for member in settings.blend]
    weights = [member.weight for member in settings.blend]
    said = settings.said() | ({SEPARATOR: separator} if separator else {})
    return Plan(name, estimators, weights, settings.calibrate, said)


def planned_for(client: "Client", settings: BlendSettings) -> Plan:
    """Return a client's plan of some settings."""
    return planned(client.model_name, client.features, settings, client.category_separator)


def planner(client: "Client") -> Planner:
    """Return what says the client's plan: `model: auto` looks at the rows first."""
    return Settled(planned_for(client, client.blend)) if client.blend else partial(_chosen, client)


def _chosen(client: "Client", tasks: Tasks, rows: Shared[Rows]) -> tuple[Plan, np.ndarray | None]:
    choice, _ = choose(tasks, client, Sample.of(rows))
    return planned_for(client, choice.blend), choice.probabilities
