"""Customers' sentiment, day by day, and the days on which it turned bad: the rule of RejoinderNegativeSentimentSurge.

A day stands out when the share of negative messages has risen by so much above that of the seven days before that
chance hardly explains it: a one-sided binomial test. It says what people wrote; `surges` says what they pressed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model_store.shares import Count, Interval

DAYS_BEFORE = 7
MIN_MESSAGES = 30
"""Of the day, and of the days before: fewer tell nothing."""
MIN_RISE = 0.1
"""By so much the share of negative messages is larger than before."""
MAX_CHANCE = 0.00135
"""Probability of as many negative messages at the usual share: three standard deviations, as the alert has it."""


@dataclass(frozen=True, slots=True)
class Mood:
    """One day: negative and positive ones among its messages, and what the days before let expect."""

    day: str
    negative: Count
    positive: Count
    usual: Interval | None
    """The share of negative messages in the seven days before; None where these tell too little."""
    is_surge: bool


def moods_by_day(days: Sequence[str], negative: Sequence[Count], positive: Sequence[Count]) -> tuple[Mood, ...]:
    """Days without gaps, with the negative and the positive messages among those of each."""
    found = []
    for index, (day, here, glad) in enumerate(zip(days, negative, positive, strict=True)):
        before = _sum(negative[max(0, index - DAYS_BEFORE) : index])
        found.append(Mood(day, here, glad, before.share if _is_enough(before) else None, is_surge(here, before)))
    return tuple(found)


def is_surge(here: Count, before: Count) -> bool:
    """Whether so many more of a day's messages are negative than of those before that it stands out."""
    return (
        _is_enough(here)
        and _is_enough(before)
        and here.rate - before.rate > MIN_RISE
        and chance_of(here, before.rate) < MAX_CHANCE
    )


def chance_of(seen: Count, rate: float) -> float:
    """Probability of at least as many hits among as many trials of this rate: a binomial distribution's tail."""
    if seen.num_hits == 0 or rate >= 1:
        return 1.0
    if rate <= 0:
        return 0.0
    return min(
        1.0, sum(_probability(hits, seen.num_trials, rate) for hits in range(seen.num_hits, seen.num_trials + 1))
    )


def _probability(hits: int, trials: int, rate: float) -> float:
    ways = math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
    return math.exp(ways + hits * math.log(rate) + (trials - hits) * math.log1p(-rate))


def _is_enough(count: Count) -> bool:
    return count.num_trials >= MIN_MESSAGES


def _sum(counts: Sequence[Count]) -> Count:
    return Count(sum(count.num_hits for count in counts), sum(count.num_trials for count in counts))
