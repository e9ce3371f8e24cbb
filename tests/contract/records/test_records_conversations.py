"""Conversations in the store, on SQLite and PostgreSQL alike: listed, read, erased, purged; also by several at once."""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from model_store.contract.conversation import Message, Role
from service.chat.conversations.transcript import transcribe
from service.records.errors import (
    CompletionNotFoundError,
    ConversationErasedError,
    ConversationNotFoundError,
    RecordStoreUnavailableError,
)
from service.records.sql_store import SqlRecordStore
from service.records.store import DERIVED_ID_PREFIX, CompletionRecord, FeedbackRecord, PurgeCounts, RecordStore

MakeCompletion = Callable[..., CompletionRecord]
NOW = datetime.now(UTC)
CANARY = "zebracanary"


def vote(completion_id: str = "cmpl-1", **fields: str) -> FeedbackRecord:
    """A thumb down."""
    return FeedbackRecord(completion_id=completion_id, rater="kim", rating="down", **fields)  # type: ignore[arg-type]


def test_conversations_are_listed_by_tenant_newest_first(store: RecordStore) -> None:
    """Those of the same moment by id; a page begins below the one that it is given, whether that is still there."""
    for number, name in enumerate(("a", "b", "c", "d")):
        store.begin_conversation(name, NOW + timedelta(seconds=number // 2))
    store.begin_conversation("theirs", NOW, tenant="acme")
    page = store.list_conversations(limit=2)
    assert [summary.id for summary in page] == ["d", "c"]
    store.erase_conversation("c")
    assert [summary.id for summary in store.list_conversations(limit=9, before=page[-1])] == ["b", "a"]
    assert [summary.id for summary in store.list_conversations(limit=9, tenant="acme")] == ["theirs"]


def test_a_conversation_is_read_in_order_without_half_completions(
    store: RecordStore, make_completion: MakeCompletion
) -> None:
    """The newest turns where there are more than asked for."""
    for number, reason in enumerate(("stop", "cancelled", "length", "stop")):
        moment = NOW + timedelta(seconds=number)
        store.record_completion(make_completion(f"cmpl-{number}", created_at=moment, finish_reason=reason))
    turns = store.get_conversation("conv-1", max_turns=9).turns
    assert [turn.completion_id for turn in turns] == ["cmpl-0", "cmpl-2", "cmpl-3"]
    assert turns[0].prompt_messages == make_completion().prompt_messages
    assert [turn.completion_id for turn in store.get_conversation("conv-1", max_turns=1).turns] == ["cmpl-3"]


def test_another_tenants_conversation_is_not_found(store: RecordStore, make_completion: MakeCompletion) -> None:
    """Neither read nor erased, with the same error as an unknown id or one that no database could hold."""
    store.record_completion(make_completion(tenant="acme"))
    for conversation_id in ("conv-1", "conv-none", "conv-\0"):
        with pytest.raises(ConversationNotFoundError):
            store.get_conversation(conversation_id, max_turns=1)
        with pytest.raises(ConversationNotFoundError):
            store.erase_conversation(conversation_id)
    assert store.get_completion("cmpl-1", tenant="acme").id == "cmpl-1"


def test_what_one_replica_records_another_continues(make_completion: MakeCompletion, postgresql_url: str) -> None:
    """Two replicas on PostgreSQL take turns in a conversation, and each sees what the other has recorded."""
    replicas = [SqlRecordStore.open(postgresql_url) for _ in range(2)]
    said: tuple[Message, ...] = ()
    for number in range(4):
        prompt = (*said, Message(Role.USER, f"question {number}"))
        record = make_completion(
            f"cmpl-{number}", created_at=NOW + timedelta(seconds=number), prompt_messages=prompt, completion_text="yes"
        )
        replicas[number % 2].record_completion(record)
        turns = replicas[1 - number % 2].get_conversation("conv-1", max_turns=9).turns
        said = tuple(item.message for item in transcribe(turns))
        assert said == (*prompt, Message(Role.ASSISTANT, "yes"))
    for replica in replicas:
        replica.close()


def test_an_erasure_takes_everything_and_says_so_again(store: RecordStore, make_completion: MakeCompletion) -> None:
    """Completions and feedback go, other conversations stay; a second erasure reports the first."""
    store.record_completion(make_completion())
    store.record_completion(make_completion("cmpl-2"))
    store.record_completion(make_completion("cmpl-3", conversation_id="conv-2"))
    rated = store.record_feedback(vote())
    erasure = store.erase_conversation("conv-1")
    assert (erasure.num_completions, erasure.num_feedback, erasure.first_rated_at) == (2, 1, rated.created_at)
    assert store.erase_conversation("conv-1") == erasure
    with pytest.raises(ConversationNotFoundError):
        store.get_conversation("conv-1", max_turns=1)
    with pytest.raises(CompletionNotFoundError):
        store.record_feedback(vote())
    assert store.get_completion("cmpl-3").conversation_id == "conv-2"


def test_an_erased_conversation_takes_no_new_record(store: RecordStore, make_completion: MakeCompletion) -> None:
    """An import, or a completion that was being made meanwhile, is refused; another tenant's same id is not."""
    store.record_completion(make_completion())
    store.erase_conversation("conv-1")
    for moment in (NOW - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)):
        with pytest.raises(ConversationErasedError):
            store.record_completion(make_completion("cmpl-2", created_at=moment))
    with pytest.raises(ConversationErasedError):
        store.begin_conversation("conv-1", NOW)
    with pytest.raises(CompletionNotFoundError):
        store.get_completion("cmpl-2")
    store.record_completion(make_completion("cmpl-3", tenant="acme"))


def test_an_id_that_was_derived_may_begin_anew_after_its_erasure(
    store: RecordStore, make_completion: MakeCompletion
) -> None:
    """The next person who opens with the same words is not turned away; what was before stays out."""
    derived = f"{DERIVED_ID_PREFIX}1"
    store.record_completion(make_completion(conversation_id=derived, created_at=NOW - timedelta(days=1)))
    store.erase_conversation(derived)
    with pytest.raises(ConversationErasedError):
        store.record_completion(make_completion("cmpl-2", conversation_id=derived, created_at=NOW - timedelta(days=1)))
    later = datetime.now(UTC) + timedelta(seconds=1)
    store.record_completion(make_completion("cmpl-3", conversation_id=derived, created_at=later))
    assert len(store.get_conversation(derived, max_turns=9).turns) == 1
    assert store.erase_conversation(derived).num_completions == 1


def test_nothing_outlives_an_erasure_that_it_races_with(store: RecordStore, make_completion: MakeCompletion) -> None:
    """Of completions and votes that are recorded while their conversation is erased none is found afterwards."""
    store.record_completion(make_completion())
    start = threading.Barrier(7)

    def record(number: int) -> None:
        start.wait(10)
        for repeat in range(10):
            try:
                store.record_completion(make_completion(f"cmpl-{number}-{repeat}"))
                store.record_feedback(vote(f"cmpl-{number}-{repeat}"))
            except (ConversationErasedError, CompletionNotFoundError):
                return

    def erase() -> None:
        start.wait(10)
        store.erase_conversation("conv-1")

    with ThreadPoolExecutor(7) as pool:
        jobs = [pool.submit(record, number) for number in range(6)] + [pool.submit(erase)]
    assert [job.exception() for job in jobs] == [None] * 7
    assert sum(store.count_feedback()) == 0
    with pytest.raises(ConversationNotFoundError):
        store.get_conversation("conv-1", max_turns=1)


def test_no_byte_of_an_erased_conversation_is_left_in_the_sqlite_files(
    tmp_path: Path, make_completion: MakeCompletion
) -> None:
    """Texts of all sizes, between those of others; ids that the client chose are gone too. A withdrawn remark goes."""
    store = SqlRecordStore.open(f"sqlite:///{tmp_path / 'records.db'}")
    for number in range(120):
        victim = number % 3 == 0
        words = f"{CANARY if victim else 'plain'} " + "w" * (number * 97 % 5000)
        fields = {"conversation_id": f"{CANARY}-id" if victim else f"conv-{number}", "completion_text": words}
        store.record_completion(
            make_completion(f"cmpl-{number}", prompt_messages=(Message(Role.USER, words),), **fields)
        )
        store.record_feedback(vote(f"cmpl-{number}", comment=words[:900]))

    def num_found() -> int:
        return sum(path.read_bytes().count(CANARY.encode()) for path in tmp_path.iterdir())

    assert num_found() > 120
    store.erase_conversation(f"{CANARY}-id")
    assert num_found() == 0
    assert store.get_completion("cmpl-1").completion_text.startswith("plain")
    store.close()
    assert num_found() == 0


def test_an_erasure_that_a_reader_keeps_from_scrubbing_is_not_acknowledged(
    tmp_path: Path, make_completion: MakeCompletion
) -> None:
    """The rows are gone, their bytes not yet: the answer is "try again", and the second try finishes it."""
    path = tmp_path / "records.db"
    store = SqlRecordStore.open(f"sqlite:///{path}", timeout_seconds=0.2)
    store.record_completion(make_completion(completion_text=CANARY))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM completions").fetchone()
    with pytest.raises(RecordStoreUnavailableError, match="reading"):
        store.erase_conversation("conv-1")
    reader.close()
    assert store.erase_conversation("conv-1").num_completions == 1
    assert all(CANARY.encode() not in file.read_bytes() for file in tmp_path.iterdir())
    store.close()


def test_a_purge_deletes_what_is_old_and_nothing_else(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """Old completions with their ratings, and conversations that are old and empty; the count beforehand agrees."""
    old, new = NOW - timedelta(days=100), NOW - timedelta(days=1)
    store.record_completion(make_completion("cmpl-old", created_at=old))
    store.record_completion(make_completion("cmpl-new", created_at=new))
    store.record_completion(make_completion("cmpl-alone", created_at=old, conversation_id="conv-2"))
    store.begin_conversation("conv-empty", old)
    store.begin_conversation("conv-fresh", new)
    for completion_id in ("cmpl-old", "cmpl-new"):
        store.record_feedback(vote(completion_id))
    before = NOW - timedelta(days=90)
    expected = PurgeCounts(num_completions=2, num_feedback=1, num_conversations=2)
    assert store.count_older(before) == expected
    assert store.purge(before) == expected
    assert store.purge(before) == store.count_older(before) == PurgeCounts(0, 0, 0)
    assert [summary.id for summary in store.list_conversations(limit=9)] == ["conv-fresh", "conv-1"]
    assert store.get_completion("cmpl-new").id == "cmpl-new" and sum(store.count_feedback()) == 1
    # Retention leaves no tombstone: the same person may come back under the same id.
    store.record_completion(make_completion("cmpl-back", created_at=NOW, conversation_id="conv-2"))


def test_a_purge_of_many_goes_on_until_nothing_is_left(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """More than one piece's worth."""
    old = NOW - timedelta(days=100)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.record_completion(make_completion(f"cmpl-{n}", created_at=old)), range(520)))
    assert store.purge(NOW) == PurgeCounts(520, 0, 1)
