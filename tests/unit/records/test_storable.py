"""What a record may hold: the numbers of a completion, of which there are hundreds."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model_store.contract.conversation import Message, Role
from service.records.errors import UnstorableRecordError
from service.records.storable import check_storable
from service.records.store import CompletionRecord

RECORD = CompletionRecord(
    id="chatcmpl-1",
    conversation_id="conv-1",
    created_at=datetime(2026, 11, 30, tzinfo=UTC),
    model_digest="d" * 64,
    language="en",
    prompt_messages=(Message(Role.USER, "Hi"),),
    completion_text="Hello",
    completion_token_ids=(7, 8),
    token_logprobs=(-0.5, -0.25),
    sampling={"seed": 1},
    finish_reason="stop",
    latency_ms=3.5,
    num_prompt_tokens=3,
    num_completion_tokens=2,
)


@example([])
@example([0, 10**400, -1])
@example([-0.5, math.nan])
@example([-math.inf])
@example([1, -0.5, math.inf])
@example([True, None, 2.5])
@given(st.lists(st.one_of(st.integers(), st.floats(), st.booleans(), st.none())))
def test_numbers_are_stored_where_all_are_finite(numbers: list[int | float | bool | None]) -> None:
    """Whatever their kinds, wherever the first stands that is not, and however deep they lie."""
    is_storable = all(math.isfinite(number) for number in numbers if isinstance(number, float))
    for record in (
        replace(RECORD, token_logprobs=tuple(numbers)),
        replace(RECORD, sampling={"seed": 1, "weights": [1, numbers]}),
    ):
        if is_storable:
            check_storable(record)
        else:
            with pytest.raises(UnstorableRecordError, match="finite"):
                check_storable(record)


def test_text_among_numbers_is_still_looked_at() -> None:
    """A list of numbers with one text in it is no list of numbers."""
    with pytest.raises(UnstorableRecordError, match="NUL"):
        check_storable(replace(RECORD, sampling={"mixed": [1, 2, "a\0"]}))
