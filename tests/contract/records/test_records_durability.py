"""Acknowledged means on disk: processes killed without warning, system calls traced, databases that refuse."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from service.records.database import _NUM_POSTGRESQL_CONNECTIONS, open_engine, transaction
from service.records.errors import CompletionNotFoundError, RecordStoreUnavailableError
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord, FeedbackCounts, FeedbackRecord

MakeCompletion = Callable[..., CompletionRecord]
NUM_KILLS = 10
VOTES_BEFORE_KILL = 25

WRITER = """
import itertools, os, sys
from sqlalchemy import event
from service.records.database import open_engine
from service.records.sql_store import SqlRecordStore
from service.records.store import FeedbackRecord

url, prefix, num_votes, synchronous = sys.argv[1:]
engine = open_engine(url)
if synchronous != "default":
    event.listen(engine, "connect", lambda connection, _: connection.execute(f"PRAGMA synchronous={synchronous}"))
store = SqlRecordStore(engine)
for number in itertools.islice(itertools.count(), int(num_votes) or None):
    store.record_feedback(FeedbackRecord(completion_id="cmpl-1", rater=f"{prefix}-{number}", rating="up"))
    os.write(1, f"{prefix}-{number}\\n".encode())
"""


def writer_command(url: str, prefix: str, num_votes: int = 0, synchronous: str = "default") -> list[str]:
    """A process that records votes, for ever when `num_votes` is 0, and prints each rater once acknowledged."""
    return [sys.executable, "-c", WRITER, url, prefix, str(num_votes), synchronous]


def raters(store: SqlRecordStore) -> list[str]:
    """Whose votes are found in the table."""
    with transaction(store._engine) as connection:
        return list(connection.scalars(text("SELECT rater FROM feedback")))


def test_every_acknowledged_vote_is_found_after_kill_9(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str
) -> None:
    """Ten processes are killed while they write; nothing acknowledged is lost, nothing is there twice."""
    store.record_completion(make_completion())
    store.close()  # SQLite: one writing process at a time
    acknowledged: list[str] = []
    for kill in range(NUM_KILLS):
        process = subprocess.Popen(writer_command(database_url, str(kill)), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        acknowledged += [process.stdout.readline() for _ in range(VOTES_BEFORE_KILL)]
        process.send_signal(signal.SIGKILL)
        # A line without its end was cut off by the kill: its vote was not acknowledged.
        acknowledged += [line for line in process.stdout if line.endswith("\n")]
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    found = raters(SqlRecordStore.open(database_url))
    assert len(acknowledged) >= NUM_KILLS * VOTES_BEFORE_KILL
    assert {line.strip() for line in acknowledged} <= set(found)
    assert len(set(found)) == len(found) <= len(acknowledged) + NUM_KILLS


def num_acknowledged_before_sync(trace: str) -> int:
    """Acknowledgements in an strace log that no fsync or fdatasync precedes since the last write to the database."""
    is_on_disk, early = True, 0
    for line in trace.splitlines():
        if re.search(r"\bpwrite64\(", line):
            is_on_disk = False
        elif re.search(r"\bf(data)?sync\(\d+\) += 0", line):
            is_on_disk = True
        elif re.search(r"\bwrite\(1, ", line) and not is_on_disk:
            early += 1
    return early


@pytest.mark.parametrize(("synchronous", "num_early"), [("default", 0), ("NORMAL", 20)])
def test_every_vote_is_synced_to_disk_before_it_is_acknowledged(
    tmp_path: Path, make_completion: MakeCompletion, synchronous: str, num_early: int
) -> None:
    """Seen in the system calls of a real process; SQLite's NORMAL is the control that shows the test can fail."""
    if shutil.which("strace") is None:
        pytest.skip("strace is missing: apt install strace")
    if subprocess.run(["strace", "-o", os.devnull, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("strace may not trace here: run with CAP_SYS_PTRACE")
    url = f"sqlite:///{tmp_path / 'records.db'}"
    store = SqlRecordStore.open(url)
    store.record_completion(make_completion())
    store.close()
    log = tmp_path / "trace"
    traced = ["strace", "-f", "-o", str(log), "-e", "trace=pwrite64,fsync,fdatasync,write"]
    run = subprocess.run([*traced, *writer_command(url, "a", 20, synchronous)], capture_output=True, check=True)
    assert len(run.stdout.splitlines()) == 20
    assert num_acknowledged_before_sync(log.read_text(errors="replace")) == num_early


def test_postgresql_commits_synchronously_even_where_the_server_is_set_not_to(postgresql_url: str) -> None:
    """`synchronous_commit = off` in the database's settings would lose acknowledged votes in a power cut."""
    engine = open_engine(postgresql_url)
    with transaction(engine) as connection:
        database = connection.scalar(text("SELECT current_database()"))
        connection.execute(text(f"ALTER DATABASE {database} SET synchronous_commit = off"))
    engine.dispose()
    with transaction(engine) as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
        connection.execute(text(f"ALTER DATABASE {database} SET synchronous_commit = remote_apply"))
    engine.dispose()
    with transaction(engine) as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "remote_apply"
    engine.dispose()


def test_a_locked_database_is_unavailable_and_recovers_without_a_restart(
    make_completion: MakeCompletion, database_url: str
) -> None:
    """While another holds the lock nothing is acknowledged, within the timeout; afterwards the same store works."""
    store = SqlRecordStore.open(database_url, timeout_seconds=0.3)
    store.record_completion(make_completion())
    vote = FeedbackRecord(completion_id="cmpl-1", rater="kim", rating="up")
    other = open_engine(database_url)
    with transaction(other) as connection:
        if other.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE conversations, feedback IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(RecordStoreUnavailableError):
            store.record_feedback(vote)
        with pytest.raises(RecordStoreUnavailableError):
            store.health()
    store.health()
    assert store.count_feedback() == FeedbackCounts(0, 0)
    assert store.record_feedback(vote).rating == "up"
    other.dispose()
    store.close()


def test_a_store_whose_connections_are_all_busy_is_unavailable(
    make_completion: MakeCompletion, database_url: str
) -> None:
    """Waiting for a free connection is bounded too."""
    store = SqlRecordStore.open(database_url, timeout_seconds=0.3)
    release, held = threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        with store._engine.connect():
            held.release()
            release.wait(10)

    num_connections = 1 if database_url.startswith("sqlite") else _NUM_POSTGRESQL_CONNECTIONS
    threads = [threading.Thread(target=hold) for _ in range(num_connections)]
    for thread in threads:
        thread.start()
        held.acquire(timeout=10)
    with pytest.raises(RecordStoreUnavailableError, match="busy"):
        store.record_completion(make_completion())
    release.set()
    for thread in threads:
        thread.join()
    with pytest.raises(CompletionNotFoundError):
        store.get_completion("cmpl-1")
    store.close()


def test_connections_that_the_server_cut_are_replaced(postgresql_url: str) -> None:
    """A restart of PostgreSQL costs no request afterwards."""
    store = SqlRecordStore.open(postgresql_url)
    store.health()
    other = open_engine(postgresql_url)
    cut = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with transaction(other) as connection:
        assert connection.scalar(cut) == 1
    store.health()
    other.dispose()
    store.close()


def test_a_read_only_database_fails_the_health_probe(store: SqlRecordStore, database_url: str) -> None:
    """Answering is not enough: a replica that refuses writes cannot acknowledge anything."""
    store.health()
    with store._engine.connect() as connection:
        if database_url.startswith("sqlite"):
            connection.exec_driver_sql("PRAGMA query_only=ON")
        else:
            database = connection.scalar(text("SELECT current_database()"))
            connection.execute(text(f"ALTER DATABASE {database} SET default_transaction_read_only = on"))
            connection.commit()
            store._engine.dispose()
    with pytest.raises(RecordStoreUnavailableError, match=r"read-?only"):
        store.health()


def test_a_server_that_does_not_answer_is_unavailable_and_its_password_stays_secret() -> None:
    """Nothing listens on port 1."""
    with pytest.raises(RecordStoreUnavailableError) as caught:
        SqlRecordStore.open("postgresql://kim:hunter2@127.0.0.1:1/records", timeout_seconds=1)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_unavailable_and_left_alone(tmp_path: Path) -> None:
    """Somebody's notes are not overwritten."""
    path = tmp_path / "notes.db"
    path.write_text("these are my notes, not a database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(RecordStoreUnavailableError, match="not a database"):
        SqlRecordStore.open(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_sqlite_writes_ahead_and_waits_for_the_disk(tmp_path: Path) -> None:
    """The file is in WAL mode and the writing connection in FULL."""
    path = tmp_path / "records.db"
    store = SqlRecordStore.open(f"sqlite:///{path}")
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()
