"""A yes or a no to the bot's offer of a person, and asking after that person."""

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from model_store.contract.conversation import Message, Role
from model_store.intents.matters import KnownReplies
from model_store.intents.offers import OfferRule
from model_store.reply_fit import ReplyFit
from service.chat.plan_rules import DEFAULT_PLAN_RULES_FILE

ENTRIES = yaml.safe_load(DEFAULT_PLAN_RULES_FILE.read_text(encoding="utf-8"))["offers"]
RULE = OfferRule.model_validate(ENTRIES)
TAKES_OVER = "A colleague takes over from here."
KNOWN = KnownReplies([("human_agent", TAKES_OVER), ("refund_status", "It takes <REFUND_TIME>.")])
OFFERS = (
    "A colleague can check that. Shall I hand you over?",
    "I can't look into orders, but a colleague can check it for you. Would you like that?",
    "需要我帮您转给同事吗？",
    "这边转接给同事去核实，您看行吗？",
    "Please note the number; or I can hand you over here.",
    "等了这么久，我可以为您转接。",
)
YES = ("yes", "Yes please!", "ok do it", "sure, go ahead", "please", "yeah that would be great", "OK", "yes go on",
       "sure why not", "that'd be great", "yeah alright", "fine. yes pass me on", "好的麻烦了",
       "行", "可以", "需要", "要", "好的，转吧", "对 帮我问问", "嗯嗯", "转啊", "麻烦您了", "那你转啊",
       "yes please. its leaking from the bottom", "its greyed out, ok hand me over",
       "no not on a giftcard, went back to card. yes put me through", "要纸质的 麻烦转一下吧")  # fmt: skip
NO = ("no", "No thanks", "nope, not now", "不用", "不用了谢谢", "算了", "先不用", "no need", "先别转吧")
NEITHER = ("ok thanks", "yes but my order is A1", "where is it", "no I don't want a callback I want it to work", "好慢",
           "行李箱有吗", "要多久", "不要换，要退款", "thanks", "好的，谢谢", "why not",
           "你们先不要转吧", "yes please but do not pass me on")  # fmt: skip


def settled(reply: str, message: str, rule: OfferRule = RULE) -> str | None:
    """The plan, after a conversation of one exchange."""
    talk = [Message(Role.USER, "Hi"), Message(Role.ASSISTANT, reply), Message(Role.USER, message)]
    return rule.settled_plan(talk, KNOWN)


@pytest.mark.parametrize("offer", OFFERS)
def test_a_yes_to_the_offer_of_a_person_is_one(offer: str) -> None:
    """In either language, with whatever politeness around it; a no is heard as one; what says more is left alone."""
    assert {message: settled(offer, message) for message in YES} == dict.fromkeys(YES, "human_agent")
    assert {message: settled(offer, message) for message in NO} == dict.fromkeys(NO, "acknowledge")
    assert {message: settled(offer, message) for message in NEITHER} == dict.fromkeys(NEITHER)


@pytest.mark.parametrize(
    "reply", ["Which order is it?", "Would you like a refund?", "A colleague takes over.", "哪件？"]
)
def test_a_yes_to_anything_else_is_left_to_the_model(reply: str) -> None:
    """As is one that answers nothing."""
    assert settled(reply, "yes") is None
    assert RULE.settled_plan([Message(Role.USER, "yes")], KNOWN) is None


def test_an_answer_that_an_author_expected_settles_what_it_is_about() -> None:
    """A no to the offer of a person stays one, for it stands last; a message of many words is left to the model."""
    replies = [
        ("size_advice", "Is it for you? A colleague can help. Shall I hand you over?"),
        ("size_advice", "Is it?"),
    ]
    fit = ReplyFit({2: ("bot: is it & no| / on the contrary",)}, np.zeros(3, np.bool_), str)
    known = KnownReplies([*replies, ("size_advice", "Then measure it.")], fit)

    def settled_by(reply: str, message: str) -> str | None:
        return RULE.settled_plan([Message(Role.ASSISTANT, reply), Message(Role.USER, message)], known)

    assert settled_by("Is it?", "no") == "size_advice"
    assert settled_by(replies[0][1], "no") == "acknowledge"
    assert settled_by("Is it?", "no, where is my parcel") is None
    assert settled_by("Is it?", "on the contrary, " + "I would say that it is the one for her " * 2) is None


@pytest.mark.parametrize(
    "text", ["its greyed out, ok hand me over", "no. put me through", "说不清，帮我转人工", "就是券用不了 转人工"]
)
def test_who_demands_a_person_gets_one_though_none_was_offered(text: str) -> None:
    """In a few words and after a reply; not who says that he wants none, or was handed over before."""
    reply = "Choose the colour on its page."
    assert settled(reply, text) == "human_agent"
    for other in ("dont hand me over", "why did you put me through to sales", "不要转人工", "刚才已经转人工了"):
        assert settled(reply, other) is None
    assert RULE.settled_plan([Message(Role.USER, text)], KNOWN) is None


def test_who_waits_for_the_person_is_not_greeted_anew() -> None:
    """Only behind a reply that hands over."""
    for message in ("hello?", "anyone there", "how long will that be", "等了10分钟了还没人", "要等多久"):
        assert settled(TAKES_OVER, message) == "human_agent"
        assert settled("It takes <REFUND_TIME>.", message) is None
    assert settled(TAKES_OVER, "my order is <ORDER_ID>") is None


def test_who_wants_no_person_is_heard_anywhere_in_a_few_words() -> None:
    """Not who wants no machine, or was not called back."""
    wanted = {
        "i dont want to phone": True,
        "No, I don't want another colleague, just tell me": True,
        "我不要转 你就说能不能用": True,
        "别给我转人工了": True,
        "no": True,
        "不用了": True,
        "I don't want to talk to a bot": False,
        "nobody called me": False,
        "you do not call me back": False,
        "别转移话题": False,
        "转人工": False,
        "I don't want to phone. " * 9: False,
    }
    talks = {text: [Message(Role.USER, text)] for text in wanted}
    assert {text: RULE.refuses_person(talk) for text, talk in talks.items()} == wanted
    assert not RULE.refuses_person([])
    off = OfferRule.model_validate({**ENTRIES, "is_on": False})
    assert not off.refuses_person(talks["i dont want to phone"])


def test_a_message_that_repeats_itself_takes_no_time() -> None:
    """Patterns that ship do not try every way to divide it; it would take years."""
    for piece in ("好的", "麻烦了", "不用了", "嗯", "那就", "yes ", "no ", "ok that "):
        assert settled(OFFERS[2], piece * (58 // len(piece)) + "x") is None


def test_a_shop_can_do_without() -> None:
    """Then nothing is settled; a broken pattern is refused."""
    off = OfferRule.model_validate({**ENTRIES, "is_on": False})
    assert settled(OFFERS[0], "yes", off) is None
    with pytest.raises(ValidationError, match="regular expression"):
        OfferRule.model_validate({**ENTRIES, "accepted": {"en": "("}})
