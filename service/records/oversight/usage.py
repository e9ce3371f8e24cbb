"""What was asked and how it was liked in some days of one tenant: counts by day, version, plan and language.

The same statements for SQLite and PostgreSQL; only how a field is taken out of JSON text differs. Bounded: no statement
looks at more than the newest `MAX_COMPLETIONS` of the period. Shares and their intervals: `service.chat.oversight`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import CTE, JSON, ColumnElement, Connection, Text, and_, case, cast, func, select, type_coerce

from model_store.contract.feedback import STAFF_RATER_PREFIX
from service.records.store import DEFAULT_TENANT
from service.records.tables import completions, feedback

MAX_COMPLETIONS = 50_000
_MAX_REASON_SETS = 500
_DAY_CHARS = len("2026-01-31")
_PERCENTILES = (50, 95)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """Which completions count: those of one tenant since a moment, of all versions, languages and plans or of one."""

    since: datetime
    tenant: str = DEFAULT_TENANT
    model_digest: str | None = None
    language: str | None = None
    plan: str | None = None


class Cell(NamedTuple):
    """Counts of completions that share a day, a version, a plan and a language. Days are UTC."""

    day: str
    model_digest: str
    plan: str | None
    language: str
    num_completions: int
    num_hand_overs: int


class Thumbs(NamedTuple):
    """Customers' standing ratings of completions that share a day, a version, a plan and a language."""

    day: str
    model_digest: str
    plan: str | None
    language: str
    num_up: int
    num_down: int


class Moods(NamedTuple):
    """Customers' messages of a day whose sentiment was told, and those of them that were negative and positive."""

    day: str
    num_negative: int
    num_positive: int
    num_messages: int


class Latency(NamedTuple):
    """Milliseconds from request to the completion's end, by nearest rank: of one day's completions, or of all."""

    day: str
    median_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Everything that was counted. `counted_since` is set when the period held more than could be counted."""

    cells: tuple[Cell, ...]
    thumbs: tuple[Thumbs, ...]
    conversations_by_day: dict[str, int]
    num_conversations: int
    latencies: tuple[Latency, ...]
    latency: Latency | None
    reasons: tuple[tuple[tuple[str, ...], int], ...]
    """Sets of reasons that came with a thumb down, and how often."""
    moods: tuple[Moods, ...]
    """Of the days that have any."""
    counted_since: datetime | None


def read_usage(connection: Connection, wanted: UsageFilter, *, max_completions: int = MAX_COMPLETIONS) -> Usage:
    """Counts the newest completions of the period."""
    recent = _recent(connection, wanted, max_completions)
    cells = tuple(Cell(*row) for row in _cells(connection, recent))
    is_cut = sum(cell.num_completions for cell in cells) >= max_completions
    by_day = dict(_conversations(connection, recent))
    total = next(_latencies(connection, recent, is_by_day=False), None)
    return Usage(
        cells=cells,
        thumbs=tuple(Thumbs(*row) for row in _thumbs(connection, recent)),
        conversations_by_day=by_day,
        num_conversations=connection.scalar(select(func.count(recent.c.conversation_id.distinct()))) or 0,
        latencies=tuple(_latencies(connection, recent, is_by_day=True)),
        latency=total,
        reasons=tuple(_reasons(connection, recent)),
        moods=tuple(Moods(*row) for row in _moods(connection, recent)),
        counted_since=connection.scalar(select(func.min(recent.c.created_at))) if is_cut else None,
    )


def json_field(connection: Connection, column: ColumnElement[Any], name: str) -> ColumnElement[str]:
    """A text in a JSON object that a text column holds; NULL where there is none."""
    text = type_coerce(column, Text())
    if connection.dialect.name == "postgresql":
        field: ColumnElement[str] = cast(text, JSON)[name].as_string()
        return field
    return func.json_extract(text, f"$.{name}", type_=Text())


def is_from_customer() -> ColumnElement[bool]:
    """Whether a rating stands and is no staff member's: theirs teach, but they are nobody who was helped."""
    is_staff = feedback.c.rater.startswith(STAFF_RATER_PREFIX, autoescape=True)
    return and_(feedback.c.rating.is_not(None), ~is_staff)


