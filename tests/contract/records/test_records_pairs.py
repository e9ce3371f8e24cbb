"""Preference pairs on each kind of database: offered, chosen from once, counted by prompt, and read by training."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.records.errors import (
    CompletionNotFoundError,
    PairChosenError,
    PairNotFoundError,
    UnstorableRecordError,
)
from service.records.export import TABLES, export_jsonl
from service.records.pairs.pair import PairCounts, PairedReply, PreferencePair
from service.records.pairs.pair_store import PairReader
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord
from training.data.preferences import parse_preference, read_preference_rows, read_preference_view

MakeCompletion = Callable[..., CompletionRecord]
OLD, NEW = "01" * 32, "02" * 32
PAIR = PreferencePair(
    id="pair_1",
    tenant="default",
    completion_id="cmpl-1",
    rater="staff_kim",
    first=PairedReply(OLD, "您的订单 <ORDER_ID> 已发货 📦。", (300, 301, 2)),
    second=PairedReply(NEW, "Your order <ORDER_ID> is on its way.", (300, 302, 2)),
    offered_at=datetime(2026, 3, 1, tzinfo=UTC),
)


@pytest.fixture
def reader(store: SqlRecordStore, database_url: str) -> Iterator[PairReader]:
    """How the staff reads."""
    opened = PairReader.open(database_url)
    yield opened
    opened.close()


def choose(
    store: SqlRecordStore, number: int, winner: str | None, *, rater: str = "staff_kim", prompt: int = 0
) -> None:
    """Offers and decides a pair about `cmpl-{prompt or number}`."""
    pair = replace(PAIR, id=f"pair_{number}", completion_id=f"cmpl-{prompt or number}", rater=rater)
    if number % 2:  # the sides are drawn
        pair = replace(pair, first=pair.second, second=pair.first)
    store.pairs.offer(pair)
    side = "tie" if winner is None else "first" if pair.first.model_digest == winner else "second"
    store.pairs.choose("default", rater, pair.id, side)  # type: ignore[arg-type]


def test_a_pair_is_kept_as_it_was_offered(
    store: SqlRecordStore, make_completion: MakeCompletion, reader: PairReader
) -> None:
    """Found by either order of its versions; another rater, tenant or version has none."""
    store.record_completion(make_completion("cmpl-1"))
    store.pairs.offer(PAIR)
    assert reader.find_open("default", "staff_kim", (OLD, NEW)) == PAIR
    assert reader.find_open("default", "staff_kim", (NEW, OLD)) == PAIR
    assert reader.find_open("default", "staff_lee", (OLD, NEW)) is None
    assert reader.find_open("acme", "staff_kim", (OLD, NEW)) is None
    assert reader.find_open("default", "staff_kim", (OLD, "03" * 32)) is None
    chosen = store.pairs.choose("default", "staff_kim", "pair_1", "first")
    assert (chosen.choice, chosen.first, chosen.second) == ("first", PAIR.first, PAIR.second)
    assert store.pairs.choose("default", "staff_kim", "pair_1", "first") == chosen
    assert reader.find_open("default", "staff_kim", (OLD, NEW)) is None


def test_only_who_was_offered_a_pair_chooses_and_once(store: SqlRecordStore, make_completion: MakeCompletion) -> None:
    """Another rater and another tenant hear what they would of an unknown id."""
    store.record_completion(make_completion("cmpl-1"))
    store.pairs.offer(PAIR)
    for tenant, rater, pair_id in (
        ("default", "staff_lee", "pair_1"),
        ("acme", "staff_kim", "pair_1"),
        ("default", "staff_kim", "pair_2"),
    ):
        with pytest.raises(PairNotFoundError):
            store.pairs.choose(tenant, rater, pair_id, "first")
    store.pairs.choose("default", "staff_kim", "pair_1", "tie")
    with pytest.raises(PairChosenError):
        store.pairs.choose("default", "staff_kim", "pair_1", "first")


def test_what_was_not_chosen_from_goes_with_the_next_offer(
    store: SqlRecordStore, make_completion: MakeCompletion, reader: PairReader
) -> None:
    """So nobody has more than one open pair; and none is of a completion that is not there."""
    store.record_completion(make_completion("cmpl-1"))
    store.pairs.offer(PAIR)
    later = replace(PAIR, id="pair_2", second=replace(PAIR.second, model_digest="03" * 32))
    store.pairs.offer(later)
    assert reader.find_open("default", "staff_kim", (OLD, NEW)) is None
    assert reader.find_open("default", "staff_kim", (OLD, "03" * 32)) == later
    with pytest.raises(CompletionNotFoundError):
        store.pairs.offer(replace(PAIR, id="pair_3", completion_id="cmpl-9"))
    with pytest.raises(CompletionNotFoundError):
        store.pairs.offer(replace(PAIR, id="pair_3", tenant="acme"))
    with pytest.raises(UnstorableRecordError):
        store.pairs.offer(replace(PAIR, id="pair_3", first=replace(PAIR.first, text="\0")))


def test_prompts_are_the_newest_that_a_rater_has_not_seen(
    store: SqlRecordStore, make_completion: MakeCompletion, reader: PairReader
) -> None:
    """Seen with these versions; half completions and another tenant's are no prompts."""
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    for number in range(1, 5):
        fields = {"created_at": moment + timedelta(hours=number), "conversation_id": f"conv-{number}"}
        store.record_completion(make_completion(f"cmpl-{number}", **fields))
    store.record_completion(make_completion("cmpl-5", finish_reason="cancelled"))
    store.record_completion(make_completion("cmpl-6", tenant="acme"))
    choose(store, 4, OLD)
    found = reader.prompts("default", "staff_kim", (NEW, OLD), limit=2)
    assert [prompt.completion_id for prompt in found] == ["cmpl-3", "cmpl-2"]
    assert found[0].messages == make_completion().prompt_messages
    assert reader.prompts("default", "staff_lee", (OLD, NEW), limit=1)[0].completion_id == "cmpl-4"
    assert len(reader.prompts("default", "staff_kim", (OLD, "03" * 32), limit=9)) == 4


