"""The register of exports: which were made, when, of what and where to, so that an erasure can name and reach them.

An export holds all of its table at that time. So it holds a conversation that was there then, and no list of
conversations has to be kept beside it.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from service.records.database import open_engine, transaction
from service.records.migrations import migrated
from service.records.tables import completions, exports

_IDS_PER_QUERY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredExport:
    """An export as it was made. `path` is None where it went to stdout; `host` is the machine it was made on."""

    id: str
    made_at: datetime
    table_name: str
    format: str
    path: Path | None
    host: str


class ExportRegister:
    """Registers and lists exports. Its methods block, and raise RecordStoreUnavailableError."""

    def __init__(self, engine: Engine, write: Callable[[Callable[[Connection], Any]], Any] | None = None) -> None:
        """Takes over `engine`; `write` is how its owner writes, where it writes in a way of its own."""
        self._engine = engine
        self._write = write or self._in_transaction

    @classmethod
    def open(cls, url: str) -> "ExportRegister":
        """A register for commands, beside a running service or alone, in tables made where they are missing."""
        return cls(migrated(open_engine(url)))

    def add(self, export: RegisteredExport) -> None:
        """Registers an export."""
        values = {**asdict(export), "path": None if export.path is None else str(export.path)}
        self._write(lambda connection: connection.execute(insert(exports).values(values)))

    def list(self, *, until: datetime | None = None) -> tuple[RegisteredExport, ...]:
        """All exports, or those made up to this time, oldest first."""
        query = select(exports).order_by(exports.c.made_at, exports.c.id)
        if until is not None:
            query = query.where(exports.c.made_at <= until)
        with transaction(self._engine) as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return tuple(RegisteredExport(**{**row, "path": Path(row["path"]) if row["path"] else None}) for row in rows)

    def gone(self, completion_ids: set[str]) -> set[str]:
        """Those of these completions that the records no longer have."""
        ids, there = sorted(completion_ids), set()
        with transaction(self._engine) as connection:
            for start in range(0, len(ids), _IDS_PER_QUERY):
                some = ids[start : start + _IDS_PER_QUERY]
                there |= set(connection.scalars(select(completions.c.id).where(completions.c.id.in_(some))))
        return completion_ids - there

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()

    def _in_transaction(self, work: Callable[[Connection], Any]) -> Any:
        with transaction(self._engine) as connection:
            return work(connection)
