"""Surges of thumbs down, day by day: the rule of the alert RejoinderThumbsDownSurge, for looking back.

A day stands out when enough of its ratings are down more often than in the seven days before. It says what people
pressed, not how they felt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from model_store.shares import Count, Interval

DAYS_BEFORE = 7
MIN_RATINGS = 20
"""Of the day, and of the days before: fewer tell nothing."""
MIN_RISE = 0.2
"""By so much the share of thumbs down is larger than before."""


@dataclass(frozen=True, slots=True)
class Surge:
    """A day with unusually many thumbs down, and both shares of thumbs down."""

    day: str
    share_down: float
    usual_share_down: float


def usual_shares(thumbs: Sequence[Count]) -> list[Interval | None]:
    """By day the share of thumbs up in the seven days before, with its interval; None where these tell too little."""
    before = [_sum(thumbs[max(0, index - DAYS_BEFORE) : index]) for index in range(len(thumbs))]
    return [count.share if count.num_trials >= MIN_RATINGS else None for count in before]


def find_surges(days: Sequence[str], thumbs: Sequence[Count]) -> tuple[Surge, ...]:
    """The days that stand out; `thumbs` are thumbs up among ratings, by day, without gaps."""
    return tuple(
        Surge(day, 1 - count.rate, 1 - usual.value)
        for day, count, usual in zip(days, thumbs, usual_shares(thumbs), strict=True)
        if usual is not None and count.num_trials >= MIN_RATINGS and usual.value - count.rate > MIN_RISE
    )


def _sum(counts: Sequence[Count]) -> Count:
    return Count(sum(count.num_hits for count in counts), sum(count.num_trials for count in counts))
