"""The authored pack and the conversations that are drawn from it."""

import itertools
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
    """No drawn reply uses an entity that nobody has mentioned before."""
    for conversation in itertools.islice(ConversationGenerator(PACK, 5), 3000):
        said = ""
        for message in conversation.messages:
            if message.role is Role.ASSISTANT:
                assert entities_in(message.content) <= entities_in(said), conversation
            said += " " + message.content
        assert conversation.messages[-1].role is Role.ASSISTANT and "{" not in said


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
