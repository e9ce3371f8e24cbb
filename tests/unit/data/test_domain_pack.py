"""The authored pack and the conversations that are drawn from it."""

import itertools
import re
from pathlib import Path

import pytest

from model_store.contract.conversation import Role, detect_language
from training.data import domain_pack
from training.data.domain_pack import entities_in, held_out_prompts, load_pack
from training.data.generator import ConversationGenerator
from training.errors import DataNotFoundError, InvalidDomainPackError

PACK = load_pack("shop")


def drawn(count: int, seed: int = 3) -> list[tuple[str, ...]]:
    generator = ConversationGenerator(PACK, seed)
    return [tuple(message.content for message in c.messages) for c in itertools.islice(generator, count)]


def test_the_shop_speaks_both_languages_about_the_same_intents() -> None:
    """Every intent exists in English and in Chinese, with asks, held-out asks and replies in each tone."""
    names = {language: {i.name for i in PACK.intents if i.language == language} for language in ("en", "zh")}
    assert names["en"] == names["zh"] and len(names["en"]) >= 60
    for intent in PACK.intents:
        assert len(intent.asks) >= 24 and len(intent.held_out_asks) >= 6, intent.name
        assert all(intent.replies_by_tone[tone] for tone in domain_pack.TONES), intent.name


def test_every_intent_is_written_in_its_language() -> None:
    """Replies of the Chinese pack are Chinese, those of the English pack are not."""
    for intent in PACK.intents:
        assert {detect_language(reply) for reply in intent.replies} == {intent.language}, intent.name


def test_held_out_asks_never_enter_training() -> None:
    """No conversation drawn for training holds a held-out ask."""
    held_out = {ask.lower() for _, ask in held_out_prompts(PACK) if len(ask) > 12}
    for conversation in drawn(3000):
        assert not held_out & {text.lower() for text in conversation}


def test_a_seed_gives_the_same_conversations() -> None:
    """The same seed draws the same, another seed draws others."""
    assert drawn(200) == drawn(200) != drawn(200, seed=4)


def test_a_reply_names_only_what_the_customer_gave() -> None:
    """No drawn reply uses an entity that nobody has mentioned before, but for those in a quoted article."""
    for conversation in itertools.islice(ConversationGenerator(PACK, 5), 3000):
        said = ""
        for message in conversation.messages:
            if message.role is Role.ASSISTANT:
                assert entities_in(re.sub("“.*[)）]", "", message.content)) <= entities_in(said), conversation
            said += " " + message.content
        assert conversation.messages[-1].role is Role.ASSISTANT and not re.search(r"{\w+}", said)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [("Within 3 days.", "digit"), ("Your {product} ships.", "slot"), ("Call <NO_SUCH>.", "unknown placeholders")],
)
def test_a_reply_that_breaks_the_rules_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: str, problem: str
) -> None:
    """Digits, slots and unknown placeholders in replies are named with their place."""
    (tmp_path / "own" / "en").mkdir(parents=True)
    (tmp_path / "own" / "slots.yaml").write_text("en: {product: [lamp]}\n")
    (tmp_path / "own" / "en" / "a.yaml").write_text(
        f"- intent: x\n  asks: [hello]\n  held_out_asks: []\n  replies: {{warm: ['{reply}']}}\n"
    )
    monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path)
    with pytest.raises(InvalidDomainPackError, match=problem):
        load_pack("own")
    with pytest.raises(DataNotFoundError):
        load_pack("nowhere")


def test_every_reply_has_a_plan_that_says_what_it_does() -> None:
    """A plan for each intent and each question for a detail; drawn conversations carry them, flows' turns as well."""
    assert {"reset_password", "track_package/ask_order_id", "unsubscribe_newsletter/ask_email"} <= set(PACK.plans)
    assert all(turn.plan in PACK.plans for flow in PACK.flows for turn in flow.turns if turn.role is Role.ASSISTANT)
    generator = ConversationGenerator(PACK, 5)
    assert {generator.draw().plan for _ in range(12_000)} == set(PACK.plans)
    asks = [generator.draw_ask() for _ in range(12_000)]
    assert {ask.plan for ask in asks} == set(PACK.plans)
    assert all(
        ask.messages[-1].role is Role.USER and ask.plan.partition("/")[0] == ask.intent for ask in asks if ask.plan
    )


