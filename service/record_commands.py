"""`python -m service export · export-feedback · purge · backup · migrate`: what is done to the records as a whole."""

import argparse
import platform
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from model_store.backends.s3_access import is_s3
from service.errors import MissingOptionError
from service.records.backup import BackupSources, make_backup
from service.records.copies.export_register import ExportRegister, RegisteredExport
from service.records.database import open_engine, open_reader
from service.records.export import TABLES, export_jsonl, export_parquet
from service.records.migrations import upgrade
from service.records.sql_store import SqlRecordStore
from service.records.tables import training_examples
from service.settings import Settings

_ID_BYTES = 8


def add_to(commands: Any) -> None:
    """Adds the commands to the parser's."""
    export = commands.add_parser("export", help="write records as JSON lines or Parquet")
    export.add_argument(
        "--table", choices=list(TABLES), default=training_examples.name, help=f"default: {training_examples.name}"
    )
    export.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl", help="default: jsonl")
    export.add_argument("--output", type=Path, help="file to write; default, for JSON lines: stdout")
    _add_unregistered(export)
    export.set_defaults(run=_export)
    feedback = commands.add_parser("export-feedback", help="`export` of rated completions as JSON lines")
    feedback.add_argument("--output", type=Path, help="file to write; default: stdout")
    _add_unregistered(feedback)
    feedback.set_defaults(run=_export, table=training_examples.name, format="jsonl")
    purge = commands.add_parser(
        "purge", help="delete records that are older than they may be, beside a service or alone"
    )
    purge.add_argument("--older-than-days", type=_at_least_one, help="default: SERVICE_RETENTION_DAYS")
    purge.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    purge.set_defaults(run=_purge)
    backup = commands.add_parser("backup", help="copy records and model versions, beside a service or alone")
    backup.add_argument("--directory", type=Path, required=True, help="where backups lie, best on another disk")
    backup.add_argument("--keep", type=_at_least_one, default=7, help="backups that are kept; default: 7")
    backup.add_argument("--database-dump", type=Path, help="file of pg_dump to move into the backup")
    backup.set_defaults(run=_backup)
    migrate = commands.add_parser("migrate", help="bring the tables to this version, as `serve` does at its start")
    migrate.set_defaults(run=_migrate)


def _add_unregistered(parser: argparse.ArgumentParser) -> None:
    told = "leave the database as it is: no later erasure will name this export or reach it"
    parser.add_argument("--unregistered", action="store_true", help=told)


def _export(settings: Settings, options: argparse.Namespace) -> int:
    table = TABLES[options.table]
    if options.format == "parquet" and options.output is None:
        raise MissingOptionError(option="--output", reason="Parquet is written to a file")
    if not options.unregistered:
        _register(settings, options)
    if options.format == "parquet":
        num_rows = export_parquet(settings.records_url, table, options.output)
    elif options.output is None:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        num_rows = export_jsonl(settings.records_url, table, sys.stdout)
    else:
        with options.output.open("w", encoding="utf-8") as stream:
            num_rows = export_jsonl(settings.records_url, table, stream)
    what = "rated completions" if table is training_examples else table.name
    print(f"{num_rows} {what}", file=sys.stderr)
    return 0


def _register(settings: Settings, options: argparse.Namespace) -> None:
    """Before the export is made: one that was broken off is named rather than forgotten."""
    open_reader(settings.records_url).dispose()  # raises where there is no database, which the next line would make
    register = ExportRegister.open(settings.records_url)
    try:
        register.add(
            RegisteredExport(
                id=f"export_{secrets.token_hex(_ID_BYTES)}",
                made_at=datetime.now(UTC),
                table_name=options.table,
                format=options.format,
                path=options.output.absolute() if options.output else None,
                host=platform.node(),
            )
        )
    finally:
        register.close()


def _purge(settings: Settings, options: argparse.Namespace) -> int:
    days = options.older_than_days or settings.retention_days
    if not days:
        raise MissingOptionError(option="--older-than-days", reason="SERVICE_RETENTION_DAYS is 0: records are kept")
    open_reader(settings.records_url).dispose()  # raises where there is no database, which the next line would make
    store = SqlRecordStore.open(settings.records_url)
    before = datetime.now(UTC) - timedelta(days=days)
    try:
        counts = store.count_older(before) if options.dry_run else store.purge(before)
    finally:
        store.close()
    print(
        f"{'would delete' if options.dry_run else 'deleted'} {counts.num_completions} completions, "
        f"{counts.num_feedback} ratings and {counts.num_conversations} conversations from before "
        f"{before.isoformat(timespec='seconds')}"
    )
    return 0


def _backup(settings: Settings, options: argparse.Namespace) -> int:
    is_sqlite = make_url(settings.records_url).get_backend_name() == "sqlite"
    if not is_sqlite and options.database_dump is None:
        raise MissingOptionError(option="--database-dump", reason="PostgreSQL is dumped by its own pg_dump")
    store = settings.model_store_location
    sources = BackupSources(
        records_url=settings.records_url,
        data_directory=settings.data_dir,
        model_store=None if is_s3(store) else Path(store),
        erasures=settings.erasures_path,
        database_dump=options.database_dump,
    )
    print(make_backup(sources, options.directory, keep=options.keep))
    return 0


def _migrate(settings: Settings, options: argparse.Namespace) -> int:
    engine = open_engine(settings.records_url)
    try:
        upgrade(engine)
    finally:
        engine.dispose()
    print("the tables are those of this version")
    return 0


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
