"""What no reply may hold: who may be answered in Chinese, and what that leaves to say."""

import pytest

from model_store.contract.control_tokens import PLACEHOLDER_IDS
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.sampling import banned_in_reply, rival_plans
from model_store.store import DEFAULT_BUNDLE
from training.data.domain_pack import load_pack

ENGLISH = (Message(Role.USER, "where is <ORDER_ID>"), Message(Role.ASSISTANT, "您好"), Message(Role.USER, "hello?"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The vocabulary that ships."""
    return Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")


def test_who_writes_no_chinese_is_answered_without(tokenizer: Tokenizer) -> None:
    """Whatever the bot said before; one Chinese character of the customer's, however early, allows it."""
    banned = banned_in_reply(ENGLISH, {"<ORDER_ID>"}, tokenizer)
    assert banned >= tokenizer.han_ids and PLACEHOLDER_IDS["<ORDER_ID>"] not in banned
    mixed = (Message(Role.USER, "在吗"), Message(Role.ASSISTANT, "在"), Message(Role.USER, "<ORDER_ID>"))
    assert tokenizer.han_ids.isdisjoint(banned_in_reply(mixed, (), tokenizer))
    assert tokenizer.han_ids.isdisjoint(banned_in_reply((Message(Role.USER, "？"),), (), tokenizer))
    assert banned_in_reply((Message(Role.USER, "?"),), (), tokenizer) >= tokenizer.han_ids


def test_the_ban_leaves_every_english_reply_and_no_chinese_one(tokenizer: Tokenizer) -> None:
    """All authored replies of the shop: none in English holds a banned token, every one in Chinese does."""
    for intent in load_pack("shop").intents:
        holds = [not tokenizer.han_ids.isdisjoint(tokenizer.encode(reply)) for reply in intent.replies]
        assert set(holds) == {intent.language == "zh"}


def test_a_confused_network_s_plans_are_weighed_among_themselves() -> None:
    """Words that it thinks of first open no reply; where every token is a plan, what is not ranked counts as well."""
    assert rival_plans([("a", 0.25), (None, 0.5), ("b", 0.125), (None, 0.1)]) == (
        ("a", pytest.approx(2 / 3)),
        ("b", pytest.approx(1 / 3)),
    )
    assert rival_plans([("a", 0.25), ("b", 0.125)]) == (("a", 0.25), ("b", 0.125))
    assert rival_plans([(None, 1.0)]) == () == rival_plans([])
