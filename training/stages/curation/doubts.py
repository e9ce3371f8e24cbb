"""Why a rating is set aside: rules that look at who gave how many, how fast, with which words, against which truth.

Each gives a reason that people can read (`model_store.curation`) and lift. Anonymous ratings come from many
people, so nothing is held against them together; the staff is trusted, and heard against the gold list alone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_store.curation import Reason
from training.data.feedback_rows import FeedbackRow
from training.stages.curation.likeness import plain
from training.stages.curation.rater_model import Evidence, Rater

_DAY = timedelta(hours=24)
_MINUTE = timedelta(minutes=1)
MIN_REMARK_CHARS = 12
"""Letters below which several people may well write the same: “too long”."""

Found = Iterable[tuple[int, Reason]]


@dataclass(frozen=True, slots=True)
class DoubtRules:
    """From where on something is odd; see `FeedbackConfig`."""

    flood_ratings_per_day: int
    burst_ratings_per_minute: int
    copied_remark_raters: int
    poison_phrases: tuple[str, ...] = ()


def find_doubts(
    rows: Sequence[FeedbackRow], items: Sequence[int], gold: Mapping[int, bool], rules: DoubtRules
) -> dict[int, tuple[Reason, ...]]:
    """By the number of a row what is held against it by itself: everything but the rater's reliability.

    `items` says for each row which words it is about, `gold` what the truth about some of them is.
    """
    found: dict[int, list[Reason]] = defaultdict(list)
    for number, reason in (
        *_against_gold(rows, items, gold),
        *_too_many(rows, "flood", _DAY, rules.flood_ratings_per_day),
        *_too_many(rows, "burst", _MINUTE, rules.burst_ratings_per_minute),
        *_poisoned(rows, rules.poison_phrases),
        *_copied(rows, rules.copied_remark_raters),
        *_repeated(rows, items),
    ):
        found[number].append(reason)
    return {number: tuple(dict.fromkeys(reasons)) for number, reasons in found.items()}


def unreliable(rows: Sequence[FeedbackRow], evidence: Mapping[Rater, Evidence]) -> set[int]:
    """Rows of raters who are surely wrong more often than right."""
    wrong = {rater for rater, known in evidence.items() if known.is_surely_wrong}
    return {number for number, row in _customers(rows) if rater_of(row) in wrong}


def rater_of(row: FeedbackRow) -> Rater:
    """Who gave a rating."""
    return Rater(row.tenant, row.rater)


def _against_gold(rows: Sequence[FeedbackRow], items: Sequence[int], gold: Mapping[int, bool]) -> Found:
    for number, row in enumerate(rows):
        if gold.get(items[number], row.is_up) != row.is_up:
            yield number, "contradicts_gold"


def _too_many(rows: Sequence[FeedbackRow], reason: Reason, span: timedelta, most: int) -> Found:
    """All ratings of a customer that lie in any span of time with more than `most` of them."""
    for numbers in _by(_customers(rows), rater_of).values():
        if len(numbers) <= most:
            continue
        numbers.sort(key=lambda number: rows[number].rated_at)
        times = [datetime.fromisoformat(rows[number].rated_at) for number in numbers]
        first = num_told = 0
        for last, time in enumerate(times):
            while time - times[first] >= span:
                first += 1
            if last - first + 1 > most:
                # Each is told of once: spans overlap, and a flood of thousands would be told of thousands of times.
                yield from ((number, reason) for number in numbers[max(first, num_told) : last + 1])
                num_told = last + 1


def _poisoned(rows: Sequence[FeedbackRow], phrases: Sequence[str]) -> Found:
    poison = [word for phrase in phrases if (word := plain(phrase))]
    if not poison:
        return
    for number, row in enumerate(rows):
        texts = (row.comment, row.correction, *(message.content for message in row.messages))
        said = [plain(text) for text in texts if text]
        if any(word in text for word in poison for text in said):
            yield number, "poison_phrase"


def _copied(rows: Sequence[FeedbackRow], most: int) -> Found:
    """Remarks and corrections that at least `most` customers sent; nobody writes a whole sentence like another."""
    senders: dict[str, list[int]] = defaultdict(list)
    for number, row in _customers(rows):
        for text in {plain(text) for text in (row.comment, row.correction) if text}:
            if len(text) >= MIN_REMARK_CHARS:
                senders[text].append(number)
    for numbers in senders.values():
        if len({rater_of(rows[number]) for number in numbers}) >= most:
            yield from ((number, "copied_remark") for number in numbers)


def _repeated(rows: Sequence[FeedbackRow], items: Sequence[int]) -> Found:
    """A named rater's second thumb of the same kind on the same words."""
    seen: set[tuple[Rater, int, bool]] = set()
    for number, row in enumerate(rows):
        key = (rater_of(row), items[number], row.is_up)
        if key in seen and not row.is_anonymous:
            yield number, "repeated"
        seen.add(key)


def _customers(rows: Sequence[FeedbackRow]) -> Iterator[tuple[int, FeedbackRow]]:
    """Rows of customers with an id, each with its number."""
    return ((number, row) for number, row in enumerate(rows) if not row.is_anonymous and not row.is_from_staff)


def _by(numbered: Iterable[tuple[int, FeedbackRow]], key: Callable[[FeedbackRow], Rater]) -> dict[Rater, list[int]]:
    groups: dict[Rater, list[int]] = defaultdict(list)
    for number, row in numbered:
        groups[key(row)].append(number)
    return groups
