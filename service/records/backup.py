"""Backups: one directory that a service could be started on, made beside a running one.

A PostgreSQL database is its own server's to dump; the dump is then taken in. Restoring: docs/operating.md.
"""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url

from model_store.durable import discard, sync_directory
from model_store.erasures import ERASURES_NAME, add_erasures, read_erasures
from service.records.copies.tombstones import BACKUP_MARK
from service.records.errors import RecordStoreUnavailableError

_BACKUP_NAME = re.compile(r"\d{8}T\d{6}Z")
_DRAFT_SUFFIX = ".draft"
_PASSING = shutil.ignore_patterns("incoming", "*.lock", ".*")
"""Of the model store: what is being published, and locks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSources:
    """What there is to back up; a PostgreSQL database only by `database_dump`, a file that `pg_dump` wrote."""

    records_url: str
    data_directory: Path
    model_store: Path | None
    """None: the store is elsewhere, and backed up there."""
    erasures: Path
    """The list of what was erased."""
    database_dump: Path | None = None


def make_backup(sources: BackupSources, directory: Path, *, keep: int) -> Path:
    """Writes a backup that appears whole or not at all, then deletes all but the newest `keep`; gives its path.

    Raises RecordStoreUnavailableError when something cannot be read or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        backup = directory / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        draft = backup.with_name(backup.name + _DRAFT_SUFFIX)
        _sweep(directory)
        draft.mkdir(mode=0o700)  # it holds what people said, and the secret
        _fill(draft, sources)
        # Beside the backups, not in them: of each, what was erased later has to be known when it is restored.
        add_erasures(directory / ERASURES_NAME, read_erasures(sources.erasures))
        os.rename(draft, backup)
        sync_directory(directory)
    except (OSError, shutil.Error, sqlite3.Error) as error:
        raise RecordStoreUnavailableError(store=str(directory), problem=str(error)) from error
    for old in _backups(directory)[:-keep]:
        discard(old)
    return backup


def _fill(draft: Path, sources: BackupSources) -> None:
    url = make_url(sources.records_url)
    if sources.database_dump is not None:
        shutil.copyfile(sources.database_dump, draft / "database.dump")
    elif url.get_backend_name() == "sqlite":
        _copy_sqlite(Path(str(url.database)), draft / "rejoinder.db")
    (draft / BACKUP_MARK).write_text(json.dumps({"made_at": datetime.now(UTC).isoformat()}), encoding="utf-8")
    with suppress(FileNotFoundError):  # there is none where the operator sets SERVICE_FEEDBACK_SECRET
        shutil.copy2(sources.data_directory / "secret.key", draft / "secret.key")
    # The aliases first: versions never change, so whatever they name is among those that are copied after them.
    for part in ("aliases", "versions"):
        if sources.model_store is not None and (sources.model_store / part).is_dir():
            shutil.copytree(sources.model_store / part, draft / "models" / part, ignore=_PASSING)
    for file in _files(draft):
        _sync(file)
    if sources.database_dump is not None:
        sources.database_dump.unlink()


def _copy_sqlite(source: Path, target: Path) -> None:
    """One consistent state, in one read; nobody who writes waits for it."""
    # Not created where it is missing, and no checkpoint at the end: before SQLite 3.51.3 that is the writer's.
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as records:
        with closing(sqlite3.connect(target)) as copy:
            records.backup(copy)
            (verdict,) = copy.execute("PRAGMA quick_check").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"the copy of {source} is damaged: {verdict}")


def _backups(directory: Path) -> list[Path]:
    """The finished backups, oldest first."""
    return sorted(path for path in directory.iterdir() if _BACKUP_NAME.fullmatch(path.name))


def _sweep(directory: Path) -> None:
    """Removes what a backup left that was ended from outside."""
    for path in directory.glob(f"*{_DRAFT_SUFFIX}"):
        if _BACKUP_NAME.fullmatch(path.name.removesuffix(_DRAFT_SUFFIX)):
            discard(path)


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
