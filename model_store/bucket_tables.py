"""Tables of what a long prompt's tokens see of what lies far back: of each bucket the latest tokens' keys and values.

For one prompt that is read chunk by chunk by `long_prefill.onnx`; which tokens these are is the rule of
`training.reformer.hashing.causal_attention`, what the graph makes of them that of `training.export.long_graph`. Whoever
runs the graph fills the tables from the caches that hold all tokens, whether it has just read them or found them again:
only numbers are copied, so both give every bit.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model_store.contract.manifest import Architecture

NO_BUCKET = -1
"""Where a place of a table holds nothing that counts."""
_BLOCK = 1024
"""Most tokens that are sorted in at once; bounds the memory of finding a long prompt again."""

Rows = NDArray[np.generic]


class BucketTables:
    """Rows of each LSH layer's keys and values: places of all rounds' buckets, the chunk before, the chunk being read.

    A round has a place for each bucket and each of the window's tokens; a token lies at its bucket's number of arrivals
    so far, modulo the window.
    """

    def __init__(self, architecture: Architecture, dtype: np.dtype[np.generic]) -> None:
        """Raises ValueError for an architecture without hashing."""
        hashing = architecture.hashing
        if hashing is None:
            raise ValueError("this architecture does not hash")
        self._rule = hashing
        self._chunk = architecture.local_chunk_length
        num_layers, heads = architecture.attn_layers.count("lsh"), architecture.num_attention_heads
        per_round = hashing.num_buckets * hashing.bucket_window
        self.num_places = hashing.num_hashes * per_round
        shape = (num_layers, 1, heads, self.num_places + 2 * self._chunk, architecture.attention_head_size)
        self.keys: Rows = np.zeros(shape, dtype)
        self.values: Rows = np.zeros(shape, dtype)
        self.place_buckets = np.full((num_layers, heads, hashing.num_hashes, self.num_places), NO_BUCKET, np.int32)
        """The bucket of each place's token in its own round and, while an earlier round still holds it, in that one."""
        self._ranks = np.zeros(self.place_buckets.shape, np.int64)
        self._place_tokens_buckets = np.zeros(self.place_buckets.shape, np.int64)
        self._arrivals = np.zeros((num_layers, heads, hashing.num_hashes, hashing.num_buckets), np.int64)
        self._num_sorted = 0

    def clear(self) -> None:
        """Forgets the prompt: the next one begins."""
        self.place_buckets.fill(NO_BUCKET)
        self._arrivals.fill(0)
        self._num_sorted = 0

    def own_rows(self, length: int) -> slice:
        """Where the graph writes the tokens of the chunk that is being read."""
        first = self.num_places + self._chunk
        return slice(first, first + length)

    def open_chunk(self, first: int, keys: Sequence[Rows], values: Sequence[Rows], buckets: NDArray[np.uint8]) -> None:
        """Makes the tables what the chunk from position `first` on sees.

        `keys` and `values` are all LSH layers' [heads, T, D], `buckets` [layers, heads, rounds, T]; of each the
        positions before `first` are read.
        """
        previous = max(0, first - self._chunk)
        for start in range(self._num_sorted, previous, _BLOCK):
            part = slice(start, min(previous, start + _BLOCK))
            self._sort_in(_stacked(keys, part), _stacked(values, part), buckets[..., part].astype(np.int64))
        self._num_sorted = previous
        if first:
            near, rows = slice(self.num_places, self.num_places + self._chunk), slice(previous, first)
            self.keys[:, 0, :, near] = _stacked(keys, rows)
            self.values[:, 0, :, near] = _stacked(values, rows)

    def _sort_in(self, keys: Rows, values: Rows, buckets: NDArray[np.int64]) -> None:
        """Takes tokens [layers, heads, n, D] with their buckets [layers, heads, rounds, n] into the tables."""
        rule, ranks = self._rule, self._rank(buckets)
        stays = ranks >= self._oldest_rank(buckets)
        for number in range(rule.num_hashes):
            layer, head, token = np.nonzero(stays[:, :, number])
            place = (number * rule.num_buckets + buckets[layer, head, number, token]) * rule.bucket_window
            place += ranks[layer, head, number, token] % rule.bucket_window
            self.keys[layer, 0, head, place] = keys[layer, head, token]
            self.values[layer, 0, head, place] = values[layer, head, token]
            for earlier in range(number + 1):
                self._place_tokens_buckets[layer, head, earlier, place] = buckets[layer, head, earlier, token]
                self._ranks[layer, head, earlier, place] = ranks[layer, head, earlier, token]
            self.place_buckets[layer, head, number, place] = buckets[layer, head, number, token]
        self._hide_what_earlier_rounds_lost()

    def _rank(self, buckets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which arrival of its bucket each token is, [layers, heads, rounds, n]; counts them."""
        is_own = buckets[..., None] == np.arange(self._rule.num_buckets)
        so_far = is_own.cumsum(-2) + self._arrivals[..., None, :]
        ranks: NDArray[np.int64] = np.take_along_axis(so_far, buckets[..., None], -1)[..., 0] - 1
        self._arrivals = so_far[..., -1, :]
        return ranks

    def _oldest_rank(self, buckets: NDArray[np.int64]) -> NDArray[np.int64]:
        oldest: NDArray[np.int64] = np.take_along_axis(self._arrivals, buckets, -1) - self._rule.bucket_window
        return oldest

    def _hide_what_earlier_rounds_lost(self) -> None:
        """A token that an earlier round still holds for its bucket counts there, and else where it lies."""
        per_round = self._rule.num_buckets * self._rule.bucket_window
        for earlier in range(self._rule.num_hashes - 1):
            later = slice((earlier + 1) * per_round, None)
            buckets = self._place_tokens_buckets[:, :, earlier, later]
            oldest = np.take_along_axis(self._arrivals[:, :, earlier], buckets, -1) - self._rule.bucket_window
            is_held = self._ranks[:, :, earlier, later] >= oldest
            self.place_buckets[:, :, earlier, later] = np.where(is_held, buckets, NO_BUCKET)


def _stacked(caches: Sequence[Rows], rows: slice) -> Rows:
    """[layers, heads, n, D] of caches [heads, T, D]."""
    return np.stack([cache[:, rows] for cache in caches])
