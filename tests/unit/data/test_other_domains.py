"""Another domain is another folder: packs that share nothing with the shop."""

import itertools
from pathlib import Path

import pytest

from training.data import domain_pack
from training.data.domain_pack import DomainPack, Phrases, load_pack
from training.data.generator import ConversationGenerator
from training.errors import InvalidDomainPackError

ONE_INTENT = "- {intent: opening_hours, asks: [when are you open], replies: {warm: ['We are open <STORE_HOURS>.']}}\n"
ASKS_FOR_A_DATE = (
    "- intent: book_table\n  asks: [a table please]\n  replies: {brief: ['Book at <WEBSITE>.']}\n"
    "  replies_given: {DATE: ['For <DATE>, book at <WEBSITE>.']}\n  replies_missing: {DATE: ['For which day?']}\n"
)


@pytest.fixture
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path)
    return tmp_path


def write_pack(root: Path, text: str, language: str = "en", **files: str) -> Path:
    (root / language).mkdir(parents=True)
    (root / language / "a.yaml").write_text(text, encoding="utf-8")
    for name, content in files.items():
        (root / f"{name}.yaml").write_text(content, encoding="utf-8")
    return root


def drawn(pack: DomainPack, count: int = 400) -> list[str]:
    return [
        message.content
        for conversation in itertools.islice(ConversationGenerator(pack, 1), count)
        for message in conversation.messages
    ]


def test_a_pack_needs_neither_slots_nor_small_talk(packs: Path) -> None:
    """One intent in one language is a pack: no thanks, nothing out of scope, no flows, no system message."""
    write_pack(packs / "bakery", ONE_INTENT)
    pack = load_pack("bakery")
    assert pack.languages == ("en",) and pack.plans == ("opening_hours",) and pack.phrases == Phrases()
    assert "We are open <STORE_HOURS>." in drawn(pack)


def test_a_pack_may_lie_anywhere(packs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An absolute path names a pack as well as a folder's name does."""
    root = write_pack(tmp_path_factory.mktemp("elsewhere") / "bakery", ONE_INTENT)
    pack = load_pack(str(root))
    assert (pack.name, pack.plans) == ("bakery", ("opening_hours",))


def test_customers_give_details_in_the_words_of_the_pack(packs: Path) -> None:
    """What `phrases.yaml` says is drawn; without it a detail is given in words that fit any."""
    phrases = (
        "system_messages: {en: [You take bookings.]}\n"
        "given_along: {DATE: {en: [', on <DATE>']}}\ngiven_later: {DATE: {en: [the <DATE> it is]}}\n"
    )
    write_pack(packs / "silent", ASKS_FOR_A_DATE)
    write_pack(packs / "wordy", ASKS_FOR_A_DATE, phrases=phrases)
    silent, wordy = (" | ".join(drawn(load_pack(name))).lower() for name in ("silent", "wordy"))
    assert "here you go: <date>" in silent and ", on <date>" not in silent
    for text in ("you take bookings.", "a table please, on <date>", "the <date> it is"):
        assert text in wordy
    assert "here you go" not in wordy


@pytest.mark.parametrize(
    ("phrases", "problem"),
    [
        ("given_later: {DATE: {en: [tomorrow]}}", "does not give <DATE>"),
        ("system_messages: {en: ['You serve <NOBODY>.']}", "unknown placeholders"),
        ("tone_messages: {gruff: {en: [Be gruff.]}}", "'gruff' is none of warm, brief, formal"),
        ("greetings: {en: [hi]}", "greetings"),
    ],
)
def test_phrases_that_break_the_rules_are_refused(packs: Path, phrases: str, problem: str) -> None:
    """The error names what is wrong."""
    write_pack(packs / "broken", ASKS_FOR_A_DATE, phrases=phrases)
    with pytest.raises(InvalidDomainPackError, match=problem):
        load_pack("broken")


def test_a_language_that_no_reply_can_be_filled_in_is_refused(packs: Path) -> None:
    """Facts are English and Chinese; a folder of another name is a mistake."""
    write_pack(packs / "other", ONE_INTENT, language="tlh")
    with pytest.raises(InvalidDomainPackError, match="folders are en, zh"):
        load_pack("other")


def test_an_intent_that_can_only_answer_what_was_given_is_refused(packs: Path) -> None:
    """Some reply must fit a customer who gave nothing."""
    write_pack(packs / "halved", "- {intent: x, asks: [hi], replies: {}, replies_given: {DATE: ['<DATE>, fine.']}}\n")
    with pytest.raises(InvalidDomainPackError, match="needs asks, and replies in one of the tones"):
        load_pack("halved")
