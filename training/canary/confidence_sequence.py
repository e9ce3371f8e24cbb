"""The always-valid test: an interval for the difference of two shares that holds however often it is looked at.

A normal mixture of likelihood ratios: Johari, Koomen, Pekelis, Walsh, "Always Valid Inference" (Operations Research
2022, arXiv 1512.04922), for two streams of thumbs; the same boundary as in Howard, Ramdas, McAuliffe, Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences" (Annals of Statistics 2021, arXiv 1810.08240).
Left out: tests that are exact for few ratings; they ask for more of them. Simulations in the tests hold the error.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from statistics import NormalDist

from training.evaluation.figures import Figure

_EFFECT_SCALE = 0.1
"""Standard deviation of the differences that the mixture expects: the interval is tightest for some of that size."""
_RATE_MARGIN = 0.01
"""Nothing is planned for rates and shares nearer to 0 or 1 than this."""


@dataclass(frozen=True, slots=True)
class Count:
    """Hits among independent trials."""

    num_hits: int
    num_trials: int

    @property
    def rate(self) -> float:
        """The share of hits; 0 without a trial."""
        return self.num_hits / max(1, self.num_trials)


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


def difference_interval(first: Count, second: Count, *, alpha: float) -> Figure:
    """Second rate minus first, with bounds that fail at any time, on either side, with probability alpha / 2 each.

    Without trials of both anything is possible.
    """
    value = second.rate - first.rate
    if not first.num_trials or not second.num_trials:
        return Figure(value=0.0, low=-1.0, high=1.0)
    half = radius(difference_variance(first, second), alpha)
    return Figure(value=value, low=max(-1.0, value - half), high=min(1.0, value + half))


def falls_short(first: Count, second: Count, *, by: float, alpha: float) -> bool:
    """Whether the second rate minus the first is surely below `by`, for one look at counts that are complete.

    Wrong with probability alpha. Without trials of both nothing is sure.
    """
    if not first.num_trials or not second.num_trials:
        return False
    half = NormalDist().inv_cdf(1 - alpha) * math.sqrt(difference_variance(first, second))
    return second.rate - first.rate + half < by


def num_trials_needed(rate: float, gain: float, *, share: float, alpha: float, power: float) -> int:
    """Trials of both together after which a gain over `rate` shows with probability `power`.

    `share` of them are the second's. Looking all the time, as the test allows, can only show it earlier.
    """
    spread = NormalDist().inv_cdf(power)
    share = min(1 - _RATE_MARGIN, max(_RATE_MARGIN, share))
    rates = [min(1 - _RATE_MARGIN, max(_RATE_MARGIN, value)) for value in (rate, rate + gain)]

    together = (1 - share) * rates[0] + share * rates[1]

    def shows(num_trials: int) -> bool:
        parts = (num_trials * (1 - share), num_trials * share)
        apart = sum(value * (1 - value) / part for value, part in zip(rates, parts, strict=True))
        variance = max(apart, together * (1 - together) * sum(1 / part for part in parts))
        return radius(variance, alpha) + spread * math.sqrt(variance) <= gain

    most = 2
    while not shows(most):
        most *= 2
    return bisect_left(range(1, most), True, key=shows) + 1


def _spread(num_hits: int, num_trials: int) -> float:
    rate = (num_hits + 1) / (num_trials + 2)
    return rate * (1 - rate)
