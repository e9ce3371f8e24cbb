"""How many ratings are still missing until a gain shows: on numbers of the books, and in a simulation."""

import random

import pytest

from model_store.shares import Count, num_trials_fixed, num_trials_needed, ratings_needed


def test_one_look_takes_the_number_of_the_books() -> None:
    """70 % against 80 %, half each: (1.95996 · √0.75 + 0.84162 · √0.74)² / 0.01 = 586.3 of both, 294 of each."""
    assert num_trials_fixed(0.7, 0.1, share=0.5, alpha=0.05, power=0.8) == 587


def test_a_test_that_may_be_looked_at_all_the_time_takes_more() -> None:
    """Under three times as many; a share of a tenth takes more of both kinds."""
    plan = {"alpha": 0.05, "power": 0.8}
    once = num_trials_fixed(0.7, 0.03, share=0.5, **plan)
    always = num_trials_needed(0.7, 0.03, share=0.5, **plan)
    assert once < always < 3 * once
    assert num_trials_fixed(0.7, 0.03, share=0.1, **plan) > 2 * once


def test_the_planned_number_shows_the_gain_as_often_as_it_says() -> None:
    """10 points over 70 %: of 2,000 single looks at the planned number, 80 % see it, give or take three."""
    number = num_trials_fixed(0.7, 0.1, share=0.5, alpha=0.05, power=0.8) // 2
    generator = random.Random(5)
    num_seen = 0
    for _ in range(2000):
        first, second = (sum(generator.random() < rate for _ in range(number)) / number for rate in (0.7, 0.8))
        together = (first + second) / 2
        num_seen += second - first > 1.959964 * (together * (1 - together) * 2 / number) ** 0.5
    assert num_seen / 2000 == pytest.approx(0.8, abs=0.03)


def test_what_is_there_already_is_taken_off() -> None:
    """The share is that of the ratings that came; before any of the candidate came, the planned one counts."""
    nothing = ratings_needed(Count(0, 0), Count(0, 0), planned_share=0.1)
    assert (nothing.rate, nothing.share) == (0.5, 0.1)
    some = ratings_needed(Count(700, 1000), Count(350, 500), planned_share=0.1)
    assert some.share == pytest.approx(1 / 3) and some.rate == 0.7
    full = num_trials_fixed(0.7, 0.03, share=1 / 3, alpha=0.05, power=0.8)
    assert some.fixed_sample == full - 1500
    assert ratings_needed(Count(70_000, 100_000), Count(70_000, 100_000), planned_share=0.1).always_valid == 0


def test_the_sentence_names_both_numbers() -> None:
    """A person reads how long it takes, and what looking all the time costs."""
    needed = ratings_needed(Count(70, 100), Count(0, 0), planned_share=0.1)
    for part in ("3 points over 70%", f"{needed.always_valid:,} more", f"{needed.fixed_sample:,} where", "10% of them"):
        assert part in needed.sentence
