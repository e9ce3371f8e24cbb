"""Shares of thumbs with their intervals: what the pages of the service show and the judge of candidates decides by.

The interval of a difference is always valid: it holds however often it is looked at. A normal mixture of likelihood
ratios: Johari, Koomen, Pekelis, Walsh, "Always Valid Inference" (Operations Research 2022, arXiv 1512.04922), for two
streams of thumbs; the same boundary as in Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric,
nonasymptotic confidence sequences" (Annals of Statistics 2021, arXiv 1810.08240).
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from statistics import NormalDist

ALPHA = 0.05
_Z95 = 1.959963984540054
_EFFECT_SCALE = 0.1
"""Standard deviation of the differences that the mixture expects: the interval is tightest for some of that size."""
VISIBLE_GAIN = 0.03
POWER = 0.8
_RATE_MARGIN = 0.01
"""Nothing is planned for rates and shares nearer to 0 or 1 than this."""


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


@dataclass(frozen=True, slots=True)
class RatingsNeeded:
    """Ratings of both versions together after which a gain over `rate` shows with probability `power`."""

    gain: float
    rate: float
    """The stable version's share of thumbs up that this was worked out for."""
    share: float
    """Share of the ratings that are the candidate's."""
    always_valid: int
    """For the test that the canary uses, which may be looked at all the time."""
    fixed_sample: int
    """For one look after a number of ratings that was fixed before: what looking all the time costs is the rest."""

    @property
    def sentence(self) -> str:
        """What that means in words."""
        return (
            f"A gain of {100 * self.gain:g} points over {self.rate:.0%} thumbs up takes about {self.always_valid:,} "
            f"more ratings to show with a probability of {POWER:.0%}, {self.share:.0%} of them the candidate's; "
            f"{self.fixed_sample:,} where one looks only once."
        )


def ratings_needed(
    stable: Count, candidate: Count, *, planned_share: float, gain: float = VISIBLE_GAIN, alpha: float = ALPHA
) -> RatingsNeeded:
    """How many ratings are still missing until a gain shows; 0 where there are enough.

    The candidate's share is the present one, or the planned one while either version has no ratings; without ratings
    of the stable version its rate counts as one half, where most are needed.
    """
    num_now = stable.num_trials + candidate.num_trials
    is_known = bool(stable.num_trials and candidate.num_trials)
    share = candidate.num_trials / num_now if is_known else planned_share
    rate = stable.rate if stable.num_trials else 0.5
    num_now = num_now if is_known else 0
    always_valid = num_trials_needed(rate, gain, share=share, alpha=alpha, power=POWER)
    fixed_sample = num_trials_fixed(rate, gain, share=share, alpha=alpha, power=POWER)
    return RatingsNeeded(gain, rate, share, max(0, always_valid - num_now), max(0, fixed_sample - num_now))


def num_trials_needed(rate: float, gain: float, *, share: float, alpha: float, power: float) -> int:
    """Trials of both together after which a gain over `rate` shows with probability `power`.

    `share` of them are the second's. Looking all the time, as the test allows, can only show it earlier.
    """
    spread = NormalDist().inv_cdf(power)
    share, rates = _plannable(rate, gain, share)
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


def num_trials_fixed(rate: float, gain: float, *, share: float, alpha: float, power: float) -> int:
    """The same for one look at a number that was fixed before: the two-sided test of two proportions.

    (z₁₋α⸝₂ √(p̄ (1 - p̄) (1/s + 1/(1-s))) + z_power √(p₁ (1 - p₁)/(1-s) + p₂ (1 - p₂)/s))² / gain² (Fleiss, Statistical
    Methods for Rates and Proportions, 3.14, for unequal samples).
    """
    share, rates = _plannable(rate, gain, share)
    together = (1 - share) * rates[0] + share * rates[1]
    pooled = together * (1 - together) * (1 / share + 1 / (1 - share))
    apart = rates[0] * (1 - rates[0]) / (1 - share) + rates[1] * (1 - rates[1]) / share
    quantiles = (NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power))
    root = quantiles[0] * math.sqrt(pooled) + quantiles[1] * math.sqrt(apart)
    return math.ceil((root / gain) ** 2)


def _plannable(rate: float, gain: float, share: float) -> tuple[float, list[float]]:
    """A share and both rates, away from 0 and 1."""
    bounded = [min(1 - _RATE_MARGIN, max(_RATE_MARGIN, value)) for value in (share, rate, rate + gain)]
    return bounded[0], bounded[1:]
