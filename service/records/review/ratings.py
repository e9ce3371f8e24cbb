"""Ratings one by one, for who decides whether they count: what they are about, what was decided, and who gave how many.

What a learning run thinks of them is no record: it comes from the shelf (`model_store.curation`).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, select, tuple_

from model_store.contract.conversation import Role
from model_store.contract.feedback import Rating, Ruling
from service.records.statements.rulings import ALL_OF_RATER, all_gold
from service.records.store import GoldRating, RatingRuling
from service.records.tables import completions, feedback, gold_ratings, rating_rulings

MAX_RULINGS = 5_000
"""The newest, of a tenant."""


class RatingKey(NamedTuple):
    """Names a rating of a tenant."""

    completion_id: str
    rater: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingRating:
    """A rating that stands, and what it is about. Texts are masked."""

    key: RatingKey
    conversation_id: str
    rating: Rating
    rated_at: datetime
    question: str
    text: str
    comment: str | None
    gold: Rating | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterCount:
    """How much somebody has rated, and how much of that the staff knows the truth about."""

    rater: str
    num_ratings: int
    num_up: int
    num_gold: int
    num_gold_right: int


def standing(connection: Connection, tenant: str, keys: Collection[RatingKey]) -> dict[RatingKey, StandingRating]:
    """Those of these ratings that still stand."""
    if not keys:
        return {}
    query = (
        select(
            completions.c.id,
            completions.c.conversation_id,
            completions.c.prompt_messages,
            completions.c.completion_text,
            feedback.c.rater,
            feedback.c.rating,
            feedback.c.comment,
            feedback.c.updated_at,
            gold_ratings.c.rating.label("gold"),
        )
        .join(feedback, feedback.c.completion_id == completions.c.id)
        .outerjoin(gold_ratings, gold_ratings.c.completion_id == completions.c.id)
        .where(completions.c.tenant == tenant, feedback.c.rating.is_not(None))
        .where(tuple_(completions.c.id, feedback.c.rater).in_([tuple(key) for key in keys]))
    )
    found = {}
    for row in connection.execute(query):
        key = RatingKey(row.id, row.rater)
        asked = [message["content"] for message in row.prompt_messages if message["role"] == Role.USER.value]
        found[key] = StandingRating(
            key=key,
            conversation_id=row.conversation_id,
            rating=row.rating,
            rated_at=row.updated_at,
            question=asked[-1] if asked else "",
            text=row.completion_text,
            comment=row.comment,
            gold=row.gold,
        )
    return found


def rulings(connection: Connection, tenant: str) -> tuple[RatingRuling, ...]:
    """What people decided, the newest first."""
    columns = rating_rulings.c
    query = select(rating_rulings).where(columns.tenant == tenant)
    query = query.order_by(columns.decided_at.desc(), columns.rater, columns.completion_id).limit(MAX_RULINGS)
    return tuple(
        RatingRuling(**{**row, "completion_id": row["completion_id"] or None})
        for row in connection.execute(query).mappings()
    )


def rulings_about(connection: Connection, tenant: str, completion_ids: Sequence[str]) -> dict[RatingKey, Ruling]:
    """What holds for the ratings of these completions: the ruling about one, else that about its rater."""
    columns = rating_rulings.c
    own, whole = rating_rulings.alias(), rating_rulings.alias()
    query = (
        select(feedback.c.completion_id, feedback.c.rater, func.coalesce(own.c.verdict, whole.c.verdict))
        .outerjoin(
            own,
            and_(
                own.c.tenant == tenant,
                own.c.rater == feedback.c.rater,
                own.c.completion_id == feedback.c.completion_id,
            ),
        )
        .outerjoin(
            whole,
            and_(whole.c.tenant == tenant, whole.c.rater == feedback.c.rater, whole.c.completion_id == ALL_OF_RATER),
        )
        .where(feedback.c.completion_id.in_(completion_ids))
    )
    if connection.scalar(select(columns.rater).where(columns.tenant == tenant).limit(1)) is None:
        return {}
    return {RatingKey(row[0], row[1]): row[2] for row in connection.execute(query) if row[2] is not None}


def gold_about(connection: Connection, completion_ids: Sequence[str]) -> dict[str, Rating]:
    """What is called the truth about these completions."""
    columns = gold_ratings.c
    query = select(columns.completion_id, columns.rating).where(columns.completion_id.in_(completion_ids))
    return {row[0]: row[1] for row in connection.execute(query)}


def gold(connection: Connection, tenant: str) -> Iterator[GoldRating]:
    """A tenant's gold list, the oldest first."""
    return all_gold(connection, tenant)


def rater_counts(connection: Connection, tenant: str, *, limit: int) -> tuple[RaterCount, ...]:
    """Who has rated, the most first."""
    rating, truth = feedback.c.rating, gold_ratings.c.rating
    num_ratings = func.count()
    query = (
        select(
            feedback.c.rater,
            num_ratings.label("num_ratings"),
            func.count().filter(rating == "up").label("num_up"),
            func.count().filter(truth.is_not(None)).label("num_gold"),
            func.count().filter(truth == rating).label("num_gold_right"),
        )
        .join(completions, completions.c.id == feedback.c.completion_id)
        .outerjoin(gold_ratings, gold_ratings.c.completion_id == completions.c.id)
        .where(completions.c.tenant == tenant, rating.is_not(None))
        .group_by(feedback.c.rater)
        .order_by(num_ratings.desc(), feedback.c.rater)
        .limit(limit)
    )
    return tuple(RaterCount(**row) for row in connection.execute(query).mappings())
