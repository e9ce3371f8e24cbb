"""The always-valid test of two streams of thumbs; its interval, and how many ratings it needs: `model_store.shares`.

Left out: tests that are exact for few ratings; they ask for more of them. Simulations in the tests hold the error.
"""

import math
from statistics import NormalDist

from model_store.shares import Count, difference, difference_variance
from training.evaluation.figures import Figure


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
