"""`make chaos`: kill -9 at random moments under load, so many times; afterwards nothing acknowledged is lost.

Streams, thumbs and erasures by several customers at once, on SQLite or (`--postgresql`) on a server of its own.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.reliability.databases import postgresql
from tests.benchmarks.reliability.kills import SETTINGS, run_kills
from tests.benchmarks.reliability.service_process import ServiceProcess


def main(arguments: list[str] | None = None) -> int:
    """Kills, looks, and gives the exit code: 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reliability.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="default: 300")
    parser.add_argument("--seed", type=int, default=6, help="of the moments and of what customers do; default: 6")
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL in place of SQLite")
    parser.add_argument("--output", type=Path, default=Path("runs/reliability"), help="default: runs/reliability")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, _database(options.postgresql) as url:
        service = ServiceProcess(Path(folder), **SETTINGS, **({"database_url": url} if url else {}))
        try:
            database = url or f"sqlite:///{service.data_dir / 'rejoinder.db'}"
            outcome = run_kills(service, database, options.kills, options.seed)
        finally:
            service.kill()
    print(f"{'pass' if outcome.holds else 'FAIL'}  {outcome.sentence()}; ready in {outcome.slowest_start:.1f} s (p95)")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "chaos.json"
    path.write_text(json.dumps({**vars(outcome), "holds": outcome.holds}, indent=2) + "\n", encoding="utf-8")
    print(path, file=sys.stderr)
    return 0 if outcome.holds else 1


@contextmanager
def _database(is_postgresql: bool) -> Iterator[str | None]:
    if not is_postgresql:
        yield None
        return
    with postgresql() as url:
        yield url


if __name__ == "__main__":
    sys.exit(main())
