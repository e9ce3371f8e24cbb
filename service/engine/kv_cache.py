"""The keys and values of all slots, allocated once and written by the graph in place.

A slot is one row of every array. LSH layers keep every position; local layers keep the previous and the current chunk,
so their memory does not grow with the context.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model_store.contract.manifest import Architecture

PIECE_LENGTH = 64
"""Most tokens of a prompt that one step takes in."""


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

    @property
    def chunk_bytes(self) -> int:
        """What the keys and values of one local chunk take, all layers together."""
        return math.prod(self._chunk_shape) * self._dtype.itemsize

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

    def chunk_store(self, num_chunks: int) -> NDArray[np.generic]:
        """Room for chunks outside the slots: [num_chunks, 2 x layers, heads, chunk, D], a layer's keys, then values."""
        return np.zeros((num_chunks, *self._chunk_shape), self._dtype)

    def save_chunk(self, slot: int, number: int, copy: NDArray[np.generic]) -> None:
        """Copies a slot's chunk, which must be the last one that was written, into one row of a chunk store."""
        for part, (kind, cache) in zip(copy, self._parts(), strict=True):
            part[:] = cache[slot, :, self._rows(kind, number)]

    def load_chunks(self, slot: int, copies: Sequence[NDArray[np.generic]]) -> None:
        """Makes a slot what it was when these chunks, its first ones, had just been written."""
        for number, copy in enumerate(copies):
            for part, (kind, cache) in zip(copy, self._parts(), strict=True):
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
