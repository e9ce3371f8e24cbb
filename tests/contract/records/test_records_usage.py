"""What the overview and the versions page count, on both databases: the same numbers from the same records."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from service.records.database import open_reader, transaction
from service.records.errors import RecordStoreUnavailableError
from service.records.oversight.reader import OversightReader
from service.records.oversight.usage import Cell, Latency, Moods, Thumbs, UsageFilter, read_usage
from service.records.oversight.votes import Votes
from service.records.sql_store import SqlRecordStore
from service.records.store import ANONYMOUS_RATER, CompletionRecord, FeedbackRecord

MakeCompletion = Callable[..., CompletionRecord]
OLD, NEW = "a" * 64, "b" * 64
MONDAY = datetime(2026, 3, 2, 23, 59, 59, 999999, tzinfo=UTC)
TUESDAY = datetime(2026, 3, 3, tzinfo=UTC)
EVERYTHING = UsageFilter(since=MONDAY - timedelta(days=1))


@pytest.fixture
def reader(store: SqlRecordStore, database_url: str) -> Iterator[OversightReader]:
    """A reader beside the store."""
    opened = OversightReader.open(database_url)
    yield opened
    opened.close()


def rate(store: SqlRecordStore, completion_id: str, rating: str | None, **fields: object) -> None:
    """A thumb."""
    values = {"completion_id": completion_id, "rater": "kim", "rating": rating, **fields}
    store.record_feedback(FeedbackRecord(**values))  # type: ignore[arg-type]


def fill(store: SqlRecordStore, make: MakeCompletion) -> None:
    """Two days of a small shop."""
    late, early = {"created_at": TUESDAY}, {"created_at": MONDAY}
    refund, plain = {"sampling": {"plan": "refund", "seed": 2**63 + 1}}, {"sampling": {"rule": "crisis"}}
    store.record_completion(make("1", model_digest=OLD, latency_ms=100.0, **early, **refund))
    store.record_completion(make("2", model_digest=OLD, latency_ms=300.0, language="en", **late, **refund))
    store.record_completion(make("3", model_digest=NEW, latency_ms=200.0, language="en", **late, **plain))
    over = {"finish_reason": "handover", "conversation_id": "conv-2"}
    sampling = {"plan": "refund", "rule": "hand_over"}
    store.record_completion(make("4", model_digest=OLD, language="en", sampling=sampling, **over, **late))
    store.record_completion(make("half", finish_reason="cancelled", **late))
    store.record_completion(make("theirs", tenant="acme", **late))
    store.record_completion(make("before", created_at=MONDAY - timedelta(days=9)))
    rate(store, "1", "up")
    rate(store, "2", "down", reasons=("too_long", "mechanical"))
    rate(store, "2", "down", rater="lee", reasons=("too_long", "mechanical"))
    rate(store, "4", "down", reasons=("wrong_intent",))
    rate(store, "3", "up")
    rate(store, "3", None)  # withdrawn
    rate(store, "2", "up", rater="staff_key_1")
    rate(store, "4", "down", rater="staff_key_1", reasons=("incorrect",))
    for other in ("half", "theirs", "before"):
        rate(store, other, "up", tenant="acme" if other == "theirs" else "default")


def test_completions_and_thumbs_are_counted_by_day_version_plan_and_language(
    store: SqlRecordStore, reader: OversightReader, make_completion: MakeCompletion
) -> None:
    """Hand-counted. Half completions, other tenants, other times, withdrawn ratings and staff's are left out."""
    fill(store, make_completion)
    usage = reader.usage(EVERYTHING)
    assert set(usage.cells) == {
        Cell("2026-03-02", OLD, "refund", "zh", 1, 0),
        Cell("2026-03-03", OLD, "refund", "en", 2, 1),
        Cell("2026-03-03", NEW, None, "en", 1, 0),
    }
    assert set(usage.thumbs) == {
        Thumbs("2026-03-02", OLD, "refund", "zh", 1, 0),
        Thumbs("2026-03-03", OLD, "refund", "en", 0, 3),
    }
    assert usage.conversations_by_day == {"2026-03-02": 1, "2026-03-03": 2}
    assert usage.num_conversations == 2
    assert usage.reasons == ((("too_long", "mechanical"), 2), (("wrong_intent",), 1))
    assert usage.counted_since is None


def test_sentiments_are_counted_by_day_and_by_what_is_chosen(
    store: SqlRecordStore, reader: OversightReader, make_completion: MakeCompletion
) -> None:
    """Only messages whose sentiment was told; another tenant's and half completions are left out."""
    refund = {"sampling": {"plan": "refund"}}
    for number, sentiment in enumerate(("negative", "negative", "neutral", "positive", None)):
        fields = refund if number == 0 else {}
        store.record_completion(make_completion(str(number), created_at=TUESDAY, sentiment=sentiment, **fields))
    store.record_completion(make_completion("early", created_at=MONDAY, sentiment="neutral"))
    half = {"finish_reason": "cancelled", "created_at": TUESDAY, "sentiment": "negative"}
    store.record_completion(make_completion("half", **half))
    store.record_completion(make_completion("theirs", tenant="acme", created_at=TUESDAY, sentiment="negative"))
    assert set(reader.usage(EVERYTHING).moods) == {Moods("2026-03-02", 0, 0, 1), Moods("2026-03-03", 2, 1, 4)}
    of_plan = reader.usage(UsageFilter(since=EVERYTHING.since, plan="refund"))
    assert of_plan.moods == (Moods("2026-03-03", 1, 0, 1),)


