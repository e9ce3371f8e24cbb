"""Zendesk: the full JSON export of tickets (one ticket a line) and pages of the API, if they hold the comments.

Formats: support.zendesk.com/hc/en-us/articles/4408886165402 (JSON export) and
developer.zendesk.com/api-reference/ticketing/tickets/ticket_comments (`public`, `author_id`, `via`, comment flags).
Left out: internal notes, comments of triggers and of the system, automatically generated ones, calls, deleted
tickets, and comments of authors whose role the export does not say. Satisfaction counts for a ticket, not a turn.
"""

from collections import ChainMap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
from training.data.importers.reading import Record, as_record, find_files
from training.data.importers.rows import Row, Skipped, TurnRole

_ROLES: dict[str, TurnRole] = {"end-user": "user", "agent": "agent", "admin": "agent"}
_SYSTEM_AUTHOR = "-1"
_SYSTEM_CHANNELS = frozenset(("rule", "system"))
_BOT_CHANNEL = "answer_bot"
_GENERATED_FLAG = 4
_NAMED_USERS = ("requester", "submitter", "assignee")
_NO_COMMENTS = (
    "there is no 'comments'; the JSON export of Admin Center has them, the ticket list of the API has not: "
    "add the comments of every ticket to it"
)
DELETED = "a deleted ticket"


class _User(NamedTuple):
    role: TurnRole | None
    person: Person


_Users = ChainMap[str, _User]


def parse_zendesk(path: Path) -> Iterator[Row | Skipped]:
    """Rows of ticket files, plain or gzipped: `.json` or `.jsonl`, one ticket a line, a list, or pages of the API.

    In a directory, files with `user` in their names are user exports; they say the roles of authors whom the tickets
    only number. Raises ImportFormatError.
    """
    files = find_files(path, "*json*")
    user_files = [file for file in files if path.is_dir() and "user" in file.name.casefold()]
    known: _Users = ChainMap(dict(_read_users(user_files)))
    for file in files:
        if file not in user_files:
            for record in read_objects(file):
                yield from _rows(record, known)


def _read_users(files: list[Path]) -> Iterator[tuple[str, _User]]:
    for file in files:
        for record in read_objects(file):
            yield from map(_user, optional_records(record, "users") or [record])


def _user(record: Record) -> tuple[str, _User]:
    return record.identifier("id"), _User(_ROLES.get(optional_text(record, "role")), person_of(record.fields))


def _rows(record: Record, known: _Users) -> Iterator[Row | Skipped]:
    """The rows of a ticket, of `{"ticket": …, "comments": …}`, or of a page of tickets; `users` may stand beside."""
    users = known.new_child(dict(map(_user, optional_records(record, "users"))))
    if "tickets" in record.fields:
        yield from (_row(ticket, users) for ticket in record.records("tickets"))
    elif "ticket" in record.fields:
        fields = record.record("ticket").fields
        comments = fields.get("comments", record.fields.get("comments"))
        yield _row(as_record(record.path, record.place, {**fields, "comments": comments}), users)
    else:
        yield _row(record, users)


def _row(ticket: Record, users: _Users) -> Row | Skipped:
    if ticket.fields.get("comments") is None:
        ticket.fail(_NO_COMMENTS)
    if ticket.fields.get("status") == "deleted":
        return Skipped(DELETED)
    comments = sorted(ticket.records("comments"), key=lambda comment: seconds_of(comment, "created_at"))
    named = [_user(record) for record in _user_records(ticket, comments)]
    users = users.new_child({key: user for key, user in named if user.role or key not in users})
    authors = [optional_identifier(comment, "author_id") for comment in comments]
    customer = _id_of(ticket, "requester")
    people = [users[key].person for key in dict.fromkeys((customer, *authors)) if key in users]
    return masked_row(
        HelpdeskConversation(
            source="zendesk",
            id=ticket.identifier("id"),
            customer=customer,
            messages=_messages(ticket, comments, users),
            people=(*people, *(user.person for _, user in named)),
        )
    )


def _user_records(ticket: Record, comments: list[Record]) -> Iterator[Record]:
    """The users whom a ticket holds as objects; the API gives only their ids."""
    candidates = [optional_record(ticket, name) for name in _NAMED_USERS]
    candidates += [optional_record(comment, "author") for comment in comments]
    return (record for record in candidates if record and optional_identifier(record, "id"))


def _id_of(ticket: Record, name: str) -> str:
    user = optional_record(ticket, name)
    return optional_identifier(user, "id") if user else optional_identifier(ticket, f"{name}_id")


def _messages(ticket: Record, comments: list[Record], users: _Users) -> Iterator[HelpdeskMessage]:
    roles: dict[str, TurnRole] = {_id_of(ticket, "assignee"): "agent", _id_of(ticket, "requester"): "user"}
    for comment in comments:
        author = optional_record(comment, "author")
        author_id = optional_identifier(author, "id") if author else optional_identifier(comment, "author_id")
        user = users.get(author_id)
        role = (user.role if user else None) or roles.get(author_id)
        if role and author_id not in ("", _SYSTEM_AUTHOR) and _is_written_for_the_customer(comment):
            yield HelpdeskMessage(role, _body(comment))


def _is_written_for_the_customer(comment: Record) -> bool:
    if not comment.flag("public") or comment.fields.get("type", "Comment") != "Comment":
        return False
    via, metadata = optional_record(comment, "via"), optional_record(comment, "metadata")
    channel = optional_identifier(via, "channel") if via else ""
    flags = metadata.fields.get("flags") if metadata else None
    is_generated = isinstance(flags, list) and _GENERATED_FLAG in flags
    return not (channel in _SYSTEM_CHANNELS or channel.startswith(_BOT_CHANNEL) or is_generated)


def _body(comment: Record) -> str:
    # In the plain forms quoted mail has lost the marks by which it is recognised.
    texts = (optional_text(comment, name) for name in ("html_body", "plain_body", "body"))
    return next((text for text in texts if text.strip()), "")
