"""Lists of replies: the newest of each conversation, and those that are most worth a look. Keysets, so pages are cheap.

Order and filter decide which completions come; what is told of them is read afterwards, for one page only.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Float, and_, case, cast, func, literal, or_, select

from model_store.contract.conversation import Role
from model_store.intents.sentiment import Sentiment
from service.records.oversight.usage import json_field
from service.records.review.reply_filter import ReplyFilter, is_rated, is_rated_by_staff, matches
from service.records.statements.tags import by_conversation
from service.records.tables import completions, feedback

MAX_QUEUE = 20_000
"""Of the replies that are worth a look, the newest so many are put in order."""
_SURE = 1.0
"""Counts for a reply whose model had no plan."""


class ReplyPlace(NamedTuple):
    """A place in the list of conversations."""

    created_at: datetime
    completion_id: str


class QueuePlace(NamedTuple):
    """A place in the queue: first what somebody disliked (0), then the rest (1), in each the least sure first."""

    rank: int
    plan_confidence: float
    created_at: datetime
    completion_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundReply:
    """A reply in a list. Texts are masked; `question` is the last that the customer had said."""

    completion_id: str
    conversation_id: str
    created_at: datetime
    model_digest: str
    language: str
    question: str
    text: str
    plan: str | None
    plan_confidence: float | None
    rule: str | None
    safety: Mapping[str, str] | None
    """The safety rule that had a say: its name as `rule`, its `outcome`, and what it was `found_by`."""
    sentiment: Sentiment | None
    """Of the question."""
    finish_reason: str
    num_up: int
    num_down: int
    is_corrected: bool
    num_replies: int
    """How many replies the whole conversation has."""
    tags: tuple[str, ...] = ()
    """The conversation's."""

    @property
    def place(self) -> ReplyPlace:
        """Where it stands in the list of conversations."""
        return ReplyPlace(self.created_at, self.completion_id)

    @property
    def queue_place(self) -> QueuePlace:
        """Where it stands in the queue."""
        confidence = _SURE if self.plan_confidence is None else self.plan_confidence
        return QueuePlace(0 if self.num_down else 1, confidence, self.created_at, self.completion_id)


def newest(
    connection: Connection, wanted: ReplyFilter, *, limit: int, before: ReplyPlace | None
) -> tuple[FoundReply, ...]:
    """Of each conversation the newest of the replies, newest first, from below `before` on."""
    columns, later = completions.c, completions.alias("later")
    is_later = or_(
        later.c.created_at > columns.created_at,
        and_(later.c.created_at == columns.created_at, later.c.id > columns.id),
    )
    has_later = select(later.c.id).where(
        later.c.tenant == columns.tenant,
        later.c.conversation_id == columns.conversation_id,
        is_later,
        matches(connection, wanted, later),
    )
    query = select(columns.id).where(matches(connection, wanted, completions), ~has_later.exists())
    if before is not None:
        is_same_age = and_(columns.created_at == before.created_at, columns.id < before.completion_id)
        query = query.where(or_(columns.created_at < before.created_at, is_same_age))
    ids = connection.scalars(query.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit)).all()
    return _found(connection, wanted.tenant, ids)


def worth_a_look(
    connection: Connection, wanted: ReplyFilter, *, limit: int, after: QueuePlace | None
) -> tuple[FoundReply, ...]:
    """Replies that nobody of the staff has rated, and that customers disliked or nobody rated; see `QueuePlace`."""
    columns = completions.c
    confidence = cast(json_field(connection, columns.sampling, "plan_confidence"), Float)
    is_unsure = and_(~is_rated(columns), confidence.is_not(None))
    pool = (
        select(
            case((is_rated(columns, "down"), 0), else_=1).label("rank"),
            func.coalesce(confidence, literal(_SURE)).label("plan_confidence"),
            columns.created_at,
            columns.id,
        )
        .where(matches(connection, wanted, completions), ~is_rated_by_staff(columns))
        .where(or_(is_rated(columns, "down"), is_unsure))
        .order_by(columns.created_at.desc())
        .limit(MAX_QUEUE)
        .subquery()
    )
    query = select(pool.c.id)
    if after is not None:
        query = query.where(_is_beyond(pool.c, after))
    order = (pool.c.rank, pool.c.plan_confidence, pool.c.created_at.desc(), pool.c.id.desc())
    return _found(connection, wanted.tenant, connection.scalars(query.order_by(*order).limit(limit)).all())


