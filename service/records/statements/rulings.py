"""What people decided: which rating of a completion is the truth, and which ratings count or are set aside.

Training reads both in the view `training_examples`. Who decided what and when is in the audit, too.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, select

from service.records.database import insert_into
from service.records.errors import CompletionNotFoundError, RatingNotFoundError
from service.records.store import GoldRating, RatingRuling
from service.records.tables import completions, feedback, gold_ratings, rating_rulings

ALL_OF_RATER = ""
"""Stands for a completion where a ruling is about a rater."""
_ROWS_PER_FETCH = 500


def record_gold(connection: Connection, gold: GoldRating) -> None:
    """See `RecordStore.record_gold`."""
    mine = completions.c.id == gold.completion_id, completions.c.tenant == gold.tenant
    # PostgreSQL: an erasure cannot take the completion away in between.
    found = select(completions.c.id).where(*mine).with_for_update(read=True, key_share=True)
    if connection.execute(found).first() is None:
        raise CompletionNotFoundError(completion_id=gold.completion_id)
    key = {"completion_id": gold.completion_id}
    values = {"tenant": gold.tenant, "rating": gold.rating, "actor": gold.actor, "decided_at": gold.decided_at}
    _put(connection, gold_ratings, key, values if gold.rating else None)


def record_ruling(connection: Connection, ruling: RatingRuling) -> None:
    """See `RecordStore.record_ruling`. What was decided can be taken back even where the ratings have gone."""
    about = ruling.completion_id or ALL_OF_RATER
    if ruling.verdict is not None and not is_rated(connection, ruling):
        raise RatingNotFoundError(rater=ruling.rater)
    key = {"tenant": ruling.tenant, "rater": ruling.rater, "completion_id": about}
    values = {"verdict": ruling.verdict, "actor": ruling.actor, "decided_at": ruling.decided_at}
    _put(connection, rating_rulings, key, values if ruling.verdict else None)


def is_rated(connection: Connection, ruling: RatingRuling) -> bool:
    """Whether a rating stands that the ruling is about."""
    stands: list[ColumnElement[bool]] = [
        completions.c.tenant == ruling.tenant,
        feedback.c.rater == ruling.rater,
        feedback.c.rating.is_not(None),
    ]
    if ruling.completion_id:
        stands.append(completions.c.id == ruling.completion_id)
    query = select(feedback.c.rater).join(completions, completions.c.id == feedback.c.completion_id).where(*stands)
    return connection.execute(query.limit(1)).first() is not None


def all_gold(connection: Connection, tenant: str) -> Iterator[GoldRating]:
    """A tenant's gold ratings, the oldest first, read while they are asked for."""
    columns = gold_ratings.c
    query = select(gold_ratings).where(columns.tenant == tenant).order_by(columns.decided_at, columns.completion_id)
    for row in connection.execution_options(yield_per=_ROWS_PER_FETCH).execute(query).mappings():
        yield GoldRating(**row)


def _put(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any] | None) -> None:
    """One row under its key, or none."""
    if values is None:
        connection.execute(delete(table).where(*(table.c[name] == value for name, value in key.items())))
        return
    upsert = insert_into(connection, table).values({**key, **values})
    connection.execute(upsert.on_conflict_do_update(index_elements=list(key), set_=values))
