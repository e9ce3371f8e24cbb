"""Which databases can hold the records, and how a connection to each is set up so that a commit is on disk.

SQLite is for one process: its pool is a single connection, because before SQLite 3.51.3 a second writing connection can
corrupt the write-ahead log. PostgreSQL is for several workers or replicas. Statements live in `sql_store`.
"""

import fcntl
import math
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from service.records.errors import InvalidRecordStoreUrlError, RecordStoreUnavailableError

DEFAULT_TIMEOUT_SECONDS = 5.0
_TURN_SECONDS = 0.002
_NUM_POSTGRESQL_CONNECTIONS = 8
"""Votes at once a process; ten pods with all of them busy leave some of the hundred that PostgreSQL allows."""
_NUM_READERS = 5
_STEPS_BETWEEN_LOOKS = 10_000
"""Instructions of SQLite's virtual machine: about a millisecond."""
_SQLITE_DRIVERS = frozenset({"sqlite", "sqlite+pysqlite"})
_POSTGRESQL_DRIVERS = frozenset({"postgresql", "postgres", "postgresql+psycopg"})


def open_engine(url: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> Engine:
    """An engine for reading and writing. Does not connect yet.

    `timeout_seconds` bounds each wait: for a free connection, a lock, a connect, a PostgreSQL statement.
    Raises InvalidRecordStoreUrlError.
    """
    parsed = _parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, timeout_seconds, is_writer=True)
    return _open_postgresql(parsed, timeout_seconds, is_writer=True)


def open_reader(
    url: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, max_statement_seconds: float | None = None
) -> Engine:
    """An engine that cannot write, safe beside a running service. Its statements may take any time, or so long.

    Raises InvalidRecordStoreUrlError, and RecordStoreUnavailableError when an SQLite file is missing: reading must not
    create it.
    """
    parsed = _parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = _open_postgresql(parsed, timeout_seconds, is_writer=False)
    elif Path(str(parsed.database)).is_file():
        engine = _open_sqlite(parsed, timeout_seconds, is_writer=False)
    else:
        raise RecordStoreUnavailableError(store=_describe(parsed), problem="there is no such file")
    if max_statement_seconds is not None:
        _limit_statements(engine, max_statement_seconds)
    return engine


