"""Tombstones outside of the database: the list of erasures that outlives it, and a start that heeds the list.

A database that was restored knows nothing of what was erased after its backup. So every erasure is also written to a
file, and before anybody is served the records are rid of whatever that file names. The format: `model_store.erasures`.
"""

from datetime import UTC, datetime
from pathlib import Path

import structlog

from model_store.erasures import ErasedConversation, ErasureList, add_erasures, conversation_digest, read_erasures
from model_store.errors import InvalidErasuresError
from service.records.errors import RecordStoreUnavailableError, RestoreIncompleteError
from service.records.sql_store import SqlRecordStore
from service.records.store import DEFAULT_TENANT, Erasure, RecordStore
from service.records.tables import format_timestamp

BACKUP_MARK = "backup.json"
"""Lies in every backup, and so in a data directory that one was copied into."""

_log = structlog.get_logger(__name__)


class ErasureLog:
    """The list of erasures in its file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> ErasureList:
        """What was erased. Raises InvalidErasuresError."""
        return read_erasures(self.path)

    def erase(self, records: RecordStore, conversation_id: str, *, tenant: str = DEFAULT_TENANT) -> Erasure:
        """Erases a conversation and notes it; both are on disk then.

        Raises what `RecordStore.erase_conversation` raises. Where only the note failed, erasing again mends it.
        """
        erasure = records.erase_conversation(conversation_id, tenant=tenant)
        digest = conversation_digest(conversation_id)
        self._add([ErasedConversation(tenant, digest, format_timestamp(erasure.erased_at))])
        return erasure

    def reconcile(self, records: SqlRecordStore) -> int:
        """Erases what the list names and the records still have, and lists what it lacks; gives how many went."""
        kept = ErasureList(records.erased())
        unknown = self.read().beyond(kept)
        num_erased = records.bury(unknown) if unknown else 0
        self._add(records.erased())
        return num_erased

    def _add(self, erased: "tuple[ErasedConversation, ...] | list[ErasedConversation]") -> None:
        try:
            add_erasures(self.path, erased)
        except OSError as error:
            raise RecordStoreUnavailableError(store=str(self.path), problem=error.strerror) from error
        except InvalidErasuresError as error:
            raise RecordStoreUnavailableError(store=str(self.path), problem=str(error)) from error


def open_records(url: str, data_directory: Path, erasures: Path) -> SqlRecordStore:
    """The records, as they may be served: without what was erased after they were backed up.

    Raises RestoreIncompleteError, InvalidErasuresError and what `SqlRecordStore.open` raises.
    """
    log, mark = ErasureLog(erasures), data_directory / BACKUP_MARK
    if mark.exists() and not log.path.exists():
        raise RestoreIncompleteError(path=log.path)
    log.read()  # a list that cannot be read is named before the database is touched
    records = SqlRecordStore.open(url)
    try:
        num_erased = log.reconcile(records)
    except BaseException:  # raised again: records that must not be served are not left open either
        records.close()
        raise
    if num_erased:
        _log.warning("erased_again", num_conversations=num_erased, at=datetime.now(UTC).isoformat(timespec="seconds"))
    mark.unlink(missing_ok=True)
    return records
