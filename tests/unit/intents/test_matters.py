"""What the bot has said about a matter, told by its words, and when that is enough."""

import numpy as np
import pytest
from pydantic import ValidationError

from model_store.contract.conversation import Message, Role
from model_store.intents.matters import FruitlessRule, KnownReplies
from model_store.reply_fit import ReplyFit

KNOWN = KnownReplies(
    [
        ("track_package", "See <TRACKING_PAGE>."),
        ("track_package/ask_order_id", "Which order is it?"),
        ("track_package", "Ask the carrier."),
        ("package_lost", "Ask the carrier."),
        ("gift_card", "It is good for <GIFT_CARD_VALIDITY>."),
        ("acknowledge", "All right!"),
        ("bot_unhelpful", "What have you tried?"),
    ]
)
MATTERS = ("track_package", "package_lost", "gift_card", "bot_unhelpful")
WORDS = {"en": "A colleague can take over.", "zh": "请同事接手。"}
RULE = FruitlessRule(after=3, counts_always=("bot_unhelpful",), wording=WORDS)


def after(*replies: str) -> list[Message]:
    """A conversation in which the bot has said these."""
    turns = [(Message(Role.USER, "and?"), Message(Role.ASSISTANT, reply)) for reply in replies]
    return [message for turn in turns for message in turn] + [Message(Role.USER, "and now?")]


def is_enough(topic: str, *replies: str) -> bool:
    """By the rule above."""
    return RULE.is_enough(topic, after(*replies), KNOWN, MATTERS)


def test_so_many_replies_about_one_matter_are_enough() -> None:
    """Asking for a detail is one, and words that fit two matters are about either."""
    said = ("Which order is it?", "See <TRACKING_PAGE>.", "Ask the carrier.")
    assert is_enough("track_package", *said)
    assert not is_enough("track_package", *said[1:])
    assert not is_enough("package_lost", *said)


def test_a_reply_about_another_matter_ends_the_count_and_small_talk_does_not() -> None:
    """Nor does what nobody wrote: an article, or a shop's own words."""
    twice = ("See <TRACKING_PAGE>.", "Ask the carrier.")
    assert not is_enough("track_package", "Which order is it?", "It is good for <GIFT_CARD_VALIDITY>.", *twice)
    assert is_enough("track_package", "Which order is it?", "All right!", "Our help pages say: <ARTICLE>", *twice)


def test_saying_that_the_bot_does_not_help_counts_whatever_the_matter() -> None:
    """Before the answer that would be one too many, and in place of it."""
    twice = ("See <TRACKING_PAGE>.", "What have you tried?")
    assert is_enough("track_package", "Which order is it?", *twice)
    assert is_enough("bot_unhelpful", "Which order is it?", *twice)
    assert not is_enough("bot_unhelpful", *twice)
    assert not is_enough("bot_unhelpful", "It is good for <GIFT_CARD_VALIDITY>.", *twice)


def test_who_was_left_to_a_person_is_counted_anew() -> None:
    """Else the same words would be said every time."""
    said = ("Which order is it?", "See <TRACKING_PAGE>.", "Ask the carrier.")
    assert not is_enough("track_package", *said, WORDS["zh"])
    assert not is_enough("track_package", *said, WORDS["en"], "Ask the carrier.")
    assert is_enough("track_package", WORDS["en"], *said)


def test_small_talk_is_no_matter_and_nothing_is_counted_after_zero() -> None:
    """Who says hello four times wants nothing."""
    assert not is_enough("acknowledge", *["All right!"] * 4)
    off = RULE.model_copy(update={"after": 0})
    assert not off.is_enough("track_package", after(*["Ask the carrier."] * 5), KNOWN, MATTERS)


@pytest.mark.parametrize("wording", [{"en": "Ask us."}, {"en": "Call <ORDER_ID>.", "zh": "请致电。"}])
def test_its_words_are_there_in_both_languages_and_hold_facts_alone(wording: dict[str, str]) -> None:
    """Nobody could say what another placeholder stands for."""
    with pytest.raises(ValidationError, match="must be there, and hold no placeholders but facts"):
        FruitlessRule.model_validate({"after": 3, "counts_always": (), "wording": wording})


