"""The keys and values of all slots, allocated once and written by the graph in place.

A slot is one row of every array. LSH layers keep every position; local layers keep the previous and the current chunk,
so their memory does not grow with the context.
"""

import numpy as np
from numpy.typing import NDArray

from model_store.contract.manifest import Architecture

PIECE_LENGTH = 64
"""Most tokens of a prompt that one step takes in."""


class KVCache:
    """Arrays [num_slots, heads, T, D], keys and values of each layer."""

    def __init__(self, architecture: Architecture, num_slots: int, dtype: np.dtype[np.generic]) -> None:
        """Reserves address space; the system hands out memory as positions are first written."""
        self._chunk = architecture.local_chunk_length
        self._kinds = architecture.attn_layers
        lengths = {"local": 2 * self._chunk, "lsh": architecture.max_positions}
        shapes = [
            (num_slots, architecture.num_attention_heads, lengths[kind], architecture.attention_head_size)
            for kind in self._kinds
        ]
        self.keys: list[NDArray[np.generic]] = [np.zeros(shape, dtype) for shape in shapes]
        self.values: list[NDArray[np.generic]] = [np.zeros(shape, dtype) for shape in shapes]

    def piece_end(self, position: int, prompt_length: int) -> int:
        """Where the prompt piece from `position` on ends (exclusive): no piece crosses a local chunk's border."""
        return min(prompt_length, position + PIECE_LENGTH, position - position % self._chunk + self._chunk)

    def begin_position(self, slot: int, position: int) -> None:
        """Makes room for `position` in the local layers; called once before it is written."""
        if position < 2 * self._chunk or position % self._chunk:
            return
        for kind, keys, values in zip(self._kinds, self.keys, self.values, strict=True):
            if kind == "local":
                for cache in (keys, values):
                    cache[slot, :, : self._chunk] = cache[slot, :, self._chunk :]

    def move(self, source: int, target: int, num_positions: int) -> None:
        """Copies the first `num_positions` positions of one slot over another's."""
        for kind, keys, values in zip(self._kinds, self.keys, self.values, strict=True):
            num_rows = num_positions if kind == "lsh" else min(num_positions, 2 * self._chunk)
            for cache in (keys, values):
                cache[target, :, :num_rows] = cache[source, :, :num_rows]

    def release(self) -> None:
        """Lets go of the memory; the cache cannot be used any more."""
        self.keys.clear()
        self.values.clear()
