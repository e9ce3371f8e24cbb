"""The uniform row that every importer makes: turns between a user and an agent, or a text with its intent.

Text is cleaned here but not masked: personal data leaves the text when training reads the row. Where the texts come
from is said in the modules of the formats.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from model_store.contract.feedback import Rating
from training.data.importers.reading import Record, quote

Row = dict[str, Any]
"""`id`, `source`, `lang`, `split`; `turns`, or `text` and `intent`; `labels` and `split_by` where there are any."""

TurnRole = Literal["user", "agent"]

NO_EXCHANGE = "no exchange: a user's turn and an agent's answer are needed"
NO_TEXT = "no text"

_UNSAFE = re.compile(r"[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_LINE_END = re.compile(r"\r\n|[\r\u2028\u2029]")
_SPACES = re.compile(r"[^\S\n]+")
_DEV_PERCENT = range(90, 95)
_TEST_PERCENT = range(95, 100)


class Skipped(NamedTuple):
    """What an importer gives instead of a row that is well-formed but of no use."""

    reason: str


class Turn(NamedTuple):
    """One utterance; a rating is a person's thumb on an agent's turn."""

    role: TurnRole
    text: str
    rating: Rating | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row comes from. `split` is the publisher's, or None where the corpus has none."""

    id: str
    source: str
    lang: str
    split: str | None
    is_split_assigned: bool = False

    @classmethod
    def assigned(cls, row_id: str, source: str, lang: str, key: str | None = None) -> "Origin":
        """The origin of a row whose corpus has no split: 90 % train, 5 % dev, 5 % test, by the sha1 of `key` or id."""
        key_bytes = (key or row_id).encode(errors="replace")
        percent = int(hashlib.sha1(key_bytes, usedforsecurity=False).hexdigest(), 16) % 100
        split = "dev" if percent in _DEV_PERCENT else "test" if percent in _TEST_PERCENT else "train"
        return cls(row_id, source, lang, split, is_split_assigned=True)


def clean_text(text: str) -> str:
    """NFC, line feeds as line ends, one space at a time, no control characters, no lone surrogates, bare edges."""
    text = _SPACES.sub(" ", _LINE_END.sub("\n", text))
    text = _UNSAFE.sub("", text).replace(" \n", "\n").replace("\n ", "\n")
    return unicodedata.normalize("NFC", text).strip()


def conversation_row(origin: Origin, turns: Iterable[Turn], labels: Mapping[str, Any] | None = None) -> Row | Skipped:
    """The row of a conversation whose turns alternate, beginning with the user's.

    Empty turns and what the agent says before the user's first turn are left out; turns of one speaker in a row become
    one, joined by a space. Ratings become `labels.ratings`: `[{"turn": index from 0, "rating": "up" | "down"}]`.
    """
    merged = _alternate(turns)
    if not any(turn.role == "agent" for turn in merged):
        return Skipped(NO_EXCHANGE)
    ratings = [{"turn": index, "rating": turn.rating} for index, turn in enumerate(merged) if turn.rating]
    row = _start_row(origin)
    row["turns"] = [{"role": turn.role, "text": turn.text} for turn in merged]
    all_labels = {**(labels or {}), **({"ratings": ratings} if ratings else {})}
    if all_labels:
        row["labels"] = all_labels
    return _finish_row(row, origin)


def intent_row(origin: Origin, text: str, intent: str) -> Row | Skipped:
    """The row of one text with the intent that its author meant."""
    cleaned = clean_text(text)
    if not cleaned:
        return Skipped(NO_TEXT)
    return _finish_row({**_start_row(origin), "text": cleaned, "intent": intent.strip()}, origin)


def spoken_turns(
    messages: Iterable[Record], *, speaker: str, text: str, roles: Mapping[str, TurnRole]
) -> Iterator[Turn]:
    """Turns of messages that name their speaker; upper and lower case are the same.

    Raises ImportFormatError for a speaker that is not among `roles`.
    """
    for message in messages:
        yield Turn(speaker_role(message, speaker, roles), message.text(text))


def speaker_role(message: Record, speaker: str, roles: Mapping[str, TurnRole]) -> TurnRole:
    """Who says a message. Raises ImportFormatError for a speaker that is not among `roles`."""
    name = message.text(speaker)
    role = roles.get(name.strip().casefold())
    return role or message.fail(f"{speaker!r} is {quote(name)}; it must be one of {', '.join(roles)}")


def _alternate(turns: Iterable[Turn]) -> list[Turn]:
    merged: list[Turn] = []
    for turn in turns:
        text = clean_text(turn.text)
        if not text or (not merged and turn.role == "agent"):
            continue
        if merged and merged[-1].role == turn.role:
            previous = merged.pop()
            merged.append(Turn(turn.role, f"{previous.text} {text}", turn.rating or previous.rating))
        else:
            merged.append(turn._replace(text=text))
    return merged


def _start_row(origin: Origin) -> Row:
    return {"id": origin.id, "source": origin.source, "lang": origin.lang, "split": origin.split}


def _finish_row(row: Row, origin: Origin) -> Row:
    return {**row, "split_by": "sha1"} if origin.is_split_assigned else row
