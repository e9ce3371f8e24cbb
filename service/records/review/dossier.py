"""One conversation whole, with everything that was recorded and said about each of its replies.

And what there is to choose from in a filter: the versions, plans and reasons of late.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from model_store.contract.conversation import Message
from model_store.contract.feedback import Rating, Ruling
from model_store.intents.sentiment import Sentiment
from service.records.errors import ConversationNotFoundError
from service.records.oversight.usage import json_field
from service.records.review.ratings import RatingKey, gold_about, rulings_about
from service.records.statements.tags import by_conversation
from service.records.store import RecordedTurn, StoredFeedback
from service.records.tables import completions, conversation_tags, conversations, feedback

MAX_RECENT = 20_000
"""So many of the newest replies tell what there is to choose from."""
MAX_TAGS_OFFERED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedReply:
    """A finished completion as a reviewer reads it; masked. `feedback` stands, the oldest first."""

    turn: RecordedTurn
    model_digest: str
    language: str
    sampling: Mapping[str, Any]
    finish_reason: str
    latency_ms: float
    feedback: tuple[StoredFeedback, ...]
    sentiment: Sentiment | None = None
    """Of the message that it answers."""
    gold: Rating | None = None
    """What the staff calls the truth about it."""
    rulings: Mapping[str, Ruling] = field(default_factory=dict)
    """By rater: what was decided about this rating, or about all of the rater's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """A conversation with its replies in order. `is_cut`: it has more of them, before or after."""

    conversation_id: str
    created_at: datetime
    replies: tuple[RecordedReply, ...]
    is_cut: bool
    tags: tuple[str, ...] = ()


class Choices(NamedTuple):
    """What occurs among recent replies, with its number: the most frequent first, versions the newest first."""

    versions: tuple[tuple[str, int], ...]
    plans: tuple[tuple[str, int], ...]
    reasons: tuple[tuple[str, int], ...]
    tags: tuple[tuple[str, int], ...]


def read_dossier(
    connection: Connection, tenant: str, conversation_id: str, *, up_to: str | None, max_replies: int
) -> Dossier:
    """A conversation whole; of one with more replies the newest, or where `up_to` is not among them those up to it.

    Raises ConversationNotFoundError.
    """
    mine = conversations.c.tenant == tenant, conversations.c.id == conversation_id
    created_at = connection.scalar(select(conversations.c.created_at).where(*mine))
    if created_at is None:
        raise ConversationNotFoundError(conversation_id=conversation_id)
    columns = completions.c
    said = columns.tenant == tenant, columns.conversation_id == conversation_id, columns.is_finished
    newest_first = (
        select(completions).where(*said).order_by(columns.created_at.desc(), columns.id.desc()).limit(max_replies)
    )
    rows = connection.execute(newest_first).all()
    is_cut = len(rows) == max_replies and (connection.scalar(select(func.count()).where(*said)) or 0) > max_replies
    if is_cut and up_to is not None and up_to not in (row.id for row in rows):
        rows = connection.execute(newest_first.where(_is_up_to(up_to))).all() or rows
    ids = [row.id for row in rows]
    said_of = _SaidOf(_feedback(connection, ids), gold_about(connection, ids), rulings_about(connection, tenant, ids))
    return Dossier(
        conversation_id=conversation_id,
        created_at=created_at,
        replies=tuple(_reply(row, said_of) for row in reversed(rows)),
        is_cut=is_cut,
        tags=by_conversation(connection, tenant, [conversation_id]).get(conversation_id, ()),
    )


def _is_up_to(completion_id: str) -> ColumnElement[bool]:
    """Whether a reply was given before this one or is it."""
    columns, last = completions.c, completions.alias("last")
    is_older = or_(
        columns.created_at < last.c.created_at,
        and_(columns.created_at == last.c.created_at, columns.id <= last.c.id),
    )
    mine = last.c.id == completion_id, last.c.tenant == columns.tenant
    return select(last.c.id).where(*mine, last.c.conversation_id == columns.conversation_id, is_older).exists()


def read_choices(connection: Connection, tenant: str) -> Choices:
    """What the newest replies of a tenant were made by, set out to say, and were liked or disliked for."""
    columns, number = completions.c, func.count()
    recent = (
        select(
            columns.id,
            columns.created_at,
            columns.model_digest,
            json_field(connection, columns.sampling, "plan").label("plan"),
        )
        .where(columns.tenant == tenant, columns.is_finished)
        .order_by(columns.created_at.desc())
        .limit(MAX_RECENT)
        .cte("recent")
    )
    versions = select(recent.c.model_digest, number).group_by(recent.c.model_digest)
    plans = select(recent.c.plan, number).where(recent.c.plan.is_not(None)).group_by(recent.c.plan)
    # Whole sets: few differ, and they are counted without taking JSON apart.
    sets = select(feedback.c.reasons, number).join(recent, recent.c.id == feedback.c.completion_id)
    given = sets.where(feedback.c.rating.is_not(None), feedback.c.reasons != []).group_by(feedback.c.reasons)
    reasons: Counter[str] = Counter()
    for names, num_ratings in connection.execute(given):
        reasons.update(dict.fromkeys(names, num_ratings))
    return Choices(
        versions=_pairs(connection, versions.order_by(func.max(recent.c.created_at).desc())),
        plans=_pairs(connection, plans.order_by(number.desc(), recent.c.plan)),
        reasons=tuple(reasons.most_common()),
        tags=_tags(connection, tenant),
    )


def _pairs(connection: Connection, query: Select[Any]) -> tuple[tuple[str, int], ...]:
    return tuple((row[0], row[1]) for row in connection.execute(query))


def _tags(connection: Connection, tenant: str) -> tuple[tuple[str, int], ...]:
    tag, number = conversation_tags.c.tag, func.count()
    query = select(tag, number).where(conversation_tags.c.tenant == tenant).group_by(tag)
    return _pairs(connection, query.order_by(number.desc(), tag).limit(MAX_TAGS_OFFERED))


class _SaidOf(NamedTuple):
    """What was said about replies, by their ids."""

    feedback: Mapping[str, Sequence[StoredFeedback]]
    gold: Mapping[str, Rating]
    rulings: Mapping[RatingKey, Ruling]


def _reply(row: Any, said_of: _SaidOf) -> RecordedReply:
    turn = RecordedTurn(
        completion_id=row.id,
        created_at=row.created_at,
        prompt_messages=tuple(Message.from_dict(message) for message in row.prompt_messages),
        completion_text=row.completion_text,
    )
    return RecordedReply(
        turn=turn,
        model_digest=row.model_digest,
        language=row.language,
        sampling=row.sampling,
        finish_reason=row.finish_reason,
        latency_ms=row.latency_ms,
        feedback=tuple(said_of.feedback.get(row.id, ())),
        sentiment=row.sentiment,
        gold=said_of.gold.get(row.id),
        rulings={key.rater: ruling for key, ruling in said_of.rulings.items() if key.completion_id == row.id},
    )


def _feedback(connection: Connection, ids: Sequence[str]) -> dict[str, list[StoredFeedback]]:
    columns = feedback.c
    query = select(feedback).where(columns.completion_id.in_(ids), columns.rating.is_not(None))
    given: dict[str, list[StoredFeedback]] = {}
    for row in connection.execute(query.order_by(columns.created_at, columns.rater)).mappings():
        stored = StoredFeedback(**{**row, "reasons": tuple(row["reasons"])})
        given.setdefault(stored.completion_id, []).append(stored)
    return given
