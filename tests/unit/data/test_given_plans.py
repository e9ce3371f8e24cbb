"""Conversations whose reply follows its plan and not the message: so that the wording obeys the plan."""

import pytest

from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from training.data.domain_pack import DomainPack, load_pack
from training.data.generator import ConversationGenerator
from training.data.windows import PLAN, SPEAKER, PlannedConversation, cut_windows


@pytest.fixture(scope="module")
def pack() -> DomainPack:
    """The shop."""
    return load_pack("shop")


def test_the_reply_belongs_to_the_plan_and_most_messages_do_not(pack: DomainPack) -> None:
    """The wording is one of the plan's own replies; the message before it asks for something else."""
    generator = ConversationGenerator(pack, seed=5)
    drawn = [generator.draw_with_another_plan() for _ in range(60)]
    asks = {(intent.name, intent.language): intent.asks for intent in pack.intents}
    for conversation in drawn:
        intent = pack.intent(conversation.intent, conversation.language)
        assert intent is not None and conversation.messages[-1].content in intent.replies
    own = [c for c in drawn if c.messages[-2].content in asks[c.intent, c.language]]
    assert len(own) < len(drawn) / 10


def test_a_given_plan_is_no_target_and_its_wording_is(pack: DomainPack) -> None:
    """The plan's token stands in the window, unlearned; the reply after it is learned as ever."""
    conversation = ConversationGenerator(pack, seed=5).draw_with_another_plan()
    tokenizer = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    windows = [
        cut_windows(
            [PlannedConversation(conversation.messages, conversation.plan, plan_is_given=given)], tokenizer, 256
        )
        for given in (False, True)
    ]
    assert (windows[0].token_ids == windows[1].token_ids).all()
    assert (windows[0].kinds == PLAN).sum() == 1 and (windows[1].kinds == PLAN).sum() == 0
    assert (windows[0].kinds == SPEAKER).sum() == (windows[1].kinds == SPEAKER).sum() > 0
