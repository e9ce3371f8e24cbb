"""The always-valid test of two streams of thumbs: its interval (`model_store.shares`), and what it needs.

Left out: tests that are exact for few ratings; they ask for more of them. Simulations in the tests hold the error.
"""

import math
from bisect import bisect_left
from statistics import NormalDist

from model_store.shares import Count, difference, difference_variance, radius
from training.evaluation.figures import Figure

_RATE_MARGIN = 0.01
"""Nothing is planned for rates and shares nearer to 0 or 1 than this."""


def difference_interval(first: Count, second: Count, *, alpha: float) -> Figure:
    """Second rate minus the first with its always-valid bounds."""
    found = difference(first, second, alpha=alpha)
    return Figure(value=found.value, low=found.low, high=found.high)


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
