"""Masking of conversations: whose words, whose data."""

import time
from pathlib import Path

import pytest

from model_store.contract.control_tokens import EOS_ID, PLACEHOLDER_IDS, USER_ID, banned_unless_named
from model_store.contract.conversation import Message, Role
from model_store.contract.entities import EntityMasker
from model_store.contract.facts import FactSheet
from service.app import DEFAULT_FACTS_FILE
from service.chat.masking import ConversationMasker, load_entity_patterns
from service.errors import InvalidDataFileError


@pytest.fixture(scope="module")
def masker() -> ConversationMasker:
    """The masker with the facts that ship."""
    return ConversationMasker(FactSheet.load(DEFAULT_FACTS_FILE), EntityMasker())


def test_one_value_is_one_placeholder_through_the_whole_conversation(masker: ConversationMasker) -> None:
    """Two orders are told apart, in the order in which they were named, in replies too."""
    masked = masker.mask(
        [
            Message(Role.USER, "Order AB-12345 and order CD-67890, my name is Jane"),
            Message(Role.ASSISTANT, "Dear Jane, CD-67890 has left. Call +44 20 7946 0123."),
            Message(Role.USER, "And AB-12345?"),
        ]
    )
    assert [message.content for message in masked.messages] == [
        "Order <ORDER_ID> and order <ORDER_ID_2>, my name is <NAME>",
        "Dear <NAME>, <ORDER_ID_2> has left. Call <SUPPORT_PHONE>.",
        "And <ORDER_ID>?",
    ]
    assert masker.resolver(masked)("<ORDER_ID_2>") == "CD-67890"


