"""The record store's contract, on SQLite and PostgreSQL alike."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from model_store.contract.conversation import Message, Role
from service.records.database import open_reader, transaction
from service.records.errors import (
    CompletionExistsError,
    CompletionNotFoundError,
    RecordStoreUnavailableError,
    UnstorableRecordError,
)
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord, FeedbackCounts, FeedbackRecord, RecordStore

MakeCompletion = Callable[..., CompletionRecord]


def rate(completion_id: str = "cmpl-1", rater: str = "kim", **fields: Any) -> FeedbackRecord:
    """Feedback with a thumb up unless `fields` say otherwise."""
    values: dict[str, Any] = {"rating": "up"}
    return FeedbackRecord(completion_id=completion_id, rater=rater, **values | fields)


def test_a_completion_is_read_back_exactly_as_it_was_recorded(
    store: RecordStore, make_completion: MakeCompletion
) -> None:
    """Every field survives the round trip, Chinese, emoji, floats and a 64-bit seed included."""
    completion = make_completion()
    store.record_completion(completion)
    assert store.get_completion("cmpl-1") == completion


def test_a_sentiment_is_kept_and_no_other_word_for_it(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """The database itself knows the three; none is none."""
    store.record_completion(make_completion("cmpl-1", sentiment="negative"))
    store.record_completion(make_completion("cmpl-2"))
    assert [store.get_completion(f"cmpl-{number}").sentiment for number in (1, 2)] == ["negative", None]
    with pytest.raises(IntegrityError):
        store.record_completion(make_completion("cmpl-3", sentiment="gloomy"))


def test_a_time_in_another_zone_is_kept_as_the_same_moment(store: RecordStore, make_completion: MakeCompletion) -> None:
    """Times come back in UTC."""
    local = datetime(2026, 1, 31, 16, 15, tzinfo=timezone(timedelta(hours=8)))
    store.record_completion(make_completion(created_at=local))
    created_at = store.get_completion("cmpl-1").created_at
    assert created_at == local
    assert created_at.tzinfo is UTC


def test_a_second_completion_with_the_same_id_is_refused_and_changes_nothing(
    store: RecordStore, make_completion: MakeCompletion
) -> None:
    """The first record stands."""
    store.record_completion(make_completion())
    with pytest.raises(CompletionExistsError):
        store.record_completion(make_completion(completion_text="other"))
    assert store.get_completion("cmpl-1") == make_completion()


def test_an_unknown_completion_is_not_found(store: RecordStore) -> None:
    """Reading and rating say the same, also for ids that no database could hold."""
    for completion_id in ("cmpl-none", "cmpl-\0", "cmpl-\ud800"):
        with pytest.raises(CompletionNotFoundError):
            store.get_completion(completion_id)
    with pytest.raises(CompletionNotFoundError):
        store.record_feedback(rate("cmpl-none"))
    assert store.count_feedback() == FeedbackCounts(0, 0)


def test_another_tenants_completion_is_not_found(store: RecordStore, make_completion: MakeCompletion) -> None:
    """Neither read nor rated, and with the same error as an unknown id."""
    store.record_completion(make_completion(tenant="acme"))
    with pytest.raises(CompletionNotFoundError):
        store.get_completion("cmpl-1")
    with pytest.raises(CompletionNotFoundError):
        store.record_feedback(rate())
    assert store.record_feedback(rate(tenant="acme")).rating == "up"


def test_two_tenants_may_use_the_same_conversation_id(store: RecordStore, make_completion: MakeCompletion) -> None:
    """A conversation id names a conversation within its tenant only."""
    store.record_completion(make_completion("cmpl-1", tenant="acme"))
    store.record_completion(make_completion("cmpl-2", tenant="globex"))
    assert store.get_completion("cmpl-1", tenant="acme").conversation_id == "conv-1"
    assert store.get_completion("cmpl-2", tenant="globex").conversation_id == "conv-1"


def test_feedback_is_returned_as_stored(store: RecordStore, make_completion: MakeCompletion) -> None:
    """The answer carries every field and both times."""
    store.record_completion(make_completion())
    before = datetime.now(UTC)
    stored = store.record_feedback(
        rate(rating="down", reasons=("too_long", "mechanical"), comment="没用", correction="好的")
    )
    assert (stored.completion_id, stored.rater, stored.rating) == ("cmpl-1", "kim", "down")
    assert (stored.reasons, stored.comment, stored.correction) == (("too_long", "mechanical"), "没用", "好的")
    assert before <= stored.created_at == stored.updated_at <= datetime.now(UTC)
    assert stored.withdrawn_at is None


def test_a_second_vote_of_the_same_rater_replaces_the_first(
    store: RecordStore, make_completion: MakeCompletion
) -> None:
    """One row a rater; what the second vote leaves out is gone, the time of the first stays."""
    store.record_completion(make_completion())
    first = store.record_feedback(rate(rating="down", comment="bad", reasons=("wrong_intent",)))
    second = store.record_feedback(rate(rating="up"))
    assert (second.rating, second.comment, second.reasons) == ("up", None, ())
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    assert store.count_feedback() == FeedbackCounts(num_up=1, num_down=0)


def test_two_raters_have_a_vote_each(store: RecordStore, make_completion: MakeCompletion) -> None:
    """Votes are kept by completion and rater."""
    store.record_completion(make_completion())
    store.record_feedback(rate(rater="kim", rating="up"))
    store.record_feedback(rate(rater="lee", rating="down"))
    assert store.count_feedback() == FeedbackCounts(num_up=1, num_down=1)


def test_a_null_rating_withdraws_the_vote_and_all_that_was_said_with_it(
    store: RecordStore, make_completion: MakeCompletion
) -> None:
    """The row stays, marked withdrawn and empty."""
    store.record_completion(make_completion())
    store.record_feedback(rate(rating="down", comment="bad", correction="better", reasons=("wrong_intent",)))
    withdrawn = store.record_feedback(rate(rating=None, comment="never mind"))
    assert withdrawn.rating is None
    assert withdrawn.withdrawn_at == withdrawn.updated_at
    assert (withdrawn.reasons, withdrawn.comment, withdrawn.correction) == ((), None, None)
    assert store.count_feedback() == FeedbackCounts(0, 0)


def test_a_vote_after_a_withdrawal_stands_again(store: RecordStore, make_completion: MakeCompletion) -> None:
    """Withdrawing is not final."""
    store.record_completion(make_completion())
    store.record_feedback(rate(rating=None))
    again = store.record_feedback(rate(rating="up"))
    assert (again.rating, again.withdrawn_at) == ("up", None)


def test_votes_from_many_threads_at_once_all_land(store: RecordStore, make_completion: MakeCompletion) -> None:
    """Eight threads with forty raters on one completion leave forty votes, each in its last state."""
    store.record_completion(make_completion())
    votes = [rate(rater=f"rater-{number % 40}", rating="down") for number in range(80)]
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(store.record_feedback, votes))) == 80
    assert store.count_feedback() == FeedbackCounts(num_up=0, num_down=40)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"completion_text": "a\0b"}, "NUL"),
        ({"completion_text": "\ud800"}, "surrogate"),
        ({"prompt_messages": (Message(Role.USER, "a\0b"),)}, "NUL"),
        ({"prompt_messages": (Message(Role.USER, "\udfff"),)}, "surrogate"),
        ({"sampling": {"stop": ["\0"]}}, "NUL"),
        ({"sampling": {"temperature": float("nan")}}, "finite"),
        ({"token_logprobs": (-1.0, float("-inf"), 0.0)}, "finite"),
        ({"latency_ms": float("inf")}, "finite"),
        ({"created_at": datetime(2026, 1, 31)}, "time zone"),
    ],
)
def test_what_one_database_could_not_keep_is_refused_by_both(
    store: RecordStore, make_completion: MakeCompletion, fields: dict[str, Any], problem: str
) -> None:
    """The same error on SQLite and PostgreSQL, naming the field but not its content; nothing is written."""
    with pytest.raises(UnstorableRecordError, match=problem) as caught:
        store.record_completion(make_completion(**fields))
    assert caught.value.context["field"] == next(iter(fields))
    with pytest.raises(CompletionNotFoundError):
        store.get_completion("cmpl-1")


@pytest.mark.parametrize("field", ["rater", "comment", "correction", "completion_id", "tenant"])
def test_feedback_with_a_nul_is_refused_by_both(
    store: RecordStore, make_completion: MakeCompletion, field: str
) -> None:
    """No field of feedback lets it through."""
    store.record_completion(make_completion())
    values = {"completion_id": "cmpl-1", "rater": "kim", field: "a\0b"}
    with pytest.raises(UnstorableRecordError):
        store.record_feedback(rate(**values))
    assert store.count_feedback() == FeedbackCounts(0, 0)


@pytest.mark.parametrize("words", ["' OR 1=1 --", "%s %(a)s :b ?", "\u202e\u2028\x07\\", "🤷🏽‍♀️" * 200, ""])
def test_awkward_text_is_kept_as_it_is(store: RecordStore, make_completion: MakeCompletion, words: str) -> None:
    """Quotes, placeholders of SQL, controls, emoji and nothing at all come back unchanged."""
    store.record_completion(make_completion(completion_text=words, prompt_messages=(Message(Role.USER, words),)))
    assert store.get_completion("cmpl-1").completion_text == words
    assert store.get_completion("cmpl-1").prompt_messages[0].content == words
    assert store.record_feedback(rate(comment=words)).comment == words


def test_the_database_itself_refuses_a_rating_that_is_neither_up_nor_down(
    store: SqlRecordStore, make_completion: MakeCompletion
) -> None:
    """A fault of this program is no outage: it passes as what it is, and nothing is written."""
    store.record_completion(make_completion())
    with pytest.raises(IntegrityError) as caught:
        store.record_feedback(rate(rating="sideways", comment="my secret words"))
    assert "parameters hidden" in str(caught.value)
    assert store.count_feedback() == FeedbackCounts(0, 0)


def test_what_was_recorded_is_there_after_reopening(
    database_url: str, store: SqlRecordStore, make_completion: MakeCompletion
) -> None:
    """Opening again migrates nothing away."""
    store.record_completion(make_completion())
    store.record_feedback(rate())
    store.close()
    reopened = SqlRecordStore.open(database_url)
    assert reopened.get_completion("cmpl-1") == make_completion()
    assert reopened.count_feedback() == FeedbackCounts(num_up=1, num_down=0)
    reopened.close()


def test_deleting_a_rated_completion_is_refused_by_the_database(
    store: SqlRecordStore, make_completion: MakeCompletion
) -> None:
    """Foreign keys hold, which SQLite does only when asked."""
    store.record_completion(make_completion())
    store.record_feedback(rate())
    with pytest.raises(IntegrityError), transaction(store._engine) as connection:
        connection.execute(text("DELETE FROM completions"))


def test_a_reader_sees_the_records_and_cannot_change_them(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str
) -> None:
    """Reading beside the running service is safe by construction."""
    store.record_completion(make_completion())
    engine = open_reader(database_url)
    with transaction(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM completions")) == 1
    with pytest.raises(RecordStoreUnavailableError, match=r"read-?only"), transaction(engine) as connection:
        connection.execute(text("DELETE FROM completions"))
    engine.dispose()