def test_a_filter_leaves_out_what_does_not_fit(
    store: SqlRecordStore, reader: OversightReader, make_completion: MakeCompletion
) -> None:
    """By version, language, plan and tenant, alone or together."""
    fill(store, make_completion)

    def count(**fields: str) -> int:
        usage = reader.usage(UsageFilter(since=EVERYTHING.since, **fields))
        return sum(cell.num_completions for cell in usage.cells)

    assert [count(model_digest=OLD), count(language="en"), count(plan="refund"), count(tenant="acme")] == [3, 3, 3, 1]
    assert [count(model_digest=NEW, plan="refund"), count(tenant="nobody")] == [0, 0]
    assert count(plan="' OR 1=1 --") == 0


def test_percentiles_are_those_of_the_nearest_rank(
    store: SqlRecordStore, reader: OversightReader, make_completion: MakeCompletion
) -> None:
    """Of 1 to 40 ms the median is 20 and the 95th percentile 38; of one value both are that value."""
    for number in range(1, 41):
        store.record_completion(make_completion(f"cmpl-{number}", created_at=TUESDAY, latency_ms=float(number)))
    store.record_completion(make_completion("alone", created_at=MONDAY, latency_ms=7.5))
    usage = reader.usage(EVERYTHING)
    assert set(usage.latencies) == {Latency("2026-03-02", 7.5, 7.5), Latency("2026-03-03", 20.0, 38.0)}
    assert usage.latency is not None and usage.latency[1:] == (20.0, 38.0)


def test_an_empty_database_has_nothing_to_count(store: SqlRecordStore, reader: OversightReader) -> None:
    """No rows, no percentile, no error."""
    usage = reader.usage(EVERYTHING)
    assert (usage.cells, usage.thumbs, usage.latencies, usage.latency, usage.reasons) == ((), (), (), None, ())
    assert usage.num_conversations == 0


def test_only_the_newest_completions_are_counted_and_since_when_is_said(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str
) -> None:
    """Whatever the size of the table, a request counts so many of them."""
    for number in range(5):
        store.record_completion(make_completion(f"cmpl-{number}", created_at=TUESDAY + timedelta(hours=number)))
    engine = open_reader(database_url)
    with transaction(engine) as connection:
        usage = read_usage(connection, EVERYTHING, max_completions=3)
    engine.dispose()
    assert sum(cell.num_completions for cell in usage.cells) == 3
    assert usage.counted_since == TUESDAY + timedelta(hours=2)


def test_of_a_conversation_the_first_standing_rating_is_its_vote(
    store: SqlRecordStore, reader: OversightReader, make_completion: MakeCompletion
) -> None:
    """Replies of rules alone and everything from before the canary are left out; versions count apart."""
    for name, digest, when in (("1", OLD, MONDAY), ("2", OLD, TUESDAY), ("3", NEW, TUESDAY), ("4", NEW, TUESDAY)):
        plan = {"plan": "refund", "rule": "wording"} if name == "4" else {"plan": None}
        store.record_completion(
            make_completion(name, model_digest=digest, created_at=when, conversation_id=f"conv-{name}", sampling=plan)
        )
    second = make_completion("2b", model_digest=OLD, created_at=TUESDAY, conversation_id="conv-2")
    store.record_completion(second)
    rule = {"rule": "crisis"}
    store.record_completion(make_completion("5", model_digest=NEW, created_at=TUESDAY, sampling=rule))
    rate(store, "4", "up", rater="staff_key_1")
    for name, rating in (("1", "up"), ("2", "down"), ("2b", "up"), ("3", "up"), ("4", "down"), ("5", "up")):
        rate(store, name, rating, rater=ANONYMOUS_RATER)
    assert reader.votes([OLD, NEW], TUESDAY, tenant=None) == {OLD: Votes(0, 1), NEW: Votes(1, 2)}
    assert reader.votes([NEW], MONDAY, tenant="default") == {NEW: Votes(1, 2)}
    assert reader.votes([OLD, NEW], MONDAY, tenant="acme") == {}


def test_one_named_rater_has_three_votes_and_the_nameless_have_one_a_conversation(
    store: SqlRecordStore, reader: OversightReader, make_completion: MakeCompletion
) -> None:
    """As the judge counts them, so that nobody decides alone."""
    for number in range(10):
        name = f"cmpl-{number}"
        store.record_completion(make_completion(name, model_digest=OLD, conversation_id=f"conv-{number}"))
        rate(store, name, "up", rater="kim" if number < 5 else ANONYMOUS_RATER)
    assert reader.votes([OLD], MONDAY - timedelta(days=90), tenant=None) == {OLD: Votes(8, 8)}


def test_a_statement_that_takes_too_long_is_broken_off(database_url: str, store: SqlRecordStore) -> None:
    """A count that never ends is an error that says to try again, not a request that hangs."""
    engine = open_reader(database_url, max_statement_seconds=0.1)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"
    with pytest.raises(RecordStoreUnavailableError), transaction(engine) as connection:
        connection.exec_driver_sql(f"{numbers} SELECT sum(i) FROM n")
    with transaction(engine) as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()