def _recent(connection: Connection, wanted: UsageFilter, max_completions: int) -> CTE:
    columns = completions.c
    plan = json_field(connection, columns.sampling, "plan")
    chosen = {columns.model_digest: wanted.model_digest, columns.language: wanted.language, plan: wanted.plan}
    query = (
        select(
            columns.id,
            columns.conversation_id,
            columns.created_at,
            func.substr(type_coerce(columns.created_at, Text()), 1, _DAY_CHARS).label("day"),
            columns.model_digest,
            plan.label("plan"),
            columns.language,
            columns.finish_reason,
            columns.latency_ms,
            columns.sentiment,
        )
        .where(columns.tenant == wanted.tenant, columns.created_at >= wanted.since, columns.is_finished)
        .where(*(column == value for column, value in chosen.items() if value is not None))
        .order_by(columns.created_at.desc())
        .limit(max_completions)
    )
    return query.cte("recent")


def _cells(connection: Connection, recent: CTE) -> Iterator[Any]:
    keys = _keys(recent)
    num_hand_overs = func.sum(case((recent.c.finish_reason == "handover", 1), else_=0))
    return iter(connection.execute(select(*keys, func.count(), num_hand_overs).group_by(*keys)))


def _thumbs(connection: Connection, recent: CTE) -> Iterator[Any]:
    keys = _keys(recent)
    counts = (func.sum(case((feedback.c.rating == rating, 1), else_=0)) for rating in ("up", "down"))
    query = (
        select(*keys, *counts)
        .join(feedback, feedback.c.completion_id == recent.c.id)
        .where(is_from_customer())
        .group_by(*keys)
    )
    return iter(connection.execute(query))


def _moods(connection: Connection, recent: CTE) -> Iterator[Any]:
    sentiment = recent.c.sentiment
    nums = (func.sum(case((sentiment == name, 1), else_=0)) for name in ("negative", "positive"))
    query = select(recent.c.day, *nums, func.count()).where(sentiment.is_not(None)).group_by(recent.c.day)
    return iter(connection.execute(query))


def _conversations(connection: Connection, recent: CTE) -> Iterator[tuple[str, int]]:
    query = select(recent.c.day, func.count(recent.c.conversation_id.distinct())).group_by(recent.c.day)
    return ((row[0], row[1]) for row in connection.execute(query))


def _latencies(connection: Connection, recent: CTE, *, is_by_day: bool) -> Iterator[Latency]:
    """Percentiles by rank: SQLite has none of its own, and ranks are the same on every database."""
    part = recent.c.day if is_by_day else None
    ranked = select(
        recent.c.day,
        recent.c.latency_ms,
        func.row_number().over(partition_by=part, order_by=recent.c.latency_ms).label("rank"),
        func.count().over(partition_by=part).label("num"),
    ).subquery()
    columns = ranked.c
    at = [
        func.max(case((columns.rank == (columns.num * percent + 99) // 100, columns.latency_ms)))
        for percent in _PERCENTILES
    ]
    query = select(columns.day, *at).group_by(columns.day) if is_by_day else select(func.max(columns.day), *at)
    return (Latency(*row) for row in connection.execute(query) if row[0] is not None)


def _reasons(connection: Connection, recent: CTE) -> Iterator[tuple[tuple[str, ...], int]]:
    """Whole sets: they are counted without taking JSON apart, and few differ."""
    count = func.count()
    query = (
        select(feedback.c.reasons, count)
        .join(recent, feedback.c.completion_id == recent.c.id)
        .where(is_from_customer(), feedback.c.rating == "down")
        .group_by(feedback.c.reasons)
        .order_by(count.desc())
        .limit(_MAX_REASON_SETS)
    )
    return ((tuple(row[0]), row[1]) for row in connection.execute(query))


def _keys(recent: CTE) -> tuple[ColumnElement[Any], ...]:
    return recent.c.day, recent.c.model_digest, recent.c.plan, recent.c.language
