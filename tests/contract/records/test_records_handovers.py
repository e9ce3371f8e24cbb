"""The outbox of hand-overs, on SQLite and PostgreSQL: written with its completion, told by one at a time."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from service.records.database import open_engine
from service.records.errors import CompletionExistsError
from service.records.handovers.outbox import HandoverBacklog, HandoverClaim, SqlHandoverOutbox
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord

Make = Callable[..., CompletionRecord]
NONE_LEFT = HandoverBacklog(0, None, 0)


def hand_over(store: SqlRecordStore, make: Make, completion_id: str = "cmpl-1", **fields: object) -> CompletionRecord:
    completion = make(completion_id, finish_reason="handover", **{"conversation_id": completion_id, **fields})
    store.record_completion(completion, tells_handover=True)
    return completion


def claim(store: SqlRecordStore, lease_seconds: float = 60.0) -> HandoverClaim:
    claimed = store.handovers.claim(lease_seconds=lease_seconds)
    assert claimed is not None
    return claimed


def test_only_a_handover_is_told_and_only_where_somebody_listens(store: SqlRecordStore, make_completion: Make) -> None:
    """An ordinary reply leaves nothing in the outbox, nor does a hand-over of a service without a desk."""
    store.record_completion(make_completion("cmpl-1"), tells_handover=True)
    store.record_completion(make_completion("cmpl-2", finish_reason="handover"))
    assert store.handovers.backlog() == NONE_LEFT and store.handovers.claim(lease_seconds=1) is None


def test_a_handover_carries_what_a_desk_needs_and_nothing_that_was_said(
    store: SqlRecordStore, make_completion: Make
) -> None:
    """Ids, language, plan and rule."""
    sampling = {"plan": "human_agent", "rule": "hand_over"}
    completion = hand_over(store, make_completion, sampling=sampling, tenant="acme")
    told = claim(store).handover
    assert (told.completion_id, told.conversation_id, told.tenant) == ("cmpl-1", "cmpl-1", "acme")
    assert (told.language, told.plan, told.rule) == ("zh", "human_agent", "hand_over")
    assert (told.model_digest, told.created_at) == (completion.model_digest, completion.created_at)
    assert completion.completion_text not in repr(told) and "Be kind" not in repr(told)


def test_choices_of_one_reply_are_one_handover(store: SqlRecordStore, make_completion: Make) -> None:
    """They share conversation and time; a later reply of the conversation is another one."""
    for name in ("cmpl-1", "cmpl-2"):
        hand_over(store, make_completion, name, conversation_id="conv-1")
    assert store.handovers.backlog().num_pending == 1
    hand_over(store, make_completion, "cmpl-3", conversation_id="conv-1", created_at=datetime(2026, 2, 1, tzinfo=UTC))
    assert store.handovers.backlog().num_pending == 2


def test_a_completion_that_is_not_kept_is_not_told(store: SqlRecordStore, make_completion: Make) -> None:
    """Both are of one transaction."""
    store.record_completion(make_completion("cmpl-1"))
    with pytest.raises(CompletionExistsError):
        store.record_completion(make_completion("cmpl-1", finish_reason="handover"), tells_handover=True)
    assert store.handovers.backlog() == NONE_LEFT


@contextmanager
def replica(database_url: str, seconds_later: float) -> Iterator[SqlHandoverOutbox]:
    """The outbox as another replica sees it when so much time has passed."""
    outbox = SqlHandoverOutbox(
        open_engine(database_url), clock=lambda: datetime.now(UTC) + timedelta(seconds=seconds_later)
    )
    yield outbox
    outbox.close()


def test_what_is_claimed_is_nobody_elses_until_the_lease_is_over(
    store: SqlRecordStore, database_url: str, make_completion: Make
) -> None:
    """Who died with it loses it; what the dead one says afterwards no longer counts."""
    hand_over(store, make_completion)
    first = claim(store, lease_seconds=600)
    assert store.handovers.claim(lease_seconds=600) is None
    with replica(database_url, seconds_later=601) as later:
        second = later.claim(lease_seconds=600)
    assert second is not None and second.handover.num_attempts == 2
    assert not store.handovers.settle(first)
    assert not store.handovers.put_back(first, "late", next_attempt_at=None)
    assert store.handovers.backlog().num_pending == 1
    assert store.handovers.settle(second) and store.handovers.backlog() == NONE_LEFT
    assert [told.completion_id for told in store.handovers.list("delivered", limit=9)] == ["cmpl-1"]


def test_replicas_that_claim_at_once_never_get_the_same(
    store: SqlRecordStore, database_url: str, make_completion: Make
) -> None:
    """Forty hand-overs, eight claimants in four stores: each hand-over is claimed once."""
    for number in range(40):
        hand_over(store, make_completion, f"cmpl-{number:02}")
    others = [store.handovers, *(SqlHandoverOutbox.open(database_url) for _ in range(3))]
    start = threading.Barrier(8)

    def take(outbox: SqlHandoverOutbox) -> list[str]:
        start.wait()
        taken = []
        while (claimed := outbox.claim(lease_seconds=60)) is not None:
            taken.append(claimed.handover.completion_id)
            assert outbox.settle(claimed)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [name for names in pool.map(take, others * 2) for name in names]
    for outbox in others[1:]:
        outbox.close()
    assert sorted(taken) == [f"cmpl-{number:02}" for number in range(40)]


def test_what_is_put_back_comes_when_it_is_due(store: SqlRecordStore, database_url: str, make_completion: Make) -> None:
    """Not before, and with what went wrong."""
    hand_over(store, make_completion)
    later = datetime.now(UTC) + timedelta(seconds=600)
    assert store.handovers.put_back(claim(store), "status 503", next_attempt_at=later)
    assert store.handovers.claim(lease_seconds=60) is None
    (waiting,) = store.handovers.list("pending", limit=9)
    assert (waiting.num_attempts, waiting.last_problem, waiting.next_attempt_at) == (1, "status 503", later)
    with replica(database_url, seconds_later=601) as outbox:
        again = outbox.claim(lease_seconds=60)
    assert again is not None and again.handover.num_attempts == 2


def test_the_dead_are_counted_listed_retried_and_dropped(store: SqlRecordStore, make_completion: Make) -> None:
    """Retrying gives all attempts back; only dead ones are retried or dropped."""
    outbox = store.handovers
    created_at = [hand_over(store, make_completion, f"cmpl-{number}").created_at for number in range(4)][0]
    for _ in range(3):
        assert outbox.put_back(claim(store), "status 500", next_attempt_at=None)
    assert outbox.backlog() == HandoverBacklog(1, created_at, 3)
    assert [dead.completion_id for dead in outbox.list("dead", limit=2)] == ["cmpl-0", "cmpl-1"]
    assert outbox.retry(["cmpl-0", "cmpl-3", "nobody"]) == 1
    (again, _) = outbox.list("pending", limit=9)
    assert (again.completion_id, again.num_attempts) == ("cmpl-0", 0)
    assert outbox.drop(["cmpl-1", "cmpl-3"]) == 1 and outbox.retry(None) == 1 and outbox.drop(None) == 0
    assert outbox.backlog().num_pending == 3


def test_erasure_and_retention_take_the_handover_with_them(store: SqlRecordStore, make_completion: Make) -> None:
    """Nothing is told of what is gone, not even by who is just telling it."""
    hand_over(store, make_completion, "cmpl-1")
    held = claim(store)
    store.erase_conversation("cmpl-1")
    assert not store.handovers.settle(held) and store.handovers.backlog() == NONE_LEFT
    hand_over(store, make_completion, "cmpl-2")
    store.purge(datetime.now(UTC))
    assert store.handovers.backlog() == NONE_LEFT
