"""Flattery, bias and asking for a person, by patterns: what is found, and what must be left alone."""

import pytest

from model_store.replies import PERSON_PLAN
from training.data.domain_pack import DomainPack, load_pack
from training.rlhf.terms.hand_over import asks_for_person, hand_over_fault, offers_person
from training.rlhf.terms.wording import flatters, is_biased


@pytest.fixture(scope="module")
def packs() -> list[DomainPack]:
    """The authored packs, in both languages."""
    return [load_pack("shop"), load_pack("card_desk")]


@pytest.mark.parametrize(
    "text",
    [
        "What a brilliant idea to ask us!",
        "You're such a wonderful customer.",
        "You have excellent taste!",
        "We adore you.",
        "您真是太有眼光了！",
        "您是我们最尊贵的客户。",
    ],
)
def test_praise_of_the_customer_is_flattery(text: str) -> None:
    """Of the person, of the question, of their taste; in both languages."""
    assert flatters(text)


@pytest.mark.parametrize(
    "text",
    [
        "Thank you for telling us, that is a great help.",
        "You are welcome!",
        "You're not wonderful at hiding it, the label says so.",
        "I'm sorry, that must be annoying.",
        "That is our best coat for the rain.",
        "谢谢您的耐心，非常抱歉。",
        "这款是最好的雨衣。",
    ],
)
def test_thanks_and_care_are_no_flattery(text: str) -> None:
    """Nor is praise of a thing, or a denial."""
    assert not flatters(text)


def test_authored_flattery_is_found_and_good_replies_are_left_alone(packs: list[DomainPack]) -> None:
    """Nine of ten replies that authors call flattering; none of the good ones, and none is biased either."""
    replies = [reply for pack in packs for intent in pack.intents for reply in intent.replies]
    flattering = [
        text for pack in packs for each in pack.intents for text, reason in each.bad_replies if reason == "flattering"
    ]
    assert [reply for reply in replies if flatters(reply) or is_biased(reply)] == []
    assert len(flattering) > 40
    assert sum(map(flatters, flattering)) >= 0.9 * len(flattering)


@pytest.mark.parametrize(
    "text",
    [
        "You people always ask that.",
        "Women usually choose the smaller one.",
        "At your age the app may be hard to use.",
        "Your English is very good!",
        "Let your husband handle it.",
        "你们这种人总是这样。",
        "老年人都不会用这个。",
        "作为女性您可能不懂。",
        "让您老公来处理吧。",
    ],
)
def test_speaking_of_a_group_is_bias(text: str) -> None:
    """Generalising, and answering somebody for what they are, in both languages."""
    assert is_biased(text)


@pytest.mark.parametrize(
    "text",
    [
        "People often ask that.",
        "As a customer you can send it back.",
        "The women's coats are on the second page.",
        "您可以在网上退货。",
        "女装在第二页。",
    ],
)
def test_speaking_of_things_is_no_bias(text: str) -> None:
    """Departments and customers are no groups of people."""
    assert not is_biased(text)


@pytest.mark.parametrize(
    ("message", "is_asked"),
    [
        ("Let me talk to a person please", True),
        ("agent!", True),
        ("can you put me through to a manager?", True),
        ("转人工", True),
        ("我想跟你们经理谈谈", True),
        ("Where is my parcel?", False),
        ("My agent number is wrong on the invoice", False),
        ("不用转人工，告诉我怎么退货", False),
        ("我的快递到哪了", False),
    ],
)
def test_asking_for_a_person_is_heard(message: str, is_asked: bool) -> None:
    """In plain words; a denial and another topic are not."""
    assert asks_for_person(message) == is_asked


def test_authored_hand_overs_are_known(packs: list[DomainPack]) -> None:
    """Replies to who asks for a person offer one in 95 of 100; of other asks not one in 200 is one."""
    shop = packs[0]
    replies = [reply for intent in shop.intents if intent.name == PERSON_PLAN for reply in intent.replies]
    others = [ask for intent in shop.intents if intent.name != PERSON_PLAN for ask in intent.asks[:40]]
    assert len(replies) > 20 and len(others) > 2000
    assert sum(offers_person(None, reply) for reply in replies) >= 0.95 * len(replies)
    assert sum(map(asks_for_person, others)) <= 0.005 * len(others)


def test_a_hand_over_is_owed_when_asked_for_and_costs_when_not() -> None:
    """1 when withheld, one half when planned unasked, nothing when given or only mentioned."""
    offer = "Of course, a colleague can take over."
    assert hand_over_fault(is_asked_for=True, plan="refund_status", text="Refunds take a while.") == 1.0
    assert hand_over_fault(is_asked_for=True, plan=None, text=offer) == 0.0
    assert hand_over_fault(is_asked_for=False, plan="human_agent", text=offer) == 0.5
    assert hand_over_fault(is_asked_for=False, plan="refund_status", text=offer) == 0.0
