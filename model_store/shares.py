"""Shares of thumbs with their intervals: what the pages of the service show and the judge of candidates decides by.

The interval of a difference is always valid: it holds however often it is looked at. A normal mixture of likelihood
ratios: Johari, Koomen, Pekelis, Walsh, "Always Valid Inference" (Operations Research 2022, arXiv 1512.04922), for two
streams of thumbs; the same boundary as in Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric,
nonasymptotic confidence sequences" (Annals of Statistics 2021, arXiv 1810.08240).
"""

import math
from dataclasses import dataclass

ALPHA = 0.05
_Z95 = 1.959963984540054
_EFFECT_SCALE = 0.1
"""Standard deviation of the differences that the mixture expects: the interval is tightest for some of that size."""


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
    def rate(self) -> float:
        """The share of hits; 0 without a trial."""
        return self.num_hits / max(1, self.num_trials)

    @property
    def share(self) -> Interval:
        """The share of hits with Wilson's interval (1927); without a trial 0, and anything is possible."""
        if self.num_trials == 0:
            return Interval(0.0, 0.0, 1.0)
        share, spread = self.num_hits / self.num_trials, _Z95**2 / self.num_trials
        centre = (share + spread / 2) / (1 + spread)
        half = _Z95 * math.sqrt(share * (1 - share) / self.num_trials + spread / (4 * self.num_trials)) / (1 + spread)
        return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def difference(first: Count, second: Count, *, alpha: float = ALPHA) -> Interval:
    """Second rate minus first, with bounds that fail at any time, on either side, with probability alpha / 2 each.

    An interval for one look would sooner or later exclude the truth on a page that is looked at every hour. Without
    trials of both anything is possible.
    """
    if not first.num_trials or not second.num_trials:
        return Interval(0.0, -1.0, 1.0)
    value = second.rate - first.rate
    half = radius(difference_variance(first, second), alpha)
    return Interval(value, max(-1.0, value - half), min(1.0, value + half))


def radius(variance: float, alpha: float) -> float:
    """Half the width of the interval around a difference of this variance.

    √(V (V + τ²) / τ² · (2 ln 1/α + ln (V + τ²)/V)), τ the mixture's scale (Johari et al., section 4).
    """
    mixed = variance + _EFFECT_SCALE**2
    return math.sqrt(variance * mixed / _EFFECT_SCALE**2 * (2 * math.log(1 / alpha) + math.log(mixed / variance)))


def difference_variance(first: Count, second: Count) -> float:
    """The variance of the difference of two rates: the larger of that with a rate of each and that with one for both.

    Rates are smoothed by one hit and one miss. Ten hits of ten are no proof that a miss cannot happen.
    """
    apart = sum(_spread(count.num_hits, count.num_trials) / count.num_trials for count in (first, second))
    together = _spread(first.num_hits + second.num_hits, first.num_trials + second.num_trials)
    return max(apart, together * (1 / first.num_trials + 1 / second.num_trials))


def _spread(num_hits: int, num_trials: int) -> float:
    rate = (num_hits + 1) / (num_trials + 2)
    return rate * (1 - rate)
