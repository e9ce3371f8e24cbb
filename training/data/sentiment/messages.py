"""A pack's messages by sentiment: `<language>/sentiment/messages.yaml` to learn from, `held_out.yaml` to measure by.

A message is negative when its writer shows displeasure; a problem that is told calmly is neutral.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from model_store.contract.placeholders import ALL_PLACEHOLDERS, split_masked
from model_store.intents.sentiment import SENTIMENTS, Sentiment
from training.errors import InvalidDomainPackError

_MESSAGES, _HELD_OUT = "messages.yaml", "held_out.yaml"


@dataclass(frozen=True, slots=True)
class SentimentMessage:
    """A masked message in one language, and its sentiment."""

    text: str
    language: str
    sentiment: Sentiment


@dataclass(frozen=True, slots=True)
class SentimentMessages:
    """What a pack holds; nothing where it has no such files."""

    to_learn: tuple[SentimentMessage, ...] = ()
    held_out: tuple[SentimentMessage, ...] = ()
    """For evaluation only."""


def read_sentiment_messages(directory: Path) -> SentimentMessages:
    """The messages of the pack that lies in `directory`. Raises InvalidDomainPackError for the first broken rule."""
    found = SentimentMessages(_read(directory, _MESSAGES), _read(directory, _HELD_OUT))
    for what in _problems(found):
        raise InvalidDomainPackError(path=directory, problem=what)
    return found


def bare(text: str) -> str:
    """A message without case, spaces and punctuation: two that differ in no more are the same."""
    return "".join(letter for letter in text.lower() if letter.isalnum()) or text


def _read(directory: Path, name: str) -> tuple[SentimentMessage, ...]:
    found: list[SentimentMessage] = []
    for path in sorted(directory.glob(f"*/sentiment/{name}")):
        try:
            entries = yaml.safe_load(path.read_text(encoding="utf-8"))
            found += _parse(entries, path.parent.parent.name)
        except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
            raise InvalidDomainPackError(path=path, problem=f"not lists of messages by sentiment: {error}") from error
    return tuple(found)


def _parse(entries: Mapping[str, Any], language: str) -> list[SentimentMessage]:
    unknown = entries.keys() - set(SENTIMENTS)
    if unknown:
        raise ValueError(f"unknown {sorted(unknown)}")
    return [
        SentimentMessage(str(text), language, sentiment)
        for sentiment in SENTIMENTS
        for text in entries.get(sentiment) or ()
    ]


def _problems(found: SentimentMessages) -> Iterator[str]:
    counts = Counter((bare(message.text), message.language) for message in (*found.to_learn, *found.held_out))
    for message in (*found.to_learn, *found.held_out):
        if counts[bare(message.text), message.language] > 1:
            yield f"{message.language}/sentiment holds a message twice: {message.text!r}"
        placeholders = {part.text for part in split_masked(message.text) if part.is_placeholder}
        if "{" in message.text or not placeholders <= set(ALL_PLACEHOLDERS):
            yield f"{message.language}/sentiment holds a slot or an unknown placeholder: {message.text!r}"
