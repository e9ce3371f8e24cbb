"""Feedback: one row for a completion and a rater, holding the rater's last word."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, bindparam, select

from service.records.database import insert_in
from service.records.errors import CompletionNotFoundError
from service.records.statements import idempotency
from service.records.store import Claim, FeedbackRecord, IdempotencyKey, StoredFeedback
from service.records.tables import completions, feedback, format_timestamp

_TIMES = ("created_at", "updated_at", "withdrawn_at")
_KEYS = ("completion_id", "rater")
_ABOUT_COMPLETION = ("sampling", "model_digest")
"""What is told of the rated completion, behind the feedback's own columns."""


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
    values = {**_values(new, datetime.now(UTC)), "rated_id": new.completion_id, "rated_tenant": new.tenant}
    row = connection.execute(_upsert_in(connection.dialect.name), values).first()
    if row is None:
        raise CompletionNotFoundError(completion_id=new.completion_id)
    stored = {column.name: value for column, value in zip(feedback.c, row, strict=False)}
    stored["reasons"] = tuple(stored["reasons"])
    sampling, model_digest = row[-2:]
    return StoredFeedback(**stored, plan=sampling.get("plan"), model_digest=model_digest)


@cache
def _upsert_in(dialect: str) -> Any:
    """Looks the completion up, writes the vote on it and reads both back, all in one: each statement is a round trip.

    PostgreSQL: the completion is held, so that no erasure takes it away before the vote is there to be erased too.
    """
    given = [bindparam(column.name, type_=column.type) for column in feedback.c]
    rated = (
        select(*given)
        .select_from(completions)
        .where(completions.c.id == bindparam("rated_id"), completions.c.tenant == bindparam("rated_tenant"))
        .with_for_update(read=True, key_share=True)
    )
    insert = insert_in(dialect, feedback).from_select(list(feedback.c), rated)
    replaced = {name: insert.excluded[name] for name in feedback.c.keys() if name not in (*_KEYS, "created_at")}
    upsert = insert.on_conflict_do_update(index_elements=list(_KEYS), set_=replaced)
    about = (_of_completion(completions.c[name]) for name in _ABOUT_COMPLETION)
    return upsert.returning(*feedback.c, *about)


def _of_completion(column: Column[Any]) -> Any:
    return select(column).where(completions.c.id == bindparam("rated_id")).scalar_subquery()


def _values(new: FeedbackRecord, now: datetime) -> dict[str, Any]:
    is_kept = new.rating is not None  # who takes a rating back takes back what was said with it
    return {
        "completion_id": new.completion_id,
        "rater": new.rater,
        "rating": new.rating,
        "reasons": new.reasons if is_kept else (),
        "comment": new.comment if is_kept else None,
        "correction": new.correction if is_kept else None,
        "created_at": now,
        "updated_at": now,
        "withdrawn_at": None if is_kept else now,
        "origin": new.origin,
    }


def _as_answer(stored: StoredFeedback) -> dict[str, Any]:
    values = asdict(stored)
    del values["is_replay"]
    return values | {name: format_timestamp(values[name]) for name in _TIMES if values[name]}


def _from_answer(answer: dict[str, Any]) -> StoredFeedback:
    times = {name: datetime.fromisoformat(answer[name]) for name in _TIMES if answer[name]}
    return StoredFeedback(**answer | times | {"reasons": tuple(answer["reasons"]), "is_replay": True})
