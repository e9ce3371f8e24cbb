"""kill -9 at random moments under load, and what is found afterwards. Rows 1 and 2, and `make chaos`.

Customers stream replies, rate them and have conversations erased, each request under an Idempotency-Key. A ledger keeps
what they were told; requests that a kill broke are sent again at the end, as a client would, and must have one effect.
"""

import json
import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2
from sqlalchemy import Connection, create_engine, text

from model_store.contract.control_tokens import EOS_ID
from tests.benchmarks.reliability.finding import percentile
from tests.benchmarks.reliability.service_process import ServiceProcess
from tests.benchmarks.reliability.talk import ASKS, CHAT, FEEDBACK, Heard, body, listen, thumb

MAX_TOKENS = 24
_NUM_CUSTOMERS = 6
_ERASED_SHARE = 0.15
_SECONDS_BEFORE_KILL = (0.3, 1.8)
_LEASE_SECONDS = 60.0
"""Longer than an unanswered Idempotency-Key stays taken with `SETTINGS`."""
SETTINGS = {"num_slots": 4, "max_wait_seconds": 5, "key_requests_per_minute": 0, "drain_seconds": 0}


@dataclass(frozen=True)
class _Request:
    """A request that can be sent again: its key says that it is the same."""

    route: str
    body: dict[str, Any]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass
