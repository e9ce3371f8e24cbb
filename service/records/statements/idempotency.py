"""Idempotency keys: a request that is sent again has its effect once.

A key is claimed before the work and answered in the transaction of its effect. Keys and requests are kept as digests
only, and of an answer no more than the effect itself holds.
"""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from service.records.database import insert_into
from service.records.errors import IdempotencyKeyInUseError, IdempotencyKeyReusedError
from service.records.store import IDEMPOTENCY_SECONDS, Claim, IdempotencyKey, KeptAnswer
from service.records.tables import idempotency_keys

_COLUMNS = idempotency_keys.c
_CLAIM_BYTES = 12


def claim(connection: Connection, key: IdempotencyKey, *, lease_seconds: float) -> Claim | KeptAnswer:
    """Takes the right to answer under this key, or gives the answer that was kept.

    A claim that came to nothing for `lease_seconds` is open again: who held it has died. Raises
    IdempotencyKeyReusedError when the key came with another request, IdempotencyKeyInUseError while it is being
    answered.
    """
    now = datetime.now(UTC)
    is_old = _COLUMNS.claimed_at < now - timedelta(seconds=IDEMPOTENCY_SECONDS)
    is_dead = and_(_COLUMNS.answered_at.is_(None), _COLUMNS.claimed_at < now - timedelta(seconds=lease_seconds))
    connection.execute(delete(idempotency_keys).where(*_is(key), or_(is_old, is_dead)))
    claim_id = secrets.token_hex(_CLAIM_BYTES)
    values = {
        "tenant": key.tenant,
        "route": key.route,
        "key_digest": key.key_digest,
        "request_digest": key.request_digest,
        "claim_id": claim_id,
        "claimed_at": now,
        "answer": None,
    }
    new = insert_into(connection, idempotency_keys).values(values).on_conflict_do_nothing()
    if connection.execute(new.returning(_COLUMNS.claim_id)).first() is not None:
        return Claim(key, claim_id)
    row = connection.execute(select(idempotency_keys).where(*_is(key))).first()
    if row is not None and row.request_digest != key.request_digest:
        raise IdempotencyKeyReusedError()
    if row is None or row.answered_at is None:  # none: its holder has just given it back
        raise IdempotencyKeyInUseError()
    return KeptAnswer(row.completion_id, row.answer)


def keep_answer(connection: Connection, claimed: Claim, completion_id: str, answer: dict[str, Any] | None) -> None:
    """Binds the key to its effect, in the transaction of the effect.

    Raises IdempotencyKeyInUseError when the claim ran out and another request has taken it over.
    """
    values = {"answered_at": datetime.now(UTC), "completion_id": completion_id, "answer": answer}
    if connection.execute(update(idempotency_keys).where(*_is_mine(claimed)).values(values)).rowcount != 1:
        raise IdempotencyKeyInUseError()


def release(connection: Connection, claimed: Claim) -> None:
    """Gives a claim back that had no effect, so that a retry is a first try."""
    connection.execute(delete(idempotency_keys).where(*_is_mine(claimed)))


def _is_mine(claimed: Claim) -> tuple[ColumnElement[bool], ...]:
    return (*_is(claimed.key), _COLUMNS.claim_id == claimed.claim_id, _COLUMNS.answered_at.is_(None))


def _is(key: IdempotencyKey) -> tuple[ColumnElement[bool], ...]:
    return (_COLUMNS.tenant == key.tenant, _COLUMNS.route == key.route, _COLUMNS.key_digest == key.key_digest)
