"""Group commit: one thread that writes, and one sync of the disk for everything that waits meanwhile.

SQLite takes a few milliseconds a commit and one writer at a time, so callers that come during a commit share the next
one. PostgreSQL does this by itself. What is written is in `statements`.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from service.records.database import transaction
from service.records.errors import RecordStoreUnavailableError

_MAX_BATCH = 256
_CLOSE_SECONDS = 30.0

Result = TypeVar("Result")
Work = Callable[[Connection], Result]


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work[Any]
    result: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    error: Exception | None = None


class GroupCommit:
    """Runs pieces of work in shared transactions. Safe to use from any number of threads."""

    def __init__(self, engine: Engine) -> None:
        """Starts the thread; it lives until `close`, or until the process ends."""
        self._engine = engine
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="records-writer", daemon=True)
        self._thread.start()

    def run(self, work: Work[Result]) -> Result:
        """Does the work in a transaction and gives its result once that is on disk.

        The work's own error undoes the work and nothing else, and is raised here. Raises RecordStoreUnavailableError
        when the database fails, which then has kept none of the transaction.
        """
        return self.submit(work).result()

    def submit(self, work: Work[Result]) -> Future[Result]:
        """`run` for who does not wait here: the future has the result, or what `run` raises.

        Work that is cancelled before its turn is not done. Raises RecordStoreUnavailableError once this is closed.
        """
        job = _Job(work)
        with self._lock:
            if self._is_closed:
                store = self._engine.url.render_as_string(hide_password=True)
                raise RecordStoreUnavailableError(store=store, problem="it was closed")
            self._jobs.put(job)
        return job.result

    def close(self) -> None:
        """Returns when everything that was waiting is written; takes no more."""
        with self._lock:
            self._is_closed = True
            self._jobs.put(None)
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = [self._jobs.get()]
            while batch[-1] is not None and len(batch) < _MAX_BATCH and not self._jobs.empty():
                batch.append(self._jobs.get())
            is_open = batch[-1] is not None
            jobs = [job for job in batch if job is not None and job.result.set_running_or_notify_cancel()]
            if jobs:
                self._commit(jobs)

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            with transaction(self._engine) as connection:
                if len(jobs) == 1:  # its failure is the transaction's, so no savepoint has to keep it from others
                    outcomes = [_Outcome(jobs[0].work(connection))]
                else:
                    outcomes = [_attempt(job, connection) for job in jobs]
        except Exception as error:  # a thread's outermost loop: whoever waits must hear that nothing was kept
            outcomes = [_Outcome(error=error)] * len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if outcome.error is None:
                job.result.set_result(outcome.value)
            else:
                job.result.set_exception(outcome.error)


def _attempt(job: _Job, connection: Connection) -> _Outcome:
    """Does one piece of work behind a savepoint; a failure of the database itself is the whole batch's."""
    try:
        with connection.begin_nested():
            return _Outcome(job.work(connection))
    except Exception as error:  # its caller's to handle, in its caller's thread
        if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError | DataError):
            raise
        return _Outcome(error=error)
