"""A run's curation out of a frozen Parquet file: all ratings are weighed on disk, and what is learned from is loaded.

The same ratings give what `stages.curate` makes of them in memory, as long as no more than `feedback.max_ratings`
count; of more the newest are learned from, judged by all.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from model_store.contract.conversation import Message
from model_store.contract.feedback import TRAINING_EXAMPLES_COLUMNS
from training.config import FeedbackConfig
from training.data.feedback_rows import DEFAULT_TENANT, FeedbackRow, Turn, parse_row
from training.errors import InvalidFeedbackDataError
from training.stages.curation.groups.traits import Said, asked_in
from training.stages.curation.implicit import Signal, implicit_signals
from training.stages.curation.likeness import alike
from training.stages.curation.many.coded import Codes, coded, codes_of, leave_memory, opened, rows_at
from training.stages.curation.many.many_report import report_of_many
from training.stages.curation.many.parquet import num_ratings, work_folder
from training.stages.curation.many.weighing import ManyWeighed, weigh_many
from training.stages.curation.rater_model import Evidence, Prior, Rater
from training.stages.curation.report import Curated
from training.stages.curation.weighing import Weighed, weigh_signals

_log = logging.getLogger("training")


def curate_many(parquet: Path, turns: Sequence[Turn], feedback: FeedbackConfig, made_at: datetime) -> Curated:
    """Weighs the ratings of a frozen file beside the newest turns. Works in a folder beside it, which goes again.

    In memory are the newest ratings that count, without those that are set aside; the report is about all.
    """
    with work_folder(parquet.parent) as folder:
        with opened(parquet, folder, poison_phrases=feedback.poison_phrases) as database:
            columns = coded(database)
            leave_memory(database)
            found = weigh_many(
                columns, feedback, lambda places: said_at(database, parquet, places), max_kept=feedback.max_ratings
            )
            kept = _kept(database, parquet, found)
            gold_rows = _gold_rows(database, parquet, columns.item, found)
            signals = _signals(database, parquet, turns)
            evidence = _evidence(database, signals, found, feedback)
            num_rows = num_ratings(parquet)
            num_readable = _num_readable(database)
            report = report_of_many(database, parquet, columns, found, feedback, made_at)
    _log.info(
        "%s ratings weighed on disk, %s set aside, %s count; the newest %s of them are learned from"
        " (feedback.max_ratings: %s)",
        *(f"{number:,}" for number in (len(columns), found.num_set_aside, found.num_counting, len(kept.rows))),
        f"{feedback.max_ratings:,}",
    )
    gold = {item: bool(found.truth[item]) for item in gold_rows}
    weighed = _beside(kept, signals, evidence, feedback)
    return Curated(
        weighed=replace(weighed, items=columns.item[kept.places].tolist(), gold=gold, gold_rows=gold_rows),
        report=report,
        num_rows=num_rows,
        num_broken=num_rows - num_readable + kept.num_unread,
        num_raters=columns.num_raters,
        num_gold=int(np.count_nonzero(found.truth >= 0)),
    )


def said_at(database: duckdb.DuckDBPyConnection, parquet: Path, places: NDArray[np.int64]) -> list[Said]:
    """What ratings say by their places, for groups to be found in; nobody's account as yet."""
    rows = rows_at(database, parquet, places, ("language", "prompt_messages", "completion_text", "rating"))
    return [
        Said(
            account=-1,
            language=str(row["language"]),
            asked=asked_in([Message.from_dict(message) for message in json.loads(str(row["prompt_messages"]))]),
            reply=str(row["completion_text"]),
            is_up=row["rating"] == "up",
        )
        for row in rows
    ]


@dataclass(frozen=True)
class _Kept:
    """Ratings that weigh something, by their places, and how many of them could not be read after all."""

    places: NDArray[np.int64]
    rows: list[FeedbackRow]
    weights: list[float]
    num_unread: int


def _kept(database: duckdb.DuckDBPyConnection, parquet: Path, found: ManyWeighed) -> _Kept:
    wanted = np.flatnonzero(found.weights > 0)
    read = _read(database, parquet, wanted)
    places = np.array(list(read), np.int64)
    return _Kept(places, list(read.values()), found.weights[places].tolist(), len(wanted) - len(read))


def _gold_rows(
    database: duckdb.DuckDBPyConnection, parquet: Path, items: Codes, found: ManyWeighed
) -> dict[int, FeedbackRow]:
    """The first rating of each of the words about which the staff knows the truth."""
    of_gold = np.flatnonzero(found.truth[items] >= 0)
    firsts = of_gold[np.unique(items[of_gold], return_index=True)[1]]
    return {int(items[place]): row for place, row in _read(database, parquet, firsts).items()}


def _read(database: duckdb.DuckDBPyConnection, parquet: Path, places: NDArray[np.int64]) -> dict[int, FeedbackRow]:
    """Ratings by their places, in that order, without those that cannot be read."""
    rows = {}
    for place, raw in zip(places.tolist(), rows_at(database, parquet, places, TRAINING_EXAMPLES_COLUMNS), strict=True):
        try:
            rows[place] = parse_row(raw)
        except InvalidFeedbackDataError:
            continue
    return rows


def _signals(database: duckdb.DuckDBPyConnection, parquet: Path, turns: Sequence[Turn]) -> list[Signal]:
    """Signals about replies that nobody rated."""
    signals = implicit_signals(turns)
    rated = database.execute(
        f"SELECT DISTINCT coalesce(nullif(tenant, ''), '{DEFAULT_TENANT}'), completion_id FROM read_parquet(?)"
        " WHERE completion_id IN (SELECT unnest(?::VARCHAR[]))",
        [str(parquet), [signal.turn.completion_id for signal in signals]],
    ).fetchall()
    known = {(str(tenant), str(completion_id)) for tenant, completion_id in rated}
    return [signal for signal in signals if (signal.turn.tenant, signal.turn.completion_id) not in known]


def _num_readable(database: duckdb.DuckDBPyConnection) -> int:
    (found,) = database.execute("SELECT num_rows FROM readable").fetchall()[0]
    return int(found)


def _evidence(
    database: duckdb.DuckDBPyConnection, signals: Sequence[Signal], found: ManyWeighed, feedback: FeedbackConfig
) -> dict[Rater, Evidence]:
    """Of those who gave a signal and have voted: nobody else's is asked for, and there may be millions."""
    prior = Prior(feedback.expected_reliability, feedback.reliability_strength)
    codes = codes_of(database, {Rater(signal.turn.tenant, signal.turn.rater) for signal in signals})
    return {
        rater: Evidence(float(found.right[code]), float(found.wrong[code]), prior)
        for rater, code in codes.items()
        if found.has_voted[code]
    }


def _beside(kept: _Kept, signals: list[Signal], evidence: dict[Rater, Evidence], feedback: FeedbackConfig) -> Weighed:
    """Ratings as `weighing.weigh` leaves them, but that none of them is doubted, with signals beside them."""
    rows, weights = kept.rows, kept.weights
    replies = alike([*(row.completion_text for row in rows), *(signal.turn.completion_text for signal in signals)])
    meant = weigh_signals(signals, replies[len(rows) :], evidence, feedback, total=sum(weights))
    return Weighed(rows, replies[: len(rows)], {}, evidence, {}, weights, signals, meant)
