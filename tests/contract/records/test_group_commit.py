"""Group commit: many callers, few commits, and nobody pays for another's mistake."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text

from service.records.database import open_engine, transaction
from service.records.errors import RecordStoreUnavailableError
from service.records.group_commit import GroupCommit


@pytest.fixture
def commits() -> list[int]:
    """One entry for every commit of the writer."""
    return []


@pytest.fixture
def writer(tmp_path: Path, commits: list[int]) -> Iterator[GroupCommit]:
    """A writer over a table of numbers."""
    engine = open_engine(f"sqlite:///{tmp_path / 'numbers.db'}")
    with transaction(engine) as connection:
        connection.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
    event.listen(engine, "commit", lambda connection: commits.append(1))
    group_commit = GroupCommit(engine)
    yield group_commit
    group_commit.close()
    engine.dispose()


def insert(connection: Connection, number: int) -> int:
    """Writes a number and gives it back; a second time the database refuses."""
    connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})
    return number


def numbers(writer: GroupCommit) -> list[int]:
    """What is in the table."""
    return writer.run(lambda connection: list(connection.scalars(text("SELECT number FROM numbers ORDER BY 1"))))


def hold(writer: GroupCommit, pool: ThreadPoolExecutor) -> tuple[threading.Event, Future[None]]:
    """Keeps the writer busy with a batch of its own until the event is set."""
    is_held, release = threading.Event(), threading.Event()

    def wait(connection: Connection) -> None:
        is_held.set()
        release.wait(10)

    future = pool.submit(writer.run, wait)
    assert is_held.wait(10)
    return release, future


def test_what_waits_during_a_commit_shares_the_next_one(writer: GroupCommit, commits: list[int]) -> None:
    """Twenty callers behind a busy writer take one commit together; each gets its own result."""
    with ThreadPoolExecutor(21) as pool:
        release, held = hold(writer, pool)
        futures = [pool.submit(writer.run, lambda connection, n=n: insert(connection, n)) for n in range(20)]
        while writer._jobs.qsize() < 20:
            pass
        release.set()
        assert [future.result(10) for future in futures] == list(range(20))
        held.result(10)
    assert len(commits) == 2
    assert numbers(writer) == list(range(20))


def test_work_that_fails_is_undone_alone(writer: GroupCommit) -> None:
    """A refused row and a plain error between good ones: their callers hear of it, the others' work stands."""

    def insert_and_fail(connection: Connection) -> None:
        insert(connection, 100)
        raise ValueError("not like this")

    with ThreadPoolExecutor(4) as pool:
        release, _ = hold(writer, pool)
        good = pool.submit(writer.run, lambda connection: insert(connection, 1))
        while writer._jobs.qsize() < 1:
            pass
        bad = pool.submit(writer.run, insert_and_fail)
        while writer._jobs.qsize() < 2:
            pass
        twice = pool.submit(writer.run, lambda connection: insert(connection, 1))
        while writer._jobs.qsize() < 3:
            pass
        release.set()
        assert good.result(10) == 1
        assert isinstance(bad.exception(10), ValueError)
        assert "UNIQUE" in str(twice.exception(10))
    assert numbers(writer) == [1]


def test_a_database_that_fails_acknowledges_nothing(writer: GroupCommit) -> None:
    """Everybody in the batch hears that it is unavailable, also whose own statement had gone well."""
    with ThreadPoolExecutor(3) as pool:
        release, _ = hold(writer, pool)
        good = pool.submit(writer.run, lambda connection: insert(connection, 1))
        while writer._jobs.qsize() < 1:
            pass
        bad = pool.submit(writer.run, lambda connection: connection.execute(text("SELECT * FROM gone")))
        while writer._jobs.qsize() < 2:
            pass
        release.set()
        for future in (good, bad):
            assert isinstance(future.exception(10), RecordStoreUnavailableError)
    assert numbers(writer) == []


def test_closing_writes_what_waits_and_takes_no_more(writer: GroupCommit, tmp_path: Path) -> None:
    """Afterwards a caller is told so instead of waiting for ever."""
    with ThreadPoolExecutor(2) as pool:
        release, _ = hold(writer, pool)
        waiting = pool.submit(writer.run, lambda connection: insert(connection, 7))
        while writer._jobs.qsize() < 1:
            pass
        threading.Timer(0.05, release.set).start()
        writer.close()
        assert waiting.result(10) == 7
    with pytest.raises(RecordStoreUnavailableError, match="closed"):
        writer.run(lambda connection: insert(connection, 8))
    engine = open_engine(f"sqlite:///{tmp_path / 'numbers.db'}")
    with transaction(engine) as connection:
        assert list(connection.scalars(text("SELECT number FROM numbers"))) == [7]
    engine.dispose()


def test_work_whose_caller_has_gone_before_its_turn_is_not_done(writer: GroupCommit) -> None:
    """It is left out of its batch, and the others of the batch are done."""
    with ThreadPoolExecutor(1) as pool:
        release, _ = hold(writer, pool)
        waiting = [writer.submit(lambda connection, number=number: insert(connection, number)) for number in range(3)]
        assert waiting[1].cancel()
        release.set()
        assert [waiting[0].result(10), waiting[2].result(10)] == [0, 2]
    assert numbers(writer) == [0, 2]
