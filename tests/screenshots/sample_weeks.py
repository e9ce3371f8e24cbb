"""The weeks before in a sample service: the replies it has given, moved back in time and rated by a seeded draw.

One day goes wrong: customers are displeased and press thumbs down. What is older than today the staff has read already.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from model_store.contract.feedback import STAFF_RATER_PREFIX
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord, FeedbackRecord

_DAYS = 28
_REPLIES_A_DAY = (28, 52)
_SURGE_DAYS_AGO = 4
_REPLIES_ON_THE_BAD_DAY = 60
_CANARY_DAYS = 6
_REPLIES_SINCE_THE_CANARY = 80
_SHARE_OF_CANARY = 0.3
_SHARE_RATED, _SHARE_UP = 0.45, 0.72
_REASONS = ("mechanical", "wrong_intent", "too_long", "incorrect")
_STAFF = f"{STAFF_RATER_PREFIX}sample"


def look_back(
    data: Path, conversations: Sequence[str], digests: Sequence[str], canary_since: datetime
) -> list[CompletionRecord]:
    """Records weeks of replies like those of these conversations, and some since the canary began; gives the former."""
    records = SqlRecordStore.open(f"sqlite:///{data.absolute() / 'rejoinder.db'}")
    draw = random.Random(7)
    try:
        made = _completions_of(records, conversations)
        past = [_past(draw, made, digests, number, ago) for number, ago in enumerate(_days(draw))]
        for completion in past:
            _record(records, draw, completion, is_bad=_days_ago(completion) == _SURGE_DAYS_AGO)
        for number in range(_REPLIES_SINCE_THE_CANARY):
            moment = canary_since + timedelta(milliseconds=10 * number)
            _record(records, draw, _like(draw, made, digests, f"today-{number}", moment), is_bad=False)
    finally:
        records.close()
    return past


def _days(draw: random.Random) -> list[int]:
    """How many days ago each reply was given."""
    sizes = {ago: draw.randrange(*_REPLIES_A_DAY) for ago in range(1, _DAYS + 1)} | {
        _SURGE_DAYS_AGO: _REPLIES_ON_THE_BAD_DAY
    }
    return [ago for ago, size in sizes.items() for _ in range(size)]


def _past(
    draw: random.Random, made: Sequence[CompletionRecord], digests: Sequence[str], number: int, days_ago: int
) -> CompletionRecord:
    displeased = [completion for completion in made if completion.sentiment == "negative"]
    wanted = displeased if days_ago == _SURGE_DAYS_AGO and displeased and draw.random() < 0.4 else made
    moment = _midnight() - timedelta(days=days_ago) + timedelta(minutes=draw.randrange(480, 1080))
    return _like(draw, wanted, digests[: 2 if days_ago <= _CANARY_DAYS else 1], f"past-{number}", moment)


def _like(
    draw: random.Random, made: Sequence[CompletionRecord], digests: Sequence[str], name: str, moment: datetime
) -> CompletionRecord:
    """One of these replies, given at another moment in a conversation of its own."""
    return replace(
        draw.choice(made),
        id=f"chatcmpl-sample-{name}",
        conversation_id=f"sample-{name}",
        created_at=moment,
        model_digest=digests[-1] if draw.random() < _SHARE_OF_CANARY else digests[0],
        latency_ms=draw.lognormvariate(6.0, 0.4),
    )


def _completions_of(records: SqlRecordStore, conversations: Sequence[str]) -> list[CompletionRecord]:
    turns = [turn for name in conversations for turn in records.get_conversation(name, max_turns=5).turns]
    return [records.get_completion(turn.completion_id) for turn in turns]


def _record(records: SqlRecordStore, draw: random.Random, completion: CompletionRecord, *, is_bad: bool) -> None:
    records.record_completion(completion)
    records.record_feedback(FeedbackRecord(completion_id=completion.id, rater=_STAFF, rating="up"))
    if draw.random() < (0.8 if is_bad else _SHARE_RATED):
        is_up = draw.random() < (0.25 if is_bad else _SHARE_UP)
        vote = FeedbackRecord(completion_id=completion.id, rater=f"rater_{completion.id[-8:]}", rating="up")
        reasons = (draw.choice(_REASONS),)
        records.record_feedback(vote if is_up else replace(vote, rating="down", reasons=reasons))


def _midnight() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _days_ago(completion: CompletionRecord) -> int:
    return (_midnight().date() - completion.created_at.date()).days
