"""Cleaning export files: rows of erased conversations go, the rest stays as it was.

A file is replaced whole or not at all. The disk's free blocks are not overwritten: that is the file system's business.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from model_store.durable import sync_directory
from model_store.erasures import ErasureList
from service.records.errors import ExportUnreadableError, MissingPackageError
from service.records.tables import conversations, feedback

Row = Mapping[str, Any]
_PARQUET_MAGIC = b"PAR1"


def clean_export(path: Path, table_name: str, erased: ErasureList, gone: Callable[[set[str]], set[str]]) -> int:
    """Takes erased rows out of an export of this table; gives their number.

    `gone` tells which completions no longer exist: rows of `feedback` name nothing else. Raises ExportUnreadableError
    for a file that is not what an export writes, and leaves it.
    """
    try:
        is_parquet = _is_parquet(path)
        rows = _parquet_rows if is_parquet else _jsonl_rows
        dead = gone({str(row["completion_id"]) for row in rows(path)}) if table_name == feedback.name else set()

        def is_erased(row: Row) -> bool:
            if table_name == feedback.name:
                return str(row["completion_id"]) in dead
            return erased.covers({**row, "conversation_id": row["id"]} if table_name == conversations.name else row)

        num_erased = sum(map(is_erased, rows(path)))
        if num_erased:
            _rewrite(path, is_erased, is_parquet=is_parquet)
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {str(error)[:100]}" if isinstance(error, OSError) else type(error).__name__
        raise ExportUnreadableError(path=path, problem=problem) from error
    return num_erased


def _rewrite(path: Path, is_erased: Callable[[Row], bool], *, is_parquet: bool) -> None:
    draft = path.with_name(f"{path.name}.part")
    try:
        (_rewrite_parquet if is_parquet else _rewrite_jsonl)(path, draft, is_erased)
        shutil.copymode(path, draft)
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(draft, path)
        sync_directory(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _rewrite_jsonl(path: Path, draft: Path, is_erased: Callable[[Row], bool]) -> None:
    with path.open(encoding="utf-8", newline="\n") as source, draft.open("w", encoding="utf-8", newline="\n") as target:
        target.writelines(line for line in source if not line.strip() or not is_erased(_row(line)))


def _rewrite_parquet(path: Path, draft: Path, is_erased: Callable[[Row], bool]) -> None:
    pyarrow, parquet = _pyarrow()
    with parquet.ParquetFile(path) as source:
        with parquet.ParquetWriter(draft, source.schema_arrow, compression="zstd") as writer:
            for batch in source.iter_batches():
                keep = pyarrow.array([not is_erased(row) for row in batch.to_pylist()], pyarrow.bool_())
                writer.write_batch(batch.filter(keep))


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="\n") as stream:
        yield from (_row(line) for line in stream if line.strip())


def _parquet_rows(path: Path) -> Iterator[Row]:
    _, parquet = _pyarrow()
    with parquet.ParquetFile(path) as source:
        for batch in source.iter_batches():
            yield from batch.to_pylist()


def _row(line: str) -> Row:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError("a line is no object")
    return row


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPackageError(what="Parquet", package="pyarrow", extra="parquet") from error
    return pyarrow, parquet
