"""The reply check: what is unsafe is never shown, and what authors wrote is never waited for."""

import pytest

from model_store.contract.safety.reply_check import AuthoredSentences, ReplyCheck, joint_before
from model_store.contract.safety.rules import SafetyRules
from model_store.contract.safety.rules_file import load_safety_rules
from model_store.contract.wording.unsafe import unsafe_rules
from training.data.domain_pack import load_pack

RULES = load_safety_rules()
AUTHORED = AuthoredSentences(["Sorry about that. We will look into it.", "很抱歉。我们会尽快处理。"])


def shown(text: str, rules: SafetyRules = RULES) -> tuple[list[str], ReplyCheck]:
    """What is shown after each character, and at the end."""
    check = ReplyCheck(rules, AUTHORED)
    return [*(check.feed(character) for character in text), check.flush()], check


def test_what_an_author_wrote_is_shown_letter_by_letter() -> None:
    """Nobody waits for the end of a sentence."""
    for text in ("Sorry about that. We will look into it.", "很抱歉。我们会尽快处理。"):
        pieces, check = shown(text)
        assert "".join(pieces) == text and check.finding is None
        assert [piece.strip() for piece in pieces if piece.strip()] == [*text.replace(" ", "")]


@pytest.mark.parametrize(
    ("text", "before", "rule"),
    [
        ("Sorry about that. I have refunded your order. Bye.", "Sorry about that.", "unbacked_reply"),
        ("You are stupid", "", "rude_reply"),
        ("很抱歉。已经为您退款了。再见。", "很抱歉。", "unbacked_reply"),
        ("很抱歉。请提供您的密码。", "很抱歉。", "secret_reply"),
    ],
    ids=["claim", "insult", "claim in Chinese", "password in Chinese"],
)
def test_of_an_unsafe_sentence_nothing_is_shown(text: str, before: str, rule: str) -> None:
    """What came before it is; what comes behind it is not."""
    pieces, check = shown(text)
    assert "".join(pieces) == before
    assert check.finding is not None and check.finding.rule.name == rule
    assert check.finding.found_by == "reply"


def test_an_authored_beginning_that_turns_unsafe_stops_where_it_leaves_the_author() -> None:
    """Two harmless words are out by then; the reply goes on behind three dots."""
    pieces, check = shown("Sorry about that. We will sue you. Bye.")
    assert "".join(pieces) == "Sorry about that. We will "
    assert check.is_inside_sentence and check.withheld == " We will sue you."
    assert joint_before("We will ", "en", is_inside_sentence=True) == "… "


def test_without_rules_for_replies_nothing_is_held_back() -> None:
    """A shop may leave the check out."""
    pieces, _ = shown("I have refunded it", SafetyRules(()))
    assert pieces == [*"I have refunded it", ""]


def test_a_text_is_judged_alike_by_sentences_and_whole() -> None:
    """Everything that authors wrote, good and bad: training's verdict on the whole reply is the service's."""
    pack = load_pack("shop")
    bad = [text for intent in pack.intents for text, _ in intent.bad_replies]
    texts = [reply for intent in pack.intents for reply in intent.replies][::7] + bad
    for text in texts:
        check = ReplyCheck(RULES, AuthoredSentences())
        check.feed(text)
        check.flush()
        assert (check.finding is not None) == bool(unsafe_rules(text)), text
