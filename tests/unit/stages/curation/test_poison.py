"""Planted poison: quarantined or kept small, and honest ratings keep what they weigh."""

import pytest

from tests.benchmarks.planted.honest import KINDS
from tests.benchmarks.poisoned_ratings import NUM_CUSTOMERS, NUM_HONEST, World, kept_by_honest, make_world, measure
from training.config import FeedbackConfig

FIVE_PERCENT = NUM_HONEST // 20


@pytest.fixture(scope="module")
def world() -> World:
    """1,500 honest ratings by 150 customers."""
    return make_world()


@pytest.mark.parametrize(
    ("attack", "number", "reason"),
    [
        ("one account", 250, "flood"),
        ("trigger, known", FIVE_PERCENT, "poison_phrase"),
        ("pasted remark", FIVE_PERCENT, "copied_remark"),
    ],
)
def test_what_gives_itself_away_is_quarantined_whole(world: World, attack: str, number: int, reason: str) -> None:
    """It weighs nothing, and what is learned is what would have been learned without it."""
    outcome = measure(world, attack, number)
    print(outcome)
    assert reason in outcome.reasons and outcome.share_after == pytest.approx(0, abs=1e-9)
    assert outcome.success_after <= outcome.success_clean + 0.02 and outcome.success_before != outcome.success_clean
    assert outcome.honest_kept >= 0.95 and outcome.num_honest_set_aside == 0


@pytest.mark.parametrize("attack", ["sybils", "one text", "nameless"])
def test_who_looks_like_a_customer_has_a_bounded_say(world: World, attack: str) -> None:
    """A twentieth of all ratings, all for one reply, weigh no more than one text may: 1.4 % instead of 4.8."""
    outcome = measure(world, attack, FIVE_PERCENT)
    print(outcome)
    assert outcome.share_before > 0.047
    assert outcome.share_after * NUM_HONEST <= FeedbackConfig().max_weight_per_text + 1 and outcome.share_after < 0.014
    assert outcome.honest_kept >= 0.95 and outcome.num_honest_set_aside == 0


def test_liars_lose_weight_where_gold_or_honest_ratings_speak_against_them(world: World) -> None:
    """Five percent of ratings that say the opposite of the truth: half of their weight is gone."""
    outcome = measure(world, "liars", FIVE_PERCENT)
    print(outcome)
    assert "contradicts_gold" in outcome.reasons and outcome.share_after < 0.6 * outcome.share_before
    assert outcome.honest_kept >= 0.95 and outcome.num_honest_set_aside == 0


@pytest.mark.parametrize("attack", ["trigger", "one word"])
def test_a_few_loud_accounts_weigh_half_of_what_as_many_customers_weigh(world: World, attack: str) -> None:
    """Five accounts of fifty ratings, 14 % of all ratings: 5 of 155 accounts, and no more than half of that."""
    outcome = measure(world, attack, 250)
    print(outcome)
    assert outcome.share_before > 0.14 and outcome.share_after <= 0.55 * 5 / (NUM_CUSTOMERS + 5)
    assert outcome.honest_kept >= 0.99 and outcome.num_honest_set_aside == 0


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_honest_customers_of_one_topic_or_one_mind_keep_what_they_weigh(kind: str) -> None:
    """A crowd is found or not: one person, one vote takes nothing from it."""
    kept = [kept_by_honest(kind, seed=seed) for seed in range(3)]
    print(kept)
    assert min(kept) >= 0.99
