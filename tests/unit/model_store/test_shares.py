"""Intervals that the staff's pages show: hand-computed, and the same as the judge of candidates has."""

import itertools

import pytest

from model_store.shares import ALPHA, Count, Interval, difference
from training.canary import confidence_sequence
from training.config import CanaryConfig
from training.rlhf.estimators import wilson_interval

COUNTS = [(0, 1), (1, 1), (0, 10), (7, 10), (10, 10), (300, 1000), (999, 1000)]


def test_eight_of_ten_have_the_interval_of_the_books() -> None:
    """Wilson's interval of 8 of 10: 49.0 to 94.3 %."""
    share = Count(8, 10).share
    assert (share.value, share.low, share.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)


def test_without_ratings_anything_is_possible() -> None:
    """No trial excludes no share and no difference."""
    assert Count(0, 0).share == Interval(0.0, 0.0, 1.0)
    assert difference(Count(0, 0), Count(5, 9)) == Interval(0.0, -1.0, 1.0)
    assert difference(Count(5, 9), Count(0, 0)) == Interval(0.0, -1.0, 1.0)


@pytest.mark.parametrize("count", COUNTS)
def test_a_share_has_the_interval_that_training_gives_it(count: tuple[int, int]) -> None:
    """Two programs, one formula."""
    share = Count(*count).share
    assert (share.low, share.high) == pytest.approx(wilson_interval(*count), abs=1e-12)


@pytest.mark.parametrize(("first", "second"), itertools.product(COUNTS, repeat=2))
def test_a_difference_has_the_interval_by_which_candidates_are_judged(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    """The page and `python -m training canary` show the same bounds."""
    ours = difference(Count(*first), Count(*second))
    alpha = CanaryConfig().alpha
    assert alpha == ALPHA
    theirs = confidence_sequence.difference_interval(
        confidence_sequence.Count(*first), confidence_sequence.Count(*second), alpha=alpha
    )
    assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high), abs=1e-12)
