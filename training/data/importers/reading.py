"""Reading files of other people's making, so that whatever is wrong is named by file and place.

Only generic layouts live here: CSV, JSON lines, one JSON list or object, plain or gzipped. What the fields of a corpus
mean is said in the modules of the formats. Places count from 1; in a CSV the header is row 1, as spreadsheets show it.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from training.errors import DataNotFoundError, ImportFormatError

_BLOCK_CHARS = 1 << 18
_MAX_ITEM_CHARS = 1 << 26
_MAX_QUOTED_CHARS = 40
_KIND_NAMES = {str: "text", bool: "true or false", list: "a list", dict: "an object", int: "a whole number"}


@dataclass(frozen=True, slots=True)
class Record:
    """The named fields of one object or row, with the place that errors about it name."""

    path: Path
    place: str
    fields: Mapping[str, Any]

    def fail(self, problem: str) -> NoReturn:
        """Raises ImportFormatError at this place."""
        raise ImportFormatError(path=self.path, problem=f"{self.place}: {problem}")

    def text(self, name: str) -> str:
        """A field that must be text. Raises ImportFormatError."""
        return cast(str, self._typed(name, str))

    def flag(self, name: str) -> bool:
        """A field that must be true or false. Raises ImportFormatError."""
        return cast(bool, self._typed(name, bool))

    def identifier(self, name: str) -> str:
        """A field that must be non-empty text or a whole number, as text. Raises ImportFormatError."""
        value = self.fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        identifier = self.text(name).strip()
        return identifier or self.fail(f"{name!r} is empty; every row needs one")

    def texts(self, name: str) -> list[str]:
        """A field that must be a list of texts. Raises ImportFormatError."""
        values = self._typed(name, list)
        return [Record(self.path, self.place, {name: value}).text(name) for value in values]

    def record(self, name: str) -> "Record":
        """A field that must be an object. Raises ImportFormatError."""
        return as_record(self.path, f"{self.place}, {name}", self._typed(name, dict))

    def records(self, name: str) -> list["Record"]:
        """A field that must be a list of objects. Raises ImportFormatError."""
        values = self._typed(name, list)
        return [
            as_record(self.path, f"{self.place}, {name} {number}", value)
            for number, value in enumerate(values, start=1)
        ]

    def _typed(self, name: str, kind: type) -> Any:
        if name not in self.fields:
            self.fail(f"there is no {name!r}")
        value = self.fields[name]
        if not isinstance(value, kind):
            self.fail(f"{name!r} must be {_KIND_NAMES[kind]}, it is {quote(value)}")
        return value


def quote(value: object) -> str:
    """A value as an error message may show it: short, on one line."""
    shown = repr(value)
    return shown if len(shown) <= _MAX_QUOTED_CHARS else f"{shown[:_MAX_QUOTED_CHARS]}…"


def as_record(path: Path, place: str, value: object) -> Record:
    """A parsed JSON value that must be an object. Raises ImportFormatError."""
    if not isinstance(value, dict):
        raise ImportFormatError(path=path, problem=f"{place}: this must be an object, it is {quote(value)}")
    return Record(path, place, value)


def find_files(path: Path, pattern: str) -> list[Path]:
    """`path` itself, or the files below it that match `pattern`, `2.json` before `10.json`.

    Raises:
        DataNotFoundError: There is nothing at `path`.
        ImportFormatError: `path` is a directory without such a file.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataNotFoundError(what="The data to import", path=path, remedy="Check the path.")
    found = [file for file in path.rglob(pattern) if file.is_file()]
    if not found:
        raise ImportFormatError(path=path, problem=f"the directory holds no {pattern}")
    return sorted(found, key=lambda file: (file.parent, len(file.name), file.name))


def file_stem(path: Path) -> str:
    """The file's name up to its first dot: `train` of `train.csv.gz`."""
    return path.name.partition(".")[0]


def read_csv(path: Path, required: tuple[str, ...]) -> Iterator[Record]:
    """Rows of a CSV file whose header has at least the `required` columns. Raises ImportFormatError."""
    with _opened(path) as stream:
        rows = csv.reader(stream, strict=True)
        number = 1
        try:
            header = [column.strip() for column in next(rows, [])]
            _check_header(path, header, required)
            for number, row in enumerate(rows, start=2):
                if not row:
                    continue
                record = Record(path, f"row {number}", dict(zip(header, row, strict=False)))
                if len(row) != len(header):
                    record.fail(f"it has {len(row)} fields, the header has {len(header)}; quote texts that hold commas")
                yield record
        except csv.Error as error:
            problem = f"after row {number}: {error}; a quotation mark inside a quoted text must be doubled"
            raise ImportFormatError(path=path, problem=problem) from error


