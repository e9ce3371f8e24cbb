"""`curation.report` over columns of numbers: only what the report lists is loaded.

The same ratings give the same report, which a test holds.
"""

from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from model_store.curation import MAX_RATERS, MAX_SET_ASIDE, CurationReport, RaterFigures, Reason, SetAside
from training.config import FeedbackConfig
from training.data.feedback_rows import DEFAULT_TENANT
from training.stages.curation.many.coded import Coded, rows_at
from training.stages.curation.many.weighing import REASONS, ManyWeighed

_SHOWN = ("tenant", "completion_id", "rater", "rating", "rated_at")


def report_of_many(
    database: duckdb.DuckDBPyConnection,
    parquet: Path,
    columns: Coded,
    found: ManyWeighed,
    feedback: FeedbackConfig,
    made_at: datetime,
) -> CurationReport:
    """Everything the service shows of a run's curation; weights are of what is learned from."""
    by_reason = {reason: int(np.count_nonzero(found.doubts >> bit & 1)) for bit, reason in enumerate(REASONS)}
    newest = np.flatnonzero(found.doubts)[::-1][:MAX_SET_ASIDE]
    set_aside = rows_at(database, parquet, columns.number[newest], _SHOWN)
    return CurationReport(
        made_at=made_at,
        num_ratings=len(columns),
        num_set_aside=found.num_set_aside,
        total_weight=round(float(found.weights.sum()), 3),
        by_reason={reason: number for reason, number in sorted(by_reason.items(), key=lambda one: -one[1]) if number},
        set_aside=tuple(
            SetAside.model_validate({**row, "tenant": row["tenant"] or DEFAULT_TENANT, "reasons": _reasons(doubts)})
            for row, doubts in zip(set_aside, found.doubts[newest].tolist(), strict=True)
        ),
        raters=tuple(_raters(columns, found, feedback)),
    )


def _reasons(doubts: int) -> tuple[Reason, ...]:
    return tuple(reason for bit, reason in enumerate(REASONS) if doubts >> bit & 1)


def _raters(columns: Coded, found: ManyWeighed, feedback: FeedbackConfig) -> list[RaterFigures]:
    """Figures of those who rated most."""
    counts = _counts(columns, found)
    weight = np.bincount(columns.rater, found.weights, len(columns.raters))
    mean, strength = feedback.expected_reliability, feedback.reliability_strength
    # Who has not voted has nothing for or against them: what is believed of everybody.
    reliability = (mean * strength + found.right) / (strength + found.right + found.wrong)
    most = np.argsort(-counts["num_ratings"], kind="stable")[:MAX_RATERS]  # codes are in the order of names
    return [
        RaterFigures(
            tenant=columns.raters[code].tenant,
            rater=columns.raters[code].id,
            **{name: int(values[code]) for name, values in counts.items()},
            reliability=round(float(reliability[code]), 4),
            weight=round(float(weight[code]), 3),
        )
        for code in most.tolist()
    ]


def _counts(columns: Coded, found: ManyWeighed) -> dict[str, NDArray[np.int64]]:
    """By the figure's name, for each rater."""
    is_known = found.truth[columns.item] >= 0
    balance = _balance_of_others(columns)
    is_right, has_agreed = (found.truth[columns.item] == 1) == columns.is_up, (balance > 0) == columns.is_up
    chosen = {
        "num_ratings": np.ones(len(columns), bool),
        "num_up": columns.is_up,
        "num_set_aside": found.doubts != 0,
        "num_compared": balance != 0,
        "num_agreed": (balance != 0) & has_agreed,
        "num_gold": is_known,
        "num_gold_right": is_known & is_right,
    }
    return {name: np.bincount(columns.rater[which], minlength=len(columns.raters)) for name, which in chosen.items()}


def _balance_of_others(columns: Coded) -> NDArray[np.float64]:
    """For each rating, thumbs up less thumbs down of everybody else on the same words."""
    sign = np.where(columns.is_up, 1.0, -1.0)
    own = np.unique(columns.rater.astype(np.int64) << 32 | columns.item.astype(np.int64), return_inverse=True)[1]
    of_all, of_own = np.bincount(columns.item, sign)[columns.item], np.bincount(own, sign)[own]
    return (of_all - of_own).astype(np.float64)
