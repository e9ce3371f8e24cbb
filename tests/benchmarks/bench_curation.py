"""Time and memory of curating many ratings out of Parquet: `python -m tests.benchmarks.bench_curation [NUM_RATINGS]`.

The ratings are generated: a tenth as many askers, four of ten thumbs by nobody in particular, a tenth as many different
asks, each answered in one of three ways out of 3,000 replies, of which a third are long enough to be nearly the same as
others. What a run does with them (freezing, hashing, weighing, loading what is learned from) runs in a process of its
own, whose peak memory is printed; 2 GB is the aim for 10^7.
"""

import argparse
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import duckdb

from model_store.erasures import ErasureList
from training.config import FeedbackConfig
from training.stages.curation.many.curating import curate_many
from training.stages.curation.many.parquet import digest_and_newest, freeze

_RATINGS = """
COPY (
    SELECT
        'chatcmpl-' || number AS completion_id,
        'conv-' || number // 2 AS conversation_id,
        strftime(moment, '%Y-%m-%dT%H:%M:%S.%fZ') AS created_at,
        repeat('a', 64) AS model_digest,
        'en' AS language,
        '[{"role":"user","content":"where is my order of the kind ' || ask || '"}]' AS prompt_messages,
        'Your order is on its way, number ' || reply || '. ' || repeat('Please look at your orders. ', reply % 3 * 2)
            AS completion_text,
        '[300,301,' || 400 + reply || ',2]' AS completion_token_ids,
        '[-0.5,-0.5,-0.5,-0.5]' AS token_logprobs,
        '{"temperature":0.7,"seed":1}' AS sampling,
        'stop' AS finish_reason,
        CASE WHEN draw % 10 < 4 THEN 'anonymous' ELSE 'rater-' || draw % (? // 10 + 1) END AS rater,
        CASE WHEN (reply + draw // 7 % 4) % 3 = 0 THEN 'down' ELSE 'up' END AS rating,
        '[]' AS reasons,
        CASE WHEN draw % 100 = 0 THEN 'it did not say when, ' || draw % 9973 END AS comment,
        NULL::VARCHAR AS correction,
        strftime(moment, '%Y-%m-%dT%H:%M:%S.%fZ') AS rated_at,
        'tenant-' || draw % 5 AS tenant,
        'page-' || draw % 50 AS origin,
        CASE WHEN draw % 5000 = 1 THEN 'up' END AS gold,
        CASE WHEN draw % 50000 = 2 THEN 'set_aside' END AS ruling
    FROM (
        SELECT *, (ask + draw // 1000 % 3) % 3000 AS reply,
            TIMESTAMP '2026-01-01' + to_microseconds((draw % 31536000) * 1000000 + number % 1000000) AS moment
        FROM (
            SELECT number, (hash(number) // 1024)::BIGINT AS draw, (hash(number + 7) % (? // 10 + 1))::BIGINT AS ask
            FROM range(?) rows(number)
        )
    )
) TO '{path}' (FORMAT parquet)
"""


_STEPS = ("imports", "putting in order", "hashing", "weighing and loading")


def main() -> None:
    """Generates, curates in a process of its own, and prints one line each."""
    parser = argparse.ArgumentParser(description="Curate many generated ratings.")
    parser.add_argument("num_ratings", nargs="?", type=int, default=10_000_000)
    parser.add_argument("--weigh", type=Path, help="Parquet to weigh: what the process of its own does")
    options = parser.parse_args()
    if options.weigh:
        _weigh(options.weigh)
        return
    with TemporaryDirectory() as folder:
        parquet, started = Path(folder) / "ratings.parquet", time.monotonic()
        with duckdb.connect(config={"memory_limit": "1GB", "temp_directory": folder}) as database:
            database.execute(_RATINGS.replace("{path}", str(parquet)), [options.num_ratings] * 3)
        size = parquet.stat().st_size / 1e6
        print(f"{options.num_ratings:,} ratings, {size:,.0f} MB of Parquet, in {time.monotonic() - started:.0f} s")
        sys.stdout.flush()
        subprocess.run([sys.executable, "-m", "tests.benchmarks.bench_curation", "--weigh", parquet], check=True)


def _weigh(parquet: Path) -> None:
    feedback, frozen = FeedbackConfig(), parquet.with_name("frozen.parquet")
    so_far = [_used()]
    freeze(parquet, frozen, ErasureList(()))
    so_far.append(_used())
    digest, _ = digest_and_newest(frozen, max_rows=feedback.max_ratings, beside="")
    so_far.append(_used())
    found = curate_many(frozen, [], feedback, datetime.now(UTC))
    so_far.append(_used())
    report = found.report
    print(
        f"{report.num_ratings:,} ratings of {found.num_raters:,} raters, {report.num_set_aside:,} set aside;"
        f" {len(found.weighed.rows):,} are learned from, total weight {report.total_weight:,.1f}; digest {digest[:12]}"
    )
    for name, before, after in zip(_STEPS, [_Used(0.0, 0.0, 0.0), *so_far], so_far, strict=False):
        seconds = f"{after.cpu - before.cpu:.0f} s of processor time, {after.clock - before.clock:.0f} s by the clock"
        print(f"  {name}: {seconds if name != _STEPS[0] else f'{after.cpu:.0f} s'}; peak so far {after.peak:.2f} GB")
    print(f"{so_far[-1].cpu:.0f} s of processor time; peak memory {so_far[-1].peak:.2f} GB (aim 2)")


class _Used(NamedTuple):
    """What this process has taken so far; it starts none of its own."""

    cpu: float
    clock: float
    peak: float
    """GB that were resident at most."""


def _used() -> _Used:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return _Used(time.process_time(), time.monotonic(), peak)


if __name__ == "__main__":
    main()
