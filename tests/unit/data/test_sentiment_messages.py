"""Messages by sentiment: what is read, what is refused, and what the pack that ships holds."""

from pathlib import Path

import pytest

from training.data.domain_pack import PACKS_DIRECTORY
from training.data.sentiment.messages import SentimentMessage, SentimentMessages, read_sentiment_messages
from training.errors import InvalidDomainPackError
from training.evaluation.authored.sentiment import count_words, sentiment_table
from training.pack_lint.sentiment_rules import sentiment_problems


def write(directory: Path, name: str, text: str, language: str = "en") -> Path:
    """A file of a pack; gives the pack's folder."""
    (directory / language / "sentiment").mkdir(parents=True, exist_ok=True)
    (directory / language / "sentiment" / name).write_text(text, encoding="utf-8")
    return directory


def test_messages_are_read_by_language_and_sentiment(tmp_path: Path) -> None:
    """What is held out is apart; a pack without such files has none."""
    assert read_sentiment_messages(tmp_path) == SentimentMessages()
    write(tmp_path, "messages.yaml", "negative: [too late]\npositive: [well done, 'it is <ORDER_ID>']\n")
    write(tmp_path, "held_out.yaml", "neutral:\n- 在哪里\n", language="zh")
    found = read_sentiment_messages(tmp_path)
    assert [(one.text, one.sentiment) for one in found.to_learn] == [
        ("too late", "negative"),
        ("well done", "positive"),
        ("it is <ORDER_ID>", "positive"),
    ]
    assert found.held_out == (SentimentMessage("在哪里", "zh", "neutral"),)


@pytest.mark.parametrize(
    ("learned", "held_out", "problem"),
    [
        ("gloomy: [hm]", "{}", "gloomy"),
        ("[hm]", "{}", "not lists of messages"),
        ("negative: [Too late!]", "neutral: [too late]", "twice"),
        ("negative: ['where is {product}']", "{}", "slot"),
    ],
)
def test_a_broken_rule_is_named(tmp_path: Path, learned: str, held_out: str, problem: str) -> None:
    """A message that is learned must not be measured by, in whatever case."""
    write(tmp_path, "messages.yaml", learned)
    write(tmp_path, "held_out.yaml", held_out)
    with pytest.raises(InvalidDomainPackError, match=problem):
        read_sentiment_messages(tmp_path)


def test_the_shop_has_enough_of_each_sentiment_in_both_languages(tmp_path: Path) -> None:
    """150 to learn from, 60 to measure by; a pack with too few is told what it lacks, one without any nothing."""
    assert list(sentiment_problems(PACKS_DIRECTORY / "shop", ("en", "zh"))) == []
    assert list(sentiment_problems(tmp_path, ("en",))) == []
    write(tmp_path, "messages.yaml", "negative: [awful]\n")
    problems = [str(problem) for problem in sentiment_problems(tmp_path, ("en",))]
    assert problems[0] == "en sentiment: 1 negative messages, 150 are needed" and len(problems) == 6


def test_the_table_tells_accuracy_and_f1_of_each_teller() -> None:
    """By hand: counted words are right about two of three; never neutral, so its F1 is 0."""
    messages = [
        SentimentMessage("this is bad, bad", "en", "negative"),
        SentimentMessage("good, but where", "en", "neutral"),
        SentimentMessage("good", "en", "positive"),
        SentimentMessage("很好", "zh", "positive"),
    ]
    words = {"en": {"negative": ["bad"], "positive": ["good"]}, "zh": {"negative": ["坏"], "positive": ["好"]}}
    table = sentiment_table(messages, {"words": count_words(words)})  # type: ignore[arg-type]
    first, second, third, fourth = table.splitlines()
    assert first == "en: 3 messages; always negative: accuracy 0.333"
    assert "accuracy 0.667 [" in second
    assert second.endswith("F1 0.556 (negative 1.000 neutral 0.000 positive 0.667)")
    assert third.startswith("zh: 1 messages") and "accuracy 1.000" in fourth
