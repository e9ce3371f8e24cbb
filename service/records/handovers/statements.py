"""Hand-overs in SQL: added with their completion, claimed by one at a time, settled by whoever holds the claim."""

import secrets
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, select, update

from service.records.store import CompletionRecord
from service.records.tables import completions, handovers

_COLUMNS = handovers.c
_CLAIM_BYTES = 12


def add(connection: Connection, completion: CompletionRecord) -> None:
    """Puts a completion's hand-over into the outbox; of several choices of one reply, the first one's."""
    of_same_reply = (
        select(_COLUMNS.completion_id)
        .join(completions)
        .where(
            completions.c.tenant == completion.tenant,
            completions.c.conversation_id == completion.conversation_id,
            completions.c.created_at == completion.created_at,
        )
    )
    if connection.execute(of_same_reply.limit(1)).first() is not None:
        return
    created_at = completion.created_at
    values = {
        "completion_id": completion.id,
        "created_at": created_at,
        "state": "pending",
        "num_attempts": 0,
        "next_attempt_at": created_at,
    }
    connection.execute(insert(handovers).values(values))


def claim(connection: Connection, now: datetime, lease_seconds: float) -> tuple[dict[str, Any], str, datetime] | None:
    """The hand-over that has been due longest as `Handover`'s fields, the claim's id, and when it ends."""
    due = (
        select(_COLUMNS.completion_id)
        .where(_COLUMNS.state == "pending", _COLUMNS.next_attempt_at <= now)
        .order_by(_COLUMNS.next_attempt_at, _COLUMNS.completion_id)
        .limit(1)
        # PostgreSQL: what another replica is just claiming is left to it. SQLite lets one write at a time.
        .with_for_update(skip_locked=True)
    )
    completion_id = connection.scalar(due)
    if completion_id is None:
        return None
    claim_id, ends_at = secrets.token_hex(_CLAIM_BYTES), now + timedelta(seconds=lease_seconds)
    taken = {"num_attempts": _COLUMNS.num_attempts + 1, "next_attempt_at": ends_at, "claim_id": claim_id}
    connection.execute(update(handovers).where(_COLUMNS.completion_id == completion_id).values(taken))
    row = connection.execute(_with_completion().where(_COLUMNS.completion_id == completion_id)).one()
    return _fields(row), claim_id, ends_at


def change(connection: Connection, completion_id: str, claim_id: str, values: dict[str, object]) -> int:
    """Changes a hand-over that is still held by this claim, and ends the claim; gives how many were."""
    mine = _COLUMNS.completion_id == completion_id, _COLUMNS.claim_id == claim_id
    return connection.execute(update(handovers).where(*mine).values(**values, claim_id=None)).rowcount


def change_dead(connection: Connection, completion_ids: Collection[str] | None, values: dict[str, object]) -> int:
    """Changes dead hand-overs; gives their number."""
    return connection.execute(update(handovers).where(*_dead(completion_ids)).values(values)).rowcount


def drop_dead(connection: Connection, completion_ids: Collection[str] | None) -> int:
    """Deletes dead hand-overs; gives their number."""
    return connection.execute(delete(handovers).where(*_dead(completion_ids))).rowcount


def oldest(connection: Connection, state: str, limit: int) -> Iterator[dict[str, Any]]:
    """Hand-overs in this state as `Handover`'s fields, oldest first."""
    query = _with_completion().where(_COLUMNS.state == state)
    for row in connection.execute(query.order_by(_COLUMNS.created_at, _COLUMNS.completion_id).limit(limit)):
        yield _fields(row)


def backlog(connection: Connection) -> tuple[int, datetime | None, int]:
    """Number of pending ones, when the oldest of them was made, and number of dead ones."""
    num_pending, oldest_created_at = connection.execute(
        select(func.count(), func.min(_COLUMNS.created_at)).where(_COLUMNS.state == "pending")
    ).one()
    num_dead = connection.scalar(select(func.count()).select_from(handovers).where(_COLUMNS.state == "dead"))
    return num_pending, oldest_created_at, num_dead or 0


def _dead(completion_ids: Collection[str] | None) -> list[ColumnElement[bool]]:
    is_dead = _COLUMNS.state == "dead"
    return [is_dead] if completion_ids is None else [is_dead, _COLUMNS.completion_id.in_(completion_ids)]


def _with_completion() -> Select[Any]:
    own = (column for column in _COLUMNS if column is not _COLUMNS.claim_id)
    about = (completions.c[name] for name in ("conversation_id", "tenant", "language", "sampling", "model_digest"))
    return select(*own, *about).join_from(handovers, completions)


def _fields(row: Row[Any]) -> dict[str, Any]:
    fields = dict(row._mapping)
    sampling = fields.pop("sampling")
    return {**fields, "plan": sampling.get("plan"), "rule": sampling.get("rule")}
