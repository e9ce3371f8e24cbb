"""Feedback: one row for a completion and a rater, holding the rater's last word."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, select

from service.records.database import insert_in
from service.records.errors import CompletionNotFoundError
from service.records.statements import idempotency
from service.records.store import Claim, FeedbackRecord, IdempotencyKey, StoredFeedback
from service.records.tables import completions, feedback, format_timestamp

_TIMES = ("created_at", "updated_at", "withdrawn_at")
_KEYS = ("completion_id", "rater")
# PostgreSQL: an erasure cannot take the completion away before the vote on it is there to be erased too.
_RATED = (
    select(completions.c.sampling, completions.c.model_digest)
    .where(completions.c.id == bindparam("id"), completions.c.tenant == bindparam("tenant"))
    .with_for_update(read=True, key_share=True)
)


def record(connection: Connection, new: FeedbackRecord, key: IdempotencyKey | None) -> StoredFeedback:
    """See `RecordStore.record_feedback`. Key and vote are of one transaction, so a retry waits and sees both."""
    if key is None:
        return _upsert(connection, new)
    claimed = idempotency.claim(connection, key, lease_seconds=0)
    if not isinstance(claimed, Claim):
        return _from_answer(dict(claimed.answer or {}))
    stored = _upsert(connection, new)
    idempotency.keep_answer(connection, claimed, stored.completion_id, _as_answer(stored))
    return stored


def _upsert(connection: Connection, new: FeedbackRecord) -> StoredFeedback:
    completion = connection.execute(_RATED, {"id": new.completion_id, "tenant": new.tenant}).first()
    if completion is None:
        raise CompletionNotFoundError(completion_id=new.completion_id)
    values = _values(new, datetime.now(UTC))
    row = connection.execute(_upsert_in(connection.dialect.name), values).one()
    values = {column.name: row._mapping[column] for column in feedback.c}
    values["reasons"] = tuple(values["reasons"])
    return StoredFeedback(**values, plan=completion.sampling.get("plan"), model_digest=completion.model_digest)


@cache
def _upsert_in(dialect: str) -> Any:
    insert = insert_in(dialect, feedback)
    replaced = {name: insert.excluded[name] for name in feedback.c.keys() if name not in (*_KEYS, "created_at")}
    upsert = insert.on_conflict_do_update(index_elements=list(_KEYS), set_=replaced)
    return upsert.returning(*feedback.c)


def _values(new: FeedbackRecord, now: datetime) -> dict[str, Any]:
    values = asdict(new)
    del values["tenant"]
    if new.rating is None:
        # Who takes a rating back takes back what was said with it.
        values.update(reasons=(), comment=None, correction=None)
    values.update(created_at=now, updated_at=now, withdrawn_at=now if new.rating is None else None)
    return values


def _as_answer(stored: StoredFeedback) -> dict[str, Any]:
    values = asdict(stored)
    del values["is_replay"]
    return values | {name: format_timestamp(values[name]) for name in _TIMES if values[name]}


def _from_answer(answer: dict[str, Any]) -> StoredFeedback:
    times = {name: datetime.fromisoformat(answer[name]) for name in _TIMES if answer[name]}
    return StoredFeedback(**answer | times | {"reasons": tuple(answer["reasons"]), "is_replay": True})
