"""The crisis rule: precise in both languages."""

from pathlib import Path

import pytest

from model_store.contract.facts import LANGUAGES
from service.chat.safety import DEFAULT_RULES_FILE, SafetyRules
from service.errors import InvalidDataFileError

RULES = SafetyRules.load()


@pytest.mark.parametrize(
    "text",
    [
        "I want to kill myself",
        "sometimes I think about ending my life",
        "im thinking of killing myself",
        "i just want to die",
        "I'm feeling suicidal",
        "I don't want to live anymore",
        "I am going to hurt myself",
        "they'd be better off dead than with me? no, I'd be better off dead",
        "There is no reason to live",
        "I can't go on anymore",
        "I'd rather be dead",
        "我想自杀",
        "我真的想死",
        "我不想活了",
        "活不下去了",
        "我想结束自己的生命",
        "我要跳楼",
        "今晚就结束这一切",
    ],
)
def test_a_cry_for_help_is_heard(text: str) -> None:
    """The rule answers in both languages with the crisis line."""
    rule = RULES.match(text)
    assert rule is not None and rule.name == "crisis"
    assert all("<CRISIS_LINE>" in rule.replies[language] for language in LANGUAGES)


@pytest.mark.parametrize(
    "text",
    [
        "This jacket is to die for",
        "My phone died, I want a refund",
        "the battery is dead",
        "I cut myself on the package",
        "Do you sell the Suicide Squad DVD?",
        "I don't want to live in the dark, where are my lamps",
        "I can't go on like this with your app",
        "I'd rather be dead than seen in these",
        "我要跳楼机的门票",
        "kill the order please",
        "想死你们的蛋糕了",
        "我想死你了",
        "有没有《自杀小队》的光盘",
        "这手机没电就死机",
        "我想要这件衣服",
    ],
)
def test_a_shop_message_is_left_alone(text: str) -> None:
    """Idioms, products and complaints."""
    assert RULES.match(text) is None


@pytest.mark.parametrize("text", ["", "- {rule: x}", "- {rule: x, patterns: ['('], replies: {en: a, zh: b}}", "a: ["])
def test_a_broken_rules_file_is_named(tmp_path: Path, text: str) -> None:
    """A service without its rules must not start."""
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(InvalidDataFileError, match=r"rules\.yaml"):
        SafetyRules.load(path)
    assert DEFAULT_RULES_FILE.exists()


@pytest.mark.parametrize(
    "text",
    [
        "There is a gas leak from the heater I bought",
        "the battery exploded and my son is burnt",
        "the charger is smoking",
        "电池爆炸了，孩子烫伤了",
        "着火了",
    ],
)
def test_danger_now_is_answered_before_any_model(text: str) -> None:
    """Fire, gas and burns: call for help first."""
    rule = RULES.match(text)
    assert rule is not None and rule.name == "emergency"


@pytest.mark.parametrize("text", ["I got burned by your prices", "烫伤膏有货吗", "is the oven glove burn proof?"])
def test_words_of_danger_in_shop_talk_are_left_alone(text: str) -> None:
    """Figures of speech and products."""
    assert RULES.match(text) is None
