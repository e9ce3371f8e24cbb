"""The card desk's pack: a bank's questions, and the files that an operator serves it with."""

import itertools
import random

import pytest
import yaml

from model_store.contract.conversation import Role, detect_language
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.facts import FactSheet
from model_store.contract.placeholders import FACT_PLACEHOLDERS, split_masked
from service.chat.plan_rules import PlanRules
from training.data.domain_pack import PACKS_DIRECTORY, entities_in, fill_slots, load_pack
from training.data.generator import ConversationGenerator

DIRECTORY = PACKS_DIRECTORY / "card_desk"
PACK = load_pack("card_desk")


def test_it_speaks_both_languages_about_the_same_cards() -> None:
    """Every intent in English and in Chinese, each written in its language, with flows in both that branch."""
    names = {language: {i.name for i in PACK.intents if i.language == language} for language in ("en", "zh")}
    assert names["en"] == names["zh"] and len(names["en"]) == 20
    for intent in PACK.intents:
        assert {detect_language(reply) for reply in intent.replies} == {intent.language}, intent.name
    for language in ("en", "zh"):
        flows = [flow for flow in PACK.flows if flow.language == language]
        assert len(flows) >= 10 and any(len(flow.paths) > 1 for flow in flows)


def test_nothing_in_its_conversations_is_the_shop_s() -> None:
    """Drawn conversations carry the pack's plans and system messages, and never an order or a parcel."""
    generator = ConversationGenerator(PACK, 5)
    drawn = list(itertools.islice(generator, 6000))
    assert {conversation.plan for conversation in drawn} == set(PACK.plans)
    texts = [message.content for conversation in drawn for message in conversation.messages]
    assert not {"ORDER_ID", "TRACKING_ID"} & entities_in(" ".join(texts))
    systems = {m.content for conversation in drawn for m in conversation.messages if m.role is Role.SYSTEM}
    assert systems == {text for texts in PACK.phrases.system_messages.values() for text in texts}


def test_asks_are_as_the_service_would_mask_them() -> None:
    """Masking an ask changes nothing: training reads what serving reads."""
    masker, generator = EntityMasker(), random.Random(1)
    for intent in PACK.intents:
        for ask in (*intent.asks, *intent.held_out_asks):
            text = fill_slots(ask, PACK.slots[intent.language], generator)
            assert masker.mask_keeping_placeholders(text, EntityVault()) == text


def test_a_reply_to_a_card_number_does_not_repeat_it() -> None:
    """Customers do paste their card's number; no reply says it again."""
    assert any("CARD" in intent.replies_given for intent in PACK.intents)
    assert not any("CARD" in entities_in(reply) for intent in PACK.intents for reply in intent.replies)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_example_s_facts_fill_in_every_reply(language: str) -> None:
    """`facts.yaml` gives each fact that a reply names: no reply falls back on a neutral phrase."""
    facts = yaml.safe_load((DIRECTORY / "facts.yaml").read_text(encoding="utf-8"))
    assert FactSheet.load(DIRECTORY / "facts.yaml")
    replies = [reply for intent in PACK.intents if intent.language == language for reply in intent.replies]
    named = {piece.text for reply in replies for piece in split_masked(reply)} & set(FACT_PLACEHOLDERS)
    assert {name.strip("<>") for name in named} <= facts.keys()


def test_the_example_s_rules_ask_back_about_cards() -> None:
    """`plan_rules.yaml` loads in the service, and its topics are intents of the pack."""
    rules = yaml.safe_load((DIRECTORY / "plan_rules.yaml").read_text(encoding="utf-8"))
    assert PlanRules.load(DIRECTORY / "plan_rules.yaml").unknown_plans(dict.fromkeys(PACK.plans, 0)) == ()
    intents = {intent.name for intent in PACK.intents}
    assert rules["topics"].keys() == intents - {"greeting", "thanks", "out_of_scope"}
