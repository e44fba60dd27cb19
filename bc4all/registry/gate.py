"""May a new version take the champion's place? Decided from how both answered the same held-out rows.

It must clear a bar, and must not fall behind by more than is allowed, unless it may be by chance: the rows are drawn
again and again (a paired bootstrap), and a difference whose interval reaches zero is noise. Small steps back count
together: all that were allowed since the best champion of the last year. Reads and writes nothing.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bc4all.config.settings import PromotionSettings
from bc4all.model.training_set import MIN_COMPARED_ROWS

_DRAWS, _CONFIDENCE, _SEED = 2000, 0.95, 0
_LUCK = 2  # times the doubt about earlier steps: the best of several champions is the luckiest of them, too
_BATCH = 1 << 24  # numbers drawn at a time
_COLUMNS = {"accuracy": "correct", "top_5_accuracy": "hit", "log_loss": "loss"}


@dataclass(frozen=True)
class Verdict:
    """Whether the version becomes champion, why, and what MLflow keeps of it."""

    promoted: bool
    reason: str
    metrics: dict[str, float] = field(default_factory=dict)
    told: bool = False  # whether to report it: it took a champion's place without being compared


def judge(
    settings: PromotionSettings,
    challenger: pd.DataFrame | None,
    champion: pd.DataFrame | None,
    recipes: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    incomparable: str = "",
    behind_best: tuple[float, float] = (0.0, 0.0),
) -> Verdict:
    """Judge by `Evaluation.answers` of held-out rows, None where there are none.

    The challenger's may be of more rows than the champion's, whose index says which it has answered; `incomparable`
    says why it has none; `recipes` are what both recipes answer out of fold, which counts where held-out rows are too
    few, if it is known. `behind_best`: how much the champion itself is behind the best one of the last year, and with
    what doubt.
    """
    name, column = settings.metric, _COLUMNS[settings.metric]
    sign = -1.0 if name == "log_loss" else 1.0
    if settings.mode == "disabled":
        return Verdict(True, "the gate is disabled")
    if settings.min_value is not None:
        if challenger is None:
            return Verdict(False, f"there are no held-out rows to tell whether its {name} is {settings.min_value}")
        value = float(challenger[column].mean())
        if sign * value < sign * settings.min_value:
            worse = "above" if sign < 0 else "below"
            return _in_mode(settings, False, f"its {name} is {value:.4f}, {worse} {settings.min_value}", {})
    against, few = "the champion's", champion is None or challenger is None or len(champion) < MIN_COMPARED_ROWS
    if recipes and few and not incomparable:
        (challenger, champion), against = recipes, "the champion's recipe, out of fold,"
    if champion is None or challenger is None or incomparable:
        reason = "there is no champion" if champion is None else "there are no held-out rows"
        return _in_mode(settings, True, incomparable or reason, {}, told=bool(incomparable))
    if len(champion) < MIN_COMPARED_ROWS:
        reason = f"only {len(champion)} held-out rows are new to the champion: not compared"
        return _in_mode(settings, True, reason, {}, told=True)
    differences = sign * (challenger.loc[champion.index, column].to_numpy(float) - champion[column].to_numpy(float))
    low, high = interval(differences)
    back = float(differences.mean())
    lost, doubt = behind_best if back < 0 else (0.0, 0.0)  # what is no step back is not held against it
    together = back - lost
    behind = together < -settings.max_regression
    told = f"{name} {differences.mean():+.4f} [{low:+.4f}, {high:+.4f}] against {against} on {len(champion)} rows"
    metrics = {"gate_difference": back, "gate_low": low, "gate_high": high}
    if behind and together + float(np.hypot(high - back, _LUCK * doubt)) < 0:
        steps = f" with {lost:.4f} since the best champion of the last year" if lost else ""
        return _in_mode(settings, False, f"{told}: more than {settings.max_regression} behind{steps}", metrics)
    return _in_mode(settings, True, told + (": behind, but it may be by chance" if behind else ""), metrics)


def _in_mode(
    settings: PromotionSettings, passed: bool, reason: str, metrics: dict[str, float], told: bool = False
) -> Verdict:
    if settings.mode == "dry_run":
        return Verdict(False, f"dry run, it {'would be' if passed else 'would not be'} promoted: {reason}", metrics)
    return Verdict(passed, reason, metrics, told)


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of paired differences (rows,), from a bootstrap."""
    from scipy.stats import bootstrap  # type: ignore[import-untyped]

    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    drawn = bootstrap(
        (differences,),
        np.mean,
        n_resamples=_DRAWS,
        batch=max(1, _BATCH // len(differences)),
        confidence_level=_CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(drawn.low), float(drawn.high)
