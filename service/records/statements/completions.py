"""Completions: one row each, written once."""

from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, select

from model_store.contract.conversation import Message
from service.records.database import insert_in
from service.records.errors import CompletionExistsError, CompletionNotFoundError
from service.records.handovers import statements as handovers
from service.records.statements import conversations, idempotency
from service.records.store import Claim, CompletionRecord
from service.records.tables import completions


def record(
    connection: Connection, completion: CompletionRecord, claim: Claim | None, *, tells_handover: bool = False
) -> None:
    """See `RecordStore.record_completion`."""
    conversations.begin(connection, completion.tenant, completion.conversation_id, completion.created_at)
    if connection.execute(_add_in(connection.dialect.name), _values(completion)).first() is None:
        raise CompletionExistsError(completion_id=completion.id)
    if claim is not None:
        idempotency.keep_answer(connection, claim, completion.id, None)
    if tells_handover and completion.finish_reason == "handover":
        handovers.add(connection, completion)


def read(connection: Connection, tenant: str, completion_id: str) -> CompletionRecord:
    """See `RecordStore.get_completion`."""
    query = select(completions).where(completions.c.id == completion_id, completions.c.tenant == tenant)
    row = connection.execute(query).first()
    if row is None:
        raise CompletionNotFoundError(completion_id=completion_id)
    return _record(row)


@cache
def _add_in(dialect: str) -> Any:
    return insert_in(dialect, completions).on_conflict_do_nothing().returning(completions.c.id)


def _values(completion: CompletionRecord) -> dict[str, object]:
    values = {column.name: getattr(completion, column.name) for column in completions.c}
    values["prompt_messages"] = [message.as_dict() for message in completion.prompt_messages]
    values["sampling"] = dict(completion.sampling)
    return values


def _record(row: Row[Any]) -> CompletionRecord:
    values = {column.name: row._mapping[column] for column in completions.c if column.name != "is_finished"}
    values["prompt_messages"] = tuple(Message.from_dict(message) for message in values["prompt_messages"])
    values["completion_token_ids"] = tuple(values["completion_token_ids"])
    values["token_logprobs"] = tuple(values["token_logprobs"])
    return CompletionRecord(**values)
