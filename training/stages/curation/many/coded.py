"""Ratings as columns of numbers, made by DuckDB from the Parquet export: sorted and deduplicated on disk.

Of the texts a few thousand are in memory at a time, and those among which near duplicates are sought. They are told
apart as `likeness.alike` does it, which the test of `weighing` holds. What the numbers weigh: `weighing`.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np
from numpy.typing import NDArray

from model_store.contract.conversation import Role
from model_store.contract.feedback import STAFF_RATER_PREFIX, TRAINING_EXAMPLES_COLUMNS
from training.data.data_report.duplicates import MAX_NEAR_TEXTS
from training.data.feedback_rows import ANONYMOUS_RATER, DEFAULT_TENANT, OPTIONAL_COLUMNS, RawRow
from training.errors import DataNotFoundError
from training.stages.curation.doubts import MIN_REMARK_CHARS
from training.stages.curation.likeness import MIN_NEAR_CHARS, alike, plain
from training.stages.curation.many.parquet import MEMORY_LIMIT, database_in
from training.stages.curation.rater_model import Rater

Codes = NDArray[np.int32]
Kind = TypeVar("Kind", bound=np.generic)
NONE = 0
"""The code of a text that is not there; others are numbered from 1."""
_TEXTS_AT_A_TIME = 50_000
_LITTLE_MEMORY = "250MB"

_READ = f"""
CREATE TABLE read AS
SELECT
    file_row_number AS number,
    rated_at,
    completion_id,
    coalesce(nullif(tenant, ''), '{DEFAULT_TENANT}') AS tenant,
    rater,
    rating = 'up' AS is_up,
    md5_number(concat_ws(chr(0), coalesce(nullif(tenant, ''), '{DEFAULT_TENANT}'), completion_id, rater)) AS place,
    md5_number(concat_ws(chr(0), coalesce(nullif(tenant, ''), '{DEFAULT_TENANT}'), conversation_id, prompt_messages,
        completion_token_ids, rater, rating)) AS said,
    json_exists(sampling, '$.rule') OR prompt_messages = '[]' OR completion_token_ids = '[]' AS is_not_learned,
    md5_number(concat_ws(chr(10), {{asked}}, completion_text)) AS exchange,
    md5_number(completion_text) AS reply,
    md5_number(nullif(comment, '')) AS comment,
    md5_number(nullif(correction, '')) AS correction,
    coalesce(origin, '') AS origin,
    CASE gold WHEN 'up' THEN 1 WHEN 'down' THEN 0 ELSE -1 END::TINYINT AS gold,
    CASE ruling WHEN 'count' THEN 1 WHEN 'set_aside' THEN 2 ELSE 0 END::TINYINT AS ruling,
    {{poisoned}} AS is_poisoned
FROM read_parquet(?, file_row_number = true)
WHERE rating IN ('up', 'down')
    AND CASE WHEN json_valid(prompt_messages) THEN json_type(prompt_messages) = 'ARRAY' AND {{said}} ELSE false END
    AND CASE WHEN json_valid(sampling) THEN json_type(sampling) = 'OBJECT' ELSE false END
    AND json_valid(completion_token_ids) AND regexp_matches(completion_token_ids, '^\\s*\\[[\\d,\\s]*\\]\\s*$')
    AND try_cast(rated_at AS TIMESTAMPTZ) IS NOT NULL AND regexp_matches(rated_at, '(Z|[+-]\\d\\d:?\\d\\d)$')
    AND coalesce(gold, 'up') IN ('up', 'down') AND coalesce(ruling, 'count') IN ('count', 'set_aside')
    AND {" AND ".join(f"{name} IS NOT NULL" for name in TRAINING_EXAMPLES_COLUMNS if name not in OPTIONAL_COLUMNS)}
"""
_POISONED = """coalesce(is_poison(comment), false) OR coalesce(is_poison(correction), false)
    OR asks_poison(prompt_messages)"""
_MESSAGES = """from_json(prompt_messages, '[{"role":"VARCHAR","content":"VARCHAR"}]')"""
_ASKED = f"coalesce(list_filter({_MESSAGES}, lambda message: message.role = 'user')[-1].content, '')"
_ROLES = ", ".join(f"'{role}'" for role in Role)
_SAID = f"""len(list_filter({_MESSAGES}, lambda message:
        coalesce(message.role NOT IN ({_ROLES}) OR message.content IS NULL, true))) = 0"""
_LATEST = """
CREATE TABLE readable AS SELECT count(*) AS num_rows FROM read;
CREATE TABLE latest AS SELECT * FROM read
QUALIFY row_number() OVER (PARTITION BY place ORDER BY rated_at DESC, number DESC) = 1
"""
_DISTINCT = """
CREATE TABLE counted AS SELECT * EXCLUDE (place, said, is_not_learned) FROM latest WHERE NOT is_not_learned
QUALIFY row_number() OVER (PARTITION BY said ORDER BY rated_at, completion_id, rater) = 1
"""
_ORDERED = """
CREATE TABLE ordered AS SELECT
    number, counted.completion_id, epoch_us(rated_at::TIMESTAMPTZ) AS time, is_up, gold, ruling, is_poisoned,
    raters.code AS rater, tenants.code AS tenant, coalesce(origins.code, 0) AS origin,
    exchanges.code AS item, replies.code AS reply,
    coalesce(comments.code, 0) AS comment, coalesce(corrections.code, 0) AS correction
