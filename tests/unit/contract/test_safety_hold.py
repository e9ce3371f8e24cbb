"""What a safety rule has begun is not over with the next message."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from model_store.contract.conversation import Message, Role
from model_store.contract.safety.rules import Finding
from model_store.contract.safety.rules_file import load_safety_rules
from model_store.errors import InvalidSafetyRulesError

RULES = load_safety_rules()
BY_NAME = {rule.name: rule for rule in RULES.rules}
UNSURE = {"product_question": 0.5, "return_item": 0.4}


def conversation(*spoken: str) -> list[Message]:
    """A customer's message before and behind each of the bot's."""
    messages = [Message(Role.USER, "my son swallowed a battery")]
    for text in spoken:
        messages += [Message(Role.ASSISTANT, text), Message(Role.USER, "the small round one")]
    return messages


def held(spoken: Sequence[str], probabilities: dict[str, float]) -> Finding | None:
    """What the last message is held by."""
    return RULES.hold(conversation(*spoken), probabilities)


@pytest.mark.parametrize("name", ["emergency", "crisis", "injury"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_message_that_is_about_nothing_else_is_answered_by_the_rule_again(name: str, language: str) -> None:
    """In other words than before, whatever language the first reply was in."""
    rule = BY_NAME[name]
    found = held([rule.replies[language]], UNSURE)
    assert found is not None and found.rule.name == name and found.recorded["safety"]
    assert found.text(language) == rule.again[language] != rule.replies[language]
    assert found.finish_reason == "stop" and found.says_fixed_text(())


@pytest.mark.parametrize(
    ("probabilities", "is_held"),
    [
        ({"return_item": 0.95}, False),
        ({"thanks": 0.9}, False),
        ({"track_package": 0.7}, True),
        ({"out_of_scope": 0.99}, True),
        ({"product_question": 0.99}, True),
        ({}, True),
    ],
)
def test_who_surely_speaks_of_something_else_is_answered(probabilities: dict[str, float], is_held: bool) -> None:
    """A return, thanks; not what sounds like a question about goods, or like nothing that a shop knows."""
    assert (held([BY_NAME["emergency"].replies["en"]], probabilities) is not None) is is_held


def test_a_rule_speaks_again_four_times_at_most() -> None:
    """Who is not understood must not hear the same for ever."""
    first, again = BY_NAME["emergency"].replies["en"], BY_NAME["emergency"].again["en"]
    assert held([first, again, again, again], UNSURE) is not None
    assert held([first, again, again, again, again], UNSURE) is None
    assert held([first, "Your parcel is at <TRACKING_PAGE>."], UNSURE) is None


def test_a_first_message_and_rules_without_more_words_hold_nothing() -> None:
    """What refuses an injection has no second thoughts about the next question."""
    assert held([], UNSURE) is None and held(["Hello!"], UNSURE) is None
    assert not BY_NAME["prompt_injection"].again
    assert held([BY_NAME["prompt_injection"].replies["en"]], UNSURE) is None


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{rule: x, patterns: [a], replies: {en: a, zh: b}, again: {en: a}}", "again"),
        ("{rule: x, patterns: [a], replies: {en: a, zh: b}, again: {en: <NOT_A_FACT>, zh: b}}", "<NOT_A_FACT>"),
        (
            "{rule: x, outcome: soften, plan: p, patterns: [a], replies: {en: a, zh: b}, again: {en: a, zh: b}}",
            "a softened reply is the model's",
        ),
    ],
)
def test_words_to_say_again_are_checked_like_the_first(tmp_path: Path, entry: str, words: str) -> None:
    """In both languages, with facts only, and not where the model has the word."""
    path = tmp_path / "rules.yaml"
    path.write_text(f"- {entry}\n", encoding="utf-8")
    with pytest.raises(InvalidSafetyRulesError, match=words):
        load_safety_rules(path)
