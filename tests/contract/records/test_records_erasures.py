"""Erasure beyond the rows, on SQLite and PostgreSQL: the list that outlives the database, and exports on disk."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet
import pytest

from model_store.erasures import ErasureList, conversation_digest, read_erasures
from service.records.copies.export_files import clean_export
from service.records.copies.export_register import RegisteredExport
from service.records.copies.tombstones import BACKUP_MARK, ErasureLog, open_records
from service.records.errors import (
    ConversationErasedError,
    ConversationNotFoundError,
    ExportUnreadableError,
    RecordStoreUnavailableError,
    RestoreIncompleteError,
)
from service.records.export import TABLES, export_jsonl, export_parquet
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord, FeedbackRecord

Make = Callable[..., CompletionRecord]


def rate(store: SqlRecordStore, make: Make, name: str) -> None:
    """A conversation of one completion, rated."""
    store.record_completion(make(f"cmpl-{name}", conversation_id=name, completion_text=f"canary of {name}"))
    store.record_feedback(FeedbackRecord(completion_id=f"cmpl-{name}", rater="anonymous", rating="up"))


def test_an_erasure_is_noted_outside_of_the_database(
    store: SqlRecordStore, make_completion: Make, tmp_path: Path
) -> None:
    """Erasing again notes nothing new; a note that cannot be written is an error, and erasing again mends it."""
    rate(store, make_completion, "conv-1")
    log = ErasureLog(tmp_path / "away" / "erasures.jsonl")
    with pytest.raises(RecordStoreUnavailableError):
        log.erase(store, "conv-1")
    log.path.parent.mkdir()
    log.erase(store, "conv-1")
    log.erase(store, "conv-1")
    (noted,) = log.read()
    assert (noted.tenant, noted.conversation_digest) == ("default", conversation_digest("conv-1"))


def test_records_that_come_back_are_rid_of_what_was_erased_meanwhile(
    database_url: str, make_completion: Make, tmp_path: Path
) -> None:
    """Before anybody is served: the conversation goes, its id stays closed, and what nobody erased is there."""
    log = ErasureLog(tmp_path / "erasures.jsonl")
    before = open_records(database_url, tmp_path, log.path)
    rate(before, make_completion, "conv-1")
    rate(before, make_completion, "conv-2")
    before.close()
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    with log.path.open("a") as stream:  # as another database, that was lost, had noted it
        for name in ("conv-1", "conv-elsewhere"):
            line = {"tenant": "default", "conversation_digest": conversation_digest(name), "erased_at": at}
            stream.write(json.dumps(line) + "\n")
    restored = open_records(database_url, tmp_path, log.path)
    try:
        with pytest.raises(ConversationNotFoundError):
            restored.get_conversation("conv-1", max_turns=1)
        assert restored.get_conversation("conv-2", max_turns=1).turns
        for name in ("conv-1", "conv-elsewhere"):
            with pytest.raises(ConversationErasedError):
                restored.record_completion(make_completion("cmpl-9", conversation_id=name))
        assert len(ErasureList(restored.erased())) == 2 and log.reconcile(restored) == 0
    finally:
        restored.close()
    if database_url.startswith("sqlite"):
        files = [path for path in tmp_path.iterdir() if path.name.startswith("records.db")]
        assert files and not any(b"canary of conv-1" in path.read_bytes() for path in files)


def test_a_backup_is_not_served_without_the_list_that_belongs_to_it(database_url: str, tmp_path: Path) -> None:
    """The mark of a backup asks for the list; an empty one is one, too. Then the mark goes."""
    log = ErasureLog(tmp_path / "erasures.jsonl")
    (tmp_path / BACKUP_MARK).write_text("{}")
    with pytest.raises(RestoreIncompleteError, match="beside the backups"):
        open_records(database_url, tmp_path, log.path)
    log.path.touch()
    open_records(database_url, tmp_path, log.path).close()
    assert not (tmp_path / BACKUP_MARK).exists()


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("table", ["training_examples", "completions", "feedback", "conversations"])
def test_an_export_loses_the_rows_of_what_was_erased_and_no_other(
    store: SqlRecordStore, database_url: str, make_completion: Make, tmp_path: Path, table: str, file_format: str
) -> None:
    """Of every table, in both formats; a second time there is nothing to take out, and the file stays as it is."""
    for name in ("conv-1", "conv-2"):
        rate(store, make_completion, name)
    path, clean = tmp_path / "export", tmp_path / "clean"
    write(database_url, table, path, file_format)
    log = ErasureLog(tmp_path / "erasures.jsonl")
    log.erase(store, "conv-1")
    write(database_url, table, clean, file_format)
    assert clean_export(path, table, log.read(), store.exports.gone) == 1
    assert read(path, file_format) == read(clean, file_format) and len(read(path, file_format)) == 1
    assert b"conv-1" not in path.read_bytes() and b"canary of conv-1" not in path.read_bytes()
    before = path.stat()
    assert clean_export(path, table, read_erasures(log.path), store.exports.gone) == 0
    assert path.stat().st_ino == before.st_ino and not list(tmp_path.glob("*.part"))


def test_a_file_that_is_no_export_is_left_alone(store: SqlRecordStore, tmp_path: Path) -> None:
    """And named."""
    path = tmp_path / "export"
    path.write_bytes(b'{"conversation_id": "a"}\nnot JSON\n')
    with pytest.raises(ExportUnreadableError, match="left as it is"):
        clean_export(path, "completions", ErasureList(()), store.exports.gone)
    assert path.read_bytes().endswith(b"not JSON\n") and not list(tmp_path.glob("*.part"))


def test_exports_are_registered_by_time(store: SqlRecordStore, tmp_path: Path) -> None:
    """An erasure names those that were made before it."""
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    for number, (made_at, path) in enumerate([(late, None), (early, tmp_path / "x")]):
        export = RegisteredExport(
            id=f"export_{number}", made_at=made_at, table_name="feedback", format="jsonl", path=path, host="here"
        )
        store.exports.add(export)
    assert [export.id for export in store.exports.list()] == ["export_1", "export_0"]
    (only,) = store.exports.list(until=datetime(2026, 2, 1, tzinfo=UTC))
    assert only.path == tmp_path / "x" and only.made_at == early


def write(database_url: str, table: str, path: Path, file_format: str) -> None:
    if file_format == "parquet":
        export_parquet(database_url, TABLES[table], path)
        return
    with path.open("w", encoding="utf-8") as stream:
        export_jsonl(database_url, TABLES[table], stream)


def read(path: Path, file_format: str) -> list[object]:
    if file_format == "parquet":
        rows: list[object] = pyarrow.parquet.read_table(io.BytesIO(path.read_bytes())).to_pylist()
        return rows
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
