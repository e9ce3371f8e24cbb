"""What people think of versions that answer side by side: one vote a conversation, as the judge of candidates counts.

Of each conversation the first standing rating of a customer counts, of a named rater three at most, and replies of
rules that run before any model are left out. Who decides from them by rules: `python -m training canary`.
"""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Subquery, and_, case, func, or_, select

from service.records.oversight.usage import is_from_customer, json_field
from service.records.store import ANONYMOUS_RATER
from service.records.tables import completions, feedback

MAX_RATINGS_PER_RATER = 3
"""The default of the judge's configuration (`canary: max_ratings_per_rater`)."""


class Votes(NamedTuple):
    """One version's votes."""

    num_up: int = 0
    num_votes: int = 0


def count_votes(
    connection: Connection, digests: Collection[str], since: datetime, *, tenant: str | None
) -> dict[str, Votes]:
    """Votes by version since they answer side by side; `tenant` None counts all tenants'. None: no entry."""
    firsts = _first_ratings(connection, digests, since, tenant)
    columns = firsts.c
    nth = func.row_number().over(
        partition_by=(columns.model_digest, columns.tenant, columns.rater),
        order_by=(columns.updated_at, columns.completion_id),
    )
    numbered = select(columns.model_digest, columns.rater, columns.rating, nth.label("nth")).where(columns.turn == 1)
    votes = numbered.subquery().c
    query = (
        select(votes.model_digest, func.sum(case((votes.rating == "up", 1), else_=0)), func.count())
        .where(or_(votes.rater == ANONYMOUS_RATER, votes.nth <= MAX_RATINGS_PER_RATER))
        .group_by(votes.model_digest)
    )
    return {row[0]: Votes(row[1], row[2]) for row in connection.execute(query)}


def _first_ratings(connection: Connection, digests: Collection[str], since: datetime, tenant: str | None) -> Subquery:
    """Ratings with their place among their conversation's."""
    said, rated = completions.c, feedback.c
    rule, plan = (json_field(connection, said.sampling, name) for name in ("rule", "plan"))
    turn = func.row_number().over(
        partition_by=(said.model_digest, said.tenant, said.conversation_id),
        order_by=(rated.updated_at, rated.completion_id, rated.rater),
    )
    return (
        select(
            said.tenant,
            said.model_digest,
            rated.completion_id,
            rated.rater,
            rated.rating,
            rated.updated_at,
            turn.label("turn"),
        )
        .join(feedback, rated.completion_id == said.id)
        .where(
            said.created_at >= since,
            said.is_finished,
            said.model_digest.in_(digests),
            is_from_customer(),
            ~and_(rule.is_not(None), plan.is_(None)),
            *(() if tenant is None else (said.tenant == tenant,)),
        )
        .subquery()
    )
