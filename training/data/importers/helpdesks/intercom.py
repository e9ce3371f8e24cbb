"""Intercom: conversations as the API gives them one by one, with their `conversation_parts`.

Format: developers.intercom.com/docs/references/rest-api/api.intercom.io/conversations (`source`, part types, author
types, `redacted`); before API 2.0 `source` was called `conversation_message`. Left out: notes, parts that only assign,
snooze or rate, bots, AI agents and teams, outbound campaigns, redacted parts, and conversations from Twitter,
whose texts Intercom removes.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from training.data.importers.helpdesks.conversations import HelpdeskConversation, HelpdeskMessage, masked_row
from training.data.importers.helpdesks.export_files import (
    optional_identifier,
    optional_record,
    optional_records,
    optional_text,
    read_objects,
    seconds_of,
)
from training.data.importers.helpdesks.people import Person, person_of
from training.data.importers.reading import Record, find_files
from training.data.importers.rows import Row, Skipped, TurnRole

_ROLES: dict[str, TurnRole] = {"user": "user", "lead": "user", "contact": "user", "visitor": "user", "admin": "agent"}
_WRITTEN_PARTS = frozenset(("comment", "assignment", "open", "close", "assign_and_unsnooze", "quick_reply"))
"""Parts that the customer sees; all but `comment` and `quick_reply` are events that may carry a message."""
_SENT_BY_PEOPLE = frozenset(("", "customer_initiated", "admin_initiated"))
_BOT_EMAIL = re.compile(r"operator\+.{0,80}@intercom\.io", re.IGNORECASE)
_NO_PARTS = (
    "there is no 'conversation_parts'; the list of conversations leaves the messages out: "
    "retrieve every conversation by its id and put one on a line"
)
TWITTER = "a conversation from Twitter, whose texts Intercom removes"


def parse_intercom(path: Path) -> Iterator[Row | Skipped]:
    """Rows of conversation files, plain or gzipped: one conversation a file or a line, a list, or `conversations`.

    Raises ImportFormatError.
    """
    for file in find_files(path, "*json*"):
        for record in read_objects(file):
            if "conversations" in record.fields:
                yield from map(_row, record.records("conversations"))
            else:
                yield _row(record)


def _row(conversation: Record) -> Row | Skipped:
    parts = _parts(conversation)
    source = optional_record(conversation, "source") or optional_record(conversation, "conversation_message")
    if source and optional_text(source, "type") == "twitter":
        return Skipped(TWITTER)
    authors = [author for part in (source, *parts) if part and (author := optional_record(part, "author"))]
    return masked_row(
        HelpdeskConversation(
            source="intercom",
            id=conversation.identifier("id"),
            customer=_customer(conversation, authors),
            messages=_messages(source, parts),
            people=(*map(_person, authors), *map(_person, _contacts(conversation))),
        )
    )


def _parts(conversation: Record) -> list[Record]:
    holder = optional_record(conversation, "conversation_parts")
    if holder is None:
        conversation.fail(_NO_PARTS)
    return sorted(holder.records("conversation_parts"), key=lambda part: seconds_of(part, "created_at"))


def _contacts(conversation: Record) -> list[Record]:
    holder = optional_record(conversation, "contacts")
    return optional_records(holder, "contacts") if holder else []


def _customer(conversation: Record, authors: list[Record]) -> str | None:
    customers = [author for author in authors if _ROLES.get(optional_text(author, "type")) == "user"]
    ids = (optional_identifier(person, "id") for person in (*_contacts(conversation), *customers))
    return next((found for found in ids if found), None)


def _person(author: Record) -> Person:
    return person_of(author.fields)


def _messages(source: Record | None, parts: list[Record]) -> Iterator[HelpdeskMessage]:
    if source and optional_text(source, "delivered_as") in _SENT_BY_PEOPLE:
        yield from _message(source)
    for part in parts:
        if part.text("part_type") in _WRITTEN_PARTS:
            yield from _message(part)


def _message(part: Record) -> Iterator[HelpdeskMessage]:
    author = optional_record(part, "author")
    if author is None or part.fields.get("redacted") is True:
        return
    role = _ROLES.get(optional_text(author, "type"))
    is_bot = any(author.fields.get(name) is True for name in ("from_ai_agent", "is_ai_answer"))
    if role and not is_bot and not _BOT_EMAIL.fullmatch(optional_text(author, "email")):
        yield HelpdeskMessage(role, optional_text(part, "body"))
