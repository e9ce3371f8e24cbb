"""Erasure: a conversation goes with everything said in it and about it, and a tombstone keeps it from coming back.

The tombstone holds numbers and times, and the conversation's id as a digest, for clients choose ids. Rows are deleted
here; that no byte of them stays in the file is `database.scrub`'s business.
"""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import Connection, Row, Select, bindparam, delete, func, select

from model_store.erasures import ErasedConversation, conversation_digest
from service.records.database import insert_into
from service.records.errors import ConversationNotFoundError
from service.records.store import Erasure
from service.records.tables import (
    completions,
    conversations,
    erasures,
    feedback,
    format_timestamp,
    idempotency_keys,
    rating_rulings,
)

_FIND = select(erasures).where(
    erasures.c.tenant == bindparam("tenant"), erasures.c.conversation_digest == bindparam("digest")
)


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
    row = connection.execute(_FIND, {"tenant": tenant, "digest": conversation_digest(conversation_id)}).first()
    return None if row is None else _erasure(conversation_id, row)


def erased(connection: Connection) -> tuple[ErasedConversation, ...]:
    """All tombstones, as the list outside of the database has them."""
    query = select(erasures.c.tenant, erasures.c.conversation_digest, erasures.c.erased_at)
    return tuple(
        ErasedConversation(row.tenant, row.conversation_digest, format_timestamp(row.erased_at))
        for row in connection.execute(query)
    )


def bury(connection: Connection, known: Collection[ErasedConversation]) -> int:
    """Takes over tombstones of which this database knows nothing, for it is older; gives how many conversations went.

    What was begun after the erasure stays: a derived id may begin anew.
    """
    erased_at = {(one.tenant, one.conversation_digest): datetime.fromisoformat(one.erased_at) for one in known}
    for (tenant, digest), since in erased_at.items():
        values = {"erased_at": since, "first_rated_at": None, "num_completions": 0, "num_feedback": 0}
        new = insert_into(connection, erasures).values(tenant=tenant, conversation_digest=digest, **values)
        is_older = erasures.c.erased_at < new.excluded.erased_at
        update = {"erased_at": new.excluded.erased_at}
        connection.execute(
            new.on_conflict_do_update(index_elements=["tenant", "conversation_digest"], set_=update, where=is_older)
        )
    there = connection.execute(select(conversations.c.tenant, conversations.c.id, conversations.c.created_at))
    found = [
        (tenant, name)
        for tenant, name, created_at in there
        if (moment := erased_at.get((tenant, conversation_digest(name)))) is not None and created_at <= moment
    ]
    for tenant, name in found:
        erase(connection, tenant, name)
    return len(found)


def _bury(connection: Connection, tenant: str, erasure: Erasure) -> None:
    values = {
        "tenant": tenant,
        "conversation_digest": conversation_digest(erasure.conversation_id),
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
