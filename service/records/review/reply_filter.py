"""Which replies the staff asks for, as a value and as conditions that SQLite and PostgreSQL both understand.

Half completions are never among them: nobody has read them to the end, and training does not read them either.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, ColumnElement, Connection, FromClause, Text, and_, cast, func, or_, select, type_coerce

from model_store.contract.conversation import Role
from model_store.contract.feedback import STAFF_RATER_PREFIX, Rating
from model_store.intents.sentiment import Sentiment
from service.records.oversight.usage import json_field
from service.records.store import DEFAULT_TENANT
from service.records.tables import conversation_tags, feedback


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFilter:
    """What replies of one tenant must have in common; None: anything will do.

    `text` is found in the reply or in what was said before it, whatever the case of ASCII letters. `model_digest` may
    be a digest's beginning. A `plan` stands for the questions after its details too. `reason` is one that came with a
    standing rating, `tag` one of the conversation's, `sentiment` that of the message that was answered. Of the times
    the first is included, the last is not.
    """

    tenant: str = DEFAULT_TENANT
    text: str | None = None
    rating: Literal["up", "down", "none"] | None = None
    reason: str | None = None
    is_corrected: bool | None = None
    model_digest: str | None = None
    language: str | None = None
    tag: str | None = None
    plan: str | None = None
    sentiment: Sentiment | None = None
    is_hand_over: bool | None = None
    is_safety: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


def matches(connection: Connection, wanted: ReplyFilter, table: FromClause) -> ColumnElement[bool]:
    """Whether a row of `completions`, or of an alias of it, is one of the replies."""
    columns = table.c
    return and_(
        columns.tenant == wanted.tenant,
        columns.is_finished,
        *_made_as(connection, wanted, columns),
        *_judged_as(wanted, columns),
        *([] if wanted.text is None else [_says(connection, columns, wanted.text)]),
    )


def is_rated(columns: Any, rating: Rating | None = None) -> ColumnElement[bool]:
    """Whether a rating stands, of this kind or any."""
    rated = feedback.c.rating
    return _has_feedback(columns, rated.is_not(None) if rating is None else rated == rating)


def is_rated_by_staff(columns: Any) -> ColumnElement[bool]:
    """Whether somebody of the staff has rated this."""
    by_staff = feedback.c.rater.startswith(STAFF_RATER_PREFIX, autoescape=True)
    return _has_feedback(columns, feedback.c.rating.is_not(None), by_staff)


def _made_as(connection: Connection, wanted: ReplyFilter, columns: Any) -> Iterator[ColumnElement[bool]]:
    if wanted.since is not None:
        yield columns.created_at >= wanted.since
    if wanted.until is not None:
        yield columns.created_at < wanted.until
    if wanted.model_digest is not None:
        yield columns.model_digest.startswith(wanted.model_digest, autoescape=True)
    if wanted.language is not None:
        yield columns.language == wanted.language
    if wanted.tag is not None:
        yield _has_tag(columns, wanted.tag)
    if wanted.sentiment is not None:
        yield columns.sentiment == wanted.sentiment
    yield from _meant_as(connection, wanted, columns)


def _meant_as(connection: Connection, wanted: ReplyFilter, columns: Any) -> Iterator[ColumnElement[bool]]:
    plan, rule = (json_field(connection, columns.sampling, name) for name in ("plan", "rule"))
    if wanted.plan is not None:
        yield or_(plan == wanted.plan, plan.startswith(f"{wanted.plan}/", autoescape=True))
    if wanted.is_hand_over is not None:
        yield _is(wanted.is_hand_over, columns.finish_reason == "handover")
    if wanted.is_safety is not None:
        # Records from before the rules told what came of it name only a rule, and no plan.
        found = json_field(connection, columns.sampling, "safety")
        yield _is(wanted.is_safety, or_(found.is_not(None), and_(rule.is_not(None), plan.is_(None))))


def _judged_as(wanted: ReplyFilter, columns: Any) -> Iterator[ColumnElement[bool]]:
    standing: list[ColumnElement[bool]] = []
    if wanted.rating == "none":
        yield ~is_rated(columns)
    elif wanted.rating is not None:
        standing.append(feedback.c.rating == wanted.rating)
    if wanted.reason is not None:
        quoted = f'"{wanted.reason}"'  # reasons are slugs: in their JSON text nothing else stands in such quotes
        standing.append(type_coerce(feedback.c.reasons, Text()).contains(quoted, autoescape=True))
    if standing:
        yield _has_feedback(columns, feedback.c.rating.is_not(None), *standing)
    if wanted.is_corrected is not None:
        yield _is(wanted.is_corrected, _has_feedback(columns, feedback.c.correction.is_not(None)))


def _has_tag(columns: Any, tag: str) -> ColumnElement[bool]:
    tags = conversation_tags.c
    mine = tags.tenant == columns.tenant, tags.conversation_id == columns.conversation_id
    return select(tags.tag).where(*mine, tags.tag == tag).exists()


def _has_feedback(columns: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(feedback.c.rater).where(feedback.c.completion_id == columns.id, *conditions).exists()


def _is(wanted: bool, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return condition if wanted else ~condition


def _says(connection: Connection, columns: Any, text: str) -> ColumnElement[bool]:
    """Message by message, for in the JSON text itself every conversation holds the words `role` and `content`.

    Taking the JSON apart is dear, so it is done only where its text holds the words at all.
    """
    stored = type_coerce(columns.prompt_messages, Text())
    if connection.dialect.name == "postgresql":
        prompt = func.json_array_elements(cast(stored, JSON))
    else:
        prompt = func.json_each(stored)
    message = prompt.table_valued("value")
    role, content = (json_field(connection, message.c.value, name) for name in ("role", "content"))
    is_said = (
        select(1)
        .select_from(message)
        .where(role != Role.SYSTEM.value, content.icontains(text, autoescape=True))
        .exists()
    )
    as_stored = json.dumps(text, ensure_ascii=False)[1:-1]
    return or_(
        columns.completion_text.icontains(text, autoescape=True),
        and_(stored.icontains(as_stored, autoescape=True), is_said),
    )
