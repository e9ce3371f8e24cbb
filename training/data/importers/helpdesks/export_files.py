"""JSON exports as they come: one object a line, one list, or one object, whatever the file is called.

What the fields mean is said in the modules of the formats; reading with places for errors is `importers.reading`.
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from training.data.importers.reading import Record, read_json_lines, read_json_object, read_json_records
from training.data.importers.transcripts import parse_seconds

_OPENING_BYTES = 1 << 20


def read_objects(file: Path) -> Iterator[Record]:
    """The objects of a file: its lines, the members of its list, or the one that it is. Raises ImportFormatError."""
    opening = _opening(file)
    first_line, line_end, _ = opening.partition("\n")
    if opening.startswith("["):
        yield from (record for _, record in read_json_records(file))
    elif line_end and not first_line.rstrip().endswith("}"):
        yield read_json_object(file)
    else:
        yield from read_json_lines(file)


def _opening(file: Path) -> str:
    """The first megabyte without what stands before its first object; empty where the file cannot be read."""
    # Whatever is wrong here is found again, and named, by the function that reads the file.
    with suppress(OSError, EOFError, zlib.error):
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            return stream.read(_OPENING_BYTES).decode(errors="replace").lstrip("\ufeff \t\r\n")
    return ""


def optional_record(record: Record, name: str) -> Record | None:
    """A field that must be an object where it has a value. Raises ImportFormatError."""
    return None if record.fields.get(name) is None else record.record(name)


def optional_records(record: Record, name: str) -> list[Record]:
    """A field that must be a list of objects where it has a value. Raises ImportFormatError."""
    return [] if record.fields.get(name) is None else record.records(name)


def optional_text(record: Record, name: str) -> str:
    """A field that must be text where it has a value; empty where it has none. Raises ImportFormatError."""
    return "" if record.fields.get(name) is None else record.text(name)


def optional_identifier(record: Record, name: str) -> str:
    """An id as text; empty where there is none."""
    value = record.fields.get(name)
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()


def seconds_of(record: Record, name: str) -> float:
    """A time as seconds since 1970; 0 where there is none. Raises ImportFormatError for what is no time."""
    value: Any = record.fields.get(name)
    if value in (None, ""):
        return 0.0
    seconds = parse_seconds(str(value))
    if seconds is None:
        record.fail(f"{name!r} is no time; write ISO 8601 or seconds since 1970")
    return seconds
