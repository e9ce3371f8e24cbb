"""The newest rated replies of a tenant in one language: what a reply is compared with."""

from sqlalchemy import Connection, select

from model_store.contract.conversation import Role
from model_store.knowledge.rated_replies import RatedReply
from service.records.tables import completions, feedback

MAX_RATED = 2_000
"""Ratings; reading and indexing so many takes about half a second."""


def read_rated(connection: Connection, tenant: str, language: str) -> tuple[RatedReply, ...]:
    """At most `MAX_RATED` standing ratings of finished replies, the newest last; masked, as they were recorded."""
    columns, given = completions.c, feedback.c
    wanted = (columns.tenant == tenant, columns.language == language, columns.is_finished, given.rating.is_not(None))
    query = (
        select(
            columns.id,
            columns.prompt_messages,
            columns.completion_text,
            given.rating,
            given.reasons,
            given.correction,
        )
        .join(feedback, given.completion_id == columns.id)
        .where(*wanted)
        .order_by(given.updated_at.desc(), columns.id.desc(), given.rater.desc())
        .limit(MAX_RATED)
    )
    return tuple(
        RatedReply(
            completion_id=row.id,
            language=language,
            message=_last_said(row.prompt_messages),
            reply=row.completion_text,
            rating=row.rating,
            reasons=tuple(row.reasons),
            correction=row.correction,
        )
        for row in reversed(connection.execute(query).all())
    )


def _last_said(messages: list[dict[str, str]]) -> str:
    return next((each["content"] for each in reversed(messages) if each["role"] == Role.USER), "")
