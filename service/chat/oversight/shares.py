"""Shares with their intervals, for pages that people look at often.

The same formulas as training's judge of candidates has (`training.canary.confidence_sequence`, `rlhf.estimators`),
which the service may not import; a test holds them equal.
"""

import math
from dataclasses import dataclass

ALPHA = 0.05
_Z95 = 1.959963984540054
_EFFECT_SCALE = 0.1


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Count:
    """Hits among independent trials."""

    num_hits: int
    num_trials: int

    @property
    def share(self) -> Interval:
        """The share of hits with Wilson's interval (1927); without a trial 0, and anything is possible."""
        if self.num_trials == 0:
            return Interval(0.0, 0.0, 1.0)
        share, spread = self.num_hits / self.num_trials, _Z95**2 / self.num_trials
        centre = (share + spread / 2) / (1 + spread)
        half = _Z95 * math.sqrt(share * (1 - share) / self.num_trials + spread / (4 * self.num_trials)) / (1 + spread)
        return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def difference(first: Count, second: Count) -> Interval:
    """Second share minus first, with bounds that hold however often somebody looks, 95 times of a hundred.

    A normal mixture of likelihood ratios (Johari et al., "Always Valid Inference", arXiv 1512.04922, section 4). An
    interval for one look would sooner or later exclude the truth on a page that is looked at every hour. Without trials
    of both anything is possible.
    """
    if not first.num_trials or not second.num_trials:
        return Interval(0.0, -1.0, 1.0)
    value = second.num_hits / second.num_trials - first.num_hits / first.num_trials
    variance = _variance(first, second)
    mixed = variance + _EFFECT_SCALE**2
    half = math.sqrt(variance * mixed / _EFFECT_SCALE**2 * (2 * math.log(1 / ALPHA) + math.log(mixed / variance)))
    return Interval(value, max(-1.0, value - half), min(1.0, value + half))


def _variance(first: Count, second: Count) -> float:
    apart = sum(_spread(count.num_hits, count.num_trials) / count.num_trials for count in (first, second))
    together = _spread(first.num_hits + second.num_hits, first.num_trials + second.num_trials)
    return max(apart, together * (1 / first.num_trials + 1 / second.num_trials))


def _spread(num_hits: int, num_trials: int) -> float:
    rate = (num_hits + 1) / (num_trials + 2)  # ten hits of ten are no proof that a miss cannot happen
    return rate * (1 - rate)
