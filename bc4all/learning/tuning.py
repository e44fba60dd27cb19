"""Looks for a better model of one client: Optuna proposes, tasks evaluate, a blend of the best is what is found.

All within the rows that a training would fit on: what it holds out is never looked at.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import TrialState

from bc4all.config.model_settings import MemberSettings
from bc4all.errors import ModelError
from bc4all.learning.blending import (
    MIN_GAIN,
    Candidate,
    Choice,
    Limits,
    Sample,
    Scores,
    best_of_each,
    choose,
    compare,
    planned_for,
    select,
)
from bc4all.learning.candidates import Defaults, families
from bc4all.learning.folds import FOLDS, Rows
from bc4all.learning.plan import plan_answers
from bc4all.learning.shared_value import Shared
from bc4all.learning.tasks import Tasks
from bc4all.model.calibration import cross_fitted

if TYPE_CHECKING:
    from bc4all.config.clients import Client

_SEED = 1234
_FAMILY = "family"
_REFUSED = 1000.0  # the log-loss of what cannot be had, so that Optuna proposes less of its like
_MAX_REPEATS = 200  # proposals in a row that were all made before


@dataclass(frozen=True)
class Effort:
    """When to stop looking: after so many candidates, or seconds, whichever comes first. None: never for that."""

    candidates: int | None
    seconds: float | None = None

    def left(self, tried: int, elapsed: float) -> float:
        """Return about how many seconds are left after so many candidates and seconds."""
        by_candidates = elapsed / tried * (self.candidates - tried) if self.candidates else math.inf
        by_time = self.seconds - elapsed if self.seconds else math.inf
        return max(0.0, min(by_candidates, by_time))


@dataclass(frozen=True)
class Tuned:
    """What was found: the best, how the present model does (None where it fails), what was tried."""

    choice: Choice
    present: Scores | None
    tried: Sequence[Candidate]

    @property
    def is_better(self) -> bool:
        """Whether the best is clearly better than the present model."""
        return self.present is None or self.choice.scores.log_loss < self.present.log_loss - MIN_GAIN


def tune(
    tasks: Tasks,
    client: "Client",
    rows: Shared[Rows],
    effort: Effort,
    limits: Limits,
    tell: Callable[[Sequence[Candidate], int, Candidate | None], None],
) -> Tuned:
    """Try candidates until the effort is spent.

    `tell` is called after each round with its candidates, how many there are by now, and the best one so far. Raises
    ModelError where none can be fitted within the limits.
    """
    end, budget = time.monotonic() + (effort.seconds or math.inf), effort.candidates or math.inf
    sample, proposals = Sample.of(rows), Proposals(client, len(rows.value.places), len(rows.value.data.names))
    present, known = _present(tasks, client, sample)
    tried: list[Candidate] = []
    kept: list[Candidate] = []
    size = math.ceil(2 * tasks.at_once / FOLDS)  # two waves of tasks: cores idle less
    while len(tried) < budget and (not tried or time.monotonic() < end):
        members = proposals.next(int(min(size, budget - len(tried))))
        if not members:
            break
        found = [_judged(one, limits) for one in _compared(tasks, client, sample, members, known)]
        proposals.learn(found)
        kept = best_of_each([*kept, *found])
        tried += [replace(one, answers=replace(one.answers, probabilities=np.zeros((0, 0)))) for one in found]
        tell(found, len(tried), kept[0] if kept else None)
    if not kept:
        raise ModelError(f"no candidate can be had: {tried[0].answers.error}", "tune", "change the data, or the limits")
    return Tuned(select(sample, kept, limits), present, tried)


def _judged(candidate: Candidate, limits: Limits) -> Candidate:
    """Return the candidate, without scores where it costs too much."""
    fault = limits.fault([candidate])
    if candidate.scores is None or fault is None:
        return candidate
    return replace(candidate, scores=None, answers=replace(candidate.answers, error=fault))


def _present(tasks: Tasks, client: "Client", sample: Sample) -> tuple[Scores | None, list[Candidate]]:
    """Return how the present model does, None where it fails; and the candidates that were compared for that."""
    try:
        if client.blend is None:
            choice, candidates = choose(tasks, client, sample)
            return choice.scores, candidates
        answers = plan_answers(tasks, sample.rows, planned_for(client, client.blend))
    except ModelError:  # all the more reason to look for another
        return None, []
    method = client.blend.calibrate
    return sample.scores(cross_fitted(answers, sample.codes, method) if method else answers), []


def _compared(
    tasks: Tasks,
    client: "Client",
    sample: Sample,
    members: Sequence[tuple[str, MemberSettings]],
    known: Sequence[Candidate],
) -> list[Candidate]:
    """Return the candidates of some members; those that are known are not fitted again."""
    found = {one.member.key: one for one in known}
    new = [(name, member) for name, member in members if member.key not in found]
    if new:
        found |= {one.member.key: one for one in compare(tasks, client, sample, new)}
    return [found[member.key] for _, member in members]


class Proposals:
    """The members to try: first each family's defaults, then what Optuna makes of the answers."""

    def __init__(self, client: "Client", rows: int, categories: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._families = families(client.features, rows, categories)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        # group: parameters of one family are looked at together. constant_liar: candidates of one round keep their
        # distance from one another.
        sampler = optuna.samplers.TPESampler(seed=_SEED, multivariate=True, group=True, constant_liar=True)
        self._study = optuna.create_study(direction="minimize", sampler=sampler)
        self._asked: dict[str, optuna.Trial] = {}
        self._values: dict[str, float] = {}
        for name, family in self._families.items():
            defaults = Defaults()
            family(defaults)
            said = {f"{name}.{parameter}": value for parameter, value in defaults.said.items()}
            self._study.enqueue_trial({_FAMILY: name, **said})

    def next(self, count: int) -> list[tuple[str, MemberSettings]]:
        """Up to `count` members that were not tried before; none where Optuna has no more."""
        found: list[tuple[str, MemberSettings]] = []
        for _ in range(_MAX_REPEATS):
            trial = self._study.ask()
            name = trial.suggest_categorical(_FAMILY, list(self._families))
            member = self._families[name](_Proposed(trial, name))
            key = member.key
            if key in self._values:
                self._study.tell(trial, self._values[key])
            elif key in self._asked:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._asked[key] = trial
                found.append((name, member))
            if len(found) == count:
                break
        return found

    def learn(self, candidates: Sequence[Candidate]) -> None:
        """Tell Optuna how good candidates of `next` are."""
        for candidate in candidates:
            key = candidate.member.key
            self._values[key] = candidate.scores.log_loss if candidate.scores else _REFUSED
            self._study.tell(self._asked.pop(key), self._values[key])


class _Proposed:
    """Optuna's word for each parameter of a family."""

    def __init__(self, trial: optuna.Trial, family: str) -> None:
        self._trial, self._family = trial, family

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Three digits: no more tell two candidates apart, and people read them."""
        return float(f"{self._trial.suggest_float(f'{self._family}.{name}', low, high, log=True):.3g}")

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        return self._trial.suggest_int(f"{self._family}.{name}", low, high, log=True)

    def choice(self, name: str, default: Any, options: Sequence[Any]) -> Any:
        return self._trial.suggest_categorical(f"{self._family}.{name}", list(options))