def test_further_asks_come_from_the_file_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They join the intent's own; a name that no intent has is refused with the file's name."""
    monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path)
    for name in ("good", "bad"):
        (tmp_path / name / "en" / "asks").mkdir(parents=True)
        (tmp_path / name / "slots.yaml").write_text("en: {}\n")
        (tmp_path / name / "en" / "t.yaml").write_text("- {intent: hi, asks: [hi, hey], replies: {warm: [Hello.]}}\n")
    (tmp_path / "good" / "en" / "asks" / "t.yaml").write_text("hi: [hey, good evening]\n")
    (tmp_path / "bad" / "en" / "asks" / "t.yaml").write_text("bye: [so long]\n")
    assert load_pack("good").intents[0].asks == ("hi", "hey", "good evening")
    with pytest.raises(InvalidDomainPackError, match=r"asks/t.yaml names unknown intents .*bye"):
        load_pack("bad")


def test_an_ask_that_is_held_out_is_refused_in_any_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other case and punctuation, and another intent's asks, count as the same ask."""
    monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path)
    (tmp_path / "own" / "en").mkdir(parents=True)
    (tmp_path / "own" / "slots.yaml").write_text("en: {}\n")
    (tmp_path / "own" / "en" / "a.yaml").write_text(
        "- {intent: x, asks: [hello], held_out_asks: ['Good day to you!'], replies: {warm: [Hello.]}}\n"
        "- {intent: y, asks: [good day to you], replies: {warm: [Hello.]}}\n"
    )
    with pytest.raises(InvalidDomainPackError, match="a.yaml x: held-out asks also occur"):
        load_pack("own")


def test_development_asks_are_read_but_never_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie beside `asks/` and belong to their intent; one that training has as well is refused."""
    monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path)
    for name, ask in (("apart", "anybody in?"), ("shared", "HELLO there")):
        (tmp_path / name / "en" / "development_asks").mkdir(parents=True)
        (tmp_path / name / "slots.yaml").write_text("en: {}\n")
        text = "- {intent: x, asks: [hello there, hey], replies: {warm: [Hello.]}}\n"
        (tmp_path / name / "en" / "a.yaml").write_text(text)
        (tmp_path / name / "en" / "development_asks" / "a.yaml").write_text(f"x: ['{ask}']\n")
    pack = load_pack("apart")
    assert pack.intents[0].asks == ("hello there", "hey") and pack.intents[0].development_asks == ("anybody in?",)
    drawn_asks = {ConversationGenerator(pack, seed).draw_ask().messages[-1].content.lower() for seed in range(50)}
    assert not any("anybody" in ask for ask in drawn_asks)
    with pytest.raises(InvalidDomainPackError, match="held-out asks also occur in asks.*HELLO there"):
        load_pack("shared")


def test_an_operator_who_asks_for_a_tone_gets_replies_in_it() -> None:
    """Under a system message that asks for a tone, every reply which the pack has in tones is in that one."""
    asked = PACK.phrases.tone_messages
    wanted = {text: tone for tone, texts in asked.items() for texts in texts.values() for text in texts}
    tone_of = {text: tone for i in PACK.intents for tone, texts in i.replies_by_tone.items() for text in texts}
    replies = []
    for system, *rest in drawn(1500):
        tones = [tone for text, tone in wanted.items() if system.endswith(text)]
        replies += [(tone, tone_of[reply]) for tone in tones[:1] for reply in rest[1::2] if reply in tone_of]
    assert len(replies) > 50 and {wanted for wanted, _ in replies} == set(domain_pack.TONES)
    assert all(wanted == found for wanted, found in replies)
