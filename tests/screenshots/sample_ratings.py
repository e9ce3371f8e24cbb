"""Ratings in a sample service that a learning run would set aside, and the run's report on them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from model_store.curation import CurationReport, RaterFigures, Reason, SetAside
from model_store.store import ModelStore
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord, FeedbackRecord

_LOUD, _CONTRARY = "rater_7d21", "rater_b40c"
_REMARK = "Worst shop ever, avoid!!"
_REASONS: tuple[tuple[Reason, ...], ...] = (("copied_remark",), ("contradicts_gold",), ("flood",), ("flood", "burst"))


def doubt_ratings(data: Path, store: ModelStore, rated: Sequence[CompletionRecord]) -> None:
    """Two customers rate some of these replies; the newest report sets that aside."""
    now = datetime.now(UTC)
    records = SqlRecordStore.open(f"sqlite:///{data.absolute() / 'rejoinder.db'}")
    doubted = []
    try:
        for number, reasons in enumerate(_REASONS):
            completion, rater = rated[number], _CONTRARY if number == 1 else _LOUD
            comment = _REMARK if number == 0 else None
            records.record_feedback(
                FeedbackRecord(completion_id=completion.id, rater=rater, rating="down", comment=comment)
            )
            moment = (now - timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            doubted.append(
                SetAside(
                    tenant="default",
                    completion_id=completion.id,
                    rater=rater,
                    rating="down",
                    rated_at=moment,
                    reasons=reasons,
                )
            )
    finally:
        records.close()
    store.note_curation(_report(now, doubted))


def _report(now: datetime, doubted: Sequence[SetAside]) -> CurationReport:
    honest = [_figures(f"rater_{name}", *numbers) for name, *numbers in (("19f3", 12, 9, 0.91), ("c05a", 9, 4, 0.84))]
    return CurationReport(
        made_at=now,
        num_ratings=520,
        num_set_aside=len(doubted),
        total_weight=486.0,
        by_reason={"flood": 2, "burst": 1, "copied_remark": 1, "contradicts_gold": 1},
        set_aside=tuple(doubted),
        raters=(
            _figures(_LOUD, 64, 0, 0.41, num_set_aside=3),
            *honest,
            _figures(_CONTRARY, 5, 2, 0.55, num_set_aside=1),
        ),
    )


def _figures(rater: str, num_ratings: int, num_up: int, reliability: float, num_set_aside: int = 0) -> RaterFigures:
    num_kept = num_ratings - num_set_aside
    return RaterFigures(
        tenant="default",
        rater=rater,
        num_ratings=num_ratings,
        num_up=num_up,
        num_set_aside=num_set_aside,
        num_compared=num_ratings // 2,
        num_agreed=round(reliability * (num_ratings // 2)),
        num_gold=2,
        num_gold_right=2 if reliability > 0.5 else 0,
        reliability=reliability,
        weight=round(num_kept * reliability, 1),
    )
