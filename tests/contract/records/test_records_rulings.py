"""What people decide about ratings, on both databases: gold, set aside, counted; and how training reads it."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from model_store.contract.feedback import CONVERSATION_TURNS_COLUMNS, Rating, Ruling
from service.records.database import transaction
from service.records.errors import CompletionNotFoundError, RatingNotFoundError, UnstorableRecordError
from service.records.sql_store import SqlRecordStore
from service.records.statements.rulings import all_gold
from service.records.store import CompletionRecord, FeedbackRecord, GoldRating, RatingRuling
from service.records.tables import conversation_turns, gold_ratings, rating_rulings, training_examples

MakeCompletion = Callable[..., CompletionRecord]
NOW = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)


def gold(completion_id: str, rating: Rating | None, tenant: str = "default") -> GoldRating:
    """What the operator calls the truth."""
    return GoldRating(completion_id=completion_id, rating=rating, actor="operator", decided_at=NOW, tenant=tenant)


def ruling(
    rater: str, completion_id: str | None, verdict: Ruling | None, tenant: str = "default", actor: str = "operator"
) -> RatingRuling:
    """What the operator decides about a rating."""
    return RatingRuling(
        rater=rater, completion_id=completion_id, verdict=verdict, actor=actor, decided_at=NOW, tenant=tenant
    )


def read(store: SqlRecordStore) -> list[tuple[str, str, str | None, str | None]]:
    """What training reads of it: completion, rater, gold, ruling."""
    columns = training_examples.c
    query = select(columns.completion_id, columns.rater, columns.gold, columns.ruling)
    with transaction(store._engine) as connection:
        return [tuple(row) for row in connection.execute(query.order_by(columns.completion_id, columns.rater))]


@pytest.fixture
def rated(store: SqlRecordStore, make_completion: MakeCompletion) -> SqlRecordStore:
    """Two completions; Kim has rated both, Lee one."""
    for number in (1, 2):
        store.record_completion(make_completion(f"cmpl-{number}", conversation_id=f"conv-{number}"))
    for completion_id, rater in (("cmpl-1", "kim"), ("cmpl-1", "lee"), ("cmpl-2", "kim")):
        store.record_feedback(FeedbackRecord(completion_id=completion_id, rater=rater, rating="up"))
    return store


def test_gold_holds_for_every_rating_of_a_completion_until_it_is_taken_back(rated: SqlRecordStore) -> None:
    """The last word counts; taking back what is not there is no error."""
    rated.record_gold(gold("cmpl-1", "up"))
    rated.record_gold(gold("cmpl-1", "down"))
    assert [row[2] for row in read(rated)] == ["down", "down", None]
    with transaction(rated._engine) as connection:
        assert list(all_gold(connection, "default")) == [gold("cmpl-1", "down")]
        assert list(all_gold(connection, "acme")) == []
    rated.record_gold(gold("cmpl-1", None))
    rated.record_gold(gold("cmpl-1", None))
    assert [row[2] for row in read(rated)] == [None, None, None]


def test_a_ruling_is_about_one_rating_or_all_of_a_rater_and_the_narrower_one_wins(rated: SqlRecordStore) -> None:
    """Setting all of Kim aside and counting one of hers again."""
    rated.record_ruling(ruling("kim", None, "set_aside"))
    assert [row[3] for row in read(rated)] == ["set_aside", None, "set_aside"]
    rated.record_ruling(ruling("kim", "cmpl-2", "count"))
    assert [row[3] for row in read(rated)] == ["set_aside", None, "count"]
    rated.record_ruling(ruling("kim", None, None))
    assert [row[3] for row in read(rated)] == [None, None, "count"]


def test_nothing_is_decided_about_what_another_tenant_has_or_nobody(
    rated: SqlRecordStore, make_completion: MakeCompletion
) -> None:
    """Neither a completion nor a rater; and a ruling of another tenant about the same rater is its own."""
    rated.record_completion(make_completion("cmpl-3", tenant="acme"))
    rated.record_feedback(FeedbackRecord(completion_id="cmpl-3", rater="kim", rating="up", tenant="acme"))
    for tenant, completion_id in (("default", "cmpl-3"), ("default", "none"), ("acme", "cmpl-1")):
        with pytest.raises(CompletionNotFoundError):
            rated.record_gold(gold(completion_id, "up", tenant))
    for tenant, rater, about in (
        ("default", "kim", "cmpl-3"),
        ("default", "nobody", None),
        ("acme", "lee", None),
        ("default", "lee", "cmpl-2"),
    ):
        with pytest.raises(RatingNotFoundError):
            rated.record_ruling(ruling(rater, about, "set_aside", tenant))
    rated.record_ruling(ruling("kim", None, "set_aside", "acme"))
    assert [row[3] for row in read(rated)] == [None, None, None, "set_aside"]


def test_a_withdrawn_rating_cannot_be_set_aside(rated: SqlRecordStore) -> None:
    """There is nothing left of it that could count."""
    rated.record_feedback(FeedbackRecord(completion_id="cmpl-2", rater="kim", rating=None))
    with pytest.raises(RatingNotFoundError):
        rated.record_ruling(ruling("kim", "cmpl-2", "set_aside"))


def test_decisions_go_with_their_conversation(rated: SqlRecordStore) -> None:
    """By erasure and by purge; what was decided about a rater stays."""
    for number in (1, 2):
        rated.record_gold(gold(f"cmpl-{number}", "up"))
        rated.record_ruling(ruling("kim", f"cmpl-{number}", "set_aside"))
    rated.record_ruling(ruling("kim", None, "count"))
    rated.erase_conversation("conv-1")
    with transaction(rated._engine) as connection:
        assert connection.scalar(select(func.count()).select_from(gold_ratings)) == 1
        assert connection.scalar(select(func.count()).select_from(rating_rulings)) == 2
    rated.purge(datetime.now(UTC))
    with transaction(rated._engine) as connection:
        assert connection.scalar(select(func.count()).select_from(gold_ratings)) == 0
        assert connection.scalar(select(rating_rulings.c.completion_id)) == ""


def test_what_not_every_database_can_keep_is_refused(rated: SqlRecordStore) -> None:
    """As with all records, before anything is written."""
    with pytest.raises(UnstorableRecordError):
        rated.record_gold(gold("cmpl-1\0", "up"))
    with pytest.raises(UnstorableRecordError):
        rated.record_ruling(ruling("kim\0", None, "set_aside"))


def test_every_finished_reply_is_among_the_turns(rated: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """Rated or not, once; half completions are not."""
    rated.record_completion(make_completion("cmpl-3"))
    rated.record_completion(make_completion("cmpl-4", finish_reason="cancelled"))
    with transaction(rated._engine) as connection:
        rows = connection.execute(select(conversation_turns)).mappings().all()
    assert sorted(row["completion_id"] for row in rows) == ["cmpl-1", "cmpl-2", "cmpl-3"]
    assert tuple(rows[0]) == CONVERSATION_TURNS_COLUMNS