FROM counted
JOIN raters USING (tenant, rater) JOIN tenants USING (tenant) LEFT JOIN origins USING (origin)
JOIN exchange_texts exchanges ON exchange = exchanges.digest JOIN reply_texts replies ON reply = replies.digest
LEFT JOIN remark_texts comments ON comment = comments.digest
LEFT JOIN remark_texts corrections ON correction = corrections.digest
ORDER BY rated_at, counted.completion_id, counted.rater
"""


@dataclass(frozen=True)
class Coded:
    """N ratings that count, in the order of rating; of each kind of text equal numbers are equal words."""

    is_staff: NDArray[np.bool_]
    """By rater's code, from 0 on; names stay on disk (`names_of`), for there may be millions."""
    is_nameless: NDArray[np.bool_]
    rater: Codes
    tenant: Codes
    origin: Codes
    """NONE for those that name none."""
    item: Codes
    reply: Codes
    comment: Codes
    correction: Codes
    """NONE too where it is too short to be anybody's own words."""
    is_up: NDArray[np.bool_]
    gold: NDArray[np.int8]
    """1 and 0: the staff calls thumbs up the truth, or not; -1: it has not said."""
    ruling: NDArray[np.int8]
    """1: count, 2: set aside, 0: none."""
    time: NDArray[np.int64]
    """Microseconds."""
    is_poisoned: NDArray[np.bool_] | None
    """Whether a phrase was found that the operator calls poison; None: none was looked for."""

    def __len__(self) -> int:
        return len(self.rater)

    @property
    def num_raters(self) -> int:
        """Nameless ones are one in each tenant."""
        return len(self.is_staff)

    def only(self, places: NDArray[np.integer]) -> "Coded":
        """These ratings alone, with the same codes."""
        of_raters = ("is_staff", "is_nameless")
        columns = {name: value for name, value in vars(self).items() if value is not None and name not in of_raters}
        return replace(self, **{name: value[places] for name, value in columns.items()})


