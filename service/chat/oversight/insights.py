"""The overview: how much was asked, how it was liked, how often a person was wanted and how long replies took.

Sums of what `records.oversight.usage` counts, with intervals. Nothing here holds a word that anybody wrote.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from model_store.shares import Count, Interval
from service.chat.oversight.moods import Mood, moods_by_day
from service.chat.oversight.surges import Surge, find_surges, usual_shares
from service.records.oversight.reader import OversightReader
from service.records.oversight.usage import Cell, Latency, Moods, Thumbs, Usage, UsageFilter

MAX_DAYS = 366
MAX_GROUPS = 100
_NO_PLAN = "none"


@dataclass(frozen=True, slots=True)
class Group:
    """What was counted of the completions that share something; `name` says what: a day, a version, a plan."""

    name: str
    num_completions: int
    num_hand_overs: int
    thumbs: Count
    num_conversations: int | None = None
    latency: Latency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A period's counts. Days are UTC, without gaps; other groups come with the most completions first."""

    since: datetime
    until: datetime
    counted_since: datetime | None
    total: Group
    by_day: tuple[Group, ...]
    usual_by_day: tuple[Interval | None, ...]
    """The share of thumbs up of the seven days before each day; None where these tell too little."""
    surges: tuple[Surge, ...]
    moods: tuple[Mood, ...]
    """Customers' sentiment, of the same days; none where no sentiment was told."""
    by_version: tuple[Group, ...]
    by_plan: tuple[Group, ...]
    by_language: tuple[Group, ...]
    reasons: tuple[tuple[str, int], ...]
    num_explained: int
    """Thumbs down that came with a reason; one may give several."""


class Insights:
    """Makes overviews. Lives on the event loop."""

    def __init__(self, reader: OversightReader) -> None:
        self._reader = reader

    async def overview(self, wanted: UsageFilter) -> Overview:
        """From `wanted.since`, a day's beginning, until now. Raises RecordsError."""
        usage = await asyncio.to_thread(self._reader.usage, wanted)
        return summarize(usage, wanted.since, datetime.now(UTC))


def beginning_of(days: int) -> datetime:
    """Midnight, UTC, before the last so many days, today included."""
    return datetime.combine(datetime.now(UTC).date() - timedelta(days=days - 1), time(), UTC)


def summarize(usage: Usage, since: datetime, until: datetime) -> Overview:
    """Sums up what was counted of a period."""
    reasons: Counter[str] = Counter()
    for names, num in usage.reasons:
        reasons.update(dict.fromkeys(names, num))
    by_day = _by_day(usage, since, until)
    thumbs_by_day = [group.thumbs for group in by_day]
    return Overview(
        since=since,
        until=until,
        counted_since=usage.counted_since,
        total=_total(usage),
        by_day=by_day,
        usual_by_day=tuple(usual_shares(thumbs_by_day)),
        surges=find_surges([group.name for group in by_day], thumbs_by_day),
        moods=_moods(usage, [group.name for group in by_day]),
        by_version=_groups(usage, lambda row: row.model_digest),
        by_plan=_groups(usage, lambda row: row.plan or _NO_PLAN),
        by_language=_groups(usage, lambda row: row.language),
        reasons=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:MAX_GROUPS]),
        num_explained=sum(num for names, num in usage.reasons if names),
    )


def _total(usage: Usage) -> Group:
    whole = _group("all", usage.cells, usage.thumbs)
    return Group(
        whole.name,
        whole.num_completions,
        whole.num_hand_overs,
        whole.thumbs,
        usage.num_conversations,
        usage.latency,
    )


def _by_day(usage: Usage, since: datetime, until: datetime) -> tuple[Group, ...]:
    """Every day of the period: a day on which nobody asked is worth seeing too."""
    found = {group.name: group for group in _groups(usage, lambda row: row.day, limit=MAX_DAYS)}
    latencies = {latency.day: latency for latency in usage.latencies}
    days = [str(since.date() + timedelta(days=number)) for number in range((until.date() - since.date()).days + 1)]
    groups = [found.get(day, Group(day, 0, 0, Count(0, 0))) for day in days]
    return tuple(
        Group(
            group.name,
            group.num_completions,
            group.num_hand_overs,
            group.thumbs,
            usage.conversations_by_day.get(group.name, 0),
            latencies.get(group.name),
        )
        for group in groups
    )


def _moods(usage: Usage, days: Sequence[str]) -> tuple[Mood, ...]:
    found = {told.day: told for told in usage.moods}
    told = [found.get(day, Moods(day, 0, 0, 0)) for day in days]
    negative = [Count(one.num_negative, one.num_messages) for one in told]
    positive = [Count(one.num_positive, one.num_messages) for one in told]
    return moods_by_day(days, negative, positive) if found else ()


def _groups(usage: Usage, name_of: Callable[[Cell | Thumbs], str], *, limit: int = MAX_GROUPS) -> tuple[Group, ...]:
    cells: defaultdict[str, list[Cell]] = defaultdict(list)
    thumbs: defaultdict[str, list[Thumbs]] = defaultdict(list)
    for cell in usage.cells:
        cells[name_of(cell)].append(cell)
    for row in usage.thumbs:
        thumbs[name_of(row)].append(row)
    groups = [_group(name, cells[name], thumbs[name]) for name in cells]
    return tuple(sorted(groups, key=lambda group: (-group.num_completions, group.name))[:limit])


def _group(name: str, cells: Iterable[Cell], thumbs: Sequence[Thumbs]) -> Group:
    num_completions = num_hand_overs = 0
    for cell in cells:
        num_completions += cell.num_completions
        num_hand_overs += cell.num_hand_overs
    num_up = sum(row.num_up for row in thumbs)
    return Group(name, num_completions, num_hand_overs, Count(num_up, num_up + sum(row.num_down for row in thumbs)))