def insert_into(connection: Connection, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, in this database's dialect."""
    return insert_in(connection.dialect.name, table)


def insert_in(dialect: str, table: Table) -> Any:
    """`insert_into` for a statement that is made once: making one takes longer than SQLite takes to run it."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def scrub(engine: Engine) -> None:
    """Takes what was deleted out of SQLite's file and log; returns when no byte of it is left in either.

    Does nothing on PostgreSQL, whose VACUUM and WAL are its administrator's. Raises RecordStoreUnavailableError while
    somebody else reads: the log cannot be cut then.
    """
    if engine.dialect.name != "sqlite":
        return
    connection = engine.raw_connection()  # a checkpoint cannot be in a transaction, which `connect` would begin
    try:
        cursor = connection.cursor()
        is_busy = bool(cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
    finally:
        connection.close()
    if is_busy:
        raise RecordStoreUnavailableError(store=_describe(engine.url), problem="another process is reading it")


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A connection whose work is committed at the end of the block, or rolled back when the block raises.

    Raises RecordStoreUnavailableError for every failure of the database itself. Broken constraints and unfit values are
    faults of this program and pass through.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (IntegrityError, DataError):
        raise
    except DBAPIError as error:
        raise RecordStoreUnavailableError(store=_describe(engine.url), problem=_first_line(error.orig)) from error
    except PoolTimeoutError as error:
        problem = "every connection to it is busy"
        raise RecordStoreUnavailableError(store=_describe(engine.url), problem=problem) from error


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # No cause: the parser's message repeats the URL, password included.
        raise InvalidRecordStoreUrlError(problem="it is not a URL") from None
    if parsed.drivername in _POSTGRESQL_DRIVERS:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in _SQLITE_DRIVERS:
        raise InvalidRecordStoreUrlError(problem=f"{parsed.drivername!r} is neither SQLite nor PostgreSQL")
    if parsed.database in (None, "", ":memory:") or parsed.host:
        raise InvalidRecordStoreUrlError(problem="it names no file, so nothing acknowledged would be on disk")
    if parsed.query:
        raise InvalidRecordStoreUrlError(problem="an SQLite URL takes no parameters")
    return parsed


def _open_sqlite(url: URL, timeout_seconds: float, *, is_writer: bool) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        connect_args={"check_same_thread": False},
        hide_parameters=True,  # else an exception's text, and so the log, repeats what people wrote
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver's own transactions leave out DDL; `begin` below opens ours
        connection.execute(f"PRAGMA busy_timeout={math.ceil(timeout_seconds * 1000)}")
        connection.execute("PRAGMA foreign_keys=ON")
        if is_writer:
            _switch_to_wal(connection, timeout_seconds)
            connection.execute("PRAGMA synchronous=FULL")  # NORMAL would acknowledge before the log is on disk
            connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, see `scrub`
        else:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE waits for the write lock here, where the busy timeout holds; upgrading a read lock fails at once.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")

    if is_writer:
        _take_turns(engine, timeout_seconds)
    return engine


def _switch_to_wal(connection: Any, timeout_seconds: float) -> None:
    """Turns the write-ahead log on. SQLite does not wait for a process that does so at the same moment: it tells of a
    lock at once, whatever its busy timeout."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_TURN_SECONDS)


def _take_turns(engine: Engine, timeout_seconds: float) -> None:
    """Lets one process at a time write or checkpoint, so that a command can write beside a running service.

    Before SQLite 3.51.3 a commit during another process's checkpoint can corrupt the log. The lock lies beside the
    database and is held from a connection's checkout to its return, so a commit and its checkpoint are inside.
    """

    @event.listens_for(engine, "checkout")
    def take(_: object, record: Any, __: object) -> None:
        descriptor = os.open(f"{engine.url.database}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        record.info["turn"] = descriptor
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    problem = "another process is writing to it"
                    raise RecordStoreUnavailableError(store=_describe(engine.url), problem=problem) from error
                time.sleep(_TURN_SECONDS)

    @event.listens_for(engine, "checkin")
    def give_back(_: object, record: Any) -> None:
        os.close(record.info.pop("turn"))


def _limit_statements(engine: Engine, seconds: float) -> None:
    """Breaks statements off that take longer."""
    if engine.dialect.name == "postgresql":

        @event.listens_for(engine, "begin")
        def limit(connection: Connection) -> None:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {math.ceil(seconds * 1000)}")

        return

    @event.listens_for(engine, "before_cursor_execute")
    def arm(connection: Connection, *_: object) -> None:
        deadline = time.monotonic() + seconds
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)


def _open_postgresql(url: URL, timeout_seconds: float, *, is_writer: bool) -> Engine:
    timeout_ms = math.ceil(timeout_seconds * 1000)
    engine = create_engine(
        url,
        pool_size=_NUM_POSTGRESQL_CONNECTIONS if is_writer else _NUM_READERS,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        pool_pre_ping=True,  # a restarted server is noticed here instead of by a customer
        connect_args={"connect_timeout": math.ceil(timeout_seconds), "tcp_user_timeout": timeout_ms},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.autocommit = True
        if is_writer:
            connection.execute(f"SET statement_timeout = {timeout_ms}")
            # Only ever strengthened: an operator's remote_apply stays.
            connection.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
        else:
            connection.execute("SET default_transaction_read_only = on")
        connection.autocommit = False

    return engine


def _describe(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _first_line(error: BaseException | None) -> str:
    # PostgreSQL's further lines are DETAIL, which may repeat a row's values.
    return next(iter(str(error).splitlines()), type(error).__name__)
