"""Runs an exported graph for long prompts over whole sequences, with the tables that its LSH layers see.

As `graph_session`, for comparison; serving has its own reader (`service.engine.long_prompts`).
"""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from model_store.bucket_tables import BucketTables
from model_store.contract.manifest import Architecture
from training.export.graph_session import GraphSession, SequenceRun


class LongGraphSession(GraphSession):
    """A graph for long prompts, loaded on one thread. It hashes whatever it is given, short sequences as well."""

    def __init__(self, graph: onnx.ModelProto | str, architecture: Architecture) -> None:
        """Loads a model or the file it was saved to. Raises as `GraphSession`, and ValueError without hashing."""
        super().__init__(graph, architecture)
        self._tables = BucketTables(architecture, self._cache_dtype)
        self._lsh_layers = [layer for layer, kind in enumerate(architecture.attn_layers) if kind == "lsh"]
        self._keys: list[NDArray[np.generic]] = []
        self._values: list[NDArray[np.generic]] = []
        self._buckets = np.zeros(0, np.uint8)

    def run(self, token_ids: Sequence[int]) -> SequenceRun:
        """Runs 1 to `max_positions` tokens from an empty cache. Raises ValueError for any other number."""
        shape = self._architecture
        heads, size = shape.num_attention_heads, shape.attention_head_size
        assert shape.hashing is not None
        self._tables.clear()
        self._keys, self._values = (
            [np.zeros((heads, len(token_ids), size), self._cache_dtype) for _ in self._lsh_layers] for _ in range(2)
        )
        self._buckets = np.zeros((len(self._lsh_layers), heads, shape.hashing.num_hashes, len(token_ids)), np.uint8)
        return super().run(token_ids)

    def _lsh_rows(self) -> int:
        return self._tables.num_places + 2 * self._architecture.local_chunk_length

    def _run_piece(
        self, token_ids: Sequence[int], piece: tuple[int, int], caches: list[NDArray[np.generic]]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.generic]]]:
        position, end = piece
        self._tables.open_chunk(position, self._keys, self._values, self._buckets)
        for number, layer in enumerate(self._lsh_layers):
            caches[2 * layer], caches[2 * layer + 1] = self._tables.keys[number], self._tables.values[number]
        logits, *outputs = self._session.run(None, self._feed(token_ids, piece, caches))
        presents, buckets = outputs[: len(caches)], outputs[len(caches) :]
        own = self._tables.own_rows(end - position)
        for number, layer in enumerate(self._lsh_layers):
            self._keys[number][:, position:end] = presents[2 * layer][0, :, own]
            self._values[number][:, position:end] = presents[2 * layer + 1][0, :, own]
            self._buckets[number, :, :, position:end] = buckets[number][0].swapaxes(1, 2)
        return logits[0], presents

    def _feed(
        self, token_ids: Sequence[int], piece: tuple[int, int], caches: list[NDArray[np.generic]]
    ) -> dict[str, NDArray[np.generic]]:
        tables = {f"place_buckets_{layer}": self._tables.place_buckets[n] for n, layer in enumerate(self._lsh_layers)}
        return {**super()._feed(token_ids, piece, caches), **tables}

    def _first_lsh_row(self, position: int) -> int:
        return int(self._tables.own_rows(1).start) + position % self._architecture.local_chunk_length
