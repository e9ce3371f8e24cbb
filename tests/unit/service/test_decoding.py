"""Decoding: what a person sees of a completion while it is being made."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.contract.control_tokens import EOS_ID, PLACEHOLDER_IDS
from model_store.contract.tokenizer import Tokenizer
from service.chat.decoding import CompletionDecoder, StopMatcher
from service.engine.types import Delta, FinishReason
from tests.contract.fake_engine import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A real, very small tokenizer."""
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def resolve(placeholder: str) -> str:
    """Every placeholder reads as its lower-case name."""
    return placeholder[1:-1].lower()


def delta(token_id: int, finish_reason: FinishReason | None = None) -> Delta:
    """A delta of request "r"."""
    return Delta("r", token_id, -1.0, -2.0, ((token_id, -1.0),), finish_reason)


def show(decoder: CompletionDecoder, token_ids: Sequence[int]) -> list[str]:
    """What is shown after each token; the last ends the completion."""
    last = len(token_ids) - 1
    return [
        decoder.feed(delta(token_id, "stop" if index == last else None)) for index, token_id in enumerate(token_ids)
    ]


def test_a_completion_is_shown_with_values_and_stored_with_placeholders(tokenizer: Tokenizer) -> None:
    """The end of sequence is recorded and not shown."""
    decoder = CompletionDecoder(tokenizer, resolve)
    token_ids = [*tokenizer.encode("Order <ORDER_ID_2> 您好"), EOS_ID]
    assert "".join(show(decoder, token_ids)) == "Order order_id_2 您好"
    assert decoder.masked_text == "Order <ORDER_ID_2> 您好"
    assert decoder.token_ids == token_ids
    assert decoder.sampling_logprobs == [-2.0] * len(token_ids)


def test_a_placeholder_spelled_in_pieces_never_shows(tokenizer: Tokenizer) -> None:
    """Should a model spell `<EMAIL>` letter by letter, the value comes out and no part of the spelling before it."""
    letters = [tokenizer.encode(letter)[0] for letter in "<EMAIL>"]
    shown = show(CompletionDecoder(tokenizer, resolve), [*letters, EOS_ID])
    assert "".join(shown) == "email" and not any("<" in piece for piece in shown)


def test_a_completion_that_ends_inside_a_character_ends_with_a_replacement(tokenizer: Tokenizer) -> None:
    """Cut after the first byte of a Chinese character."""
    first_byte = next(i for i in range(256, tokenizer.vocab_size) if tokenizer.token_bytes(i) == "您".encode()[:1])
    decoder = CompletionDecoder(tokenizer, resolve)
    assert decoder.feed(delta(first_byte)) == ""
    assert decoder.feed(delta(first_byte, "length")) == "\ufffd\ufffd"


def test_control_characters_that_a_model_spells_are_replaced(tokenizer: Tokenizer) -> None:
    """NUL could not be stored, and a client that sends the reply back would be refused."""
    nul = next(i for i in range(256, tokenizer.vocab_size) if tokenizer.token_bytes(i) == b"\0")
    decoder = CompletionDecoder(tokenizer, resolve)
    assert show(decoder, [nul, EOS_ID]) == ["\ufffd", ""]
    assert decoder.masked_text == "\ufffd"


def test_a_stop_string_is_found_across_tokens_and_in_values(tokenizer: Tokenizer) -> None:
    """Neither the stop string nor what follows is shown."""
    decoder = CompletionDecoder(tokenizer, resolve, ["brand!"])
    shown = show(decoder, [*tokenizer.encode("At <BRAND>! Bye"), EOS_ID])
    assert "".join(shown) == "At " and decoder.has_stopped


def test_logprobs_name_the_token_as_it_reads(tokenizer: Tokenizer) -> None:
    """A placeholder reads as its value; the end of sequence has none."""
    decoder = CompletionDecoder(tokenizer, resolve)
    found = decoder.logprob(delta(PLACEHOLDER_IDS["<BRAND>"]))
    assert found is not None
    assert (found.text, found.utf8, found.logprob) == ("brand", b"brand", -1.0)
    assert [rival.text for rival in found.rivals] == ["brand"]
    assert decoder.logprob(delta(EOS_ID, "stop")) is None


@given(st.lists(st.text("abc", max_size=4), max_size=12), st.lists(st.text("abc", min_size=1, max_size=3), max_size=4))
def test_stop_matching_does_not_depend_on_where_the_text_is_cut(pieces: list[str], stop: list[str]) -> None:
    """The pieces' concatenation up to the first stop string that completes, nothing after it."""
    matcher = StopMatcher(stop)
    shown = "".join(matcher.feed(piece) for piece in pieces) + matcher.flush()
    text = "".join(pieces)
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(word) for word in stop)]
    if not ends:
        assert shown == text and not matcher.has_stopped
    else:
        assert matcher.has_stopped
        assert not any(word in shown for word in stop)
        assert text.startswith(shown)
        assert any(text[len(shown) :].startswith(word) for word in stop)
