"""Erasure: a conversation goes with everything said in it and about it, and a tombstone keeps it from coming back.

The tombstone holds numbers and times, and the conversation's id as a digest, for clients choose ids. Rows are deleted
here; that no byte of them stays in the file is `database.scrub`'s business.
"""

import hashlib
from datetime import UTC, datetime

from sqlalchemy import Connection, Row, Select, delete, func, select

from service.records.database import insert_into
from service.records.errors import ConversationNotFoundError
from service.records.store import Erasure
from service.records.tables import completions, conversations, erasures, feedback, idempotency_keys, rating_rulings


def erase(connection: Connection, tenant: str, conversation_id: str) -> Erasure:
    """Erases a conversation; for one that was erased before, says so again.

    Raises ConversationNotFoundError for an id that names neither.
    """
    mine = conversations.c.tenant == tenant, conversations.c.id == conversation_id
    # PostgreSQL: completions that are just being recorded are waited for, and later ones wait for this.
    if connection.execute(select(conversations.c.id).where(*mine).with_for_update()).first() is None:
        earlier = find_erasure(connection, tenant, conversation_id)
        if earlier is None:
            raise ConversationNotFoundError(conversation_id=conversation_id)
        return earlier
    ids = select(completions.c.id).where(
        completions.c.tenant == tenant, completions.c.conversation_id == conversation_id
    )
    connection.execute(ids.with_for_update())  # as above, for votes
    first_rated_at, num_feedback = connection.execute(
        select(func.min(feedback.c.created_at), func.count()).where(feedback.c.completion_id.in_(ids))
    ).one()
    num_completions = delete_completions(connection, ids)
    connection.execute(delete(conversations).where(*mine))
    erasure = Erasure(
        conversation_id=conversation_id,
        erased_at=datetime.now(UTC),
        first_rated_at=first_rated_at,
        num_completions=num_completions,
        num_feedback=num_feedback,
    )
    _bury(connection, tenant, erasure)
    return erasure


def delete_completions(connection: Connection, ids: Select[tuple[str]]) -> int:
    """Deletes completions, their feedback, what was decided about it, and retries' answers; gives their number.

    The caller holds them, so that no vote comes between.
    """
    connection.execute(delete(idempotency_keys).where(idempotency_keys.c.completion_id.in_(ids)))
    connection.execute(delete(rating_rulings).where(rating_rulings.c.completion_id.in_(ids)))
    connection.execute(delete(feedback).where(feedback.c.completion_id.in_(ids)))
    return connection.execute(delete(completions).where(completions.c.id.in_(ids))).rowcount


def find_erasure(connection: Connection, tenant: str, conversation_id: str) -> Erasure | None:
    """The latest erasure under this id, if there was one."""
    columns = erasures.c
    query = select(erasures).where(columns.tenant == tenant, columns.conversation_digest == _digest(conversation_id))
    row = connection.execute(query).first()
    return None if row is None else _erasure(conversation_id, row)


def _bury(connection: Connection, tenant: str, erasure: Erasure) -> None:
    values = {
        "tenant": tenant,
        "conversation_digest": _digest(erasure.conversation_id),
        "erased_at": erasure.erased_at,
        "first_rated_at": erasure.first_rated_at,
        "num_completions": erasure.num_completions,
        "num_feedback": erasure.num_feedback,
    }
    new = insert_into(connection, erasures).values(values)
    keys = ["tenant", "conversation_digest"]
    replaced = {name: new.excluded[name] for name in values if name not in keys}
    connection.execute(new.on_conflict_do_update(index_elements=keys, set_=replaced))


def _erasure(conversation_id: str, row: Row[tuple[object, ...]]) -> Erasure:
    return Erasure(
        conversation_id=conversation_id,
        erased_at=row.erased_at,
        first_rated_at=row.first_rated_at,
        num_completions=row.num_completions,
        num_feedback=row.num_feedback,
    )


def _digest(conversation_id: str) -> str:
    return hashlib.sha256(conversation_id.encode()).hexdigest()
