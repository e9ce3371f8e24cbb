"""Your own transcripts: a CSV or JSON-lines file with one message a row.

Columns `conversation_id`, `role`, `text`, and where you have them `time`, `rating` and `name` (the writer's); other
columns are passed over. Messages of one conversation need not stand together, so the file is held in memory. Texts are
masked before anything is written. Left out: system messages. Exports of help desks as they come: `helpdesks`.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from model_store.contract.conversation import detect_language
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.feedback import Rating
from model_store.contract.placeholders import entity_type_of
from training.data.importers.helpdesks.people import Person, patterns_of
from training.data.importers.reading import Record, find_files, quote, read_csv, read_json_lines
from training.data.importers.rows import (
    Origin,
    Row,
    Skipped,
    Turn,
    TurnRole,
    clean_text,
    conversation_row,
    speaker_role,
)
from training.errors import ImportFormatError

_COLUMNS = ("conversation_id", "role", "text")
_ROLES: dict[str, TurnRole] = {
    "user": "user",
    "customer": "user",
    "client": "user",
    "visitor": "user",
    "agent": "agent",
    "assistant": "agent",
    "bot": "agent",
    "operator": "agent",
}
_SYSTEM = "system"
_PERSONAL_TYPES = frozenset(("EMAIL", "PHONE", "IBAN", "CARD"))
_RATINGS: dict[str, Rating] = {"up": "up", "down": "down"}


class _Message(NamedTuple):
    time: float | None
    turn: Turn
    writer: Person


def parse_transcripts(path: Path) -> Iterator[Row | Skipped]:
    """Rows of a `.csv` or `.jsonl` file, plain or gzipped; conversations in the order of their first messages.

    With `time` (ISO 8601, UTC where no zone is given, or seconds since 1970) messages are put in its order, else they
    keep the file's. `rating` is `up` or `down` on an agent's message. The language is Chinese or English by the letters
    of all turns. Raises ImportFormatError.
    """
    for file in find_files(path, "*.csv"):
        for conversation_id, messages in _group(file).items():
            if messages[0].time is not None:
                messages.sort(key=lambda message: message.time or 0.0)
            turns = list(_masked(messages))
            lang = detect_language(" ".join(turn.text for turn in turns))
            yield conversation_row(Origin.assigned(f"own-{_nameless(conversation_id)}", "own", lang), turns)


def _masked(messages: list[_Message]) -> Iterator[Turn]:
    """Turns with placeholders for entities and for the writers' names, numbered through the conversation."""
    masker, vault = EntityMasker(patterns_of(message.writer for message in messages)), EntityVault()
    for turn in (message.turn for message in messages):
        yield turn._replace(text=masker.mask(clean_text(turn.text), vault))


def _nameless(conversation_id: str) -> str:
    """The id, or its digest where it is somebody's address or number."""
    vault = EntityVault()
    EntityMasker().mask(conversation_id, vault)
    if any(entity_type_of(placeholder) in _PERSONAL_TYPES for placeholder in vault.placeholders):
        return hashlib.sha256(conversation_id.encode(errors="replace")).hexdigest()[:16]
    return conversation_id


def _group(file: Path) -> dict[str, list[_Message]]:
    conversations: dict[str, list[_Message]] = {}
    for record in _read(file):
        conversation_id = record.identifier("conversation_id")
        if record.text("role").strip().casefold() == _SYSTEM:
            continue
        role = speaker_role(record, "role", _ROLES)
        turn = Turn(role, record.text("text"), _rating(record, role))
        message = _Message(_time(record), turn, Person(_optional(record, "name")))
        messages = conversations.setdefault(conversation_id, [])
        if messages and (message.time is None) != (messages[0].time is None):
            record.fail(f"conversation {quote(conversation_id)} has a time on some messages only; give all or none")
        messages.append(message)
    return conversations


def _read(file: Path) -> Iterator[Record]:
    suffixes = [suffix for suffix in file.suffixes if suffix != ".gz"]
    if suffixes[-1:] == [".csv"]:
        return read_csv(file, _COLUMNS)
    if suffixes[-1:] == [".jsonl"]:
        return read_json_lines(file)
    raise ImportFormatError(path=file, problem="transcripts are .csv or .jsonl files; convert it or rename it")


def _time(record: Record) -> float | None:
    value = _optional(record, "time")
    if not value:
        return None
    seconds = parse_seconds(value)
    if seconds is None:
        record.fail(f"'time' is {quote(value)}; write ISO 8601 or seconds since 1970")
    return seconds


def parse_seconds(value: str) -> float | None:
    """Seconds since 1970 of a time in ISO 8601 (UTC where no zone is given) or in such seconds; None for others."""
    with suppress(ValueError):
        seconds = float(value)
        return seconds if math.isfinite(seconds) else None
    with suppress(ValueError):
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return None


def _optional(record: Record, name: str) -> str:
    """A field of a column that may be missing, as text; empty where there is no value."""
    value = record.fields.get(name)
    return "" if value is None else str(value).strip()


def _rating(record: Record, role: TurnRole) -> Rating | None:
    value = _optional(record, "rating")
    if not value:
        return None
    rating = _RATINGS.get(value.casefold())
    if rating is None:
        record.fail(f"'rating' is {quote(value)}; it must be up, down or empty")
    if role == "user":
        record.fail("a rating stands on a user's message; put it on the agent's message that it judges")
    return rating
