"""What a record may hold: only values that SQLite and PostgreSQL both keep unchanged.

PostgreSQL refuses NUL and both drivers fail on lone surrogates, each in its own way; JSON has no NaN. The API refuses
these first; this check makes the store behave the same on every database for callers that did not.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime

from model_store.contract.conversation import Message
from service.records.errors import UnstorableRecordError
from service.records.pairs.pair import PairedReply, PreferencePair
from service.records.store import AuditEvent, CompletionRecord, FeedbackRecord, GoldRating, RatingRuling


def is_storable_text(text: str) -> bool:
    """Whether text has neither a NUL nor a lone surrogate."""
    return _text_problem(text) is None


def check_storable(
    record: AuditEvent | CompletionRecord | FeedbackRecord | GoldRating | RatingRuling | PreferencePair,
) -> None:
    """Raises UnstorableRecordError naming the first field that cannot be stored; never repeats its content."""
    for field in fields(record):
        for problem in _problems(getattr(record, field.name)):
            raise UnstorableRecordError(field=field.name, problem=problem)


def _problems(value: object) -> Iterator[str]:
    if isinstance(value, str):
        problem = _text_problem(value)
        if problem:
            yield problem
    elif isinstance(value, float) and not math.isfinite(value):
        yield "a number that is not finite"
    elif isinstance(value, datetime) and value.tzinfo is None:
        yield "a time without a time zone"
    else:
        for part in _parts(value):
            yield from _problems(part)


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, Message):
        yield value.content
    elif isinstance(value, PairedReply):
        yield value.text
    elif isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, tuple | list):
        yield from value


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a lone surrogate"
    return None