class Ledger:
    """What clients were told, and what they were not."""

    completions: dict[str, str] = field(default_factory=dict)
    """Id → conversation, of streams that said [DONE]."""
    votes: dict[str, str] = field(default_factory=dict)
    """Completion → rating."""
    erased: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    """Conversations whose erasure was asked for and not acknowledged."""
    broken: list[_Request] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    num_unsettled: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of all rounds."""

    num_kills: int
    num_acknowledged: int
    num_retried: int
    lost: int
    """Completions and votes that were acknowledged and are not there, and erased conversations that are."""
    duplicated: int
    halves: int
    """Completions that count as finished and are not, votes on nothing, and what the database itself complains of."""
    unsettled: int
    """Retries that never got an answer."""
    restart_seconds: tuple[float, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.duplicated or self.halves or self.unsettled) and self.num_acknowledged > 0

    def sentence(self) -> str:
        """For a row."""
        return (
            f"{self.num_kills} kills, {self.num_acknowledged} acknowledged, {self.num_retried} sent again: "
            f"{self.lost} lost, {self.duplicated} duplicated, {self.halves} halves, {self.unsettled} unsettled"
        )

    @property
    def slowest_start(self) -> float:
        """Seconds; the 95th percentile."""
        return percentile(self.restart_seconds, 0.95)


def run_kills(service: ServiceProcess, database_url: str, num_kills: int, seed: int = 6) -> Outcome:
    """Starts the service and kills it, so many times, then looks. Raises RuntimeError when it does not start again."""
    rng = random.Random(seed)
    ledger = Ledger()
    restarts = [service.start()]
    for number in range(num_kills):
        _one_round(service, ledger, rng.uniform(*_SECONDS_BEFORE_KILL), seed * 10_000 + number)
        restarts.append(service.start())
    num_retried = len(ledger.broken)
    _send_again(service, ledger)
    engine = create_engine(database_url)
    with engine.connect() as connection:
        lost, duplicated, halves = _look(connection, ledger)
    engine.dispose()
    num_acknowledged = len(ledger.completions) + len(ledger.votes) + len(ledger.erased)
    return Outcome(
        num_kills=num_kills,
        num_acknowledged=num_acknowledged,
        num_retried=num_retried,
        lost=lost,
        duplicated=duplicated,
        halves=halves,
        unsettled=ledger.num_unsettled,
        restart_seconds=tuple(restarts[1:]),
    )


def _one_round(service: ServiceProcess, ledger: Ledger, seconds: float, seed: int) -> None:
    lock = threading.Lock()
    customers = [
        threading.Thread(target=_talk_until_broken, args=(service, ledger, lock, random.Random(seed * 100 + number)))
        for number in range(_NUM_CUSTOMERS)
    ]
    for customer in customers:
        customer.start()
    time.sleep(seconds)
    service.kill()
    for customer in customers:
        customer.join()


def _talk_until_broken(service: ServiceProcess, ledger: Ledger, lock: threading.Lock, rng: random.Random) -> None:
    """A customer after the other, until the service is gone."""
    with service.client() as client:
        while _serve_one(client, ledger, lock, rng):
            pass


def _serve_one(client: httpx2.Client, ledger: Ledger, lock: threading.Lock, rng: random.Random) -> bool:
    """Asks, rates, and sometimes erases; false when the connection broke."""
    conversation = f"kill-{uuid.uuid4().hex}"
    fields = {"metadata": {"conversation_id": conversation}, "max_tokens": MAX_TOKENS}
    request = _Request(CHAT, body(rng.choice(ASKS), **fields))
    try:
        heard = _ask(client, request)
    except httpx2.TransportError:
        with lock:
            ledger.broken.append(request)
        return False
    with lock:
        _note_completion(ledger, request, heard)
    if not heard.is_whole:
        return True
    vote = _Request(FEEDBACK, thumb(heard, rng.choice(("up", "down"))))
    try:
        answer = client.post(vote.route, json=vote.body, headers={"idempotency-key": vote.key})
    except httpx2.TransportError:
        with lock:
            ledger.broken.append(vote)
        return False
    with lock:
        _note_vote(ledger, vote, answer)
    return rng.random() > _ERASED_SHARE or _erase(client, ledger, lock, conversation)


def _erase(client: httpx2.Client, ledger: Ledger, lock: threading.Lock, conversation: str) -> bool:
    with lock:
        ledger.doubtful.add(conversation)
    try:
        status = client.delete(f"/v1/conversations/{conversation}").status_code
    except httpx2.TransportError:
        return False
    if status == 200:
        with lock:
            ledger.doubtful.discard(conversation)
            ledger.erased.add(conversation)
    return True


def _ask(client: httpx2.Client, request: _Request) -> Heard:
    return listen(client, request.body, {"idempotency-key": request.key})


def _note_completion(ledger: Ledger, request: _Request, heard: Heard) -> None:
    if heard.is_whole:
        ledger.completions[heard.completion_id] = request.body["metadata"]["conversation_id"]
    else:
        ledger.refused[heard.error_code or str(heard.status)] += 1


def _note_vote(ledger: Ledger, request: _Request, answer: httpx2.Response) -> None:
    if answer.status_code == 200:
        ledger.votes[request.body["completion_id"]] = request.body["rating"]
    else:
        ledger.refused[answer.json()["error"]["code"]] += 1


def _send_again(service: ServiceProcess, ledger: Ledger) -> None:
    """Sends what was broken under the same keys, until each has its answer or its lease must be over."""
    waiting, deadline = list(ledger.broken), time.monotonic() + _LEASE_SECONDS
    with service.client() as client:
        while waiting and time.monotonic() < deadline:
            waiting = [request for request in waiting if not _has_answer(client, ledger, request)]
            time.sleep(0.5 if waiting else 0)
    ledger.num_unsettled = len(waiting)


def _has_answer(client: httpx2.Client, ledger: Ledger, request: _Request) -> bool:
    try:
        return _is_settled(client, ledger, request)
    except httpx2.TransportError:
        return False


def _is_settled(client: httpx2.Client, ledger: Ledger, request: _Request) -> bool:
    if request.route == CHAT:
        heard = _ask(client, request)
        if heard.error_code == "idempotency_key_in_use" or heard.status == 503:
            return False
        _note_completion(ledger, request, heard)
        return True
    answer = client.post(request.route, json=request.body, headers={"idempotency-key": request.key})
    if answer.status_code in (409, 503):
        return False
    _note_vote(ledger, request, answer)
    return True


def _look(connection: Connection, ledger: Ledger) -> tuple[int, int, int]:
    """Lost, duplicated and half of what is in the database."""
    rows = connection.execute(
        text(
            "SELECT id, conversation_id, finish_reason, is_finished, completion_token_ids, num_completion_tokens "
            "FROM completions"
        )
    ).all()
    found = {row.id: row for row in rows}
    votes = {row.completion_id: row.rating for row in connection.execute(text("SELECT * FROM feedback"))}
    gone = ledger.erased | ledger.doubtful
    kept = {name for name, conversation in ledger.completions.items() if conversation not in gone}
    lost = len(kept - found.keys())
    lost += sum(name in kept and votes.get(name) != rating for name, rating in ledger.votes.items())
    lost += sum(row.conversation_id in ledger.erased for row in rows)
    times = Counter(row.conversation_id for row in rows)
    duplicated = sum(number - 1 for number in times.values())
    halves = sum(_is_half(row) for row in rows) + len(votes.keys() - found.keys())
    return lost, duplicated, halves + len(_complaints(connection))


def _is_half(row: Any) -> bool:
    """Whether a completion counts as finished though its tokens neither end nor are as many as were allowed.

    A sentence of a rule instead of the model's has no tokens.
    """
    token_ids = json.loads(row.completion_token_ids)
    if not row.is_finished or not token_ids:
        return False
    if row.finish_reason == "length":
        return len(token_ids) < MAX_TOKENS
    return row.finish_reason == "stop" and token_ids[-1] != EOS_ID


def _complaints(connection: Connection) -> list[str]:
    """What SQLite finds wrong with its own file; PostgreSQL checks its pages as it reads them."""
    if connection.dialect.name != "sqlite":
        return []
    found = [row[0] for row in connection.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
    return found + [str(row) for row in connection.execute(text("PRAGMA foreign_key_check"))]
