"""Writes records as JSON lines or Parquet, for machines that cannot reach the database.

What the view `training_examples` holds is decided in `migrations`; the same rows can be read with plain SQL. Columns
that hold JSON stay JSON text, and times ISO 8601, so that both formats and both databases give the same values.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Boolean, Column, Float, Integer, Select, Table, Text, TypeDecorator, select, type_coerce

from service.records.database import open_reader, transaction
from service.records.errors import MissingPackageError
from service.records.tables import (
    completions,
    conversation_turns,
    conversations,
    feedback,
    preference_examples,
    training_examples,
)

_ROWS_PER_FETCH = 100
_ORDER: Mapping[Table, Sequence[str]] = {
    training_examples: ("rated_at", "completion_id", "rater"),
    completions: ("created_at", "id"),
    feedback: ("updated_at", "completion_id", "rater"),
    conversations: ("created_at", "tenant", "id"),
    conversation_turns: ("created_at", "completion_id"),
    preference_examples: ("chosen_at", "pair_id"),
}
TABLES: Mapping[str, Table] = {table.name: table for table in _ORDER}
"""What can be exported, by name."""


def export_training_examples(url: str, stream: TextIO) -> int:
    """`export_jsonl` of what training reads."""
    return export_jsonl(url, training_examples, stream)


def export_jsonl(url: str, table: Table, stream: TextIO) -> int:
    """Writes one JSON object a line, oldest first, and returns their number. `stream` must accept all of Unicode.

    Holds one fetch of rows in memory and reads one consistent state beside a running service.
    Raises InvalidRecordStoreUrlError or RecordStoreUnavailableError.
    """
    num_rows = 0
    with _rows(url, table) as fetches:
        for fetch in fetches:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in fetch)
            num_rows += len(fetch)
    return num_rows


def export_parquet(url: str, table: Table, path: Path) -> int:
    """Writes a Parquet file, oldest rows first, and returns their number. The file is there whole or not at all.

    Raises MissingPackageError without pyarrow, and what `export_jsonl` raises.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise MissingPackageError(what="Parquet", package="pyarrow", extra="parquet") from error
    kinds = {Integer: pyarrow.int64(), Float: pyarrow.float64(), Boolean: pyarrow.bool_()}
    schema = pyarrow.schema([(column.name, kinds.get(type(column.type), pyarrow.string())) for column in table.c])
    draft = path.with_name(f"{path.name}.part")
    num_rows = 0
    with _rows(url, table) as fetches, ParquetWriter(draft, schema, compression="zstd") as writer:
        for fetch in fetches:
            writer.write_batch(pyarrow.RecordBatch.from_pylist(fetch, schema=schema))
            num_rows += len(fetch)
    os.replace(draft, path)
    return num_rows


@contextmanager
def _rows(url: str, table: Table) -> Iterator[Iterator[list[dict[str, Any]]]]:
    """A table's rows in order, some at a time."""
    engine = open_reader(url)
    try:
        with transaction(engine) as connection:
            result = connection.execution_options(yield_per=_ROWS_PER_FETCH).execute(_query(table))
            yield ([dict(row) for row in fetch] for fetch in result.mappings().partitions())
    finally:
        engine.dispose()


def _query(table: Table) -> Select[Any]:
    columns = [_as_stored(column) for column in table.c]
    return select(*columns).order_by(*(table.c[name] for name in _ORDER[table]))


def _as_stored(column: Column[Any]) -> Any:
    is_decorated = isinstance(column.type, TypeDecorator)
    return type_coerce(column, Text()).label(column.name) if is_decorated else column
