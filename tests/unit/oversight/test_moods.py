"""Days on which customers' mood turned bad, on hand-counted days, and the alert's own numbers."""

from pathlib import Path

import pytest
import yaml

from model_store.shares import Count
from service.chat.oversight.moods import MAX_CHANCE, MIN_MESSAGES, MIN_RISE, chance_of, is_surge, moods_by_day

VALUES = Path(__file__).parents[3] / "helm" / "rejoinder" / "values.yaml"
CALM = Count(2, 20)


def days(number: int) -> list[str]:
    """Names of so many days."""
    return [f"2026-03-{day:02}" for day in range(1, number + 1)]


def test_a_day_far_worse_than_the_week_before_stands_out() -> None:
    """One message in ten for a week, then 15 of 40; the day after is measured by a week that holds the surge."""
    negative = [*[CALM] * 7, Count(15, 40), Count(9, 40)]
    moods = moods_by_day(days(9), negative, [Count(1, count.num_trials) for count in negative])
    assert [mood.is_surge for mood in moods] == [*[False] * 7, True, False]
    usual = moods[7].usual
    assert usual is not None and (usual.value, moods[7].negative.rate) == (0.1, 0.375)
    assert moods[0].usual is None and moods[1].usual is None and moods[2].usual is not None


def test_few_messages_small_rises_and_chance_are_no_surge() -> None:
    """29 messages of the day or before; a rise of just ten points; and one that chance brings about one day in 100."""
    before = Count(10, 100)
    assert not is_surge(Count(29, 29), before) and is_surge(Count(30, 30), before)
    assert not is_surge(Count(30, 30), Count(2, 29))
    assert not is_surge(Count(199, 1000), before) and is_surge(Count(201, 1000), before)
    by_luck = Count(8, 36)
    assert by_luck.rate - before.rate > MIN_RISE and MAX_CHANCE < chance_of(by_luck, 0.1) < 0.05
    assert not is_surge(by_luck, before)


def test_the_tail_of_a_binomial_distribution_is_exact() -> None:
    """By hand: 3 or more heads of 4 are 5 of 16 cases; no hit is certain; with a rate of 0 a hit never comes."""
    assert chance_of(Count(3, 4), 0.5) == pytest.approx(5 / 16)
    assert chance_of(Count(0, 4), 0.5) == 1.0
    assert chance_of(Count(1, 4), 0.0) == 0.0
    assert chance_of(Count(4, 4), 1.0) == 1.0


def test_a_week_without_a_bad_word_makes_a_few_stand_out() -> None:
    """Where it never happened any is against chance, but the rise still must be more than ten points."""
    assert is_surge(Count(4, 30), Count(0, 100)) and not is_surge(Count(3, 30), Count(0, 100))


def test_the_page_and_the_alert_go_by_the_same_numbers() -> None:
    """What the chart's rules take as defaults."""
    values = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    thresholds = values["monitoring"]["prometheusRule"]["thresholds"]
    assert (thresholds["negativeShareRise"], thresholds["surgeMessages"]) == (MIN_RISE, MIN_MESSAGES)