def test_an_answer_that_was_written_for_what_is_asked_is_given_first() -> None:
    """Once; and who is answered twice as often as is enough is left to a person whatever there is to say."""
    replies = [("track_package", f"Look {number}.") for number in range(6)] + [("track_package", "It costs nothing.")]
    fit = ReplyFit({6: ("cost",)}, np.zeros(7, np.bool_), lambda _: "")
    known = KnownReplies(replies, fit)
    asks = [*after(*(text for _, text in replies[:3]))[:-1], Message(Role.USER, "what does it cost")]
    assert not RULE.is_enough("track_package", asks, known, MATTERS)
    assert RULE.is_enough("track_package", [*asks[:-1], Message(Role.USER, "and now?")], known, MATTERS)
    assert known.answer_likelihood({"track_package": 0.6, "gift_card": 0.4}, asks) == 0.6
    assert known.answer_likelihood({"track_package": 0.4, "gift_card": 0.6}, asks) is None
    assert known.answer_likelihood({}, asks) is None
    said = after(*(text for _, text in (*replies[:2], replies[6])))[:-1]
    assert RULE.is_enough("track_package", [*said, Message(Role.USER, "what does it cost")], known, MATTERS)
    round_in_circles = after(*(text for _, text in replies[:6]))[:-1]
    assert RULE.is_enough("track_package", [*round_in_circles, asks[-1]], known, MATTERS)


def test_answers_that_were_written_for_what_was_asked_are_not_counted() -> None:
    """Who asks four different things about one matter, and gets an answer to each, is not sent to a person."""
    replies = [("track_package", f"Look {number}.") for number in range(4)]
    asks = ["where is it", "how late is it", "who brings it", "and when"]
    known = KnownReplies(replies, ReplyFit({0: ("where",), 1: ("late",), 2: ("who",)}, np.zeros(4, np.bool_), str))
    turns = [
        (Message(Role.USER, ask), Message(Role.ASSISTANT, text)) for ask, (_, text) in zip(asks, replies, strict=True)
    ]
    conversation = [message for turn in turns for message in turn]
    assert not RULE.is_enough("track_package", conversation[:-1], known, MATTERS)
    in_vain = [*after(*(text for _, text in replies[:3]))[:-1], Message(Role.USER, "and when")]
    assert RULE.is_enough("track_package", in_vain, known, MATTERS)


def test_what_answers_the_bot_is_about_what_it_asked() -> None:
    """In words that an author expected, of the topic that was spoken of, and once."""
    replies = [("two_factor", "Does it get through?"), ("two_factor", "Wait a while."), ("payment", "Try again.")]
    conditions = {1: ("bot: get through & no|",), 2: ("bot: get through & no| / failed",)}
    known = KnownReplies(replies, ReplyFit(conditions, np.zeros(3, np.bool_), str))
    asked = [Message(Role.USER, "no code comes"), Message(Role.ASSISTANT, "Does it get through?")]
    assert known.topic_answered([*asked, Message(Role.USER, "No.")]) == "two_factor"
    assert known.topic_answered([*asked, Message(Role.USER, "it failed")]) is None
    assert known.topic_answered([Message(Role.USER, "no")]) is None
    again = [*asked, Message(Role.USER, "no"), Message(Role.ASSISTANT, "Wait a while."), *asked]
    assert known.topic_answered([*again, Message(Role.USER, "no")]) is None
    assert KnownReplies(replies).topic_answered([*asked, Message(Role.USER, "no")]) is None


@pytest.mark.parametrize(
    ("asks", "is_the_same"),
    [
        (
            ("the voucher is refused", "my voucher was refused", "voucher refused!!", "the voucher is refused again"),
            True,
        ),
        (("优惠券用不了", "优惠券还是用不了", "优惠券就是用不了", "优惠券不能用"), True),
        (("how do i return it", "how do i print it", "how do i pack it", "how do i send it"), False),
        (("没有", "没有", "没有", "没有"), False),
        (("退货怎么寄", "运费谁出", "几天到账", "要原包装吗"), False),
    ],
)
def test_who_says_the_same_again_was_answered_in_vain(asks: tuple[str, ...], is_the_same: bool) -> None:
    """However well each reply was written for it; and he answers nothing that the bot asked."""
    replies = [("track_package", f"Look {number}.") for number in range(4)]
    written = {number: ("voucher / 优惠券 / how / 退货 / 运费 / 到账 / 包装 / 没有",) for number in range(4)}
    is_chinese = np.full(4, not asks[0].isascii())
    known = KnownReplies(replies, ReplyFit(written, is_chinese, str))
    turns = [
        (Message(Role.USER, ask), Message(Role.ASSISTANT, text)) for ask, (_, text) in zip(asks, replies, strict=True)
    ]
    conversation = [message for turn in turns for message in turn][:-1]
    assert RULE.is_enough("track_package", conversation, known, MATTERS) is is_the_same
    answering = {3: ("bot: look & voucher / 优惠券 / how / 包装 / 没有",)}
    known = KnownReplies(replies, ReplyFit(answering, is_chinese, str))
    assert (known.topic_answered(conversation) is None) is is_the_same
