"""The record store in SQL: SQLite by default, PostgreSQL by URL, the same statements for both.

Synchronous on purpose: SQLite's driver blocks whatever wraps it, so the chat layer calls the store from a worker thread
and one code path serves both databases. Connections and durability: `database`.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, Row, Table, false, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from model_store.contract.conversation import Message
from service.records.database import DEFAULT_TIMEOUT_SECONDS, open_engine, transaction
from service.records.errors import CompletionExistsError, CompletionNotFoundError
from service.records.migrations import upgrade
from service.records.storable import check_storable, is_storable_text
from service.records.store import (
    DEFAULT_TENANT,
    CompletionRecord,
    FeedbackCounts,
    FeedbackRecord,
    StoredFeedback,
)
from service.records.tables import completions, conversations
from service.records.tables import feedback as feedback_table


class SqlRecordStore:
    """A `RecordStore` over one SQLAlchemy engine; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        """Takes over `engine`, whose database must have been migrated; `open` does both."""
        self._engine = engine
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    @classmethod
    def open(cls, url: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> "SqlRecordStore":
        """Connects, migrates the tables to the newest revision, and returns the store.

        Raises InvalidRecordStoreUrlError, RecordStoreUnavailableError or RecordSchemaError.
        """
        engine = open_engine(url, timeout_seconds=timeout_seconds)
        try:
            upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    def record_completion(self, completion: CompletionRecord) -> None:
        """See `RecordStore.record_completion`."""
        check_storable(completion)
        conversation = {
            "tenant": completion.tenant,
            "id": completion.conversation_id,
            "created_at": completion.created_at,
        }
        with transaction(self._engine) as connection:
            connection.execute(self._insert(conversations).values(conversation).on_conflict_do_nothing())
            new = self._insert(completions).values(_completion_values(completion)).on_conflict_do_nothing()
            if connection.execute(new.returning(completions.c.id)).first() is None:
                raise CompletionExistsError(completion_id=completion.id)

    def get_completion(self, completion_id: str, *, tenant: str = DEFAULT_TENANT) -> CompletionRecord:
        """See `RecordStore.get_completion`."""
        if not (is_storable_text(completion_id) and is_storable_text(tenant)):
            raise CompletionNotFoundError(completion_id=completion_id)
        query = select(completions).where(completions.c.id == completion_id, completions.c.tenant == tenant)
        with transaction(self._engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            raise CompletionNotFoundError(completion_id=completion_id)
        return _completion_record(row)

    def record_feedback(self, feedback: FeedbackRecord) -> StoredFeedback:
        """See `RecordStore.record_feedback`."""
        check_storable(feedback)
        values = _feedback_values(feedback, datetime.now(UTC))
        # INSERT … SELECT from the completion: one statement looks it up, checks its tenant and writes, without a gap.
        source = (
            select(*(literal(value, feedback_table.c[name].type) for name, value in values.items()))
            .select_from(completions)
            .where(completions.c.id == feedback.completion_id, completions.c.tenant == feedback.tenant)
        )
        new = self._insert(feedback_table).from_select(list(values), source)
        replaced = {name: new.excluded[name] for name in values if name not in ("completion_id", "rater", "created_at")}
        upsert = new.on_conflict_do_update(index_elements=["completion_id", "rater"], set_=replaced)
        with transaction(self._engine) as connection:
            row = connection.execute(upsert.returning(*feedback_table.c)).first()
        if row is None:
            raise CompletionNotFoundError(completion_id=feedback.completion_id)
        return _stored_feedback(row)

    def count_feedback(self) -> FeedbackCounts:
        """See `RecordStore.count_feedback`."""
        query = (
            select(feedback_table.c.rating, func.count())
            .where(feedback_table.c.rating.is_not(None))
            .group_by(feedback_table.c.rating)
        )
        with transaction(self._engine) as connection:
            counts = {rating: count for rating, count in connection.execute(query)}
        return FeedbackCounts(num_up=counts.get("up", 0), num_down=counts.get("down", 0))

    def health(self) -> None:
        """See `RecordStore.health`. A full disk shows only when something is really written."""
        with transaction(self._engine) as connection:
            # A statement that could write: a read-only or locked database refuses it although no row matches.
            connection.execute(update(conversations).where(false()).values(created_at=conversations.c.created_at))

    def close(self) -> None:
        """Closes the connections; SQLite then folds its write-ahead log into the file."""
        self._engine.dispose()


def _columns_of(row: Row[Any], table: Table, *left_out: str) -> dict[str, Any]:
    return {column.name: row._mapping[column] for column in table.c if column.name not in left_out}


def _completion_values(completion: CompletionRecord) -> dict[str, object]:
    values = {column.name: getattr(completion, column.name) for column in completions.c}
    values["prompt_messages"] = [message.as_dict() for message in completion.prompt_messages]
    values["sampling"] = dict(completion.sampling)
    return values


def _completion_record(row: Row[Any]) -> CompletionRecord:
    values = _columns_of(row, completions, "is_finished")
    values["prompt_messages"] = tuple(Message.from_dict(message) for message in values["prompt_messages"])
    values["completion_token_ids"] = tuple(values["completion_token_ids"])
    values["token_logprobs"] = tuple(values["token_logprobs"])
    return CompletionRecord(**values)


def _feedback_values(record: FeedbackRecord, now: datetime) -> dict[str, object]:
    values = asdict(record)
    del values["tenant"]
    if record.rating is None:
        # Who takes a rating back takes back what was said with it.
        values.update(reasons=(), comment=None, correction=None)
    values.update(created_at=now, updated_at=now, withdrawn_at=now if record.rating is None else None)
    return values


def _stored_feedback(row: Row[Any]) -> StoredFeedback:
    values = _columns_of(row, feedback_table)
    values["reasons"] = tuple(values["reasons"])
    return StoredFeedback(**values)
