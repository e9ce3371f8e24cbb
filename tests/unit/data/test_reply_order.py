"""Which authored replies follow others."""

from dataclasses import replace
from pathlib import Path

import pytest

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Role
from model_store.contract.tokenizer import Tokenizer
from model_store.replies import AFTER_ANY, AFTER_ITS_PLAN, PERSON_PLAN
from training.data.domain_pack import load_pack
from training.data.fitting.fitting_replies import FittingReplies, FittingReply
from training.data.flows.flow import Flow, FlowTurn
from training.data.flows.reply_order import authored_replies, unknown_assumptions

PACK = load_pack("shop")
SHIPPED = Path(__file__).parents[3] / "model_store" / "default" / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(SHIPPED)


def test_what_a_flow_says_later_follows_what_it_said_before(tokenizer: Tokenizer) -> None:
    """Its first reply fits anywhere, as does one that an intent has as well."""
    intent = PACK.intents[0]
    answers = [("How are you paying?",), ("Then look there.", intent.replies[0]), ("Bye for now.",)]
    steps = [
        turn
        for wordings in answers
        for turn in (FlowTurn(Role.USER, ("hm",)), FlowTurn(Role.ASSISTANT, wordings, intent.name))
    ]
    pack = replace(
        PACK,
        intents=(replace(intent, later_replies=(), fitting=FittingReplies()),),
        flows=(Flow("f", "en", (intent.name,), tuple(steps)),),
    )
    authored = authored_replies(replace(pack, help_intents=()), tokenizer)
    texts = [tokenizer.decode(token_ids) for token_ids in authored.token_ids]
    pairs = {(texts[reply], texts[before]) for reply, before in authored.order}
    assert pairs == {
        ("Then look there.", "How are you paying?"),
        ("Bye for now.", "Then look there."),
        ("Bye for now.", intent.replies[0]),
    }


def test_later_replies_follow_any_of_their_plan_and_a_hand_over_follows_anything(tokenizer: Tokenizer) -> None:
    """Each authored reply is there once, from its plan to its end."""
    authored = authored_replies(PACK, tokenizer)
    assert len(set(authored.token_ids)) == len(authored.token_ids)
    follows = {authored.token_ids[reply]: before for reply, before in authored.order if before < 0}
    for intent in PACK.intents:
        for text in intent.later_replies:
            opening = [tokenizer.plans[intent.name]] if intent.name in tokenizer.plans else []
            expected = AFTER_ANY if intent.name == PERSON_PLAN else AFTER_ITS_PLAN
            assert follows[(*opening, *tokenizer.encode(text), EOS_ID)] == expected


def test_every_matter_has_something_to_say_to_those_who_come_back() -> None:
    """Six ways at least; small talk is about nothing that one could come back to."""
    small_talk = {"greeting", "how_are_you", "thanks", "goodbye", "compliment", "acknowledge"}
    for intent in PACK.intents:
        assert len(intent.later_replies) >= 6 or intent.name in small_talk, (intent.language, intent.name)
        assert not set(intent.later_replies) & set(intent.replies)


def test_conditions_are_by_the_numbers_of_their_replies(tokenizer: Tokenizer) -> None:
    """Of new ones and of those that there were; one for whom something must have been said before follows it."""
    intent = next(each for each in PACK.intents if each.language == "en" and each.name in tokenizer.plans)
    said = (
        FittingReply("It costs <SHIPPING_FEE>.", ("cost",)),
        FittingReply("Later, then.", (), is_later=True),
    )
    fitting = FittingReplies({intent.replies[0]: ("lost",), intent.replies[1]: ()}, said)
    pack = replace(PACK, intents=(replace(intent, fitting=fitting),), flows=(), help_intents=())
    authored = authored_replies(pack, tokenizer)
    texts = [tokenizer.decode(token_ids) for token_ids in authored.token_ids]
    conditions = {texts[number]: when for number, when in authored.conditions.items()}
    assert conditions == {intent.replies[0]: ("lost",), intent.replies[1]: (), "It costs <SHIPPING_FEE>.": ("cost",)}
    assert (texts.index("Later, then."), AFTER_ITS_PLAN) in authored.order
    assert all(reply != texts.index("It costs <SHIPPING_FEE>.") for reply, _ in authored.order)


def test_a_condition_for_a_reply_that_nobody_says_is_found() -> None:
    """An author has changed the reply and not its condition."""
    intent = PACK.intents[0]
    known = replace(intent, fitting=FittingReplies({intent.replies[0]: ()}))
    other = replace(intent, fitting=FittingReplies({"Nobody says this.": ()}))
    assert unknown_assumptions(replace(PACK, intents=(known,))) == []
    assert [text for _, text in unknown_assumptions(replace(PACK, intents=(other,)))] == ["Nobody says this."]
