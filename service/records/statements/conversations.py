"""Conversations: begun, continued, listed and read back. Their messages lie in their completions."""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select

from model_store.contract.conversation import Message
from service.records.database import insert_in
from service.records.errors import ConversationErasedError, ConversationNotFoundError
from service.records.statements.erasure import find_erasure
from service.records.store import (
    DERIVED_ID_PREFIX,
    ConversationSummary,
    RecordedTurn,
    StoredConversation,
)
from service.records.tables import completions, conversations

_ONE = select(conversations.c.created_at).where(
    conversations.c.tenant == bindparam("tenant"), conversations.c.id == bindparam("id")
)
_ONE_HELD = _ONE.with_for_update(read=True, key_share=True)


def begin(connection: Connection, tenant: str, conversation_id: str, created_at: datetime) -> None:
    """Makes the conversation unless it is there, and holds it until the transaction ends.

    Raises ConversationErasedError for one that was erased. An id that the service derived may begin anew, for several
    people can come by the same one; what comes from before its erasure stays out.
    """
    values = {"tenant": tenant, "id": conversation_id, "created_at": created_at}
    make = _make_in(connection.dialect.name)
    connection.execute(make, values)
    # PostgreSQL: an erasure that is going on is waited for here, and has then taken the row away. SQLite has one
    # writer, and every statement costs it a tenth of what recording a completion takes.
    if connection.dialect.name == "postgresql" and connection.execute(_ONE_HELD, values).first() is None:
        connection.execute(make, values)
    erasure = find_erasure(connection, tenant, conversation_id)
    if erasure is None:
        return
    if not conversation_id.startswith(DERIVED_ID_PREFIX) or created_at <= erasure.erased_at:
        raise ConversationErasedError(conversation_id=conversation_id)


def page(
    connection: Connection, tenant: str, *, limit: int, before: ConversationSummary | None
) -> tuple[ConversationSummary, ...]:
    """A tenant's conversations, newest first, from below `before` on."""
    columns = conversations.c
    query = select(columns.id, columns.created_at).where(columns.tenant == tenant)
    if before is not None:
        is_same_age = and_(columns.created_at == before.created_at, columns.id < before.id)
        query = query.where(or_(columns.created_at < before.created_at, is_same_age))
    rows = connection.execute(query.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit))
    return tuple(ConversationSummary(row.id, row.created_at) for row in rows)


def read(connection: Connection, tenant: str, conversation_id: str, *, max_turns: int) -> StoredConversation:
    """A conversation with its newest turns, in order. Raises ConversationNotFoundError."""
    found = connection.execute(_ONE, {"tenant": tenant, "id": conversation_id}).first()
    if found is None:
        raise ConversationNotFoundError(conversation_id=conversation_id)
    columns = completions.c
    newest = (
        select(columns.id, columns.created_at, columns.prompt_messages, columns.completion_text)
        .where(columns.tenant == tenant, columns.conversation_id == conversation_id, columns.is_finished)
        .order_by(columns.created_at.desc(), columns.id.desc())
        .limit(max_turns)
    )
    turns = [
        RecordedTurn(
            completion_id=row.id,
            created_at=row.created_at,
            prompt_messages=tuple(Message.from_dict(message) for message in row.prompt_messages),
            completion_text=row.completion_text,
        )
        for row in connection.execute(newest)
    ]
    return StoredConversation(conversation_id, found.created_at, tuple(reversed(turns)))


@cache
def _make_in(dialect: str) -> Any:
    return insert_in(dialect, conversations).on_conflict_do_nothing()
