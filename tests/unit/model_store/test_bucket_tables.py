"""Bucket tables: what lies in them, however they were filled."""

import numpy as np
import pytest

from model_store.bucket_tables import NO_BUCKET, BucketTables
from model_store.contract.manifest import Architecture, Hashing

CHUNK, HEADS, SIZE, LENGTH = 4, 2, 3, 40
WINDOW, NUM_BUCKETS = 2, 4


def some_architecture(hashing: Hashing | None) -> Architecture:
    return Architecture(
        hidden_size=6,
        attn_layers=("local", "lsh", "lsh"),
        num_attention_heads=HEADS,
        attention_head_size=SIZE,
        feed_forward_size=8,
        vocab_size=300,
        max_positions=64,
        local_chunk_length=CHUNK,
        hashing=hashing,
    )


def some_tables(num_hashes: int = 2) -> BucketTables:
    rule = Hashing(hash_beyond=8, num_hashes=num_hashes, num_buckets=NUM_BUCKETS, bucket_window=WINDOW)
    return BucketTables(some_architecture(rule), np.dtype(np.int8))


def some_text(num_hashes: int = 2) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Keys whose first channel is the token's position, values, buckets: of two LSH layers."""
    generator = np.random.default_rng(0)
    keys, values = (generator.integers(-100, 100, (2, HEADS, LENGTH, SIZE)).astype(np.int8) for _ in range(2))
    keys[..., 0] = np.arange(LENGTH)
    buckets = generator.integers(0, NUM_BUCKETS, (2, HEADS, num_hashes, LENGTH)).astype(np.uint8)
    return list(keys), list(values), buckets


def test_a_bucket_holds_its_latest_tokens_of_before_the_chunk_before() -> None:
    """In every layer, head and round, by a count of one's own."""
    tables, (keys, values, buckets) = some_tables(), some_text()
    first = 24
    tables.open_chunk(first, keys, values, buckets)
    for layer, head, number, bucket in np.ndindex(2, HEADS, 2, NUM_BUCKETS):
        arrived = [p for p in range(first - CHUNK) if buckets[layer, head, number, p] == bucket]
        start = (number * NUM_BUCKETS + bucket) * WINDOW
        places = slice(start, start + WINDOW)
        counts = tables.place_buckets[layer, head, number, places] == bucket
        held = tables.keys[layer, 0, head, places][counts][:, 0]
        assert sorted(held.tolist()) == arrived[-WINDOW:]


def test_a_token_that_an_earlier_round_holds_is_known_there() -> None:
    """A later round's place names the earlier round's bucket as long as the token lies in it, and nothing after."""
    tables, (keys, values, buckets) = some_tables(), some_text()
    first = 24
    tables.open_chunk(first, keys, values, buckets)
    held, lost = 0, 0
    for layer, head, place in np.ndindex(2, HEADS, NUM_BUCKETS * WINDOW):
        second = NUM_BUCKETS * WINDOW + place
        if tables.place_buckets[layer, head, 1, second] == NO_BUCKET:
            continue
        position = int(tables.keys[layer, 0, head, second, 0])
        bucket = int(buckets[layer, head, 0, position])
        latest = [p for p in range(first - CHUNK) if buckets[layer, head, 0, p] == bucket][-WINDOW:]
        assert tables.place_buckets[layer, head, 0, second] == (bucket if position in latest else NO_BUCKET)
        held, lost = held + (position in latest), lost + (position not in latest)
    assert held > 0
    assert lost > 0


@pytest.mark.parametrize("num_hashes", [1, 2, 3])
def test_chunk_by_chunk_and_at_once_give_the_same_tables(num_hashes: int) -> None:
    """A prompt that is found again leaves what reading it left, place by place."""
    text = some_text(num_hashes)
    slowly, at_once = some_tables(num_hashes), some_tables(num_hashes)
    for first in range(0, LENGTH, CHUNK):
        slowly.open_chunk(first, *text)
    at_once.open_chunk(LENGTH - CHUNK, *text)
    assert np.array_equal(slowly.place_buckets, at_once.place_buckets)
    assert np.array_equal(slowly.keys, at_once.keys)
    assert np.array_equal(slowly.values, at_once.values)


def test_the_chunk_before_lies_right_before_the_one_being_read() -> None:
    """Its rows are copied whole; the first chunk has none before it."""
    tables, (keys, values, buckets) = some_tables(), some_text()
    tables.open_chunk(0, keys, values, buckets)
    assert not tables.keys.any()
    tables.open_chunk(CHUNK, keys, values, buckets)
    own = tables.own_rows(CHUNK)
    before = tables.keys[0, 0, 0, own.start - CHUNK : own.start, 0]
    assert before.tolist() == list(range(CHUNK))
    assert (tables.place_buckets == NO_BUCKET).all()


def test_a_cleared_table_shows_nothing_of_the_prompt_before() -> None:
    """Old rows may lie about, but no place counts, and arrivals begin anew."""
    tables, text = some_tables(), some_text()
    tables.open_chunk(24, *text)
    tables.clear()
    assert (tables.place_buckets == NO_BUCKET).all()
    tables.open_chunk(24, *text)
    fresh = some_tables()
    fresh.open_chunk(24, *text)
    assert np.array_equal(tables.place_buckets, fresh.place_buckets)
    assert np.array_equal(tables.keys, fresh.keys)


def test_an_architecture_without_hashing_has_no_tables() -> None:
    """Asking for them is a mistake in the program."""
    with pytest.raises(ValueError, match="does not hash"):
        BucketTables(some_architecture(None), np.dtype(np.int8))
