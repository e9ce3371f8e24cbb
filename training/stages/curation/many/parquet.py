"""Ratings in Parquet files: checked, put in order, frozen and hashed on disk, however many there are.

What a run freezes is one file with the columns of `training_examples`, all text, in the snapshot's order; its lines are
those that the snapshot of a database has. What the ratings count: `coded`, then `weighing`.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from json.encoder import encode_basestring
from operator import add
from pathlib import Path

import duckdb

from model_store.contract.feedback import TRAINING_EXAMPLES_COLUMNS
from model_store.durable import discard
from model_store.erasures import ErasureList
from training.data.feedback_rows import OPTIONAL_COLUMNS
from training.errors import DataNotFoundError, ImportFormatError

MEMORY_LIMIT = "900MB"
"""What DuckDB may keep in memory before it writes to its folder."""
_MAX_THREADS = 4
"""Each keeps blocks of its own in memory: on a machine of many cores they alone would be more than the limit."""
WORK_FOLDER = "duckdb"
_ROWS_PER_FETCH = 10_000
_HOW = "`python -m service export --table training_examples --format parquet --output FILE` writes such files"
# The last three tell ratings with one key apart, as two overlapping exports have them, so that each run sorts alike.
_ORDER = "rated_at, completion_id, rater, tenant, rating, gold, ruling"


@contextmanager
def work_folder(root: Path) -> Iterator[Path]:
    """An empty folder in `root` for what DuckDB writes, which is texts too: it goes, also what a killed run left."""
    folder = root / WORK_FOLDER
    discard(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        discard(folder)


@contextmanager
def database_in(folder: Path, name: str = ":memory:", *, memory_limit: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB, which writes what does not fit into `memory_limit` to `folder`."""
    database = name if name == ":memory:" else str(folder / name)
    with duckdb.connect(database, config={"memory_limit": memory_limit}) as connection:
        connection.execute(f"SET temp_directory = {_quoted(folder)}; SET TimeZone = 'UTC'")
        (num_threads,) = connection.execute("SELECT current_setting('threads')").fetchall()[0]
        connection.execute(f"SET threads = {min(_MAX_THREADS, num_threads)}")
        yield connection


def freeze(place: Path, frozen: Path, erased: ErasureList, *, memory_limit: str = MEMORY_LIMIT) -> None:
    """Writes the ratings of a Parquet file, or of all in a folder, to `frozen`, whole or not at all.

    Ratings of erased conversations are left out. Raises DataNotFoundError where a file or a column is missing, and
    ImportFormatError for what is no Parquet or holds something else than text.
    """
    files = [str(path) for path in _files(place)]
    with work_folder(frozen.parent) as folder, database_in(folder, memory_limit=memory_limit) as database:
        draft = folder / frozen.name
        _check(database, place, files)
        known = {name for name, _ in _columns(database, place, files)}
        columns = ", ".join(
            f"{name if name in known else 'NULL'}::VARCHAR AS {name}" for name in TRAINING_EXAMPLES_COLUMNS
        )
        database.execute("CREATE TABLE erased (digest VARCHAR, erased_at VARCHAR)")
        if len(erased):
            rows = [(one.conversation_digest, one.erased_at) for one in erased]
            database.executemany("INSERT INTO erased VALUES (?, ?)", rows)
        try:
            database.execute(
                f"COPY (SELECT {columns} FROM read_parquet(?, union_by_name = true) AS ratings WHERE NOT EXISTS ("
                " FROM erased WHERE digest = sha256(ratings.conversation_id)"
                " AND coalesce(ratings.created_at, '') <= erased_at)"
                f" ORDER BY {_ORDER}) TO {_quoted(draft)} (FORMAT parquet, COMPRESSION zstd)",
                [files],
            )
        except duckdb.InvalidInputException as error:  # a file that is broken behind its head
            raise ImportFormatError(path=place, problem=_first_line(error)) from error
        os.replace(draft, frozen)


def lines(frozen: Path) -> Iterator[str]:
    """A frozen file's rows as the canonical JSON lines of a snapshot, in order, a few thousand in memory at a time."""
    names = sorted(TRAINING_EXAMPLES_COLUMNS)
    keys = [f"{json.dumps(name)}:" for name in names]
    with duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "preserve_insertion_order": True}) as database:
        found = database.execute(f"SELECT {', '.join(names)} FROM read_parquet(?)", [str(frozen)])
        while rows := found.fetchmany(_ROWS_PER_FETCH):
            for row in rows:
                # What json.dumps(..., ensure_ascii=False) makes of texts and of nothing, in less time.
                values = ("null" if value is None else encode_basestring(value) for value in row)
                yield "{" + ",".join(map(add, keys, values)) + "}\n"


def num_ratings(frozen: Path) -> int:
    """How many ratings a frozen file holds."""
    with duckdb.connect() as database:
        (found,) = database.execute("SELECT count(*) FROM read_parquet(?)", [str(frozen)]).fetchall()[0]
    return int(found)


def digest_and_newest(frozen: Path, *, max_rows: int, beside: str) -> tuple[str, str]:
    """sha256 of all lines and of what is frozen `beside` them, and the newest lines."""
    num_before = num_ratings(frozen) - max_rows
    newest, digest = [], hashlib.sha256()
    for number, line in enumerate(lines(frozen)):
        digest.update(line.encode())
        if number >= num_before:
            newest.append(line)
    digest.update(beside.encode())
    return digest.hexdigest(), "".join(newest)


def _files(place: Path) -> list[Path]:
    """The file itself, or the folder's `*.parquet` by name."""
    if place.is_file():
        return [place]
    files = sorted(path for path in place.glob("*.parquet") if path.is_file()) if place.is_dir() else []
    if not files:
        what = "A Parquet file (*.parquet) of ratings" if place.is_dir() else "The folder or file of ratings"
        raise DataNotFoundError(what=what, path=place, remedy=f"{_HOW}.")
    return files


def _check(database: duckdb.DuckDBPyConnection, place: Path, files: list[str]) -> None:
    """Each file by itself: one without a column must not hide behind the others."""
    for file in files:
        kinds = dict(_columns(database, place, [file]))
        for name in TRAINING_EXAMPLES_COLUMNS:
            if name in OPTIONAL_COLUMNS:
                continue
            if name not in kinds:
                raise DataNotFoundError(what=f"The column {name}", path=file, remedy=f"{_HOW}.")
            if kinds[name] != "VARCHAR":
                raise ImportFormatError(path=file, problem=f"its column {name} is {kinds[name]}, not text; {_HOW}")


def _columns(database: duckdb.DuckDBPyConnection, place: Path, files: list[str]) -> list[tuple[str, str]]:
    """Names and types."""
    try:
        found = database.execute("DESCRIBE SELECT * FROM read_parquet(?, union_by_name = true)", [files]).fetchall()
    except duckdb.Error as error:  # its classes for what is no Parquet differ by what is wrong
        raise ImportFormatError(path=place, problem=_first_line(error)) from error
    return [(str(row[0]), str(row[1])) for row in found]


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0].rstrip(".")


def _quoted(path: Path) -> str:
    """As SQL text, for the statements that take no parameters."""
    return "'" + str(path).replace("'", "''") + "'"