def test_values_of_an_earlier_turn_are_told_apart_and_cannot_be_named(masker: ConversationMasker) -> None:
    """History is masked already and its values are gone: a new number is another one, and the old one is banned."""
    history = (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Where is <ORDER_ID>?"))
    history += (Message(Role.ASSISTANT, "<ORDER_ID> has left. We answer <SUPPORT_HOURS>."),)
    masked = masker.mask([Message(Role.USER, "And order CD-67890? <ORDER_ID>")], history)
    assert masked.messages == (*history, Message(Role.USER, "And order <ORDER_ID_2>? ‹ORDER_ID›"))
    banned = banned_unless_named(masked.vault.placeholders)
    assert PLACEHOLDER_IDS["<ORDER_ID>"] in banned
    assert PLACEHOLDER_IDS["<ORDER_ID_2>"] not in banned
    assert masker.resolver(masked)("<ORDER_ID_2>") == "CD-67890"


def test_a_new_system_message_takes_the_place_of_the_old_one(masker: ConversationMasker) -> None:
    """There is one at most, and it is in front."""
    history = (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hello"), Message(Role.ASSISTANT, "Hello!"))
    new = [Message(Role.SYSTEM, "Be short."), Message(Role.USER, "Thanks")]
    assert masker.mask(new, history).messages == (new[0], *history[1:], new[1])


def test_numbers_of_a_long_conversation_run_out(masker: ConversationMasker) -> None:
    """A seventh value of a type is hidden rather than mistaken for another."""
    history = [Message(Role.USER, f"<ORDER_ID{suffix}>") for suffix in ("", "_2", "_3", "_4", "_5", "_6")]
    assert masker.mask([Message(Role.USER, "order CD-67890")], history).messages[-1].content == "order <REDACTED>"


def test_nobody_can_type_a_placeholder(masker: ConversationMasker) -> None:
    """Neither as a user nor in a reply that a client made up."""
    masked = masker.mask(
        [
            Message(Role.USER, "<EMAIL> <BRAND>"),
            Message(Role.ASSISTANT, "<ORDER_ID> at Lumen & Loom"),
            Message(Role.USER, "x"),
        ]
    )
    assert masked.messages[0].content == "‹EMAIL› ‹BRAND›"
    assert masked.messages[1].content == "‹ORDER_ID› at <BRAND>"


def test_the_last_message_decides_the_language(masker: ConversationMasker) -> None:
    """English before, Chinese now: facts come in Chinese."""
    masked = masker.mask([Message(Role.USER, "Hello"), Message(Role.USER, "几点上班")])
    assert masked.language == "zh"
    assert masker.resolver(masked)("<REFUND_TIME>") == "5到7个工作日"


def test_only_named_entities_may_be_sampled(masker: ConversationMasker) -> None:
    """Structure and unnamed entities are banned; the end, facts and what the customer named are not."""
    banned = banned_unless_named(masker.mask([Message(Role.USER, "order AB-12345")]).vault.placeholders)
    assert {
        USER_ID,
        PLACEHOLDER_IDS["<EMAIL>"],
        PLACEHOLDER_IDS["<ORDER_ID_2>"],
        PLACEHOLDER_IDS["<REDACTED>"],
    } <= banned
    assert not banned & {EOS_ID, PLACEHOLDER_IDS["<ORDER_ID>"], PLACEHOLDER_IDS["<BRAND>"]}


def test_remarks_share_their_placeholders(masker: ConversationMasker) -> None:
    """The correction is numbered first: it is what training reads beside the prompt."""
    correction, comment = masker.mask_remarks("Order AB-12345 is here.", "I said order CD-67890, not AB-12345")
    assert correction == "Order <ORDER_ID> is here."
    assert comment == "I said order <ORDER_ID_2>, not <ORDER_ID>"
    assert masker.mask_remarks(None, None) == (None, None)


def test_a_reviewers_correction_keeps_the_placeholders_that_were_read(masker: ConversationMasker) -> None:
    """Those and no others; facts and new values are masked around them, and a new value gets another number."""
    kept = frozenset({"<ORDER_ID>", "<SUPPORT_HOURS>"})
    written = "Order <ORDER_ID>, not AB-12345 or <NAME>: call +44 20 7946 0123 <SUPPORT_HOURS>."
    correction, comment = masker.mask_remarks(written, "<ORDER_ID>", kept)
    assert correction == "Order <ORDER_ID>, not <ORDER_ID_2> or ‹NAME›: call <SUPPORT_PHONE> <SUPPORT_HOURS>."
    assert comment == "‹ORDER_ID›"
    assert masker.mask_remarks("请拨打<SUPPORT_HOURS>周一至周五 9:00–18:00", None, kept)[0] == (
        "请拨打<SUPPORT_HOURS><SUPPORT_HOURS>"
    )
    assert masker.mask_remarks(written, None)[0] == (
        "Order ‹ORDER_ID›, not <ORDER_ID> or ‹NAME›: call <SUPPORT_PHONE> ‹SUPPORT_HOURS›."
    )


def test_operator_patterns_are_read_and_win(tmp_path: Path) -> None:
    """A shop's own format beats the general ones."""
    path = tmp_path / "patterns.yaml"
    path.write_text("- {type: TRACKING_ID, regex: 'ORD\\d+'}\n")
    masker = ConversationMasker(FactSheet({}), EntityMasker(load_entity_patterns(path)))
    assert masker.mask([Message(Role.USER, "order ORD12345")]).messages[0].content == "order <TRACKING_ID>"


@pytest.mark.parametrize("text", ["- {type: NOPE, regex: x}", "- {type: EMAIL, regex: '('}", "- 7", "a: [", "5"])
def test_a_broken_patterns_file_is_named(tmp_path: Path, text: str) -> None:
    """Unknown types, broken expressions, and what is no list."""
    path = tmp_path / "patterns.yaml"
    path.write_text(text)
    with pytest.raises(InvalidDataFileError, match=r"patterns\.yaml"):
        load_entity_patterns(path)


@pytest.mark.parametrize(
    "text",
    [
        "tracking" + " " * 7990,
        ("order" + " " * 50) * 145,
        "x" * 8000,
        "a." * 4000,
        "1-" * 4000,
        "postcode" + " " * 7990,
    ],
    ids=["white space", "many words", "one word", "dots", "digits", "postcode"],
)
def test_hostile_text_is_masked_in_time(masker: ConversationMasker, text: str) -> None:
    """The longest message allowed must not hold the process: no pattern may take more than quadratic time."""
    started_at = time.process_time()
    masker.mask([Message(Role.USER, text)])
    assert time.process_time() - started_at < 3