def test_wins_are_counted_by_prompt_and_ties_apart(
    store: SqlRecordStore, make_completion: MakeCompletion, reader: PairReader
) -> None:
    """Whichever side a version stood on; of two raters about one prompt the first counts."""
    for number in range(1, 5):
        store.record_completion(make_completion(f"cmpl-{number}", conversation_id=f"conv-{number}"))
    for number, winner in ((1, NEW), (2, NEW), (3, OLD), (4, None)):
        choose(store, number, winner)
    choose(store, 5, OLD, rater="staff_lee", prompt=1)
    assert reader.count("default", (OLD, NEW)) == PairCounts(1, 2, 1)
    assert reader.count("default", (NEW, OLD)) == PairCounts(2, 1, 1)
    assert reader.count("acme", (OLD, NEW)) == PairCounts(0, 0, 0)
    whole = reader.chosen("default", limit=9)
    assert [pair.id for pair, _ in whole] == ["pair_1", "pair_2", "pair_3", "pair_4", "pair_5"]
    last = whole[1][0]
    assert last.chosen_at is not None
    assert reader.chosen("default", after=(last.chosen_at, last.id), limit=2) == whole[2:4]


def test_training_reads_what_was_preferred(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str
) -> None:
    """Chosen and rejected, whichever side they stood on; no ties, nothing that is still open."""
    for number in range(1, 5):
        store.record_completion(make_completion(f"cmpl-{number}", conversation_id=f"conv-{number}"))
    for number, winner in ((1, NEW), (2, NEW), (3, None)):
        choose(store, number, winner)
    store.pairs.offer(replace(PAIR, id="pair_4", completion_id="cmpl-4"))
    rows = [parse_preference(row) for row in read_preference_view(database_url)]
    assert sorted(row.completion_id for row in rows) == ["cmpl-1", "cmpl-2"]
    for row in rows:
        assert (row.chosen.text, row.chosen.token_ids) == (PAIR.second.text, PAIR.second.token_ids)
        assert (row.rejected.text, row.rejected.model_digest) == (PAIR.first.text, OLD)
        assert row.messages == make_completion().prompt_messages and row.rater == "staff_kim"


def test_an_export_holds_what_training_reads_from_the_view(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str, tmp_path: Path
) -> None:
    """The oldest choice first, so that a run without the database has the same pairs."""
    for number, winner in ((2, NEW), (1, OLD), (3, None)):
        store.record_completion(make_completion(f"cmpl-{number}", conversation_id=f"conv-{number}"))
        choose(store, number, winner)
    exported = tmp_path / "preferences.jsonl"
    with exported.open("w", encoding="utf-8") as stream:
        assert export_jsonl(database_url, TABLES["preference_examples"], stream) == 2
    rows = read_preference_rows({"feedback_parquet": "ratings", "preferences_file": str(exported)})
    assert [row["completion_id"] for row in rows] == ["cmpl-2", "cmpl-1"]
    assert sorted(map(str, rows)) == sorted(map(str, read_preference_view(database_url)))


def test_pairs_go_with_their_prompt(store: SqlRecordStore, make_completion: MakeCompletion, reader: PairReader) -> None:
    """By erasure and by purge, chosen from or not."""
    old = datetime.now(UTC) - timedelta(days=100)
    for number in (1, 2):
        store.record_completion(make_completion(f"cmpl-{number}", conversation_id=f"conv-{number}", created_at=old))
        choose(store, number, NEW)
    store.pairs.offer(replace(PAIR, id="pair_9", rater="staff_lee"))
    store.erase_conversation("conv-1")
    assert [pair.id for pair, _ in reader.chosen("default", limit=9)] == ["pair_2"]
    assert reader.find_open("default", "staff_lee", (OLD, NEW)) is None
    store.purge(datetime.now(UTC))
    assert reader.chosen("default", limit=9) == []
