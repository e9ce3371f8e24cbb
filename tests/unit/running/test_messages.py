"""What crosses to an engine's process arrives as it was, with every bit."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.sampling import Opinion
from service.engine.running.messages import Closed, Stepped, Submit, decode, encode
from service.engine.types import CompletionRequest, Delta, SamplingParams


def bits(*numbers: float) -> bytes:
    """How they lie in memory: -0.0 and 0.0 differ."""
    return struct.pack(f"{len(numbers)}d", *numbers)


@given(*[st.floats(allow_nan=False)] * 3)
def test_every_log_probability_arrives_with_every_bit(first: float, second: float, third: float) -> None:
    """Infinities too, which JSON has no word for. (No engine tells a NaN: `NonFiniteLogitsError`.)"""
    sent = Stepped((Delta("a", 300, first, second, ((301, third),), None),), 1, 0)
    heard = decode(encode(sent))
    assert isinstance(heard, Stepped)
    (delta,) = heard.deltas
    assert bits(delta.logprob, delta.sampling_logprob, delta.top_logprobs[0][1]) == bits(first, second, third)


def test_a_request_arrives_with_all_that_it_asks_for() -> None:
    """Bans, openings and another model's opinion of them."""
    opinion = Opinion((40, 41), (-0.1, -math.inf), "digest")
    sampling = SamplingParams(
        temperature=0.7,
        seed=-(2**63),
        banned_token_ids=frozenset({3, 1}),
        keeps_to_phrases=True,
        opening_token_ids=frozenset({40, 41}),
        opening_opinion=opinion,
    )
    sent = Submit(CompletionRequest("a", (1, 2, 3), sampling))
    assert decode(encode(sent)) == sent


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", b'{"kind":"submit"}', b'{"kind":"unheard of"}'])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """A pickle among it is not even looked into."""
    with pytest.raises(ValueError, match="validation error"):
        decode(data)


def test_a_failure_may_have_lines() -> None:
    """As tracebacks do."""
    assert decode(encode(Closed("line\nline"))) == Closed("line\nline")