def _check_header(path: Path, header: list[str], required: tuple[str, ...]) -> None:
    missing = [column for column in required if column not in header]
    if missing:
        problem = (
            f"row 1: the header {quote(','.join(header))} lacks {', '.join(missing)}; "
            f"name the columns {', '.join(required)}, separated by commas"
        )
        raise ImportFormatError(path=path, problem=problem)
    if len(set(header)) < len(header):
        raise ImportFormatError(path=path, problem="row 1: two columns have the same name; rename one")


def read_json_lines(path: Path) -> Iterator[Record]:
    """Objects of a file with one a line; blank lines are passed over. Raises ImportFormatError."""
    with _opened(path) as stream:
        lines = iter(partial(stream.readline, _MAX_ITEM_CHARS), "")
        for number, line in enumerate(lines, start=1):
            if line.strip():
                place = f"line {number}"
                yield as_record(path, place, _parse(path, place, line))


def read_json_object(path: Path) -> Record:
    """The one object that a small file holds. Raises ImportFormatError."""
    with _opened(path) as stream:
        return as_record(path, "the file", _parse(path, "the file", stream.read(_MAX_ITEM_CHARS)))


def read_text(path: Path) -> str:
    """All of a small file's text. Raises ImportFormatError."""
    with _opened(path) as stream:
        return stream.read(_MAX_ITEM_CHARS)


def read_json_items(path: Path) -> Iterator[tuple[str, Any]]:
    """Members of the one JSON list or object that a file holds, as (number or key, value).

    Holds one member in memory, not the file. Raises ImportFormatError; members before the bad place have been given.
    """
    with _opened(path) as stream:
        yield from _ItemScanner(stream, path).items()


def read_json_records(path: Path) -> Iterator[tuple[str, Record]]:
    """`read_json_items` for members that must be objects. Raises ImportFormatError."""
    for key, value in read_json_items(path):
        yield key, as_record(path, f"item {key}", value)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if path.suffix == ".zip":
        raise ImportFormatError(path=path, problem="it is a zip archive; unpack it first")
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as stream:
                yield cast(TextIO, stream)
        else:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                yield stream
    except UnicodeDecodeError as error:
        raise ImportFormatError(path=path, problem="it is not UTF-8 text; save it as UTF-8") from error
    except FileNotFoundError as error:
        raise DataNotFoundError(what="The file to import", path=path, remedy="Check the path.") from error
    except (OSError, EOFError, zlib.error) as error:
        problem = f"it cannot be read ({error}); check the file and its permissions"
        raise ImportFormatError(path=path, problem=problem) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _parse(path: Path, place: str, text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise ImportFormatError(path=path, problem=f"{place}: this is no valid JSON ({error})") from error


class _ItemScanner:
    """Walks over the members of one JSON list or object while the text arrives in blocks.

    Members are lists and objects: a number at the end of a block would be read in two.
    """

    def __init__(self, stream: TextIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._text = ""
        self._position = 0
        self._is_ended = False

    def items(self) -> Iterator[tuple[str, Any]]:
        """(number or key, value) of every member, in order."""
        closing = {"[": "]", "{": "}"}.get(self._peek())
        if closing is None:
            self._fail("the start", "the file must be one JSON list or object")
        self._position += 1
        number = 0
        while self._peek() != closing:
            if number:
                self._take(",", f"item {number}")
            number += 1
            key = str(number)
            if closing == "}":
                key = str(self._value(f"the name of item {number}"))
                self._take(":", f"the name of item {number}")
            yield key, self._value(f"item {key}")
        self._position += 1
        if self._peek():
            self._fail("the end", "something follows the end of the JSON text")

    def _value(self, place: str) -> Any:
        self._peek()
        while True:
            try:
                value, self._position = _DECODER.raw_decode(self._text, self._position)
            except (ValueError, RecursionError) as error:
                if self._is_ended or len(self._text) > _MAX_ITEM_CHARS:
                    self._fail(place, f"this is no valid JSON ({error}), or the file is cut off")
                self._grow()
            else:
                return value

    def _take(self, wanted: str, place: str) -> None:
        if self._peek() != wanted:
            self._fail(f"after {place}", f"a {wanted!r} is missing, or the file is cut off")
        self._position += 1

    def _peek(self) -> str:
        """The next character that is not white space, or "" at the end."""
        while True:
            while self._position < len(self._text):
                if not self._text[self._position].isspace():
                    return self._text[self._position]
                self._position += 1
            if self._is_ended:
                return ""
            self._grow()

    def _grow(self) -> None:
        # Doubling keeps the time linear for a member much longer than a block.
        pending = self._text[self._position :]
        block = self._stream.read(max(_BLOCK_CHARS, len(pending)))
        self._is_ended = not block
        self._text, self._position = pending + block, 0

    def _fail(self, place: str, problem: str) -> NoReturn:
        raise ImportFormatError(path=self._path, problem=f"{place}: {problem}")
