"""The keys and values of all slots, allocated once and written by the graph in place.

A slot is one row of every array. LSH layers keep every position; local layers keep the previous and the current chunk,
so their memory does not grow with the context. Of prompts that are read with hashing the buckets are kept as well.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_store.contract.manifest import Architecture

PIECE_LENGTH = 64
"""Most tokens of a prompt that one step takes in."""


class ChunkCopy(NamedTuple):
    """One local chunk outside the slots."""

    parts: NDArray[np.generic]
    """[2 x layers, heads, chunk, D]: a layer's keys, then its values."""
    buckets: NDArray[np.uint8]
    """[LSH layers, heads, rounds, chunk]; without rounds where nothing is hashed."""


class ChunkStore:
    """Room for chunks outside the slots; `store[row]` are views to write to and read from."""

    def __init__(self, num_chunks: int, dtype: np.dtype[np.generic], shapes: tuple[tuple[int, ...], ...]) -> None:
        parts, buckets = shapes
        self._parts: NDArray[np.generic] = np.zeros((num_chunks, *parts), dtype)
        self._buckets = np.zeros((num_chunks, *buckets), np.uint8)

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, row: int) -> ChunkCopy:
        return ChunkCopy(self._parts[row], self._buckets[row])


class KVCache:
    """Arrays [num_slots, heads, T, D], keys and values of each layer."""

    def __init__(self, architecture: Architecture, num_slots: int, dtype: np.dtype[np.generic]) -> None:
        """Reserves address space; the system hands out memory as positions are first written."""
        self.chunk_length = architecture.local_chunk_length
        self._kinds = architecture.attn_layers
        lengths = {"local": 2 * self.chunk_length, "lsh": architecture.max_positions}
        shapes = [
            (num_slots, architecture.num_attention_heads, lengths[kind], architecture.attention_head_size)
            for kind in self._kinds
        ]
        self.keys: list[NDArray[np.generic]] = [np.zeros(shape, dtype) for shape in shapes]
        self.values: list[NDArray[np.generic]] = [np.zeros(shape, dtype) for shape in shapes]
        heads, size = architecture.num_attention_heads, architecture.attention_head_size
        self._chunk_shape = (2 * len(shapes), heads, self.chunk_length, size)
        self._dtype = dtype
        self._hash_beyond = architecture.hashing.hash_beyond if architecture.hashing else None
        num_hashes = architecture.hashing.num_hashes if architecture.hashing else 0
        self._buckets_shape = (self._kinds.count("lsh"), heads, num_hashes)
        self.buckets = np.zeros((num_slots, *self._buckets_shape, architecture.max_positions), np.uint8)
        """Of the prompt that is being read with hashing: [num_slots, LSH layers, heads, rounds, T]."""

    @property
    def chunk_bytes(self) -> int:
        """What the keys and values of one local chunk take, all layers together."""
        return math.prod(self._chunk_shape) * self._dtype.itemsize + math.prod(self._buckets_shape) * self.chunk_length

    def is_hashed(self, prompt_length: int) -> bool:
        """Whether a prompt of so many tokens is read with hashing, which leaves other keys and values than without."""
        return self._hash_beyond is not None and prompt_length > self._hash_beyond

    def lsh_parts(self, slot: int) -> tuple[list[NDArray[np.generic]], list[NDArray[np.generic]]]:
        """A slot's keys and its values, [heads, T, D] of each LSH layer."""
        layers = [layer for layer, kind in enumerate(self._kinds) if kind == "lsh"]
        return [self.keys[layer][slot] for layer in layers], [self.values[layer][slot] for layer in layers]

    def piece_end(self, position: int, prompt_length: int) -> int:
        """Where the prompt piece from `position` on ends (exclusive): no piece crosses a local chunk's border."""
        return min(prompt_length, position + PIECE_LENGTH, position - position % self.chunk_length + self.chunk_length)

    def begin_position(self, slot: int, position: int) -> None:
        """Makes room for `position` in the local layers; called once before it is written."""
        if position < 2 * self.chunk_length or position % self.chunk_length:
            return
        for kind, keys, values in zip(self._kinds, self.keys, self.values, strict=True):
            if kind == "local":
                for cache in (keys, values):
                    cache[slot, :, : self.chunk_length] = cache[slot, :, self.chunk_length :]

    def move(self, source: int, target: int, num_positions: int) -> None:
        """Copies the first `num_positions` positions of one slot over another's."""
        for kind, keys, values in zip(self._kinds, self.keys, self.values, strict=True):
            num_rows = num_positions if kind == "lsh" else min(num_positions, 2 * self.chunk_length)
            for cache in (keys, values):
                cache[target, :, :num_rows] = cache[source, :, :num_rows]
        self.buckets[target, ..., :num_positions] = self.buckets[source, ..., :num_positions]

    def chunk_store(self, num_chunks: int) -> ChunkStore:
        """Room for chunks outside the slots."""
        return ChunkStore(num_chunks, self._dtype, (self._chunk_shape, (*self._buckets_shape, self.chunk_length)))

    def save_chunk(self, slot: int, number: int, copy: ChunkCopy) -> None:
        """Copies a slot's chunk, which must be the last one that was written, into one row of a chunk store."""
        for part, (kind, cache) in zip(copy.parts, self._parts(), strict=True):
            part[:] = cache[slot, :, self._rows(kind, number)]
        copy.buckets[:] = self.buckets[slot, ..., self._rows("lsh", number)]

    def load_chunks(self, slot: int, copies: Sequence[ChunkCopy]) -> None:
        """Makes a slot what it was when these chunks, its first ones, had just been written."""
        for number, copy in enumerate(copies):
            self.buckets[slot, ..., self._rows("lsh", number)] = copy.buckets
            for part, (kind, cache) in zip(copy.parts, self._parts(), strict=True):
                # Of local layers the next chunk sees the last one only.
                if kind == "lsh" or number == len(copies) - 1:
                    cache[slot, :, self._rows(kind, number)] = part

    def _parts(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        for kind, keys, values in zip(self._kinds, self.keys, self.values, strict=True):
            yield kind, keys
            yield kind, values

    def _rows(self, kind: str, number: int) -> slice:
        """Where a chunk lies when it has just been written: a local layer's newest is in its second half, or alone."""
        first = min(number, 1) if kind == "local" else number
        return slice(first * self.chunk_length, (first + 1) * self.chunk_length)

    def release(self) -> None:
        """Lets go of the memory; the cache cannot be used any more."""
        self.keys.clear()
        self.values.clear()
