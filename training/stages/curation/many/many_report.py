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
from training.stages.curation.many.coded import Coded, names_of, rows_at
from training.stages.curation.many.weighing import REASONS, ManyWeighed
from training.stages.curation.report import group_figures

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
    set_aside = rows_at(database, parquet, newest, _SHOWN)
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
        raters=tuple(_raters(database, columns, found, feedback)),
        groups=group_figures(found.groups, lambda places: names_of(database, found.accounts[places].tolist())),
    )


def _reasons(doubts: int) -> tuple[Reason, ...]:
    return tuple(reason for bit, reason in enumerate(REASONS) if doubts >> bit & 1)


def _raters(
    database: duckdb.DuckDBPyConnection, columns: Coded, found: ManyWeighed, feedback: FeedbackConfig
) -> list[RaterFigures]:
    """Figures of those who rated most."""
    num_ratings = np.bincount(columns.rater, minlength=columns.num_raters)
    most = np.argsort(-num_ratings, kind="stable")[:MAX_RATERS]  # codes are in the order of names
    counts = _counts(columns, found, most)
    weight = np.bincount(columns.rater, found.weights, columns.num_raters)
    right, wrong = found.right[most], found.wrong[most]
    mean, strength = feedback.expected_reliability, feedback.reliability_strength
    # Who has not voted has nothing for or against them: what is believed of everybody.
    reliability = (mean * strength + right) / (strength + right + wrong)
    return [
        RaterFigures(
            tenant=rater.tenant,
            rater=rater.id,
            num_ratings=int(num_ratings[code]),
            **{name: int(values[place]) for name, values in counts.items()},
            reliability=round(float(reliability[place]), 4),
            weight=round(float(weight[code]), 3),
        )
        for place, (code, rater) in enumerate(zip(most.tolist(), names_of(database, most.tolist()), strict=True))
    ]


def _counts(columns: Coded, found: ManyWeighed, most: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """By the figure's name, for each of these raters."""
    place_of = np.full(columns.num_raters, -1, np.int32)
    place_of[most] = np.arange(len(most))
    rows = np.flatnonzero(place_of[columns.rater] >= 0)
    shown, place = columns.only(rows), place_of[columns.rater[rows]]
    truth, balance = found.truth[shown.item], _balance_of_others(columns, shown)
    is_right, has_agreed = (truth == 1) == shown.is_up, (balance > 0) == shown.is_up
    chosen = {
        "num_up": shown.is_up,
        "num_set_aside": found.doubts[rows] != 0,
        "num_compared": balance != 0,
        "num_agreed": (balance != 0) & has_agreed,
        "num_gold": truth >= 0,
        "num_gold_right": (truth >= 0) & is_right,
    }
    return {name: np.bincount(place[which], minlength=len(most)) for name, which in chosen.items()}


def _balance_of_others(columns: Coded, shown: Coded) -> NDArray[np.int64]:
    """For each rating that is shown, thumbs up less thumbs down of everybody else on the same words."""
    num_items = int(columns.item.max(initial=0)) + 1
    ups, downs = (np.bincount(columns.item[which], minlength=num_items) for which in (columns.is_up, ~columns.is_up))
    keys = shown.rater.astype(np.int64) << 32 | shown.item.astype(np.int64)
    own = np.unique(keys, return_inverse=True)[1]
    of_own = np.bincount(own[shown.is_up], minlength=len(own)) - np.bincount(own[~shown.is_up], minlength=len(own))
    balance: NDArray[np.int64] = (ups - downs)[shown.item] - of_own[own]
    return balance
