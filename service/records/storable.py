"""What a record may hold: only values that SQLite and PostgreSQL both keep unchanged.

PostgreSQL refuses NUL and both drivers fail on lone surrogates, each in its own way; JSON has no NaN. The API refuses
these first; this check makes the store behave the same on every database for callers that did not.
"""

import math
from collections.abc import Iterable, Mapping
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
        problem = _problem(getattr(record, field.name))
        if problem is not None:
            raise UnstorableRecordError(field=field.name, problem=problem)


def _problem(value: object) -> str | None:
    """The first in a value or its parts, most of which are texts."""
    if isinstance(value, str):
        return _text_problem(value)
    if value is None or isinstance(value, int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else "a number that is not finite"
    if isinstance(value, datetime):
        return "a time without a time zone" if value.tzinfo is None else None
    if isinstance(value, tuple) and _are_storable_numbers(value):
        return None
    return next((problem for part in _parts(value) if (problem := _problem(part)) is not None), None)


def _are_storable_numbers(values: tuple[object, ...]) -> bool:
    """Whether these are ints, or finite floats, alone: token ids and logprobs, hundreds a record and not one by one."""
    kinds = set(map(type, values))
    return kinds <= {int} or (kinds == {float} and all(map(math.isfinite, values)))  # type: ignore[arg-type]


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, tuple | list):
        return value
    if isinstance(value, Message):
        return (value.content,)
    if isinstance(value, PairedReply):
        return (value.text,)
    if isinstance(value, Mapping):
        return (*value.keys(), *value.values())
    return ()


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a lone surrogate"
    return None
