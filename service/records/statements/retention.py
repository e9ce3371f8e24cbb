"""Retention: what is older than it may be goes, a bounded piece a transaction, so that nobody waits long for it."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select

from service.records.statements.erasure import delete_completions
from service.records.store import PurgeCounts
from service.records.tables import completions, conversations, feedback, idempotency_keys

_ROWS_PER_PIECE = 500


def count_older(connection: Connection, before: datetime) -> PurgeCounts:
    """What a purge would delete now."""
    old = select(completions.c.id).where(completions.c.created_at < before)
    has_newer = select(completions.c.id).where(*_of_conversation(), completions.c.created_at >= before).exists()
    emptied = select(func.count()).select_from(conversations).where(conversations.c.created_at < before, ~has_newer)
    return PurgeCounts(
        num_completions=connection.scalar(select(func.count()).select_from(old.subquery())) or 0,
        num_feedback=connection.scalar(_num_feedback_of(old)) or 0,
        num_conversations=connection.scalar(emptied) or 0,
    )


def purge_piece(connection: Connection, before: datetime) -> PurgeCounts:
    """Deletes the oldest completions from before this time, or, where there are none, conversations without any.

    Nothing was deleted: nothing is left to delete.
    """
    old = select(completions.c.id).where(completions.c.created_at < before).order_by(completions.c.created_at)
    # PostgreSQL: what somebody is just voting on, or another replica purging, is left for the next purge.
    found = connection.scalars(old.limit(_ROWS_PER_PIECE).with_for_update(skip_locked=True)).all()
    if found:
        piece = select(completions.c.id).where(completions.c.id.in_(found))
        num_feedback = connection.scalar(_num_feedback_of(piece)) or 0
        return PurgeCounts(delete_completions(connection, piece), num_feedback, 0)
    return PurgeCounts(0, 0, _delete_empty_conversations(connection, before))


def forget_keys(connection: Connection, before: datetime) -> None:
    """Deletes idempotency keys that were first used before this time."""
    connection.execute(delete(idempotency_keys).where(idempotency_keys.c.claimed_at < before))


def _delete_empty_conversations(connection: Connection, before: datetime) -> int:
    is_empty = ~select(completions.c.id).where(*_of_conversation()).exists()
    candidates = (
        select(conversations.c.tenant, conversations.c.id)
        .where(conversations.c.created_at < before, is_empty)
        .limit(_ROWS_PER_PIECE)
        .with_for_update(skip_locked=True)
    )
    num_deleted = 0
    for tenant, conversation_id in connection.execute(candidates).all():
        mine = conversations.c.tenant == tenant, conversations.c.id == conversation_id
        num_deleted += connection.execute(delete(conversations).where(*mine, is_empty)).rowcount
    return num_deleted


def _of_conversation() -> tuple[ColumnElement[bool], ...]:
    return (completions.c.tenant == conversations.c.tenant, completions.c.conversation_id == conversations.c.id)


def _num_feedback_of(ids: Select[tuple[str]]) -> Select[int]:
    return select(func.count()).select_from(feedback).where(feedback.c.completion_id.in_(ids))
