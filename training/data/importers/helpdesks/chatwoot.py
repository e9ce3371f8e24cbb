"""Chatwoot: messages as the API lists them for a conversation, or as a CSV of the table `messages`.

Formats: developers.chatwoot.com/api-reference/messages, and in github.com/chatwoot/chatwoot app/models/message.rb
(`message_type`: 0 incoming, 1 outgoing, 2 activity, 3 template; numbers of `content_type` and `status`). Left out:
private notes, activities, templates, bots and assistants, messages of automation rules and campaigns, deleted and
undelivered ones, cards, forms and ratings. Pages of one conversation may overlap and lie in several files.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from training.data.importers.helpdesks.conversations import HelpdeskConversation, HelpdeskMessage, masked_row
from training.data.importers.helpdesks.export_files import (
    optional_identifier,
    optional_record,
    optional_text,
    read_objects,
    seconds_of,
)
from training.data.importers.helpdesks.people import Person, person_of
from training.data.importers.reading import Record, find_files, quote, read_csv
from training.data.importers.rows import Row, Skipped, TurnRole

_COLUMNS = ("conversation_id", "message_type", "content")
_ROLES: dict[str, TurnRole | None] = {
    "0": "user",
    "incoming": "user",
    "1": "agent",
    "outgoing": "agent",
    "2": None,
    "activity": None,
    "3": None,
    "template": None,
}
_WRITTEN_TYPES = frozenset(("", "text", "incoming_email", "0", "8"))
_UNDELIVERED = frozenset(("failed", "3"))
_PEOPLE_TYPES = frozenset(("", "user", "contact"))
_TRUE = frozenset(("true", "t", "1"))
_MAX_HELD_MESSAGES = 1_000_000


class _Message(NamedTuple):
    time: float
    message: HelpdeskMessage


@dataclass(slots=True)
class _Conversation:
    """What has been read of one conversation; messages by id, as pages of the API overlap."""

    customer: str = ""
    messages: dict[str, _Message] = field(default_factory=dict)
    people: dict[Person, None] = field(default_factory=dict)


def parse_chatwoot(path: Path) -> Iterator[Row | Skipped]:
    """Rows of `.json`, `.jsonl` or `.csv` files, plain or gzipped, in the order of the conversations' first messages.

    JSON holds answers of the API (`payload`), conversations with `messages`, or single messages. Messages are put in
    the order of `created_at`. They are held in memory, a million at most. Raises ImportFormatError.
    """
    conversations: dict[str, _Conversation] = {}
    num_held = 0
    for file in find_files(path, "*.[cj]s*"):
        for record, customer in _message_records(file):
            num_held += 1
            if num_held > _MAX_HELD_MESSAGES:
                record.fail(f"more than {_MAX_HELD_MESSAGES:,} messages; export and import them by months")
            conversation = conversations.setdefault(_conversation_id(record), _Conversation())
            conversation.customer = conversation.customer or customer
            _add(conversation, record, f"{num_held}")
    for conversation_id, conversation in conversations.items():
        messages = sorted(conversation.messages.values(), key=lambda message: message.time)
        yield masked_row(
            HelpdeskConversation(
                source="chatwoot",
                id=conversation_id,
                customer=conversation.customer,
                messages=(message.message for message in messages),
                people=conversation.people,
            )
        )


def _message_records(file: Path) -> Iterator[tuple[Record, str]]:
    """Messages with the id of their conversation's customer, where it is said."""
    if ".csv" in file.suffixes:
        yield from ((record, "") for record in read_csv(file, _COLUMNS))
        return
    for record in read_objects(file):
        meta = optional_record(record, "meta")
        customer = optional_identifier(meta, "contact_id") if meta else ""
        if "payload" in record.fields:
            yield from ((message, customer) for message in record.records("payload"))
        elif "messages" in record.fields:
            yield from ((_of_conversation(message, record), customer) for message in record.records("messages"))
        else:
            yield record, customer


def _of_conversation(message: Record, conversation: Record) -> Record:
    fields = {"conversation_id": conversation.fields.get("id"), **message.fields}
    return Record(message.path, message.place, fields)


def _conversation_id(record: Record) -> str:
    conversation = None if "conversation_id" in record.fields else optional_record(record, "conversation")
    return conversation.identifier("id") if conversation else record.identifier("conversation_id")


def _add(conversation: _Conversation, record: Record, number: str) -> None:
    """Keeps a message that one person wrote to the other, and who they are in any case."""
    sender = optional_record(record, "sender")
    fields: Mapping[str, Any] = {**record.fields, **(sender.fields if sender else {})}
    conversation.people[person_of(fields)] = None
    role = _role(record)
    sender_type = str(fields.get("type") or fields.get("sender_type") or "").strip().casefold()
    if role == "user" and not conversation.customer:
        conversation.customer = (
            optional_identifier(sender, "id") if sender else optional_identifier(record, "sender_id")
        )
    if role and sender_type in _PEOPLE_TYPES and _is_shown_text(record):
        message = HelpdeskMessage(role, optional_text(record, "content"))
        key = optional_identifier(record, "id") or f"number {number}"
        conversation.messages.setdefault(key, _Message(seconds_of(record, "created_at"), message))


def _role(record: Record) -> TurnRole | None:
    name = record.identifier("message_type").casefold()
    if name not in _ROLES:
        record.fail(f"'message_type' is {quote(name)}; it must be 0 (incoming), 1 (outgoing), 2 or 3")
    return _ROLES[name]


def _is_shown_text(record: Record) -> bool:
    attributes, additional = _attributes(record, "content_attributes"), _attributes(record, "additional_attributes")
    is_automatic = attributes.get("automation_rule_id") is not None or additional.get("campaign_id") is not None
    return not (
        _is_true(record.fields.get("private"))
        or _is_true(attributes.get("deleted"))
        or is_automatic
        or optional_identifier(record, "status") in _UNDELIVERED
        or optional_identifier(record, "content_type") not in _WRITTEN_TYPES
    )


def _attributes(record: Record, name: str) -> Mapping[str, Any]:
    """An object that a CSV holds as JSON; empty where it is something else."""
    value = record.fields.get(name)
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    return value if isinstance(value, dict) else {}


def _is_true(value: object) -> bool:
    return str(value).strip().casefold() in _TRUE
