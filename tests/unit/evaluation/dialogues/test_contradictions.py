"""Contradictions on literals, and none among the replies that were authored to stand beside each other."""

from collections import defaultdict

import pytest

from tests.unit.evaluation.dialogues.scripted_talk import asks_back, exchange
from training.data.domain_pack import load_pack
from training.evaluation.dialogues.contradictions import contradictions, load_rules
from training.evaluation.dialogues.talk import Exchange

PACK = load_pack("shop")


def kinds(*exchanges: Exchange) -> list[str]:
    return [found.kind for found in contradictions(exchanges)]


def test_asking_by_plan_for_what_was_given() -> None:
    """Only after it was given, and each time."""
    asked = exchange("Where is it?", "Which one?", plan="track_package/ask_order_id")
    given = exchange("Order <ORDER_ID>.", "Which one?", plan="track_package/ask_order_id")
    later = exchange("I said so.", "Which one?", plan="track_package/ask_order_id")
    assert kinds(asked) == []
    assert kinds(asked, given, later) == ["asks_for_given", "asks_for_given"]
    (found,) = contradictions([given])
    assert found.first == "Order <ORDER_ID>." and found.second == "Which one?"


@pytest.mark.parametrize(
    "text",
    [
        "Could you tell me the order number?",
        "Please give me the order number, then I can look where it belongs.",
        "Which order is it about?",
        "麻烦提供一下订单号。",
        "您的订单号是多少？",
    ],
)
def test_asking_in_words_for_what_was_given(text: str) -> None:
    """Whatever the plan says."""
    assert kinds(exchange("It is <ORDER_ID>.", text)) == ["asks_for_given"]
    assert kinds(exchange("It is late.", text)) == []


@pytest.mark.parametrize(
    "text",
    ["You can find the order number in the mail.", "With <ORDER_ID> a colleague can check it.", "订单号在邮件里。"],
)
def test_naming_a_detail_is_not_asking_for_it(text: str) -> None:
    """Where the number stands, and what it is good for."""
    assert kinds(exchange("It is <ORDER_ID>.", text)) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Yes, that works: open <RETURNS_PAGE>.", "Unfortunately worn items stay with you."),
        ("No, sale items are final.", "Of course, send it back."),
        ("可以的，请打开<RETURNS_PAGE>。", "很遗憾，这个办不了。"),
    ],
)
def test_yes_and_no_to_one_question(first: str, second: str) -> None:
    """The same step of a goal; to another question the other answer is fine."""
    assert kinds(exchange("May I?", first), exchange("So may I?", second)) == ["yes_and_no"]
    assert kinds(exchange("May I?", first), exchange("And he?", second, step=1)) == []
    assert kinds(exchange("May I?", first), exchange("So may I?", first)) == []


@pytest.mark.parametrize(
    "text", ["No problem, that's easy.", "No worries at all.", "No mail? Please look in the spam folder."]
)
def test_a_friendly_no_is_no_refusal(text: str) -> None:
    """Nor is a question."""
    assert kinds(exchange("May I?", "Yes, you may."), exchange("Sure?", text)) == []


def test_opposite_plans_for_one_question() -> None:
    """Subscribing and unsubscribing; in two questions each may be right."""
    stop = exchange("Stop the mails.", "Open the link.", plan="unsubscribe_newsletter")
    start = exchange("The mails!", "Sign up there.", plan="subscribe_newsletter")
    assert kinds(stop, start) == ["opposite_plans"]
    assert kinds(stop, exchange("And my wife?", "Sign up there.", plan="subscribe_newsletter", step=1)) == []
    assert kinds(stop, exchange("The mails!", "Which address?", plan="invoice")) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Refunds usually take <REFUND_TIME>.", "The refund takes <DELIVERY_TIME>."),
        ("Refunds take <REFUND_TIME>.", "Refunds take 3 days."),
        ("Call us at <SUPPORT_PHONE>.", "Please call <SUPPORT_EMAIL>."),
        ("Shipping costs <SHIPPING_FEE>.", "Shipping is <AMOUNT>."),
        ("退款一般需要<REFUND_TIME>。", "退款大约要<DELIVERY_TIME>。"),
        ("标准配送需要<DELIVERY_TIME>。", "标准配送需要<EXPRESS_TIME>。"),
    ],
)
def test_two_facts_about_one_subject(first: str, second: str) -> None:
    """In whatever step; said twice, a fact is one fact."""
    assert kinds(exchange("How long?", first), exchange("And?", second, step=2)) == ["two_facts"]
    assert kinds(exchange("How long?", first), exchange("And?", first, step=2)) == []


def test_two_facts_about_two_subjects() -> None:
    """Standard and express delivery take what each of them takes."""
    assert kinds(exchange("How long?", "Standard delivery takes <DELIVERY_TIME>, express <EXPRESS_TIME>.")) == []


def test_fixed_words_contradict_nothing() -> None:
    """Who asks what is meant has not answered."""
    unsure = Exchange(0, "Order <ORDER_ID>.", asks_back("refund_status"))
    assert contradictions([unsure, unsure]) == []


def test_authored_replies_do_not_contradict_each_other() -> None:
    """Over the whole pack each subject has one fact, and who was given a detail does not ask for it."""
    rules = load_rules()
    stated = defaultdict(set)
    for intent in PACK.intents:
        for reply in intent.replies:
            for subject, facts in rules.stated(reply).items():
                stated[subject] |= facts
        for entity, replies in intent.replies_given.items():
            for reply in replies:
                assert kinds(exchange(f"It is <{entity}>.", reply)) == [], reply
    assert {subject: facts for subject, facts in stated.items() if len(facts) > 1} == {}
    assert len(stated) >= 9


def test_most_authored_questions_for_an_order_number_are_heard() -> None:
    """The patterns know four of five authored ways to ask; the plan knows all."""
    asking = [reply for intent in PACK.intents for reply in intent.replies_missing.get("ORDER_ID", ())]
    heard = [bool(load_rules().asks_for["ORDER_ID"].search(reply)) for reply in asking]
    assert sum(heard) / len(heard) > 0.8
