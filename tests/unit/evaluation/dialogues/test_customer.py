"""What simulated customers say next, case by case, and whole conversations with a scripted bot."""

from collections.abc import Sequence

import pytest

from model_store.contract.conversation import Message
from tests.unit.evaluation.dialogues.scripted_talk import (
    PHRASES,
    REFUND,
    THANKS,
    ScriptedBot,
    asks_back,
    goal,
    says,
)
from training.evaluation.dialogues.bot import BotReply
from training.evaluation.dialogues.customer import Customer, Outcome
from training.evaluation.dialogues.goals import Goal, LanguageGoals
from training.evaluation.dialogues.talk import GoalConversation, converse

ORDER = {"ORDER_ID": ("It is A7730192.", "A7730192")}


def customer(what: Goal, number: int = 0) -> Customer:
    return Customer(what, PHRASES, number)


def test_customers_of_one_goal_open_in_different_words() -> None:
    """The number chooses the opening, and the same number the same customer."""
    openings = [customer(goal(), number).opens() for number in range(3)]
    assert openings == list(REFUND.says)
    first, twin = customer(goal(REFUND, THANKS), 1), customer(goal(REFUND, THANKS), 1)
    assert first.hears(says("refund_status"), ()) == twin.hears(says("refund_status"), ())


def test_a_goal_is_reached_step_by_step() -> None:
    """The second step's words follow the first step's answer; after the last answer nothing is said."""
    one = customer(goal(REFUND, THANKS))
    assert one.hears(says("refund_status"), ()) in THANKS.says
    assert one.hears(says("goodbye"), ()) is None
    assert one.outcome is Outcome.COMPLETED and one.num_misses == 0


def test_whoever_is_misunderstood_says_it_otherwise_until_patience_ends() -> None:
    """With a patience of one the second miss is the last."""
    one = customer(goal(patience=1))
    assert one.hears(says("greeting"), ()) in REFUND.rephrases
    assert one.hears(says("invoice"), ()) is None
    assert one.outcome is Outcome.LEFT and one.num_misses == 2


def test_a_detail_is_given_when_it_is_asked_for() -> None:
    """Asking for it is no answer yet; the answer comes after it."""
    one = customer(goal(gives=ORDER))
    assert one.hears(says("refund_status/ask_order_id"), ()) in ORDER["ORDER_ID"]
    assert one.outcome is Outcome.OPEN
    assert one.hears(says("refund_status"), {"ORDER_ID"}) is None
    assert one.outcome is Outcome.COMPLETED and one.num_asked_again == 0


def test_a_person_may_take_over_after_a_detail_was_asked_for() -> None:
    """Right after the detail only: out of the blue it is a miss."""
    given = customer(goal(gives=ORDER))
    given.hears(says("refund_status/ask_order_id"), ())
    assert given.hears(says("human_agent"), {"ORDER_ID"}) is None and given.outcome is Outcome.COMPLETED
    blue = customer(goal())
    assert blue.hears(says("human_agent"), ()) in REFUND.rephrases and blue.num_misses == 1


@pytest.mark.parametrize("named", [{"ORDER_ID"}, set()])
def test_being_asked_twice_is_noted(named: set[str]) -> None:
    """Whether the detail was in the first message, or the customer has said that there is none."""
    one = customer(goal(gives=ORDER) if named else goal())
    if not named:
        assert one.hears(says("refund_status/ask_order_id"), named) in PHRASES.lacks
    answer = one.hears(says("refund_status/ask_order_id"), named)
    assert answer is not None and ("A7730192" in answer) == bool(named)
    assert one.num_asked_again == 1 and one.num_misses == 1


def test_a_question_that_names_the_topic_costs_no_patience() -> None:
    """Once: offered the right topic again, or other topics, the customer has been missed."""
    one = customer(goal(patience=1))
    assert one.hears(asks_back("invoice", "refund_status"), ()) in REFUND.rephrases and one.num_misses == 0
    assert one.hears(asks_back("refund_status"), ()) in REFUND.rephrases and one.num_misses == 1
    assert one.hears(asks_back("invoice", "warranty"), ()) is None and one.outcome is Outcome.LEFT


def test_being_handed_over_ends_a_conversation() -> None:
    """It completes the goal of those who wanted a person, and of nobody else."""
    wanted = customer(goal(REFUND.model_copy(update={"wants": ("human_agent",)})))
    assert wanted.hears(asks_back(hands_over=True), ()) is None and wanted.outcome is Outcome.COMPLETED
    other = customer(goal())
    assert other.hears(asks_back(hands_over=True), ()) is None and other.outcome is Outcome.HANDED_OVER


def talk(bot: ScriptedBot, what: Goal, per_goal: int = 1) -> list[GoalConversation]:
    return converse(bot, [LanguageGoals("en", PHRASES, (what,))], per_goal)


def test_conversations_are_answered_together_and_masked() -> None:
    """Three customers take two turns of the bot; the order number is a placeholder for the bot."""

    def script(messages: Sequence[Message]) -> BotReply:
        return (
            says("refund_status/ask_order_id") if len(messages) == 1 else says("refund_status", "Thanks, <ORDER_ID>.")
        )

    bot = ScriptedBot(script)
    found = talk(bot, goal(gives=ORDER), per_goal=3)
    assert bot.num_turns == 2 and len(found) == 3
    for each in found:
        assert each.is_completed and len(each.exchanges) == 2
        assert "<ORDER_ID>" in each.exchanges[1].said and "A77" not in each.exchanges[1].said


def test_asking_for_what_the_first_message_held_is_seen() -> None:
    """The goal is reached, but not without fault, so it does not count as completed."""
    opening = REFUND.model_copy(update={"says": ("Where is the money for order A7730192?",) * 2})

    def script(messages: Sequence[Message]) -> BotReply:
        return says("refund_status/ask_order_id" if len(messages) == 1 else "refund_status")

    (found,) = talk(ScriptedBot(script), goal(opening, gives=ORDER))
    assert found.outcome is Outcome.COMPLETED and found.num_asked_again == 1 and not found.is_completed


def test_no_bot_can_keep_a_customer_for_ever() -> None:
    """Whatever a bot says again and again, the conversation ends."""
    for reply in (says("invoice"), says("refund_status/ask_order_id"), asks_back("refund_status"), asks_back()):
        bot = ScriptedBot(lambda _, reply=reply: reply)
        (found,) = talk(bot, goal(patience=3, gives=ORDER))
        assert found.outcome is Outcome.LEFT and bot.num_turns <= 6
