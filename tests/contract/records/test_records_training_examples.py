"""The view that training reads, its export as JSON lines, and the migrations that make it."""

import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from model_store.contract.feedback import TRAINING_EXAMPLES_COLUMNS
from service.records import export
from service.records.database import open_engine, open_reader, transaction
from service.records.errors import InvalidRecordStoreUrlError, RecordSchemaError, RecordStoreUnavailableError
from service.records.export import export_training_examples
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord, FeedbackRecord
from service.records.tables import format_timestamp, metadata

MakeCompletion = Callable[..., CompletionRecord]


def exported(database_url: str) -> list[dict[str, str | None]]:
    """The view's rows, through the export."""
    stream = io.StringIO()
    num_rows = export_training_examples(database_url, stream)
    rows = [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]
    assert len(rows) == num_rows
    return rows


def test_the_view_has_exactly_the_columns_of_the_contract_in_order(store: SqlRecordStore, database_url: str) -> None:
    """`TRAINING_EXAMPLES_COLUMNS` is what plain SQL finds in the database."""
    engine = open_reader(database_url)
    with transaction(engine) as connection:
        assert tuple(connection.execute(text("SELECT * FROM training_examples")).keys()) == TRAINING_EXAMPLES_COLUMNS
    engine.dispose()


def test_the_export_is_one_row_a_standing_rating_with_every_column_as_text(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str
) -> None:
    """The same literal row on both databases: JSON columns are JSON text, times ISO 8601 in UTC."""
    store.record_completion(make_completion())
    vote = FeedbackRecord(
        completion_id="cmpl-1",
        rater="kim",
        rating="down",
        reasons=("too_long",),
        comment="太长",
        correction="好",
        origin="https://shop.example",
    )
    stored = store.record_feedback(vote)
    assert exported(database_url) == [
        {
            "completion_id": "cmpl-1",
            "conversation_id": "conv-1",
            "created_at": "2026-01-31T08:15:00.250000Z",
            "model_digest": "ab" * 32,
            "language": "zh",
            "prompt_messages": '[{"role":"system","content":"Be kind."},'
            '{"role":"user","content":"我的订单 <ORDER_ID> 在哪里？"}]',
            "completion_text": "您的订单 <ORDER_ID> 已发货 📦。",
            "completion_token_ids": "[300,301,2]",
            "token_logprobs": "[-0.25,-1.5,-0.0078125]",
            "sampling": '{"temperature":0.7,"top_p":0.95,"top_k":50,"seed":9223372036854775809}',
            "finish_reason": "stop",
            "rater": "kim",
            "rating": "down",
            "reasons": '["too_long"]',
            "comment": "太长",
            "correction": "好",
            "rated_at": format_timestamp(stored.updated_at),
            "tenant": "default",
            "origin": "https://shop.example",
            "gold": None,
            "ruling": None,
        }
    ]
    assert tuple(exported(database_url)[0]) == TRAINING_EXAMPLES_COLUMNS


def test_withdrawn_ratings_and_half_completions_are_not_in_the_view(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str
) -> None:
    """Of five rated completions, those that were cancelled or failed stay out; so does a rating taken back."""
    for finish_reason in ("stop", "length", "handover", "cancelled", "error"):
        store.record_completion(make_completion(finish_reason, finish_reason=finish_reason))
        store.record_feedback(FeedbackRecord(completion_id=finish_reason, rater="kim", rating="up"))
    assert [row["completion_id"] for row in exported(database_url)] == ["stop", "length", "handover"]
    store.record_feedback(FeedbackRecord(completion_id="length", rater="kim", rating=None))
    assert [row["completion_id"] for row in exported(database_url)] == ["stop", "handover"]


def test_the_export_is_in_the_order_of_rating(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str
) -> None:
    """A vote that is changed moves to the end."""
    for completion_id in ("cmpl-1", "cmpl-2", "cmpl-3"):
        store.record_completion(make_completion(completion_id))
        store.record_feedback(FeedbackRecord(completion_id=completion_id, rater="kim", rating="up"))
    store.record_feedback(FeedbackRecord(completion_id="cmpl-1", rater="kim", rating="down"))
    assert [row["completion_id"] for row in exported(database_url)] == ["cmpl-2", "cmpl-3", "cmpl-1"]


