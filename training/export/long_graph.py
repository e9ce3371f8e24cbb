"""The graph that reads the pieces of long prompts: LSH layers hash, and see the tables of `model_store.bucket_tables`.

One row, and a local chunk or its beginning. As the graph of `onnx_graph`, but of LSH layers `past_key_i` and
`past_value_i` are [1, heads, P + 2C, D]: P places of bucket tables, the chunk before, and the chunk that is read, into
which the piece is written. More inputs: `place_buckets_i` [heads, rounds, P] int32, the tables' own. More outputs:
`buckets_i` [1, heads, S, rounds] int32 of the piece's tokens. The work of a piece is the same however long the prompt
is. Scores with all places are computed and those of other buckets hidden: a product over a few thousand keys costs less
than gathering some hundred keys for each token.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model_store.contract.manifest import Architecture, Hashing
from training.export.onnx_graph import ReformerGraph
from training.export.quantize import FLOAT32, QuantizationProfile

LONG_GRAPH_NAME = "long_prefill.onnx"
_HIDDEN_SCORE = -1e30


class LongReformerGraph(ReformerGraph):
    """The same network with hashing in its LSH layers."""

    _lsh_last = "piece_last_row"

    _indices: set[str]
    """Names of the index constants that are written."""

    @property
    def _hashing(self) -> Hashing:
        assert self._shape.hashing is not None
        return self._shape.hashing

    @property
    def _round_places(self) -> int:
        return self._hashing.num_buckets * self._hashing.bucket_window

    @property
    def _num_places(self) -> int:
        return self._hashing.num_hashes * self._round_places

    def _lsh_cache_rows(self) -> int:
        return self._num_places + 2 * self._shape.local_chunk_length

    def _count_lsh_rows(self) -> None:
        """Of the caches of LSH layers those up to the piece's last one."""
        write = self._write
        length = write.node("Shape", ["token_ids"], start=1, end=2, name="piece_length")
        before = write.constant("rows_before_piece", [self._num_places + self._shape.local_chunk_length], np.int64)
        rows = write.node("Cast", [write.node("Add", [length, before])], to=TensorProto.INT32)
        write.node("Squeeze", [rows], name="lsh_rows")
        write.node("Sub", [rows, "one_row"], name=self._lsh_last)

    def _prepare_lsh(self) -> None:
        """Writes the scores of the chunk before and the piece, which all layers share."""
        self._indices = set()
        write, chunk, length = self._write, self._shape.local_chunk_length, "piece_length"
        write.constant("hidden_score", _HIDDEN_SCORE, np.float32)
        write.constant("no_score", 0.0, np.float32)
        places = write.node("Range", ["zero", write.node("Squeeze", [length]), "one"])
        column = write.node("Unsqueeze", [places, write.constant("column_axis", [1], np.int64)])
        self_score = write.constant("self_score", -1e5, np.float32)
        own = write.node("Where", [write.node("Equal", [column, places]), self_score, "no_score"])
        is_first = write.node("Less", ["last_positions", "chunk"])
        previous = write.node("Where", [is_first, "hidden_score", "no_score"])
        heads = [1, self._shape.num_attention_heads]
        sizes = [write.constant("some_heads", heads, np.int64), length, write.constant("one_chunk", [chunk], np.int64)]
        previous = write.node("Expand", [previous, write.node("Concat", sizes, axis=0)])
        own = write.node("Expand", [own, write.node("Concat", ["some_heads", length, length], axis=0)])
        write.node("Concat", [previous, own], axis=3, name="near_scores")
        rounds, half = self._hashing.num_hashes, self._hashing.num_buckets // 2
        write.constant("split_rounds", [0, 0, self._shape.num_attention_heads, rounds, half], np.int64)

    def _lsh_key(self, layer: int, query_key: str) -> str:
        write, size = self._write, self._shape.attention_head_size
        rotations = write.weight(f"reformer.encoder.layers.{layer}.attention.self_attention.rotations")
        by_head = write.node("Reshape", [query_key, "split_heads"])
        rotated = write.node(
            "MatMul", [by_head, write.constant(f"rotations_{layer}", rotations.reshape(size, -1), np.float32)]
        )
        by_round = write.node("Reshape", [rotated, "split_rounds"])
        both_signs = write.node("Concat", [by_round, write.node("Neg", [by_round])], axis=-1)
        buckets = write.node("ArgMax", [both_signs], axis=-1, keepdims=0)
        buckets = write.node("Cast", [buckets], to=TensorProto.INT32)
        write.node("Transpose", [buckets], perm=[0, 2, 1, 3], name=f"buckets_{layer}")
        return super()._lsh_key(layer, query_key)

    def _lsh_scores(self, layer: int) -> str:
        """[1, heads, S, P + C + S]: places of other buckets are hidden, and what an earlier round shows already."""
        rounds = [self._round_scores(layer, number) for number in range(self._hashing.num_hashes)]
        return self._write.node("Concat", [*rounds, "near_scores"], axis=3)

    def _round_scores(self, layer: int, number: int) -> str:
        write = self._write
        scores = ""
        for shown in (number, *range(number)):
            bucket = write.node("Gather", [f"buckets_{layer}", self._index([shown])], axis=3)
            places = write.node("Gather", [f"place_buckets_{layer}", self._index([shown])], axis=1)
            bounds = [self._index([edge * self._round_places]) for edge in (number, number + 1)]
            in_round = write.node("Slice", [places, *bounds, self._index([2])])
            is_shared = write.node("Equal", [bucket, in_round])
            if shown == number:
                scores = write.node("Where", [is_shared, "no_score", "hidden_score"])
            else:
                scores = write.node("Where", [is_shared, "hidden_score", scores])
        return scores

    def _index(self, numbers: list[int]) -> str:
        name = "index_" + "_".join(map(str, numbers))
        if name not in self._indices:
            self._indices.add(self._write.constant(name, numbers, np.int64))
        return name

    def _more_interface(self) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
        heads, rounds = self._shape.num_attention_heads, self._hashing.num_hashes
        layers = [layer for layer, kind in enumerate(self._shape.attn_layers) if kind == "lsh"]
        info, kind = helper.make_tensor_value_info, TensorProto.INT32
        places = [info(f"place_buckets_{layer}", kind, [heads, rounds, self._num_places]) for layer in layers]
        return places, [info(f"buckets_{layer}", kind, ["batch", heads, "length", rounds]) for layer in layers]


def build_long_graph(
    weights: Mapping[str, NDArray[np.float32]],
    architecture: Architecture,
    profile: QuantizationProfile = FLOAT32,
    *,
    layer_norm_eps: float = 1e-12,
) -> onnx.ModelProto:
    """Builds the graph from a policy's state dictionary. Raises ValueError as `build_graph`, and without hashing."""
    if architecture.hashing is None:
        raise ValueError("only an architecture with hashing has a graph for long prompts")
    return LongReformerGraph(weights, architecture, profile, layer_norm_eps).build()
