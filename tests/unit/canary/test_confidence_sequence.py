"""The always-valid interval: on numbers worked out by hand, and under somebody who looks after every rating."""

import math
import random
from collections.abc import Callable

import pytest

from model_store.shares import Count, difference_variance, num_trials_needed, radius
from training.canary.confidence_sequence import difference_interval

ALPHA = 0.1
Bounds = Callable[[Count, Count], tuple[float, float]]


def test_the_radius_is_that_of_the_formula() -> None:
    """V = 0.0004, τ = 0.1, α = 0.05: √(0.0004 · 0.0104 / 0.01 · (2 · 2.995732 + 3.258097)) = 0.062031."""
    assert radius(0.0004, 0.05) == pytest.approx(0.062031, abs=2e-6)
    assert radius(0.0004, 0.01) > radius(0.0004, 0.05) > 1.96 * math.sqrt(0.0004)


def test_the_variance_is_smoothed_and_never_the_smaller_one() -> None:
    """98 of 98 and 49 of 98: apart 0.25/98 + (99/100 · 1/100)/98; for both (148/198 · 50/198) · 2/98 is larger."""
    full, half = Count(98, 98), Count(49, 98)
    together = 148 / 198 * 50 / 198 * 2 / 98
    assert difference_variance(full, half) == pytest.approx(together)
    assert together > (0.25 + 0.0099) / 98
    rare, many = Count(0, 998), Count(10, 98)
    assert difference_variance(rare, many) == pytest.approx((0.001 * 0.999) / 998 + (0.11 * 0.89) / 98)


def test_without_trials_of_both_anything_is_possible() -> None:
    """And with a few, the bounds stay within what a difference can be."""
    assert str(difference_interval(Count(0, 0), Count(9, 9), alpha=0.05)) == "0.000 [-1.000, 1.000]"
    few = difference_interval(Count(0, 1), Count(1, 1), alpha=0.05)
    assert (few.value, few.high) == (1.0, 1.0) and few.low < 0


def mistakes(rate: float, share: float, bounds: Bounds, *, num_runs: int, num_ratings: int) -> tuple[int, int]:
    """Runs in which equal versions ever look different to one who looks after every rating: better, and worse."""
    generator = random.Random(7)
    num_better = num_worse = 0
    for _ in range(num_runs):
        hits, trials = [0, 0], [0, 0]
        is_better = is_worse = False
        for _ in range(num_ratings):
            which = generator.random() < share
            trials[which] += 1
            hits[which] += generator.random() < rate
            if all(trials):
                low, high = bounds(Count(hits[0], trials[0]), Count(hits[1], trials[1]))
                is_better, is_worse = is_better or low > 0, is_worse or high < 0
        num_better += is_better
        num_worse += is_worse
    return num_better, num_worse


def always_valid(first: Count, second: Count) -> tuple[float, float]:
    """What `difference_interval` gives, without its wrapping: it is asked 100,000 times."""
    value, half = second.rate - first.rate, radius(difference_variance(first, second), ALPHA)
    return value - half, value + half


def for_one_look(first: Count, second: Count) -> tuple[float, float]:
    """The usual interval of the same confidence, which nobody may look at twice."""
    value, half = second.rate - first.rate, 1.645 * math.sqrt(difference_variance(first, second))
    return value - half, value + half


@pytest.mark.parametrize(("rate", "share"), [(0.7, 0.5), (0.7, 0.1), (0.95, 0.2)])
def test_looking_after_every_rating_makes_no_more_mistakes_than_alpha(rate: float, share: float) -> None:
    """Equal versions, 100 runs of 400 ratings: better or worse in at most alpha / 2 of the runs each."""
    num_better, num_worse = mistakes(rate, share, always_valid, num_runs=100, num_ratings=400)
    assert max(num_better, num_worse) <= ALPHA / 2 * 100


def test_the_usual_interval_fails_the_same_simulation() -> None:
    """The control: looked at all the time, it is wrong several times as often as it says."""
    num_better, num_worse = mistakes(0.7, 0.5, for_one_look, num_runs=100, num_ratings=400)
    assert num_better + num_worse > 3 * ALPHA * 100


def test_the_number_of_trials_needed_is_the_smallest_that_shows_the_gain() -> None:
    """At 70 %, 10 points, half each: that many show it and one less does not; a tenth to one of them needs far more."""
    plan = {"alpha": 0.05, "power": 0.8}
    needed = num_trials_needed(0.7, 0.1, share=0.5, **plan)

    def margin(num_trials: int) -> float:
        variance = 2 * 0.75 * 0.25 / (num_trials / 2)
        return 0.1 - radius(variance, 0.05) - 0.8416212 * math.sqrt(variance)

    assert margin(needed) >= 0 > margin(needed - 1)
    assert num_trials_needed(0.7, 0.1, share=0.1, **plan) > 2 * needed
    assert num_trials_needed(0.7, 0.03, share=0.5, **plan) > 5 * needed
    assert num_trials_needed(1.0, 0.03, share=0.5, **plan) > 0


def test_the_planned_number_shows_the_gain_as_often_as_it_says() -> None:
    """30 points over 50 %: at the planned number, at least 80 % of 200 runs have seen it."""
    needed = num_trials_needed(0.5, 0.3, share=0.5, alpha=0.05, power=0.8)
    generator = random.Random(3)
    num_seen = 0
    for _ in range(200):
        first = Count(sum(generator.random() < 0.5 for _ in range(needed // 2)), needed // 2)
        second = Count(sum(generator.random() < 0.8 for _ in range(needed // 2)), needed // 2)
        num_seen += difference_interval(first, second, alpha=0.05).low > 0
    assert num_seen >= 0.75 * 200
