"""What the staff decides in the service's own database is what the next run does."""

from datetime import UTC, datetime
from pathlib import Path

from model_store.contract.conversation import Message, Role
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord, FeedbackRecord, GoldRating, RatingRuling
from training.config import FeedbackConfig
from training.data.feedback_rows import parse_row, parse_turn, read_turns, read_view
from training.stages.curate import select_rows
from training.stages.curation.weighing import Weighed, weigh

NOW = datetime(2026, 1, 31, 9, tzinfo=UTC)


def keep(records: SqlRecordStore, number: int, rater: str, *, is_up: bool = True) -> None:
    """A reply about words of its own, and its thumb."""
    records.record_completion(
        CompletionRecord(
            id=f"cmpl-{number}",
            conversation_id=f"conv-{number}",
            created_at=NOW,
            model_digest="ab" * 32,
            language="en",
            prompt_messages=(Message(Role.USER, f"Question {number}"),),
            completion_text=f"Reply {number}",
            completion_token_ids=(300, 2),
            token_logprobs=(-0.5, -0.5),
            sampling={},
            finish_reason="stop",
            latency_ms=100.0,
            num_prompt_tokens=5,
            num_completion_tokens=2,
            rater=rater,
        )
    )
    rating = "up" if is_up else "down"
    records.record_feedback(
        FeedbackRecord(completion_id=f"cmpl-{number}", rater=rater, rating=rating, origin="https://shop.example")
    )


def curated(url: str) -> Weighed:
    """What a run makes of the database."""
    return weigh(select_rows([parse_row(row) for row in read_view(url)]), [], FeedbackConfig())


def test_a_flood_is_lifted_and_a_rater_set_aside(tmp_path: Path) -> None:
    """One of a flood's ratings counts again, an honest rater's do not, until the ruling is taken back."""
    url = f"sqlite:///{tmp_path / 'records.db'}"
    records = SqlRecordStore.open(url)
    for number in range(61):
        keep(records, number, "rater_loud")
    keep(records, 61, "rater_honest")
    before = curated(url)
    assert len(before.doubts) == 61 and sum(before.weights) == 1
    ruling = RatingRuling(rater="rater_loud", completion_id="cmpl-7", verdict="count", actor="operator", decided_at=NOW)
    records.record_ruling(ruling)
    aside = RatingRuling(
        rater="rater_honest", completion_id=None, verdict="set_aside", actor="operator", decided_at=NOW
    )
    records.record_ruling(aside)
    after = curated(url)
    counted = [row.completion_id for row, weight in zip(after.rows, after.weights, strict=True) if weight > 0]
    assert counted == ["cmpl-7"]
    assert {("staff",)} == {reasons for n, reasons in after.doubts.items() if after.rows[n].rater == "rater_honest"}
    records.close()


def test_gold_reaches_the_run_and_so_does_what_was_not_rated(tmp_path: Path) -> None:
    """A thumb against gold is set aside; every finished reply is among the turns."""
    url = f"sqlite:///{tmp_path / 'records.db'}"
    records = SqlRecordStore.open(url)
    keep(records, 1, "rater_honest")
    keep(records, 2, "rater_wrong", is_up=False)
    records.record_gold(GoldRating(completion_id="cmpl-2", rating="up", actor="operator", decided_at=NOW))
    weighed = curated(url)
    assert [weighed.rows[n].rater for n in weighed.doubts] == ["rater_wrong"]
    assert [row.origin for row in weighed.rows] == ["https://shop.example"] * 2
    turns = [parse_turn(row) for row in read_turns(url, max_turns=1)]
    assert [turn.completion_id for turn in turns] == ["cmpl-2"]
    records.close()
