"""`python -m service erase`: conversations go from the records, and with all that was erased before from exports.

Beside a running service or alone. What training keeps: `python -m training forget`.
"""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

from model_store.backends.places import open_backend
from model_store.errors import StoreError
from model_store.store import ModelStore
from service.chat.conversations.archive import learned_since
from service.records.copies.export_files import clean_export
from service.records.copies.export_register import RegisteredExport
from service.records.copies.tombstones import ErasureLog, open_records
from service.records.database import open_reader
from service.records.errors import ExportUnreadableError, MissingPackageError
from service.records.export import TABLES
from service.records.sql_store import SqlRecordStore
from service.records.store import DEFAULT_TENANT, Erasure
from service.records.tables import format_timestamp
from service.settings import Settings

_UNKNOWN = "unknown: the model store could not be read"


def add_to(commands: Any) -> None:
    """Adds the command to the parser's."""
    erase = commands.add_parser(
        "erase", help="erase conversations, and clean exports of everything that was ever erased"
    )
    erase.add_argument("conversations", nargs="*", metavar="CONVERSATION", help="ids; none: only clean exports")
    erase.add_argument("--tenant", default=DEFAULT_TENANT, help=f"whose they are; default: {DEFAULT_TENANT}")
    erase.add_argument(
        "--export",
        dest="exports",
        nargs=2,
        action="append",
        default=[],
        metavar=("TABLE", "FILE"),
        help="an export that is not registered, or was moved, to be cleaned as well",
    )
    erase.add_argument("--json", action="store_true", help="print one JSON object")
    erase.set_defaults(run=_erase)


def _erase(settings: Settings, options: argparse.Namespace) -> int:
    """Exit code 1 when an export that is there could not be cleaned."""
    open_reader(settings.records_url).dispose()  # raises where there is no database, which the next line would make
    log = ErasureLog(settings.erasures_path)
    records = open_records(settings.records_url, settings.data_dir, settings.erasures_path)
    try:
        erased = [log.erase(records, name, tenant=options.tenant) for name in options.conversations]
        exports = [_cleaned(records, log, export) for export in records.exports.list()]
        exports += [_cleaned_file(records, log, table, Path(file)) for table, file in options.exports]
    finally:
        records.close()
    conversations = [_erasure_fields(settings, erasure) for erasure in erased]
    if options.json:
        print(json.dumps({"conversations": conversations, "exports": exports}, indent=2, ensure_ascii=False))
    else:
        _print(conversations, exports)
    return 1 if any(export["state"] == "failed" for export in exports) else 0


def _cleaned(records: SqlRecordStore, log: ErasureLog, export: RegisteredExport) -> dict[str, Any]:
    about = {"id": export.id, "made_at": format_timestamp(export.made_at), "host": export.host}
    if export.path is None:
        return {**about, "path": None, "state": "unreachable", "problem": "it went to stdout"}
    if not export.path.is_file():
        where = "here" if export.host == platform.node() else f"on this machine; it was made on {export.host}"
        return {**about, "path": str(export.path), "state": "unreachable", "problem": f"there is no such file {where}"}
    return {**about, **_cleaned_file(records, log, export.table_name, export.path)}


def _cleaned_file(records: SqlRecordStore, log: ErasureLog, table: str, path: Path) -> dict[str, Any]:
    try:
        if table not in TABLES:
            raise ExportUnreadableError(path=path, problem=f"{table!r} is no table of exports")
        num_rows = clean_export(path, table, log.read(), records.exports.gone)
    except (ExportUnreadableError, MissingPackageError) as error:
        return {"path": str(path), "state": "failed", "problem": str(error)}
    return {"path": str(path), "state": "cleaned", "num_rows": num_rows}


def _erasure_fields(settings: Settings, erasure: Erasure) -> dict[str, Any]:
    return {
        "id": erasure.conversation_id,
        "erased_at": format_timestamp(erasure.erased_at),
        "num_completions": erasure.num_completions,
        "num_feedback": erasure.num_feedback,
        "model_versions": _versions(settings, erasure),
    }


def _versions(settings: Settings, erasure: Erasure) -> list[str] | None:
    """Digests of versions that may have learned from it; None: unknown."""
    if erasure.first_rated_at is None:
        return []
    try:
        store = ModelStore(open_backend(settings.model_store_location, settings.model_cache_path))
        versions = store.versions(verify_contents=False)
    except StoreError:
        return None
    manifests = [version.manifest for version in versions if version.manifest is not None]
    return [manifest.digest for manifest in learned_since(manifests, erasure.first_rated_at)]


def _print(conversations: list[dict[str, Any]], exports: list[dict[str, Any]]) -> None:
    for one in conversations:
        versions = _UNKNOWN if one["model_versions"] is None else ", ".join(one["model_versions"]) or "none"
        print(f"{one['id']}: {one['num_completions']} completions and {one['num_feedback']} ratings are erased.")
        print(f"  Versions that may have learned from it: {versions}")
    for export in exports:
        what = f"{export['num_rows']} rows taken out" if export["state"] == "cleaned" else export["problem"]
        print(f"{export['path'] or export['id']}: {what}")
    if not exports:
        print("No exports were made.")
