"""A policy as the customers' bot: sure or not, in long conversations, and with what a conversation has named."""

from dataclasses import replace

import pytest

from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from tests.unit.reformer.tiny_policy import tiny_policy
from training.data.domain_pack import load_pack, user_message
from training.evaluation.dialogues.asking_back import AskingBack
from training.evaluation.dialogues.bot import PolicyBot
from training.evaluation.held_out import HeldOutPrompt
from training.evaluation.judge import pack_judge
from training.evaluation.subject import Subject

ALWAYS_SURE = replace(AskingBack.load(), min_confidence=0.0)
NEVER_SURE = replace(AskingBack.load(), min_confidence=1.1)
ASKED = [(user_message("where is order <ORDER_ID>"),), (user_message("退款呢"),), (user_message("thanks"),)]


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A tiny policy with the vocabulary that ships."""
    tokenizer = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    policy = tiny_policy(max_positions=384, vocab_size=tokenizer.vocab_size)
    return Subject(policy, tokenizer, load_pack("shop"), pack_judge("shop"))


def test_a_bot_that_is_sure_says_what_the_policy_says(subject: Subject) -> None:
    """The plan and the beginning of the greedy reply to each conversation, whatever else is answered with it."""
    prompts = [HeldOutPrompt("", "", "", messages, ()) for messages in ASKED]
    for reply, sampled in zip(PolicyBot(subject, ALWAYS_SURE).answer(ASKED), subject.answer(prompts), strict=True):
        assert reply.fixed is None and reply.plan == subject.plan_of(sampled)
        assert reply.text.startswith(sampled.text[:40]) and 0 <= reply.confidence <= 1


def test_a_bot_that_is_not_sure_asks_in_the_customers_language(subject: Subject) -> None:
    """And hands over when it has asked before."""
    bot = PolicyBot(subject, NEVER_SURE)
    replies = bot.answer(ASKED)
    assert all(reply.fixed is not None and not reply.fixed.hands_over for reply in replies)
    assert replies[1].text.startswith(("我想确认", "这句我没太明白"))
    answered = zip(ASKED, replies, strict=True)
    again = [(*messages, Message(Role.ASSISTANT, reply.text), *messages) for messages, reply in answered]
    assert all(reply.fixed is not None and reply.fixed.hands_over for reply in bot.answer(again))


def test_a_long_conversation_is_cut_and_what_it_named_may_still_be_named(subject: Subject) -> None:
    """The number was given in a turn that the window no longer holds."""
    filler = [
        message
        for number in range(30)
        for message in (
            user_message(f"And another thing about my garden, part {'x' * (number % 5)}"),
            Message(Role.ASSISTANT, "I see, please go on."),
        )
    ]
    named = (user_message("It is <ORDER_ID>."), Message(Role.ASSISTANT, "Thanks."), *filler, *ASKED[2])
    (reply,) = PolicyBot(subject, ALWAYS_SURE).answer([named])
    assert reply.plan in subject.tokenizer.plans and reply.text
