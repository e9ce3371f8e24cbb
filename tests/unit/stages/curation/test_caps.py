"""Caps: nobody has more than their share, however much they send; on numbers that can be checked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.stages.curation.caps import Cap, Grouping, capped, group_factors

A_FIFTH = Cap(0.2, is_relaxed=True)


def test_a_named_rater_has_at_most_the_allowed_share_of_all_weight() -> None:
    """90 of 130 ratings by one person weigh 10 against 40 anonymous ones: a fifth."""
    assert group_factors({"loud": 90.0}, A_FIFTH, rest=40.0)["loud"] * 90 == pytest.approx(10.0)


def test_with_few_raters_all_have_the_same_say() -> None:
    """Somebody must have more than a fifth when there are only two; then neither drowns the other."""
    factors = group_factors({"loud": 90.0, "quiet": 10.0}, A_FIFTH)
    assert factors["loud"] * 90 == pytest.approx(factors["quiet"] * 10)


def test_a_cap_in_weight_holds_whatever_the_share_is() -> None:
    """A tenth of a thousand would be allowed; fifty is the most."""
    assert group_factors({"loud": 100.0, **{str(n): 1.0 for n in range(900)}}, Cap(0.2, 50.0))["loud"] == 0.5


def test_an_allowance_holds_whatever_the_share_is() -> None:
    """600 anonymous ratings beside 5 named ones: half of all would be 5; 200 are allowed anyway, and 1,000 the most."""
    nameless = Cap(0.5, 1000.0, 200.0)
    assert group_factors({"anonymous": 600.0}, nameless, rest=5.0)["anonymous"] * 600 == pytest.approx(200)
    assert group_factors({"anonymous": 600.0}, nameless, rest=400.0)["anonymous"] * 600 == pytest.approx(400)
    assert group_factors({"anonymous": 3000.0}, nameless, rest=2000.0)["anonymous"] * 3000 == pytest.approx(1000)


@given(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(1, 500), min_size=5, max_size=12),
    st.integers(0, 500),
)
def test_no_named_rater_ever_exceeds_the_share(num_named: dict[str, int], num_anonymous: int) -> None:
    """Whatever the counts; and nobody's rating weighs more than one."""
    factors = group_factors({name: float(number) for name, number in num_named.items()}, A_FIFTH, rest=num_anonymous)
    totals = {name: factors[name] * number for name, number in num_named.items()}
    everything = sum(totals.values()) + num_anonymous
    assert everything > 0 and max(factors.values()) <= 1.0
    assert all(total <= 0.2 * everything * (1 + 1e-6) for total in totals.values())


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3), st.floats(0.1, 5)), min_size=1, max_size=60))
def test_all_caps_hold_at_once_and_only_take_away(items: list[tuple[int, int, float]]) -> None:
    """Taking from one group raises another's share; in the end both bounds hold."""
    rater, origin = Cap(0.3, 20.0, is_relaxed=True), Cap(0.6, 30.0, is_relaxed=True)
    groupings = [Grouping(lambda n: items[n][0], rater), Grouping(lambda n: items[n][1], origin)]
    weights = capped([item[2] for item in items], groupings)
    assert all(0 <= new <= item[2] for new, item in zip(weights, items, strict=True))
    for place, cap in ((0, rater), (1, origin)):
        groups = {item[place] for item in items}
        share = max(cap.share, 1 / len(groups))
        for group in groups:
            total = sum(weight for weight, item in zip(weights, items, strict=True) if item[place] == group)
            assert total <= cap.weight * (1 + 1e-6) and total <= share * sum(weights) * (1 + 1e-4) + 1e-6
