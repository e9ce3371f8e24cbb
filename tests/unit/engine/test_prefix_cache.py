"""Prefix reuse: what was read once is found again, and no completion can tell."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.manifest import Manifest
from service.engine.engine import Engine
from service.engine.kv_cache import KVCache
from service.engine.prefix_cache import PrefixCache
from service.engine.types import CompletionRequest, Delta, EngineOptions, SamplingParams
from tests.unit.engine.tiny_reformer import architecture, chat_ids

OpenEngine = Callable[..., Engine]
FindBundle = Callable[[str, str], tuple[Path, Manifest]]
CHUNK = 64
CHUNK_BYTES = 4 * 2 * 2 * CHUNK * 32
"""Layers, keys and values, heads, positions and head size of the tiny int8 network."""
PLENTY = 100 * CHUNK_BYTES
GREEDY = SamplingParams(temperature=0, max_tokens=8, banned_token_ids=frozenset({EOS_ID}))
TURNS = st.tuples(
    st.integers(0, 1), st.sampled_from((0, 1, 63, 64, 65, 128, 130)) | st.integers(0, 200), st.integers(1, 90)
)
"""Which of two conversations a prompt goes on with, after how many of its tokens, and with how many of its own."""


def prompt_of(turn: tuple[int, int, int]) -> tuple[int, ...]:
    """The beginning of a conversation that others share, and an end of its own with a reply's opening."""
    conversation, num_shared, num_own = turn
    return chat_ids(200, seed=conversation)[:num_shared] + chat_ids(num_own, seed=num_own)


def common_chunks(prompt: tuple[int, ...], earlier: tuple[int, ...]) -> int:
    """Tokens in the whole chunks that two prompts begin with, the first one's last token not counted."""
    pairs = zip(prompt[:-1], earlier, strict=False)
    length = next((number for number, (mine, other) in enumerate(pairs) if mine != other), None)
    length = min(len(prompt) - 1, len(earlier)) if length is None else length
    return length // CHUNK * CHUNK


def complete(engine: Engine, prompt: tuple[int, ...]) -> list[Delta]:
    """The deltas of a greedy completion made alone."""
    engine.submit(CompletionRequest("r", prompt, GREEDY))
    deltas = []
    while engine.has_work:
        deltas += engine.step()
    return deltas


def what_it_says(deltas: list[Delta]) -> list[tuple[int, float]]:
    """Tokens and their log-probabilities, to the last bit."""
    return [(delta.token_id, delta.logprob) for delta in deltas]


@pytest.fixture(scope="module")
def cold_engines(find_bundle: FindBundle) -> Callable[[str, str], Engine]:
    """Engines without a prefix cache, by profile and network."""
    engines: dict[tuple[str, str], Engine] = {}

    def find(profile_name: str, network: str) -> Engine:
        key = (profile_name, network)
        if key not in engines:
            engines[key] = Engine.open(*find_bundle(*key), EngineOptions(num_slots=1))
        return engines[key]

    return find


@pytest.mark.parametrize(("profile_name", "network"), [("int8", "plain"), ("int8", "summary"), ("float32", "summary")])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(TURNS, min_size=2, max_size=6))
def test_a_completion_is_the_same_with_and_without_hits(
    find_bundle: FindBundle,
    cold_engines: Callable[[str, str], Engine],
    profile_name: str,
    network: str,
    turns: list[tuple[int, int, int]],
) -> None:
    """Bit for bit, however long the common beginning; and as much is reused as whole chunks allow."""
    warm = Engine.open(*find_bundle(profile_name, network), EngineOptions(num_slots=1, prefix_cache_bytes=4 * PLENTY))
    earlier: list[tuple[int, ...]] = []
    for prompt in map(prompt_of, turns):
        found = complete(warm, prompt)
        assert what_it_says(found) == what_it_says(complete(cold_engines(profile_name, network), prompt))
        assert found[0].num_reused == max((common_chunks(prompt, other) for other in earlier), default=0)
        assert all(delta.num_reused == 0 for delta in found[1:])
        earlier.append(prompt)
    warm.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turns=st.lists(st.tuples(TURNS, st.integers(0, 6)), min_size=3, max_size=6),
    num_slots=st.integers(2, 3),
    num_chunks=st.integers(1, 4),
)
def test_hits_in_company_and_in_little_memory_change_nothing(
    find_bundle: FindBundle,
    cold_engines: Callable[[str, str], Engine],
    turns: list[tuple[tuple[int, int, int], int]],
    num_slots: int,
    num_chunks: int,
) -> None:
    """Chunks are restored beside running completions, moved with them and forgotten; the memory stays in its bound."""
    options = EngineOptions(num_slots=num_slots, prefix_cache_bytes=num_chunks * CHUNK_BYTES)
    engine = Engine.open(*find_bundle("int8", "summary"), options)
    found: dict[str, list[Delta]] = defaultdict(list)

    def step() -> None:
        for delta in engine.step():
            found[delta.request_id].append(delta)
        assert engine.prefix_cache_bytes <= options.prefix_cache_bytes

    for number, (turn, num_steps) in enumerate(turns):
        engine.submit(CompletionRequest(str(number), prompt_of(turn), GREEDY))
        for _ in range(num_steps):
            step()
    while engine.has_work:
        step()
    for number, (turn, _) in enumerate(turns):
        expected = complete(cold_engines("int8", "summary"), prompt_of(turn))
        assert what_it_says(found[str(number)]) == what_it_says(expected)
    engine.close()


