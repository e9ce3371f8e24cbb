"""API keys in the database: what is kept, what is not, and who may write beside whom."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from service.access.api_keys import Scope, make_key
from service.access.errors import ApiKeyNotFoundError
from service.access.key_store import KeyStore, has_live_key
from service.records.database import open_engine, transaction
from service.records.errors import RecordStoreUnavailableError
from service.records.sql_store import SqlRecordStore

_ROOT = Path(__file__).parents[3]


@pytest.fixture
def keys(database_url: str) -> Iterator[KeyStore]:
    """An empty key store in each kind of database."""
    opened = KeyStore.open(database_url)
    yield opened
    opened.close()


def test_a_key_is_kept_as_it_was_made(keys: KeyStore) -> None:
    """Tenant, name, scopes, origins and time come back; tenants are told apart; the oldest comes first."""
    _, first = make_key("acme", "web shop 网店", [Scope.FEEDBACK, Scope.CHAT], ["https://shop.example"])
    _, second = make_key("acme", "", [Scope.ADMIN])
    _, other = make_key("bolt", "", [Scope.CHAT])
    for key in (first, second, other):
        keys.add(key)
    assert keys.list() == (first, second, other)
    assert keys.list(tenant="bolt") == (other,)


def test_the_key_itself_is_in_no_row(keys: KeyStore, database_url: str) -> None:
    """Only its SHA-256: who steals the database cannot call the service."""
    key_text, key = make_key("acme", "web", [Scope.CHAT])
    keys.add(key)
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        row = str(connection.execute(text("SELECT * FROM api_keys")).one())
    engine.dispose()
    assert key.digest in row and key_text not in row and key_text[8:20] not in row


def test_a_revoked_key_stays_revoked(keys: KeyStore) -> None:
    """It is listed, but no longer among the live ones; revoking again changes nothing; an unknown id is an error."""
    _, key = make_key("acme", "", [Scope.CHAT])
    keys.add(key)
    revoked = keys.revoke(key.id)
    assert revoked.revoked_at is not None and keys.revoke(key.id) == revoked
    assert keys.list() == (revoked,) and keys.list(is_live=True) == ()
    with pytest.raises(ApiKeyNotFoundError, match="keys list"):
        keys.revoke("key_0")


def test_a_service_knows_whether_there_is_a_key(database_url: str) -> None:
    """No before there are tables, no in empty ones, no when all are revoked."""
    assert not has_live_key(database_url)
    store = KeyStore.open(database_url)
    assert not has_live_key(database_url)
    _, key = make_key("acme", "", [Scope.CHAT])
    store.add(key)
    assert has_live_key(database_url)
    store.revoke(key.id)
    store.close()
    assert not has_live_key(database_url)


def test_a_command_writes_beside_a_running_service(tmp_path: Path) -> None:
    """SQLite: forty keys from another process while this one writes all the time; nothing is lost or corrupt."""
    url = f"sqlite:///{tmp_path / 'records.db'}"
    store = SqlRecordStore.open(url)
    code = (
        "import sys\n"
        "from service.access.api_keys import Scope, make_key\n"
        "from service.access.key_store import KeyStore\n"
        "store = KeyStore.open(sys.argv[1])\n"
        "for number in range(40):\n"
        "    store.add(make_key('acme', str(number), [Scope.CHAT])[1])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, url], cwd=_ROOT) as command:
        num_writes = 0
        while command.poll() is None:
            store.health()
            num_writes += 1
        assert command.wait() == 0
    store.close()
    keys = KeyStore.open_reader(url)
    assert len(keys.list()) == 40 and num_writes > 0
    keys.close()
    engine = open_engine(url)
    with transaction(engine) as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    engine.dispose()


def test_two_processes_never_write_at_the_same_time(tmp_path: Path) -> None:
    """SQLite: a writer waits for the other's transaction, from its beginning, and gives up after its timeout."""
    url = f"sqlite:///{tmp_path / 'records.db'}"
    KeyStore.open(url).close()
    one, other = open_engine(url), open_engine(url, timeout_seconds=0.2)
    with one.connect():  # no statement yet: SQLite itself holds no lock
        with pytest.raises(RecordStoreUnavailableError, match="another process"), transaction(other):
            pass
    with transaction(other):
        pass
    began_at: list[float] = []

    def write() -> None:
        with transaction(one):
            began_at.append(time.monotonic())

    with transaction(other):
        thread = threading.Thread(target=write)
        thread.start()
        time.sleep(0.1)
        ended_at = time.monotonic()
    thread.join()
    assert began_at[0] >= ended_at
    one.dispose()
    other.dispose()
