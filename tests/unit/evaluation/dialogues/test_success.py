"""What is said about goals, worked out by hand on conversations that were written for it."""

import pytest

from tests.unit.evaluation.dialogues.scripted_talk import asks_back, conversation, exchange
from training.data.domain_pack import load_pack
from training.evaluation.dialogues.conversations import goals_page
from training.evaluation.dialogues.customer import Outcome
from training.evaluation.dialogues.success import goal_figures, goal_outcomes, goal_table
from training.evaluation.dialogues.talk import Exchange, GoalConversation
from training.evaluation.judge import pack_judge

JUDGE = pack_judge("shop")
FITTING = next(intent for intent in load_pack("shop").intents if intent.name == "refund_status").replies[0]


def four_conversations() -> list[GoalConversation]:
    """Two goals: one reached at once and after a miss, one given up and handed over."""
    right, wrong = exchange("Money?", FITTING), exchange("Money?", FITTING, plan="gift_card")
    unsure = Exchange(0, "Invoice?", asks_back(hands_over=True))
    return [
        conversation(right),
        conversation(wrong, right, num_misses=1),
        conversation(wrong, wrong, name="invoice", outcome=Outcome.LEFT, num_misses=2),
        conversation(unsure, name="invoice", outcome=Outcome.HANDED_OVER),
    ]


def test_every_figure_is_the_share_that_it_says() -> None:
    """Of four conversations of two goals."""
    figures = goal_figures(four_conversations(), JUDGE)["en"]
    assert (figures.num_goals, figures.num_conversations) == (2, 4)
    assert figures.completed.value == 0.5 and figures.completed_at_once.value == 0.25
    assert figures.left.value == 0.25 and figures.handed_over.value == 0.25
    assert figures.completed_by_goal == {"invoice": 0.0, "refund": 1.0}
    assert figures.turns is not None and figures.turns.value == 1.5
    assert figures.extra_turns is not None and figures.extra_turns.value == 0.5
    assert figures.words_fit_plan.value == pytest.approx(2 / 5)
    assert [stuck.goal for stuck in figures.stuck] == ["invoice", "invoice"]
    assert figures.stuck[0].plan == "gift_card" and figures.stuck[1].outcome == "handed_over"


def test_a_detail_asked_for_twice_spoils_a_goal() -> None:
    """It is counted by itself, and as a contradiction where it had been given."""
    asked = exchange("Order <ORDER_ID>.", "Which one?", plan="refund_status/ask_order_id")
    spoilt = conversation(asked, exchange("Again.", FITTING), num_misses=1, num_asked_again=1)
    figures = goal_figures([spoilt], JUDGE)["en"]
    assert figures.completed.value == 0 and figures.asked_again.value == 1 and figures.turns is None
    assert figures.free_of_contradictions.value == 0
    assert figures.num_contradictions == {"asks_for_given": 1, "yes_and_no": 0, "opposite_plans": 0, "two_facts": 0}


def test_intervals_are_drawn_over_goals() -> None:
    """Thirty conversations of one goal say as much as one."""
    many = [conversation(exchange("Money?", FITTING)) for _ in range(30)]
    lost = [conversation(exchange("Bill?", FITTING), name="invoice", outcome=Outcome.LEFT)] * 30
    figures = goal_figures([*many, *lost], JUDGE)["en"]
    assert (figures.completed.low, figures.completed.value, figures.completed.high) == (0.0, 0.5, 1.0)


def test_outcomes_are_goals_in_order() -> None:
    """By name, so that two bundles give the same goals in the same places."""
    chinese = conversation(exchange("钱呢？", FITTING), language="zh")
    assert goal_outcomes([*reversed(four_conversations()), chinese]) == {"en": [0.0, 1.0], "zh": [1.0]}


def test_the_table_has_a_column_a_language() -> None:
    """Shares with their intervals, and no number where nothing was reached."""
    left = conversation(exchange("钱呢？", FITTING), language="zh", outcome=Outcome.LEFT)
    table = goal_table(goal_figures([*four_conversations(), left], JUDGE)).splitlines()
    assert table[0].split()[-2:] == ["en", "zh"]
    assert next(line for line in table if line.startswith("completed ")).count("%") == 6
    assert next(line for line in table if line.startswith("turns")).split()[-1] == "-"


def test_the_page_shows_what_was_said_and_how_it_ended() -> None:
    """Text, never markup; goals that were missed are marked."""
    hostile = conversation(exchange("<script>alert(1)</script>", FITTING), outcome=Outcome.LEFT)
    page = goals_page([hostile, conversation(exchange("Money?", FITTING))], "Customers")
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<article") == 2 and page.count('class="wrong"') == 1
    assert "2 simulated customers, 1 of them" in page
