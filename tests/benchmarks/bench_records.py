"""Feedback writes a second on SQLite, each acknowledged after its sync: with group commit, and one commit a vote.

Alternates both (A B A B) in one run and prints medians and their ratio: a table for people and, as the last line, one
JSON object. `--url` measures a PostgreSQL database instead, which groups commits by itself; it is left with the votes.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from model_store.contract.conversation import Message, Role
from service.records.database import open_engine, transaction
from service.records.sql_store import SqlRecordStore
from service.records.statements import feedback
from service.records.store import CompletionRecord, FeedbackRecord, StoredFeedback

_ROUNDS = 3

Record = Callable[[FeedbackRecord], StoredFeedback]


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_records", description=__doc__)
    parser.add_argument("--votes", type=int, default=2000, help="a round; default: 2000")
    parser.add_argument("--threads", type=int, default=64, help="callers that wait for their vote; default: 64")
    parser.add_argument("--url", help="SQLAlchemy URL of PostgreSQL; default: SQLite in a temporary directory")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        figures = _measure(options.url or f"sqlite:///{Path(directory) / 'records.db'}", options)
    for name, value in figures.items():
        print(f"{name:>24}{value:12.1f}")
    print(json.dumps(figures))
    return 0


def _measure(url: str, options: argparse.Namespace) -> dict[str, float]:
    store = SqlRecordStore.open(url)
    completion_id = f"bench-{time.time_ns()}"
    store.record_completion(a_completion(completion_id))
    engine = open_engine(url)

    def record_alone(vote: FeedbackRecord) -> StoredFeedback:
        with transaction(engine) as connection:
            return feedback.record(connection, vote, None)

    ways: dict[str, tuple[Record, int]] = {
        "grouped_per_second": (store.record_feedback, options.threads),
        "alone_per_second": (record_alone, 1),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(_ROUNDS):
        for name, (record, num_threads) in ways.items():
            votes = [_vote(completion_id, f"{name}-{number}-{vote}") for vote in range(options.votes)]
            speeds[name].append(_votes_per_second(record, votes, num_threads))
    engine.dispose()
    store.close()
    medians = {name: round(statistics.median(values), 1) for name, values in speeds.items()}
    return medians | {"ratio": round(medians["grouped_per_second"] / medians["alone_per_second"], 2)}


def _votes_per_second(record: Record, votes: list[FeedbackRecord], num_threads: int) -> float:
    with ThreadPoolExecutor(num_threads) as pool:
        started = time.perf_counter()
        num_acknowledged = sum(1 for _ in pool.map(record, votes))
        return num_acknowledged / (time.perf_counter() - started)


def _vote(completion_id: str, rater: str) -> FeedbackRecord:
    return FeedbackRecord(completion_id=completion_id, rater=rater, rating="up", reasons=("helpful",))


def a_completion(completion_id: str) -> CompletionRecord:
    """One to rate, or to record."""
    return CompletionRecord(
        id=completion_id,
        conversation_id=completion_id,
        created_at=datetime.now(UTC),
        model_digest="0" * 64,
        language="en",
        prompt_messages=(Message(Role.USER, "I forgot my password"),),
        completion_text="You can reset it on <PASSWORD_PAGE>.",
        completion_token_ids=(300, 301, 2),
        token_logprobs=(-0.25, -0.5, -0.125),
        sampling={"temperature": 0.7, "seed": 1},
        finish_reason="stop",
        latency_ms=100.0,
        num_prompt_tokens=5,
        num_completion_tokens=3,
    )


if __name__ == "__main__":
    sys.exit(main())
