"""Rows 1 and 2: kill -9 while replies stream and thumbs are written, on SQLite and on PostgreSQL."""

from collections.abc import Sequence

from tests.benchmarks.reliability.databases import postgresql
from tests.benchmarks.reliability.finding import Family, Finding, NotRunError, Plan, verdict
from tests.benchmarks.reliability.kills import SETTINGS, Outcome, run_kills
from tests.benchmarks.reliability.service_process import ServiceProcess

MIN_KILLS_SQLITE, MIN_KILLS_POSTGRESQL = 100, 20


def measure(plan: Plan) -> Sequence[Finding]:
    """SQLite first; without PostgreSQL the rows are short."""
    on_sqlite = _sqlite(plan)
    try:
        on_postgresql = _postgresql(plan)
        more, seconds = f"PostgreSQL: {on_postgresql.sentence()}", on_postgresql.restart_seconds
    except NotRunError as error:
        on_postgresql, more, seconds = None, f"PostgreSQL: not run, {error}", ()
    outcomes = [outcome for outcome in (on_sqlite, on_postgresql) if outcome is not None]
    is_whole = len(outcomes) == 2 and not plan.is_quick
    halves = sum(outcome.halves for outcome in outcomes)
    slowest = max([outcome.slowest_start for outcome in outcomes])
    figures = {
        f"{name}_{key}": value
        for name, outcome in zip(("sqlite", "postgresql"), outcomes, strict=False)
        for key, value in vars(outcome).items()
        if key != "restart_seconds"
    }
    return [
        Finding(
            1,
            "kill -9 during feedback",
            "acknowledged = found, duplicates 0",
            f"SQLite: {on_sqlite.sentence()}; {more}",
            verdict(holds=all(outcome.holds for outcome in outcomes), is_whole=is_whole),
            figures,
        ),
        Finding(
            2,
            "kill -9 while streaming",
            "ready again; no half completion finished",
            f"{len(on_sqlite.restart_seconds) + len(seconds)} starts, ready in {slowest:.1f} s (p95), {halves} halves",
            verdict(holds=halves == 0, is_whole=is_whole),
            {"ready_seconds_p95": round(slowest, 2), "halves": halves},
        ),
    ]


def _sqlite(plan: Plan) -> Outcome:
    service = ServiceProcess(plan.folder / "kill-sqlite", **SETTINGS)
    try:
        url = f"sqlite:///{service.data_dir / 'rejoinder.db'}"
        return run_kills(service, url, plan.count(MIN_KILLS_SQLITE, 2))
    finally:
        service.kill()


def _postgresql(plan: Plan) -> Outcome:
    with postgresql() as url:
        service = ServiceProcess(plan.folder / "kill-postgresql", **SETTINGS, database_url=url)
        try:
            return run_kills(service, url, plan.count(MIN_KILLS_POSTGRESQL, 1))
        finally:
            service.kill()


FAMILY = Family((1, 2), "kill -9 under load", measure)