@contextmanager
def opened(
    parquet: Path, folder: Path, *, poison_phrases: Sequence[str] = (), memory_limit: str = MEMORY_LIMIT
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in `folder` with the table `ordered` of the ratings that count in a Parquet file.

    What `parse_row` would refuse is left out. Raises DataNotFoundError where there is no file, or no column that the
    export has.
    """
    with database_in(folder, "curation.duckdb", memory_limit=memory_limit) as database:
        database.execute("SET preserve_insertion_order = false")
        _look_for_poison(database, poison_phrases)
        poisoned = _POISONED if poison_phrases else "NULL::BOOLEAN"
        read = _READ.format(asked=_ASKED, said=_SAID, poisoned=poisoned)
        try:
            database.execute(read, [str(parquet)])
        except (duckdb.IOException, duckdb.BinderException) as error:
            remedy = str(error).splitlines()[0]
            raise DataNotFoundError(what="The ratings", path=parquet, remedy=remedy) from error
        database.execute(_LATEST + ";" + "DROP TABLE read;" + _DISTINCT + ";" + "DROP TABLE latest")
        _number(database, str(parquet))
        database.execute("SET preserve_insertion_order = true;" + _ORDERED + ";" + "DROP TABLE counted")
        yield database


def leave_memory(database: duckdb.DuckDBPyConnection) -> None:
    """Lets DuckDB put down what it holds in memory: from here on numpy needs it."""
    database.execute(f"CHECKPOINT; SET memory_limit = '{_LITTLE_MEMORY}'")


def _look_for_poison(database: duckdb.DuckDBPyConnection, phrases: Sequence[str]) -> None:
    """Teaches the database which texts `doubts` calls poisoned: letters are Python's."""
    poison = [word for phrase in phrases if (word := plain(phrase))]

    def is_poison(text: str) -> bool:
        letters = plain(text)
        return any(word in letters for word in poison)

    def asks_poison(messages: str) -> bool:
        contents = (message.get("content") for message in json.loads(messages) if isinstance(message, dict))
        return any(is_poison(content) for content in contents if isinstance(content, str))

    database.create_function("is_poison", is_poison, ["VARCHAR"], "BOOLEAN")
    database.create_function("asks_poison", asks_poison, ["VARCHAR"], "BOOLEAN")


def coded(database: duckdb.DuckDBPyConnection) -> Coded:
    """The columns of `ordered`, one after the other so that no more than one is there twice: 39 bytes a rating."""
    numbers = ("rater", "tenant", "origin", "item", "reply", "comment", "correction")
    columns = {name: _column(database, name, np.int32) for name in numbers}
    return Coded(
        is_staff=_of_raters(database, "starts_with(rater, ?)", STAFF_RATER_PREFIX),
        is_nameless=_of_raters(database, "rater = ?", ANONYMOUS_RATER),
        **columns,
        is_up=_column(database, "is_up", np.bool_),
        gold=_column(database, "gold", np.int8),
        ruling=_column(database, "ruling", np.int8),
        time=_column(database, "time", np.int64),
        is_poisoned=_column(database, "is_poisoned", np.bool_) if _has_looked_for_poison(database) else None,
    )


def rows_at(
    database: duckdb.DuckDBPyConnection, parquet: Path, places: NDArray[np.int64], columns: Sequence[str]
) -> list[RawRow]:
    """Rows of the Parquet file by the places of their ratings, in that order; all are in memory."""
    turns = np.arange(len(places))
    wanted = {"place": places, "turn": turns}
    numbers = database.execute("SELECT number FROM ordered JOIN wanted ON ordered.rowid = place ORDER BY turn")
    # Two steps, so that the few are what is held in memory while the many texts go by.
    wanted = {"number": numbers.fetchnumpy()["number"], "turn": turns}  # noqa: F841 - DuckDB finds it by its name
    found = database.execute(
        f"SELECT {', '.join(columns)} FROM read_parquet(?, file_row_number = true)"
        " JOIN wanted ON file_row_number = number ORDER BY turn",
        [str(parquet)],
    ).fetchall()
    return [dict(zip(columns, row, strict=True)) for row in found]


def names_of(database: duckdb.DuckDBPyConnection, codes: Sequence[int]) -> list[Rater]:
    """Who these raters are."""
    found = database.execute(
        "SELECT code, tenant, rater FROM raters WHERE code IN (SELECT unnest(?::INTEGER[]))", [list(codes)]
    ).fetchall()
    names = {code: Rater(tenant, rater) for code, tenant, rater in found}
    return [names[code] for code in codes]


def codes_of(database: duckdb.DuckDBPyConnection, raters: Collection[Rater]) -> dict[Rater, int]:
    """The codes of those among these who have rated."""
    found = database.execute(
        "SELECT tenant, rater, code FROM raters"
        " JOIN (SELECT unnest(?::VARCHAR[]) AS tenant, unnest(?::VARCHAR[]) AS rater) USING (tenant, rater)",
        [[rater.tenant for rater in raters], [rater.id for rater in raters]],
    ).fetchall()
    return {Rater(tenant, rater): code for tenant, rater, code in found}


def _of_raters(database: duckdb.DuckDBPyConnection, what: str, name: str) -> NDArray[np.bool_]:
    """Something that a rater's name tells, by code."""
    found = database.execute(f"SELECT {what} AS told FROM raters ORDER BY code", [name]).fetchnumpy()["told"]
    return np.ascontiguousarray(found, dtype=np.bool_)


def _has_looked_for_poison(database: duckdb.DuckDBPyConnection) -> bool:
    return not database.execute("SELECT 1 FROM ordered WHERE is_poisoned IS NULL LIMIT 1").fetchall()


def _column(database: duckdb.DuckDBPyConnection, name: str, kind: type[Kind]) -> NDArray[Kind]:
    column = database.execute(f"SELECT {name} FROM ordered ORDER BY rowid").fetchnumpy()[name]
    return np.ascontiguousarray(column, dtype=kind)


def _number(database: duckdb.DuckDBPyConnection, parquet: str) -> None:
    """Gives raters, tenants, origins and texts their codes."""
    database.execute(
        "CREATE TABLE raters AS SELECT tenant, rater, (row_number() OVER (ORDER BY tenant, rater) - 1)::INTEGER AS code"
        " FROM (SELECT DISTINCT tenant, rater FROM counted);"
        "CREATE TABLE tenants AS SELECT tenant, row_number() OVER (ORDER BY tenant)::INTEGER AS code"
        " FROM (SELECT DISTINCT tenant FROM counted);"
        "CREATE TABLE origins AS SELECT origin, row_number() OVER (ORDER BY origin)::INTEGER AS code"
        " FROM (SELECT DISTINCT origin FROM counted WHERE origin <> '')"
    )
    exchange = f"concat_ws(chr(10), {_ASKED}, completion_text)"
    for kind, written in {"exchange": [exchange], "reply": ["completion_text"]}.items():
        _tell_apart(database, kind, [kind], written, parquet)
        _join_near(database, kind)
    _tell_apart(database, "remark", ["comment", "correction"], ["comment", "correction"], parquet)
    database.execute(f"UPDATE remark_texts SET code = {NONE} WHERE num_letters < {MIN_REMARK_CHARS}")


def _tell_apart(
    database: duckdb.DuckDBPyConnection, kind: str, columns: list[str], written: list[str], parquet: str
) -> None:
    """A table `KIND_texts`: for the digest of each text a code, equal for the same letters in the order of rating.

    `written` says how the texts of `columns` are read. The letters are Python's, a few thousand texts at a time.
    """
    firsts = " UNION ALL ".join(f"SELECT {column} AS digest, rated_at FROM counted" for column in columns)
    texts = " UNION ALL ".join(
        f"SELECT {text} AS text FROM read_parquet(?) WHERE json_valid(prompt_messages)" for text in written
    )
    database.execute(
        f"CREATE TABLE raw_texts AS SELECT * FROM (SELECT md5_number(text) AS digest, first(text) AS text"
        f" FROM ({texts}) WHERE text <> '' GROUP BY 1) JOIN (SELECT digest, min(rated_at) AS said FROM ({firsts})"
        " WHERE digest IS NOT NULL GROUP BY 1) USING (digest)",
        [parquet] * len(written),
    )
    database.execute("CREATE TABLE letters (place BIGINT, high BIGINT, low BIGINT, num_letters INTEGER)")
    (num_texts,) = database.execute("SELECT count(*) FROM raw_texts").fetchall()[0]
    for start in range(0, num_texts, _TEXTS_AT_A_TIME):
        batch = database.execute(
            "SELECT text FROM raw_texts WHERE rowid >= ? AND rowid < ? ORDER BY rowid",
            [start, start + _TEXTS_AT_A_TIME],
        ).fetchnumpy()["text"]
        _keep_letters(database, start, [plain(text) for text in batch])
    database.execute(
        f"CREATE TABLE {kind}_texts AS SELECT digest, num_letters, text, said,"
        " dense_rank() OVER (ORDER BY high, low)::INTEGER AS code"
        " FROM raw_texts JOIN letters ON raw_texts.rowid = place;"
        "DROP TABLE raw_texts; DROP TABLE letters"
    )


def _keep_letters(database: duckdb.DuckDBPyConnection, start: int, letters: list[str]) -> None:
    """Half a sha256 of each, which tells them apart, as two numbers."""
    digests = b"".join(hashlib.sha256(text.encode(errors="replace")).digest()[:16] for text in letters)
    halves = np.frombuffer(digests, dtype=np.int64).reshape(-1, 2)
    batch = {  # noqa: F841 - DuckDB finds it by its name
        "place": np.arange(start, start + len(letters)),
        "high": np.ascontiguousarray(halves[:, 0]),
        "low": np.ascontiguousarray(halves[:, 1]),
        "num_letters": np.array([len(text) for text in letters], dtype=np.int32),
    }
    database.execute("INSERT INTO letters SELECT * FROM batch")


def _join_near(database: duckdb.DuckDBPyConnection, kind: str) -> None:
    """Gives long texts that are nearly the same one code; as many texts are compared as `likeness.alike` compares."""
    long = database.execute(
        f"SELECT code, arg_min(text, (said, text)) FROM {kind}_texts WHERE num_letters >= {MIN_NEAR_CHARS}"
        f" GROUP BY code ORDER BY min((said, text)) LIMIT {MAX_NEAR_TEXTS}"
    ).fetchall()
    firsts = alike([text for _, text in long])
    joined = [(code, long[first][0]) for (code, _), first in zip(long, firsts, strict=True) if long[first][0] != code]
    near = {"code": np.array([code for code, _ in joined]), "first": np.array([first for _, first in joined])}  # noqa: F841
    if joined:
        database.execute(f"UPDATE {kind}_texts SET code = near.first FROM near WHERE {kind}_texts.code = near.code")
