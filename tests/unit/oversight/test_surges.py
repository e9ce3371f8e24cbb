"""Surges of thumbs down by day, on hand-counted days, and the alert's own numbers."""

from pathlib import Path

import yaml

from model_store.shares import Count
from service.chat.oversight.surges import DAYS_BEFORE, MIN_RATINGS, MIN_RISE, Surge, find_surges, usual_shares

VALUES = Path(__file__).parents[3] / "helm" / "rejoinder" / "values.yaml"
CALM = Count(8, 10)


def days(number: int) -> list[str]:
    """Names of so many days."""
    return [f"2026-03-{day:02}" for day in range(1, number + 1)]


def test_a_day_with_far_more_thumbs_down_than_the_week_before_stands_out() -> None:
    """80 % up for a week, then 9 of 20: the share down has risen from 20 to 55 %."""
    thumbs = [*[CALM] * DAYS_BEFORE, Count(9, 20), CALM]
    (surge,) = find_surges(days(9), thumbs)
    assert (surge.day, round(surge.share_down, 6), round(surge.usual_share_down, 6)) == ("2026-03-08", 0.55, 0.2)
    assert isinstance(surge, Surge)


def test_few_ratings_and_small_rises_are_no_surge() -> None:
    """19 ratings of the day; 19 of the days before; a rise of just the allowed 20 points."""
    assert find_surges(days(8), [*[CALM] * 7, Count(0, 19)]) == ()
    assert find_surges(days(2), [Count(19, 19), Count(0, 50)]) == ()
    assert find_surges(days(2), [Count(20, 20), Count(40, 50)]) == ()
    assert len(find_surges(days(2), [Count(20, 20), Count(39, 50)])) == 1


def test_the_usual_share_is_that_of_the_seven_days_before() -> None:
    """The day itself and the eighth before it do not count."""
    thumbs = [Count(0, 100), *[Count(10, 10)] * 7, Count(0, 100), CALM]
    usual = usual_shares(thumbs)
    assert usual[0] is None and usual[1] is not None and usual[1].value == 0.0
    assert usual[8] is not None and usual[8].value == 1.0 and usual[8].low < 1.0
    assert usual[9] is not None and round(usual[9].value, 6) == round(60 / 160, 6)


def test_the_page_and_the_alert_go_by_the_same_numbers() -> None:
    """What the chart's rules take as defaults."""
    values = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    thresholds = values["monitoring"]["prometheusRule"]["thresholds"]
    assert (thresholds["downShareRise"], thresholds["surgeRatings"]) == (MIN_RISE, MIN_RATINGS)
