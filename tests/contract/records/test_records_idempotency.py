"""Idempotency keys in the store, on SQLite and PostgreSQL alike."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from service.records.database import transaction
from service.records.errors import (
    CompletionNotFoundError,
    IdempotencyKeyInUseError,
    IdempotencyKeyReusedError,
)
from service.records.sql_store import SqlRecordStore
from service.records.store import Claim, CompletionRecord, FeedbackRecord, IdempotencyKey, KeptAnswer, RecordStore
from service.records.tables import idempotency_keys

MakeCompletion = Callable[..., CompletionRecord]
LEASE = 60.0


def key(name: str = "k", request: str = "r", **fields: str) -> IdempotencyKey:
    """A key for a request."""
    return IdempotencyKey(key_digest=name, request_digest=request, **{"route": "/v1/x", **fields})


def age(store: SqlRecordStore, **delta: float) -> None:
    """Makes every key older."""
    with transaction(store._engine) as connection:
        connection.execute(update(idempotency_keys).values(claimed_at=datetime.now(UTC) - timedelta(**delta)))


def num_keys(store: SqlRecordStore) -> int:
    """Rows in the table."""
    with transaction(store._engine) as connection:
        return connection.scalar(select(func.count()).select_from(idempotency_keys)) or 0


def claimed(store: RecordStore, wanted: IdempotencyKey | None = None) -> Claim:
    """A claim that is granted."""
    claim = store.claim(wanted or key(), lease_seconds=LEASE)
    assert isinstance(claim, Claim)
    return claim


def test_a_key_is_answered_in_the_transaction_of_its_effect(
    store: RecordStore, make_completion: MakeCompletion
) -> None:
    """In use before, the completion's id afterwards; with another request it is refused all the time."""
    claim = claimed(store)
    with pytest.raises(IdempotencyKeyInUseError):
        store.claim(key(), lease_seconds=LEASE)
    with pytest.raises(IdempotencyKeyReusedError):
        store.claim(key(request="other"), lease_seconds=LEASE)
    store.record_completion(make_completion(), claim)
    assert store.claim(key(), lease_seconds=LEASE) == KeptAnswer("cmpl-1", None)
    with pytest.raises(IdempotencyKeyReusedError):
        store.claim(key(request="other"), lease_seconds=LEASE)


def test_keys_of_other_tenants_and_routes_are_other_keys(store: RecordStore) -> None:
    """All three together name a key."""
    for wanted in (key(), key(tenant="acme"), key(route="/v1/y"), key("other")):
        claimed(store, wanted)


def test_a_released_key_may_be_claimed_again_and_an_answered_one_stays(
    store: RecordStore, make_completion: MakeCompletion
) -> None:
    """Releasing is for claims that came to nothing."""
    store.release(claimed(store))
    claim = claimed(store)
    store.record_completion(make_completion(), claim)
    store.release(claim)
    assert isinstance(store.claim(key(), lease_seconds=LEASE), KeptAnswer)


def test_who_lost_a_claim_has_no_effect(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """A process that hung beyond its lease finds the key taken over; its completion is not recorded."""
    late = claimed(store)
    age(store, seconds=LEASE + 1)
    punctual = claimed(store)
    with pytest.raises(IdempotencyKeyInUseError):
        store.record_completion(make_completion("cmpl-late"), late)
    with pytest.raises(CompletionNotFoundError):
        store.get_completion("cmpl-late")
    store.release(late)
    store.record_completion(make_completion(), punctual)
    assert store.claim(key(), lease_seconds=LEASE) == KeptAnswer("cmpl-1", None)


def test_of_many_claims_at_once_one_is_granted(store: RecordStore) -> None:
    """The others hear that the key is in use."""

    def attempt(_: int) -> bool:
        try:
            return isinstance(store.claim(key(), lease_seconds=LEASE), Claim)
        except IdempotencyKeyInUseError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_a_key_is_forgotten_after_a_day(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """A claim then is a new one even before the clean-up; the clean-up deletes rows."""
    store.record_completion(make_completion(), claimed(store))
    store.forget_keys()
    assert num_keys(store) == 1
    age(store, hours=25)
    store.release(claimed(store))
    claimed(store, key("other"))
    age(store, hours=25)
    store.forget_keys()
    assert num_keys(store) == 0


def test_a_repeated_vote_changes_nothing_and_hears_the_first_answer(
    store: RecordStore, make_completion: MakeCompletion
) -> None:
    """Eight at once under one key and a late one after a newer vote: one effect."""
    store.record_completion(make_completion(sampling={"plan": "refund"}))
    down = FeedbackRecord(completion_id="cmpl-1", rater="kim", rating="down", comment="没用", reasons=("slow",))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: store.record_feedback(down, key()), range(8)))
    assert sorted(answer.is_replay for answer in answers) == [False] + [True] * 7
    assert len({(answer.comment, answer.updated_at, answer.plan, answer.reasons) for answer in answers}) == 1
    assert (answers[0].plan, answers[0].model_digest) == ("refund", "ab" * 32)
    store.record_feedback(FeedbackRecord(completion_id="cmpl-1", rater="kim", rating="up"))
    assert store.record_feedback(down, key()).rating == "down"
    assert store.count_feedback() == (1, 0)


def test_a_vote_that_failed_leaves_no_key(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """The key goes back with the transaction, so the retry counts."""
    vote = FeedbackRecord(completion_id="cmpl-1", rater="kim", rating="up")
    with pytest.raises(CompletionNotFoundError):
        store.record_feedback(vote, key())
    assert num_keys(store) == 0
    store.record_completion(make_completion())
    assert not store.record_feedback(vote, key()).is_replay


def test_what_a_key_remembers_goes_with_its_conversation(
    store: SqlRecordStore, make_completion: MakeCompletion
) -> None:
    """The answer to a vote holds its comment."""
    store.record_completion(make_completion(), claimed(store))
    vote = FeedbackRecord(completion_id="cmpl-1", rater="kim", rating="down", comment="my words")
    store.record_feedback(vote, key("vote"))
    assert num_keys(store) == 2
    store.erase_conversation("conv-1")
    assert num_keys(store) == 0
