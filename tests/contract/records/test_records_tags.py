"""Tags on conversations, on both databases: put on, taken off, found by, and gone with their conversation."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from service.records.database import transaction
from service.records.errors import ConversationNotFoundError, TooManyTagsError
from service.records.review.reader import ReviewReader
from service.records.review.reply_filter import ReplyFilter
from service.records.sql_store import SqlRecordStore
from service.records.statements.tags import MAX_TAGS
from service.records.store import CompletionRecord
from service.records.tables import conversation_tags

MakeCompletion = Callable[..., CompletionRecord]


def num_tags(store: SqlRecordStore) -> int:
    """All that are there."""
    with transaction(store._engine) as connection:
        return connection.scalar(select(func.count()).select_from(conversation_tags)) or 0


def test_tags_are_put_on_once_and_taken_off(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """In the order of letters; what is there already or is not there is no error."""
    store.record_completion(make_completion())
    assert store.tag_conversation("conv-1", "urgent", is_on=True) == ("urgent",)
    assert store.tag_conversation("conv-1", "错误", is_on=True) == ("urgent", "错误")
    assert store.tag_conversation("conv-1", "urgent", is_on=True) == ("urgent", "错误")
    assert store.tag_conversation("conv-1", "urgent", is_on=False) == ("错误",)
    assert store.tag_conversation("conv-1", "urgent", is_on=False) == ("错误",)


def test_another_tenants_conversation_cannot_be_tagged(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """The error of an unknown one, and of an id that no database could hold."""
    store.record_completion(make_completion(tenant="acme"))
    for conversation_id in ("conv-1", "conv-none", "conv-\0"):
        with pytest.raises(ConversationNotFoundError):
            store.tag_conversation(conversation_id, "urgent", is_on=True)
    assert num_tags(store) == 0


def test_a_conversation_has_a_bounded_number_of_tags(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """Also when many are added at the same time; one that it has can be added again."""
    store.record_completion(make_completion())
    names = [f"tag{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]

    def add(name: str) -> bool:
        try:
            return bool(store.tag_conversation("conv-1", name, is_on=True))
        except TooManyTagsError:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(add, names)) == MAX_TAGS
    kept = store.tag_conversation("conv-1", "none", is_on=False)
    assert len(kept) == MAX_TAGS and store.tag_conversation("conv-1", kept[0], is_on=True) == kept


def test_conversations_are_found_by_tag_and_tell_theirs(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str
) -> None:
    """In lists, in the dossier and among the choices; the same id of another tenant has its own."""
    for number, tenant in ((1, "default"), (2, "default"), (3, "acme")):
        fields = {"conversation_id": f"conv-{number % 3}", "tenant": tenant}
        store.record_completion(make_completion(f"cmpl-{number}", **fields))
    store.record_completion(make_completion("cmpl-4", conversation_id="conv-1", tenant="acme"))
    store.tag_conversation("conv-1", "urgent", is_on=True)
    store.tag_conversation("conv-2", "urgent", is_on=True)
    store.tag_conversation("conv-2", "late", is_on=True)
    reader = ReviewReader.open(database_url)
    found = reader.newest(ReplyFilter(tag="late"), limit=9)
    assert [(reply.conversation_id, reply.tags) for reply in found] == [("conv-2", ("late", "urgent"))]
    assert len(reader.newest(ReplyFilter(tag="urgent"), limit=9)) == 2
    assert reader.newest(ReplyFilter(tag="urgent", tenant="acme"), limit=9) == ()
    assert reader.dossier("default", "conv-1").tags == ("urgent",)
    assert reader.dossier("acme", "conv-1").tags == ()
    assert reader.choices("default").tags == (("urgent", 2), ("late", 1))
    reader.close()


def test_tags_go_with_their_conversation(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """By erasure and by purge."""
    old = datetime.now(UTC) - timedelta(days=100)
    for number in (1, 2):
        store.record_completion(make_completion(f"cmpl-{number}", conversation_id=f"conv-{number}", created_at=old))
        store.tag_conversation(f"conv-{number}", "urgent", is_on=True)
    store.erase_conversation("conv-1")
    assert num_tags(store) == 1
    assert store.purge(datetime.now(UTC)).num_conversations == 1
    assert num_tags(store) == 0