def test_the_export_holds_only_a_fetch_of_rows_in_memory(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str
) -> None:
    """Twenty megabytes of rows pass through less than five."""
    store.record_completion(make_completion(completion_text="x" * 20_000))
    copy = text(
        "INSERT INTO feedback (completion_id, rater, rating, reasons, created_at, updated_at) "
        "VALUES ('cmpl-1', :rater, 'up', '[]', '2026-01-31T08:15:00.000000Z', '2026-01-31T08:15:00.000000Z')"
    )
    with transaction(store._engine) as connection:
        connection.execute(copy, [{"rater": f"rater-{number:04}"} for number in range(1000)])
    sink = Discard()
    tracemalloc.start()
    try:
        assert export_training_examples(database_url, sink) == 1000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sink.num_chars > 20_000_000
    assert peak < 5_000_000


class Discard(io.StringIO):
    """Counts what is written to it and keeps nothing."""

    num_chars = 0

    def write(self, words: str, /) -> int:
        """Counts."""
        self.num_chars += len(words)
        return len(words)


class StatementSpy(io.StringIO):
    """At the first line written, asks PostgreSQL which statement the export is in."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._engine = open_reader(url)
        self.statements: list[str] = []

    def write(self, words: str, /) -> int:
        """Asks once."""
        if not self.statements:
            query = text(
                "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            with transaction(self._engine) as connection:
                self.statements = list(connection.scalars(query))
            self._engine.dispose()
        return super().write(words)


def test_the_export_fetches_from_a_cursor_that_postgresql_keeps(
    postgresql_url: str, make_completion: MakeCompletion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the driver would hold the whole result, outside what Python can measure."""
    monkeypatch.setattr(export, "_ROWS_PER_FETCH", 1)
    store = SqlRecordStore.open(postgresql_url)
    store.record_completion(make_completion())
    for rater in ("kim", "lee"):
        store.record_feedback(FeedbackRecord(completion_id="cmpl-1", rater=rater, rating="up"))
    store.close()
    spy = StatementSpy(postgresql_url)
    assert export_training_examples(postgresql_url, spy) == 2
    assert len(spy.statements) == 1
    assert spy.statements[0].startswith("FETCH FORWARD")


def test_an_export_does_not_create_a_database_that_is_not_there(tmp_path: Path) -> None:
    """A mistyped path is an error, not an empty file and an empty export."""
    with pytest.raises(RecordStoreUnavailableError, match="no such file"):
        export_training_examples(f"sqlite:///{tmp_path / 'none.db'}", io.StringIO())
    assert not (tmp_path / "none.db").exists()


def test_an_export_of_a_database_without_tables_is_an_error(tmp_path: Path, database_url: str) -> None:
    """The message names the view."""
    with transaction(open_engine(database_url)):
        pass  # SQLite: the file now exists
    with pytest.raises(RecordStoreUnavailableError, match="training_examples"):
        export_training_examples(database_url, io.StringIO())


def test_the_migrated_tables_are_those_that_the_program_uses(store: SqlRecordStore) -> None:
    """Alembic finds no difference between `tables` and what the migrations made."""
    with transaction(store._engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        names = {table.name: {index.name for index in table.indexes} for table in metadata.tables.values()}
        found = inspect(connection)
        assert {name: {index["name"] for index in found.get_indexes(name)} for name in names} == names


def test_a_migration_that_fails_leaves_nothing_behind(database_url: str) -> None:
    """A foreign table in the way stops the first migration at its third table; the first two are rolled back."""
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(text("CREATE TABLE feedback (unrelated TEXT)"))
    with pytest.raises(RecordStoreUnavailableError, match="already exists"):
        SqlRecordStore.open(database_url)
    with transaction(engine) as connection:
        assert inspect(connection).get_table_names() == ["feedback"]
    engine.dispose()


def test_services_that_start_at_the_same_time_migrate_once(database_url: str) -> None:
    """Four processes open an empty database together; all of them come up."""
    program = "import sys; from service.records.sql_store import SqlRecordStore as S; S.open(sys.argv[1]).health()"
    command = [sys.executable, "-c", program, database_url]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in processes] == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4


def test_a_database_of_a_newer_program_is_refused_by_name(store: SqlRecordStore, database_url: str) -> None:
    """Rolling the program back must not guess what newer tables mean."""
    with transaction(store._engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))
    with pytest.raises(RecordSchemaError, match="from_the_future"):
        SqlRecordStore.open(database_url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:records.db?mode=memory&uri=true",
        "sqlite://host/records.db",
        "mysql://host/records",
        "postgresql+psycopg2://host/records",
        "not a url",
        "",
        "postgresql://user:hunter2@host:port/records",
    ],
)
def test_a_url_that_names_no_durable_database_is_refused(url: str) -> None:
    """Before any connection, and without repeating the password."""
    with pytest.raises(InvalidRecordStoreUrlError) as caught:
        SqlRecordStore.open(url)
    assert "hunter2" not in str(caught.value)
