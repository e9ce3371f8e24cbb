"""Reads the pieces of a long prompt: the graph for them in onnxruntime, its tables, and the slot's caches.

What a piece leaves in the caches is what decoding sees, which stays exact. The interface is that of
`training.export.long_graph`; `tests/contract/test_long_prompts.py` holds the two together.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_store.bucket_tables import BucketTables
from model_store.contract.manifest import Architecture
from model_store.graphs import ort
from service.engine.cpu_limit import num_usable_cpus
from service.engine.errors import ModelUnusableError
from service.engine.kv_cache import PIECE_LENGTH, KVCache
from service.engine.ort_session import CONTEXT_LENGTH, PromptPiece, bind_array, load_graph
from service.engine.types import EngineOptions


class LongReader:
    """One prompt at a time, piece by piece. Not thread-safe."""

    def __init__(self, path: Path, architecture: Architecture, cache: KVCache, options: EngineOptions) -> None:
        """Loads the graph. Raises ModelUnusableError when onnxruntime refuses it or it is not this architecture's."""
        self._session = load_graph(path, min(options.num_threads, num_usable_cpus()))
        self._architecture = architecture
        self._cache = cache
        self._tables = BucketTables(architecture, cache.keys[0].dtype)
        self._lsh_layers = [layer for layer, kind in enumerate(architecture.attn_layers) if kind == "lsh"]
        self._token_ids = np.zeros((1, PIECE_LENGTH), np.int64)
        self._last_positions = np.zeros(1, np.int32)
        self._output_index = np.zeros(1, np.int64)
        self._previous_ids = np.zeros((1, architecture.max_positions + CONTEXT_LENGTH), np.int64)
        self._logits = np.zeros((1, 1, architecture.vocab_size), np.float32)
        self._check_interface(path)

    def read(self, piece: PromptPiece) -> NDArray[np.float32]:
        """Logits [V] of the piece's last token; its keys and values are in the slot's caches afterwards.

        The array is the reader's own and valid until the next call.
        """
        first, length = piece.first_position, len(piece.token_ids)
        keys, values = self._cache.lsh_parts(piece.slot)
        if piece.begins:
            self._tables.clear()
        self._cache.begin_position(piece.slot, first)
        self._tables.open_chunk(first, keys, values, self._cache.buckets[piece.slot])
        self._token_ids[0, :length] = piece.token_ids
        self._last_positions[0] = first + length - 1
        self._output_index[0] = length - 1
        binding, buckets = self._bind(piece)
        self._session.run_with_iobinding(binding)
        own, rows = self._tables.own_rows(length), slice(first, first + length)
        for number in range(len(self._lsh_layers)):
            keys[number][:, rows] = self._tables.keys[number, 0, :, own]
            values[number][:, rows] = self._tables.values[number, 0, :, own]
            self._cache.buckets[piece.slot, number, :, :, rows] = buckets[number].swapaxes(1, 2)
        row: NDArray[np.float32] = self._logits[0, 0]
        return row

    def _bind(self, piece: PromptPiece) -> tuple[ort.IOBinding, NDArray[np.int32]]:
        """The piece's binding, and where its buckets will be [LSH layers, heads, S, rounds]."""
        shape, length, slots = self._architecture, len(piece.token_ids), slice(piece.slot, piece.slot + 1)
        binding = self._session.io_binding()
        bind_array(binding, "token_ids", self._token_ids[:, :length])
        bind_array(binding, "last_positions", self._last_positions)
        bind_array(binding, "output_index", self._output_index)
        bind_array(binding, "logits", self._logits, is_output=True)
        if shape.ngram_rows:
            previous = piece.previous_ids if shape.message_summary else piece.previous_ids[-CONTEXT_LENGTH:]
            self._previous_ids[0, : len(previous)] = previous
            bind_array(binding, "previous_ids", self._previous_ids[:, : len(previous)])
        for layer, (keys, values) in enumerate(zip(self._cache.keys, self._cache.values, strict=True)):
            is_lsh = layer in self._lsh_layers
            number = self._lsh_layers.index(layer) if is_lsh else 0
            for part, cache, tables in (("key", keys, self._tables.keys), ("value", values, self._tables.values)):
                rows = tables[number] if is_lsh else cache[slots]
                bind_array(binding, f"past_{part}_{layer}", rows)
                bind_array(binding, f"present_{part}_{layer}", rows, is_output=True)
        assert shape.hashing is not None
        sizes = (len(self._lsh_layers), shape.num_attention_heads, length, shape.hashing.num_hashes)
        buckets = np.zeros(sizes, np.int32)
        for number, layer in enumerate(self._lsh_layers):
            bind_array(binding, f"place_buckets_{layer}", self._tables.place_buckets[number])
            bind_array(binding, f"buckets_{layer}", buckets[number, None], is_output=True)
        return binding, buckets

    def _check_interface(self, path: Path) -> None:
        """Raises ModelUnusableError when the tables or the vocabulary are not the architecture's."""
        inputs = {entry.name: entry for entry in self._session.get_inputs()}
        outputs = {entry.name: entry for entry in self._session.get_outputs()}
        for number, layer in enumerate(self._lsh_layers):
            expected = {
                f"past_key_{layer}": self._tables.keys[number].shape[1:],
                f"past_value_{layer}": self._tables.values[number].shape[1:],
                f"place_buckets_{layer}": self._tables.place_buckets[number].shape,
            }
            for name, sizes in expected.items():
                if name not in inputs or tuple(inputs[name].shape)[-len(sizes) :] != sizes:
                    raise ModelUnusableError(path=path, problem="its tables do not fit the manifest's architecture")
        is_int8 = inputs[f"past_key_{self._lsh_layers[0]}"].type == "tensor(int8)"
        if is_int8 != (self._cache.keys[0].dtype == np.int8):
            raise ModelUnusableError(path=path, problem="its caches are not of the other graph's type")
        if "logits" not in outputs or outputs["logits"].shape[-1] != self._architecture.vocab_size:
            raise ModelUnusableError(path=path, problem="its outputs do not fit the manifest's architecture")
