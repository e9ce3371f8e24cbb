"""The outbox: hand-overs that are to be told to the shop's desk, until they are told or given up.

A row is written in the transaction of its completion (`statements.completions`), so that neither is there without the
other. Who tells them: `service.chat.handovers`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Protocol, get_args

from sqlalchemy import Connection, Engine

from service.records.database import open_engine, open_reader, transaction
from service.records.handovers import statements
from service.records.migrations import migrated

HandoverState = Literal["pending", "delivered", "dead"]
HANDOVER_STATES: tuple[HandoverState, ...] = get_args(HandoverState)

Clock = Callable[[], datetime]
Write = Callable[[Callable[[Connection], Any]], Any]
"""Does work in a transaction, and returns when that is on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A completion that handed over, and how far telling it has come. Holds nothing of what was said."""

    completion_id: str
    conversation_id: str
    tenant: str
    language: str
    plan: str | None
    rule: str | None
    model_digest: str
    created_at: datetime
    state: HandoverState
    num_attempts: int
    next_attempt_at: datetime | None
    last_problem: str | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class HandoverClaim:
    """The right to tell one hand-over, until `ends_at`."""

    handover: Handover
    claim_id: str
    ends_at: datetime


class HandoverBacklog(NamedTuple):
    """What is not told: how many are waiting, since when the oldest, and how many were given up."""

    num_pending: int
    oldest_created_at: datetime | None
    num_dead: int


class HandoverOutbox(Protocol):
    """Keeps what is to be told. Its methods block, and raise RecordStoreUnavailableError."""

    def claim(self, *, lease_seconds: float) -> HandoverClaim | None:
        """Takes the hand-over that has been due longest; None when none is due.

        Nobody else gets it before the lease is over. Whoever dies with it lets the lease run out.
        """

    def settle(self, claim: HandoverClaim) -> bool:
        """Notes that it was told. False: the claim had run out, or the hand-over is gone."""

    def put_back(self, claim: HandoverClaim, problem: str, *, next_attempt_at: datetime | None) -> bool:
        """Notes what went wrong, and when to try again (None: never, it is dead). False: see `settle`."""

    def backlog(self) -> HandoverBacklog:
        """Counts what is not told."""


class SqlHandoverOutbox:
    """The outbox in SQL, the same statements for SQLite and PostgreSQL."""

    def __init__(self, engine: Engine, write: Write | None = None, clock: Clock = lambda: datetime.now(UTC)) -> None:
        """Takes over `engine`; `write` is how its owner writes, where it writes in a way of its own."""
        self._engine = engine
        self._clock = clock
        self._write = write or self._in_transaction

    @classmethod
    def open(cls, url: str) -> "SqlHandoverOutbox":
        """An outbox for commands, beside a running service or alone, in tables made where they are missing."""
        open_reader(url).dispose()  # raises where there is no database, which the next line would make
        return cls(migrated(open_engine(url)))

    def claim(self, *, lease_seconds: float) -> HandoverClaim | None:
        """See `HandoverOutbox.claim`."""
        claimed = self._write(lambda connection: statements.claim(connection, self._clock(), lease_seconds))
        if claimed is None:
            return None
        row, claim_id, ends_at = claimed
        return HandoverClaim(Handover(**row), claim_id, ends_at)

    def settle(self, claim: HandoverClaim) -> bool:
        """See `HandoverOutbox.settle`."""
        values: dict[str, object] = {"state": "delivered", "next_attempt_at": None, "last_problem": None}
        return self._change(claim, {**values, "settled_at": self._clock()})

    def put_back(self, claim: HandoverClaim, problem: str, *, next_attempt_at: datetime | None) -> bool:
        """See `HandoverOutbox.put_back`."""
        values: dict[str, object] = {"next_attempt_at": next_attempt_at, "last_problem": problem}
        if next_attempt_at is None:
            values.update(state="dead", settled_at=self._clock())
        return self._change(claim, values)

    def backlog(self) -> HandoverBacklog:
        """See `HandoverOutbox.backlog`."""
        with transaction(self._engine) as connection:
            return HandoverBacklog(*statements.backlog(connection))

    def list(self, state: HandoverState, *, limit: int) -> tuple[Handover, ...]:
        """The oldest hand-overs in this state."""
        with transaction(self._engine) as connection:
            return tuple(Handover(**row) for row in statements.oldest(connection, state, limit))

    def retry(self, completion_ids: Collection[str] | None) -> int:
        """Makes dead ones (None: all) due now, with all their attempts before them; gives their number."""
        values = {"state": "pending", "next_attempt_at": self._clock(), "num_attempts": 0, "settled_at": None}
        changed: int = self._write(lambda connection: statements.change_dead(connection, completion_ids, values))
        return changed

    def drop(self, completion_ids: Collection[str] | None) -> int:
        """Forgets dead ones (None: all); gives their number."""
        dropped: int = self._write(lambda connection: statements.drop_dead(connection, completion_ids))
        return dropped

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()

    def _change(self, claim: HandoverClaim, values: dict[str, object]) -> bool:
        completion_id, claim_id = claim.handover.completion_id, claim.claim_id
        changed = self._write(lambda connection: statements.change(connection, completion_id, claim_id, values))
        return bool(changed)

    def _in_transaction(self, work: Callable[[Connection], Any]) -> Any:
        with transaction(self._engine) as connection:
            return work(connection)