def test_a_second_turn_reads_only_what_is_new(open_engine: OpenEngine) -> None:
    """After a turn of 300 tokens, 30 more are read in one step in place of six."""
    engine = open_engine(prefix_cache_bytes=PLENTY)
    first = chat_ids(300, seed=1)
    complete(engine, first)
    engine.submit(CompletionRequest("second", first + chat_ids(30, seed=2), GREEDY))
    assert engine.step() == []
    assert [delta.num_reused for delta in engine.step()] == [256]


def test_what_was_read_before_a_client_gave_up_is_reused(open_engine: OpenEngine) -> None:
    """Two steps read two chunks; the next reader of the same prompt begins behind them."""
    engine = open_engine(num_slots=1, prefix_cache_bytes=PLENTY)
    prompt = chat_ids(200, seed=1)
    engine.submit(CompletionRequest("impatient", prompt, GREEDY))
    engine.step()
    engine.step()
    engine.cancel("impatient")
    assert engine.prefix_cache_bytes == 2 * CHUNK_BYTES
    assert complete(engine, prompt)[0].num_reused == 2 * CHUNK


def test_without_memory_nothing_is_reused(open_engine: OpenEngine) -> None:
    """0 bytes turn it off, and so does less than a chunk."""
    for num_bytes in (0, CHUNK_BYTES - 1):
        engine = open_engine(prefix_cache_bytes=num_bytes)
        assert [complete(engine, chat_ids(200, seed=1))[0].num_reused for _ in range(2)] == [0, 0]
        assert engine.prefix_cache_bytes == 0


def test_a_closed_engine_keeps_nothing(open_engine: OpenEngine) -> None:
    """Its chunks are gone with its caches."""
    engine = open_engine(prefix_cache_bytes=PLENTY)
    complete(engine, chat_ids(200, seed=1))
    assert engine.prefix_cache_bytes == 3 * CHUNK_BYTES
    engine.close()
    assert engine.prefix_cache_bytes == 0


SHORT = 4
"""A local chunk's length in the tests below, where numbers are written in place of what a network computes."""


class Slots:
    """A cache of two slots, written by a stand-in for the network: a row depends on its token and all before it."""

    def __init__(self) -> None:
        shape = architecture().model_copy(update={"local_chunk_length": SHORT, "max_positions": 64})
        self.cache = KVCache(shape, 2, np.dtype(np.int8))

    def read(self, token_ids: tuple[int, ...], slot: int, position: int) -> None:
        """Writes one position, as the graph does."""
        self.cache.begin_position(slot, position)
        in_halves = position if position < SHORT else SHORT + position % SHORT
        for layer, (keys, values) in enumerate(zip(self.cache.keys, self.cache.values, strict=True)):
            row = in_halves if layer % 2 == 0 else position
            keys[slot, :, row] = hash((token_ids[: position + 1], layer)) % 100
            values[slot, :, row] = hash((token_ids[: position + 1], -layer)) % 100


@given(
    prompts=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=18).map(tuple), min_size=1, max_size=12),
    num_chunks=st.integers(0, 5),
)
@settings(deadline=None)
def test_a_restored_slot_is_as_if_it_had_been_read(prompts: list[tuple[int, ...]], num_chunks: int) -> None:
    """In any order of prompts and any memory; every byte in use belongs to a chunk that is still found."""
    slots = Slots()
    prefix_cache = PrefixCache(slots.cache, num_chunks * slots.cache.chunk_bytes)
    for prompt in prompts:
        start = prefix_cache.restore(prompt, slot=0)
        assert start < len(prompt)
        for position in range(start, len(prompt)):
            slots.read(prompt, 0, position)
            prefix_cache.keep(prompt[: position + 1], slot=0)
        for position in range(len(prompt)):
            slots.read(prompt, 1, position)
        last = len(prompt) - 1
        num_local = last + 1 if last < SHORT else SHORT + last % SHORT + 1
        for caches in (slots.cache.keys, slots.cache.values):
            for layer, cache in enumerate(caches):
                visible = num_local if layer % 2 == 0 else len(prompt)
                assert np.array_equal(cache[0, :, :visible], cache[1, :, :visible])
    found = {
        prompt[: end + SHORT]
        for prompt in prompts
        for end in range(0, prefix_cache.restore((*prompt, 0), slot=0), SHORT)
    }
    assert prefix_cache.num_bytes == len(found) * slots.cache.chunk_bytes <= num_chunks * slots.cache.chunk_bytes


def test_the_least_recently_used_beginning_is_forgotten_first() -> None:
    """Of three prompts in room for two the one that nobody asked for again; ends go before beginnings."""
    slots = Slots()
    prefix_cache = PrefixCache(slots.cache, 2 * slots.cache.chunk_bytes)
    first, second, third = ((token,) * (2 * SHORT) for token in (1, 2, 3))
    for prompt in (first[:SHORT], second[:SHORT]):
        prefix_cache.keep(prompt, slot=0)
    assert prefix_cache.restore(first, slot=0) == SHORT
    prefix_cache.keep(third[:SHORT], slot=0)
    assert [prefix_cache.restore(prompt, slot=0) for prompt in (first, second, third)] == [SHORT, 0, SHORT]
    prefix_cache.keep(third, slot=0)
    assert [prefix_cache.restore((*prompt, 0), slot=0) for prompt in (first, third)] == [0, 2 * SHORT]
    prefix_cache.keep((4,) * SHORT, slot=0)
    assert prefix_cache.restore((*third, 0), slot=0) == SHORT