def _is_beyond(columns: Any, place: QueuePlace) -> ColumnElement[bool]:
    is_older = or_(
        columns.created_at < place.created_at,
        and_(columns.created_at == place.created_at, columns.id < place.completion_id),
    )
    is_surer = or_(
        columns.plan_confidence > place.plan_confidence,
        and_(columns.plan_confidence == place.plan_confidence, is_older),
    )
    return or_(columns.rank > place.rank, and_(columns.rank == place.rank, is_surer))


def _found(connection: Connection, tenant: str, ids: Sequence[str]) -> tuple[FoundReply, ...]:
    """What is told of these replies, in their order."""
    columns = completions.c
    names = ("id", "conversation_id", "created_at", "model_digest", "language", "prompt_messages")
    more = ("completion_text", "sampling", "finish_reason", "sentiment")
    query = select(*(columns[name] for name in (*names, *more))).where(columns.id.in_(ids))
    rows = {row.id: row for row in connection.execute(query)}
    thumbs, corrected = _judgements(connection, ids)
    conversation_ids = {row.conversation_id for row in rows.values()}
    sizes = _sizes(connection, tenant, conversation_ids)
    tags = by_conversation(connection, tenant, conversation_ids)
    return tuple(
        FoundReply(
            completion_id=row.id,
            conversation_id=row.conversation_id,
            created_at=row.created_at,
            model_digest=row.model_digest,
            language=row.language,
            question=_last_question(row.prompt_messages),
            text=row.completion_text,
            plan=row.sampling.get("plan"),
            plan_confidence=row.sampling.get("plan_confidence"),
            rule=row.sampling.get("rule"),
            safety=row.sampling.get("safety"),
            sentiment=row.sentiment,
            finish_reason=row.finish_reason,
            num_up=thumbs[row.id, "up"],
            num_down=thumbs[row.id, "down"],
            is_corrected=row.id in corrected,
            num_replies=sizes.get(row.conversation_id, 1),
            tags=tags.get(row.conversation_id, ()),
        )
        for row in (rows[completion_id] for completion_id in ids if completion_id in rows)  # else just erased
    )


def _judgements(connection: Connection, ids: Sequence[str]) -> tuple[Counter[tuple[str, str]], set[str]]:
    """Standing thumbs by completion and kind, and which completions have a correction."""
    columns = feedback.c
    has_correction = columns.correction.is_not(None)
    query = select(columns.completion_id, columns.rating, has_correction).where(
        columns.completion_id.in_(ids), columns.rating.is_not(None)
    )
    rows = connection.execute(query).all()
    return Counter((row[0], row[1]) for row in rows), {row[0] for row in rows if row[2]}


def _sizes(connection: Connection, tenant: str, conversation_ids: Iterable[str]) -> dict[str, int]:
    """The number of replies by conversation."""
    columns = completions.c
    mine = columns.tenant == tenant, columns.conversation_id.in_(conversation_ids), columns.is_finished
    query = select(columns.conversation_id, func.count()).where(*mine).group_by(columns.conversation_id)
    return {row[0]: row[1] for row in connection.execute(query)}


def _last_question(prompt_messages: Sequence[dict[str, str]]) -> str:
    said = (message["content"] for message in reversed(prompt_messages) if message["role"] == Role.USER.value)
    return next(said, "")
