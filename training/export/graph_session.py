"""Runs an exported graph over whole sequences: logits of every position and the keys and values that were cached.

One sequence at a time, caches copied on every call: made for calibration and comparison, where simple beats fast.
Serving has its own session (`service.engine.ort_session`); both feed the interface that `onnx_graph` describes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from model_store.contract.chat_template import message_start
from model_store.contract.manifest import Architecture
from model_store.graphs import ort
from training.reformer.ngrams import CONTEXT

PIECE_LENGTH = 64
"""Tokens a call; a piece never crosses the border of a local chunk."""


@dataclass(frozen=True, slots=True)
class SequenceRun:
    """What the graph computed for one sequence of S tokens."""

    logits: NDArray[np.float32]
    """[S, V]."""
    keys: tuple[NDArray[np.generic], ...]
    """A layer each: [heads, S, D] as cached."""
    values: tuple[NDArray[np.generic], ...]


class GraphSession:
    """An exported graph, loaded on one thread."""

    def __init__(self, graph: onnx.ModelProto | str, architecture: Architecture) -> None:
        """Loads a model or the file it was saved to. Raises onnxruntime's errors for a graph that it cannot run."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        source = graph if isinstance(graph, str) else graph.SerializeToString()
        self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._architecture = architecture
        past_types = {entry.name: entry.type for entry in self._session.get_inputs()}
        self._cache_dtype = np.dtype(np.int8 if past_types["past_key_0"] == "tensor(int8)" else np.float32)

    def run(self, token_ids: Sequence[int]) -> SequenceRun:
        """Runs 1 to `max_positions` tokens from an empty cache. Raises ValueError for any other number."""
        num_tokens = len(token_ids)
        if not 1 <= num_tokens <= self._architecture.max_positions:
            raise ValueError(f"{num_tokens} tokens; this graph takes 1 to {self._architecture.max_positions}")
        caches = self._empty_caches()
        logits, rows = [], []
        position = 0
        while position < num_tokens:
            chunk = self._architecture.local_chunk_length
            end = min(num_tokens, position + PIECE_LENGTH, position - position % chunk + chunk)
            piece_logits, caches = self._run_piece(token_ids, (position, end), caches)
            logits.append(piece_logits)
            rows.append(self._written_rows(caches, position, end))
            position = end
        layers = [np.concatenate(layer, axis=1) for layer in zip(*rows, strict=True)]
        return SequenceRun(np.concatenate(logits), tuple(layers[0::2]), tuple(layers[1::2]))

    def _empty_caches(self) -> list[NDArray[np.generic]]:
        """Keys and values in turn, a layer after the other."""
        shape = self._architecture
        lengths = {"local": 2 * shape.local_chunk_length, "lsh": self._lsh_rows()}
        return [
            np.zeros((1, shape.num_attention_heads, lengths[kind], shape.attention_head_size), self._cache_dtype)
            for kind in shape.attn_layers
            for _ in range(2)
        ]

    def _lsh_rows(self) -> int:
        return self._architecture.max_positions

    def _run_piece(
        self, token_ids: Sequence[int], piece: tuple[int, int], caches: list[NDArray[np.generic]]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.generic]]]:
        logits, *presents = self._session.run(None, self._feed(token_ids, piece, caches))
        return logits[0], presents

    def _feed(
        self, token_ids: Sequence[int], piece: tuple[int, int], caches: list[NDArray[np.generic]]
    ) -> dict[str, NDArray[np.generic]]:
        chunk = self._architecture.local_chunk_length
        position, end = piece
        if position % chunk == 0 and position >= 2 * chunk:
            for cache, kind in zip(caches, np.repeat(self._architecture.attn_layers, 2), strict=True):
                if kind == "local":
                    cache[:, :, :chunk] = cache[:, :, chunk:]
        feed: dict[str, NDArray[np.generic]] = {
            "token_ids": np.asarray([token_ids[position:end]], np.int64),
            "last_positions": np.asarray([end - 1], np.int32),
            "output_index": np.arange(end - position, dtype=np.int64),
        }
        if self._architecture.ngram_rows:
            text = [*[0] * CONTEXT, *token_ids]
            start = message_start(token_ids[:position]) if self._architecture.message_summary else position
            feed["previous_ids"] = np.asarray([text[start : position + CONTEXT]], np.int64)
        for layer in range(len(self._architecture.attn_layers)):
            feed[f"past_key_{layer}"], feed[f"past_value_{layer}"] = caches[2 * layer : 2 * layer + 2]
        return feed

    def _first_lsh_row(self, position: int) -> int:
        return position

    def _written_rows(self, caches: list[NDArray[np.generic]], position: int, end: int) -> list[NDArray[np.generic]]:
        chunk = self._architecture.local_chunk_length
        first_local = position if position < chunk else chunk + position % chunk
        firsts = {"local": first_local, "lsh": self._first_lsh_row(position)}
        kinds = [kind for kind in self._architecture.attn_layers for _ in range(2)]
        return [
            cache[0, :, firsts[kind] : firsts[kind] + end - position].copy()
            for cache, kind in zip(caches, kinds, strict=True)
        ]
