"""Row 3: a database that is locked, full, down or slow. Nothing acknowledged is lost, and no restart is needed."""

import resource
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import httpx2
from sqlalchemy import create_engine, make_url, text

from tests.benchmarks.reliability.databases import FaultProxy, postgresql
from tests.benchmarks.reliability.finding import Family, Finding, NotRunError, Plan, verdict
from tests.benchmarks.reliability.service_process import ServiceProcess, serving
from tests.benchmarks.reliability.talk import FEEDBACK, Heard, body, listen, thumb

_FAULT_SECONDS = 3.0
_RECOVERY_SECONDS = 60.0
_MAX_RECOVERY_SECONDS = 10.0
_SETTINGS = {"key_requests_per_minute": 0}


@dataclass
class _Outcome:
    """What clients met under one fault."""

    name: str
    recovery_seconds: float = _RECOVERY_SECONDS
    problems: list[str] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)


def measure(plan: Plan) -> Sequence[Finding]:
    """SQLite locked by somebody else, and with no room to grow; PostgreSQL down and slow behind a proxy."""
    outcomes: list[_Outcome] = []
    with serving(plan.folder / "faults", **_SETTINGS) as service:
        url = f"sqlite:///{service.data_dir / 'rejoinder.db'}"
        outcomes.append(_suffer(service, url, "locked", _locked(service)))
        outcomes.append(_suffer(service, url, "full", _full(service)))
    try:
        outcomes += _on_postgresql(plan)
        missing = ""
    except NotRunError as error:
        missing = f"; PostgreSQL down and slow: not run, {error}"
    told = [
        f"{one.name}: back after {one.recovery_seconds:.1f} s{' ' + '; '.join(one.problems) if one.problems else ''}"
        for one in outcomes
    ]
    lost = sum(problem.startswith("lost") for one in outcomes for problem in one.problems)
    holds = all(not one.problems and one.recovery_seconds <= _MAX_RECOVERY_SECONDS for one in outcomes)
    figures = {f"{one.name}_recovery_seconds": round(one.recovery_seconds, 2) for one in outcomes}
    return [
        Finding(3, "database locked, full, down, slow", "chat streams, feedback 503; recovers without restart",
                f"{lost} lost; {', '.join(told)}{missing}", verdict(holds=holds, is_whole=not missing), figures)
    ]  # fmt: skip


def _on_postgresql(plan: Plan) -> list[_Outcome]:
    with postgresql() as url, FaultProxy(make_url(url)).running() as proxy:
        with serving(plan.folder / "faults-pg", **_SETTINGS, database_url=proxy.url) as service:
            return [
                _suffer(service, url, "down", _down(proxy)),
                _suffer(service, url, "slow", _slow(proxy), is_refused=False),
            ]


def _suffer(
    service: ServiceProcess, url: str, name: str, fault: AbstractContextManager[None], *, is_refused: bool = True
) -> _Outcome:
    """A thumb before, one and a stream during the fault, and thumbs until one is taken again."""
    outcome = _Outcome(name)
    with service.client() as client:
        before, during, after = (listen(client, body(max_tokens=12, seed=seed)) for seed in range(3))
        _vote(client, before, outcome)
        with fault:
            began = time.monotonic()
            answer = _vote(client, during, outcome)
            if is_refused and (answer.status_code != 503 or "retry-after" not in answer.headers):
                outcome.problems.append(f"feedback got {answer.status_code}")
            stream = listen(client, body(max_tokens=12))
            if len(stream.events) < 2 or stream.num_ends != 1 or stream.is_whole == is_refused:
                outcome.problems.append(f"the stream ended with {stream.error_code or 'DONE'} of {len(stream.events)}")
            time.sleep(max(0.0, _FAULT_SECONDS - (time.monotonic() - began)))
        mended = time.monotonic()
        while _vote(client, after, outcome).status_code != 200 and time.monotonic() - mended < _RECOVERY_SECONDS:
            time.sleep(0.1)
        outcome.recovery_seconds = time.monotonic() - mended
        if not listen(client, body(max_tokens=12)).is_whole:
            outcome.problems.append("chat does not come back")
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {row.completion_id: row.rating for row in connection.execute(text("SELECT * FROM feedback"))}
    engine.dispose()
    outcome.problems += [f"lost {name}" for name, rating in outcome.acknowledged.items() if found.get(name) != rating]
    return outcome


def _vote(client: httpx2.Client, heard: Heard, outcome: _Outcome) -> httpx2.Response:
    request = thumb(heard, "down")
    answer = client.post(FEEDBACK, json=request, headers={"idempotency-key": uuid.uuid4().hex})
    if answer.status_code == 200:
        outcome.acknowledged[request["completion_id"]] = "down"
    return answer


@contextmanager
def _locked(service: ServiceProcess) -> Iterator[None]:
    with sqlite3.connect(service.data_dir / "rejoinder.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def _full(service: ServiceProcess) -> Iterator[None]:
    """No file may grow: what a full disk says to SQLite, without filling one."""
    before = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    yield
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def _down(proxy: FaultProxy) -> Iterator[None]:
    proxy.cut()
    yield
    proxy.mend()


@contextmanager
def _slow(proxy: FaultProxy) -> Iterator[None]:
    proxy.delay_seconds = 0.15
    yield
    proxy.delay_seconds = 0.0


FAMILY = Family((3,), "a database that fails", measure)
