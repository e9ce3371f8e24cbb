"""The network as one hand-built ONNX graph for decoding (S = 1, any batch) and for prompt pieces (S ≤ 64).

Inputs: `token_ids` [B, S] int64; `last_positions` [B] int32, the position of each row's last token; `output_index` [O]
int64, the columns whose logits are wanted; of a network that knows n-grams `previous_ids` [B, P] int64, the tokens
before, 0 where there is none: two, and of a network with a message summary, before a prompt piece, two before the
message that it goes on with and all of that message; `past_key_i`, `past_value_i` [B, heads, T, D], which may be the
very buffers of the outputs `present_key_i`, `present_value_i`. T is `max_positions` for LSH layers and two chunks
(previous and current) for local ones; whoever runs the graph moves the second half over the first before position 2C,
3C, … and lets no call cross a chunk's border. Output: `logits` [B, O, V].
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model_store.contract.control_tokens import ASSISTANT_ID, USER_ID
from model_store.contract.manifest import Architecture
from training.export.graph_writer import CONTRIB, CONTRIB_OPSET, IR_VERSION, OPSET, GraphWriter
from training.export.quantize import FLOAT32, QuantizationProfile
from training.reformer.message_summary import EPSILON as SUMMARY_EPSILON
from training.reformer.ngrams import CONTEXT, KEY_FACTOR, KEY_MODULUS, MAX_NGRAM, NGRAM_BASE, ROW_WIDTH, place_moduli

GRAPH_NAME = "reformer"
_SELF_SCORE = -1e5
_LSH_NORM_EPS = 1e-6
_TO_THE_END = 2**62


class ReformerGraph:
    """The network's layers, written in order. `long_graph` reads long prompts with other caches of LSH layers."""

    _lsh_last = "last_positions"
    """What is known as the row, in the caches of LSH layers, of each text's last token."""

    def __init__(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        architecture: Architecture,
        profile: QuantizationProfile,
        layer_norm_eps: float,
    ) -> None:
        self._write = GraphWriter(weights, profile)
        self._shape = architecture
        self._profile = profile
        self._epsilon = layer_norm_eps

    def build(self) -> onnx.ModelProto:
        x = self._embed()
        self._prepare_attention()
        x1 = x2 = x
        for layer in range(len(self._shape.attn_layers)):
            x1 = self._write.node("Add", [x1, self._attend(layer, x2)])
            x2 = self._write.node("Add", [x2, self._feed_forward(layer, x1)])
        streams = self._write.node("Concat", [x1, x2], axis=-1)
        wanted = self._write.node("Gather", [streams, "output_index"], axis=1)
        normalised = self._write.layer_norm(wanted, "reformer.encoder.layer_norm", self._epsilon)
        # The stock head owns a bias but never adds it.
        logits = self._write.linear(normalised, "lm_head", self._write.weight("lm_head.decoder.weight"))
        self._write.node("Identity", [logits], name="logits")
        return self._as_model()

    def _embed(self) -> str:
        """Token and position embeddings; also writes `positions` [B, S] = last position - S + 1, …, last position."""
        write = self._write
        length = write.node("Squeeze", [write.node("Shape", ["token_ids"], start=1, end=2)])
        write.constant("zero", np.array(0), np.int64)
        write.constant("one", np.array(1), np.int64)
        offsets = write.node("Sub", [write.node("Range", ["zero", length, "one"]), write.node("Sub", [length, "one"])])
        last = write.node("Cast", ["last_positions"], to=TensorProto.INT64)
        column = write.node("Unsqueeze", [last, write.constant("second_axis", [1], np.int64)])
        write.node("Add", [column, offsets], name="positions")
        words = write.weight("reformer.embeddings.word_embeddings.weight")
        tokens = write.table_rows("word_embeddings", words, "token_ids")
        embedded = write.node(
            "Add", [tokens, write.table_rows("position_embeddings", self._position_table(), "positions")]
        )
        if not self._shape.ngram_rows:
            return embedded
        text = write.node("Concat", ["previous_ids", "token_ids"], axis=1)
        write.constant("text_axis", [1], np.int64)
        ngrams = self._ngrams(text)
        if not self._shape.message_summary:
            return write.node("Add", [embedded, ngrams])
        ends = [write.constant("text_end", [_TO_THE_END], np.int64), "text_axis"]
        piece_start = write.node(
            "Neg", [write.node("Unsqueeze", [length, write.constant("first_axis", [0], np.int64)])]
        )
        embedded = write.node("Add", [embedded, write.node("Slice", [ngrams, piece_start, *ends])])
        message = write.node("Slice", [text, write.constant("context_end", [CONTEXT], np.int64), *ends])
        return write.node("Add", [embedded, self._summary(message, ngrams, [piece_start, *ends])])

    def _summary(self, message: str, ngrams: str, piece: list[str]) -> str:
        """What `training.reformer.message_summary` computes, cut by `piece` out of its text: [B, S, hidden].

        message [B, K] are the text's tokens, ngrams [B, K, hidden] their n-grams.
        """
        write = self._write
        is_user = write.node("Equal", [message, write.constant("user_id", USER_ID, np.int64)])
        turns = write.node(
            "CumSum", [write.node("Cast", [is_user], to=TensorProto.INT64), write.constant("along_text", 1, np.int64)]
        )
        in_piece = write.node(
            "Unsqueeze", [write.node("Slice", [turns, *piece]), write.constant("key_axis", [2], np.int64)]
        )
        is_same = write.node("Equal", [in_piece, write.node("Unsqueeze", [turns, "text_axis"])])
        # Of a turn, what lies beyond a position is cut off: column k of row q counts from the text's start.
        num_before = write.node(
            "Squeeze", [write.node("Add", [write.node("Shape", [message], start=1, end=2), piece[0]])]
        )
        mask = write.node("Trilu", [write.node("Cast", [is_same], to=TensorProto.FLOAT), num_before], upper=0)
        summed = write.node("MatMul", [mask, ngrams])
        gain = write.constant("summary_gain", np.ones(self._shape.hidden_size), np.float32)
        normalised = write.node("SimplifiedLayerNormalization", [summed, gain], axis=-1, epsilon=SUMMARY_EPSILON)
        projected = write.linear(normalised, "summary_projection", write.weight("summary.projection.weight"))
        is_opening = write.node("Equal", ["token_ids", write.constant("assistant_id", ASSISTANT_ID, np.int64)])
        opening = write.node("Cast", [is_opening], to=TensorProto.FLOAT)
        return write.node("Mul", [projected, write.node("Unsqueeze", [opening, "key_axis"])])

    def _ngrams(self, text: str) -> str:
        """What `training.reformer.ngrams` looks up for all tokens of `text` but the first two: [B, K, hidden]."""
        write, num_rows = self._write, self._shape.ngram_rows
        found = write.node(
            "Gather", [write.stored("ngram_table", "ngrams.table", np.int8), self._ngram_rows(text, num_rows)]
        )
        joined = write.node(
            "Reshape",
            [
                write.node("Cast", [found], to=TensorProto.FLOAT),
                write.constant("ngram_joined", [0, 0, MAX_NGRAM * ROW_WIDTH], np.int64),
            ],
        )
        return write.linear(joined, "ngram_projection", write.weight("ngrams.projection.weight"))

    def _ngram_rows(self, text: str, num_rows: int) -> str:
        """Rows [B, K, 3] of the token, the pair and the triple that end at each position; 0 for unknown ones."""
        write = self._write
        one = write.constant("ngram_one", 1, np.int64)
        digits = write.node("Add", [text, one])
        keys = [""]
        for back in range(MAX_NGRAM):
            starts = write.constant(f"ngram_start_{back}", [CONTEXT - back], np.int64)
            ends = write.constant(f"ngram_end_{back}", [-back if back else _TO_THE_END], np.int64)
            digit = write.node("Slice", [digits, starts, ends, "text_axis"])
            value = write.constant(f"ngram_value_{back}", NGRAM_BASE**back, np.int64)
            key = write.node("Mul", [digit, value])
            keys.append(write.node("Add", [keys[-1], key]) if keys[-1] else key)
        last_axis = write.constant("ngram_last_axis", [-1], np.int64)
        columns = [write.node("Unsqueeze", [key, last_axis]) for key in keys[1:]]
        wanted = write.node("Unsqueeze", [write.node("Concat", columns, axis=2), last_axis])
        factor = write.constant("ngram_factor", KEY_FACTOR, np.int64)
        moduli = write.constant("ngram_moduli", list(place_moduli(num_rows)), np.int64)
        places = write.node("Mod", [write.node("Mul", [wanted, factor]), moduli])
        standing = write.node("Gather", [write.stored("ngram_keys", "ngrams.keys", np.int32), places])
        modulus = write.constant("ngram_key_modulus", KEY_MODULUS, np.int64)
        stored = write.node("Cast", [write.node("Mod", [wanted, modulus])], to=TensorProto.INT32)
        is_known = write.node("Cast", [write.node("Equal", [standing, stored])], to=TensorProto.INT64)
        rows = write.node("Mul", [is_known, write.node("Add", [places, one])])
        return write.node("ReduceMax", [rows, last_axis], keepdims=0)

    def _position_table(self) -> NDArray[np.float32]:
        """[max_positions, hidden]; axial factors w0 [A, 1, d0], w1 [1, B, d1]: row p = cat(w0[p // B], w1[p % B])."""
        prefix = "reformer.embeddings.position_embeddings"
        try:
            table = self._write.weight(f"{prefix}.embedding.weight")
        except ValueError:
            first, second = (self._write.weight(f"{prefix}.weights.{axis}") for axis in range(2))
            rows, columns = first.shape[0], second.shape[1]
            parts = [np.broadcast_to(factor, (rows, columns, factor.shape[-1])) for factor in (first, second)]
            table = np.concatenate(parts, axis=-1).reshape(rows * columns, -1)
        if table.shape != (self._shape.max_positions, self._shape.hidden_size):
            expected = (self._shape.max_positions, self._shape.hidden_size)
            raise ValueError(f"the position embeddings have shape {table.shape}, the architecture says {expected}")
        return table

    def _prepare_attention(self) -> None:
        """Writes what all layers of a kind share: used rows of the caches, and the LSH layers' self scores."""
        write, chunk = self._write, self._shape.local_chunk_length
        write.constant("one_row", np.array(1), np.int32)
        write.constant("chunk", np.array(chunk), np.int32)
        self._count_lsh_rows()
        in_chunk = write.node("Mod", ["last_positions", "chunk"])
        later = write.node("Add", [in_chunk, "chunk"])
        write.node(
            "Where", [write.node("Less", ["last_positions", "chunk"]), "last_positions", later], name="local_last"
        )
        write.node("Add", [write.node("ReduceMax", ["local_last"], keepdims=0), "one_row"], name="local_rows")
        if "lsh" not in self._shape.attn_layers:
            return
        self._prepare_lsh()
        size, heads = self._shape.attention_head_size, self._shape.num_attention_heads
        write.constant("split_heads", [0, 0, heads, size], np.int64)
        write.constant("merge_heads", [0, 0, heads * size], np.int64)
        write.constant("unit_gain", np.ones(size), np.float32)

    def _count_lsh_rows(self) -> None:
        last = self._write.node("ReduceMax", ["last_positions"], keepdims=0)
        self._write.node("Add", [last, "one_row"], name="lsh_rows")

    def _prepare_lsh(self) -> None:
        """Writes the scores of tokens with themselves."""
        write = self._write
        num_keys = write.node("Cast", ["lsh_rows"], to=TensorProto.INT64)
        key_positions = write.node("Range", ["zero", num_keys, "one"])
        queries = write.node("Unsqueeze", ["positions", write.constant("query_axes", [1, 3], np.int64)])
        is_self = write.node("Equal", [queries, key_positions])
        # Nothing else is visible from position 0, where any finite score gives self a weight of exactly one.
        scores = [write.constant("self_score", _SELF_SCORE, np.float32), write.constant("no_score", 0.0, np.float32)]
        write.node("Where", [is_self, *scores], name="self_scores")

    def _attend(self, layer: int, x2: str) -> str:
        write, prefix = self._write, f"reformer.encoder.layers.{layer}.attention"
        normalised = write.layer_norm(x2, f"{prefix}.layer_norm", self._epsilon)
        is_local = self._shape.attn_layers[layer] == "local"
        names = ("query", "key", "value") if is_local else ("query_key", "value")
        stacked = np.concatenate([write.weight(f"{prefix}.self_attention.{name}.weight") for name in names])
        projected = write.linear(normalised, f"layer_{layer}.projection", stacked)
        parts = write.split(projected, len(names))
        if is_local:
            query, key, value = parts
        else:
            query, value = parts
            key = self._lsh_key(layer, query)
        attended = self._cached_attention(layer, [query, key, value])
        return write.linear(attended, f"layer_{layer}.output", write.weight(f"{prefix}.output.dense.weight"))

    def _lsh_key(self, layer: int, query_key: str) -> str:
        """k = qk · rsqrt(mean(qk²) + 1e-6) a head; the attention itself divides by √D."""
        by_head = self._write.node("Reshape", [query_key, "split_heads"])
        normalised = self._write.node(
            "SimplifiedLayerNormalization", [by_head, "unit_gain"], axis=-1, epsilon=_LSH_NORM_EPS
        )
        return self._write.node("Reshape", [normalised, "merge_heads"])

    def _cached_attention(self, layer: int, query_key_value: list[str]) -> str:
        is_local = self._shape.attn_layers[layer] == "local"
        lengths = ["local_last", "local_rows"] if is_local else [self._lsh_last, "lsh_rows"]
        rotary = ["", ""]
        inputs = [*query_key_value, f"past_key_{layer}", f"past_value_{layer}", *lengths, *rotary]
        inputs += ["", "" if is_local else self._lsh_scores(layer)]
        heads, size = self._shape.num_attention_heads, self._shape.attention_head_size
        attributes: dict[str, Any] = {"num_heads": heads, "kv_num_heads": heads, "scale": 1 / math.sqrt(size)}
        if self._profile.kv_scales is not None:
            scales = self._profile.kv_scales[layer]
            inputs += ["", self._write.constant(f"key_scale_{layer}", scales.key, np.float32)]
            inputs += [self._write.constant(f"value_scale_{layer}", scales.value, np.float32)]
            attributes |= {"kv_cache_bit_width": 8, "k_quant_type": "PER_TENSOR", "v_quant_type": "PER_TENSOR"}
        outputs = [f"attended_{layer}", f"present_key_{layer}", f"present_value_{layer}"]
        self._write.nodes.append(
            helper.make_node(
                "GroupQueryAttention", inputs, outputs, name=f"attention_{layer}", domain=CONTRIB, **attributes
            )
        )
        return outputs[0]

    def _lsh_scores(self, layer: int) -> str:
        """What is added to an LSH layer's scores."""
        return "self_scores"

    def _lsh_cache_rows(self) -> int:
        return self._shape.max_positions

    def _feed_forward(self, layer: int, x1: str) -> str:
        write, prefix = self._write, f"reformer.encoder.layers.{layer}.feed_forward"
        normalised = write.layer_norm(x1, f"{prefix}.layer_norm", self._epsilon)
        dense, output = f"{prefix}.dense.dense", f"{prefix}.output.dense"
        inner = write.linear(
            normalised, f"layer_{layer}.inner", write.weight(f"{dense}.weight"), write.weight(f"{dense}.bias")
        )
        active = write.node("Relu", [inner])
        return write.linear(
            active, f"layer_{layer}.outer", write.weight(f"{output}.weight"), write.weight(f"{output}.bias")
        )

    def _as_model(self) -> onnx.ModelProto:
        info = helper.make_tensor_value_info
        inputs = [
            info("token_ids", TensorProto.INT64, ["batch", "length"]),
            info("last_positions", TensorProto.INT32, ["batch"]),
            info("output_index", TensorProto.INT64, ["num_outputs"]),
        ]
        if self._shape.ngram_rows:
            inputs.append(
                info(
                    "previous_ids", TensorProto.INT64, ["batch", "context" if self._shape.message_summary else CONTEXT]
                )
            )
        outputs = [info("logits", TensorProto.FLOAT, ["batch", "num_outputs", self._shape.vocab_size])]
        cache_type = TensorProto.FLOAT if self._profile.kv_scales is None else TensorProto.INT8
        heads, size = self._shape.num_attention_heads, self._shape.attention_head_size
        rows = {"local": 2 * self._shape.local_chunk_length, "lsh": self._lsh_cache_rows()}
        for layer, kind in enumerate(self._shape.attn_layers):
            for part in ("key", "value"):
                shape: list[str | int | None] = ["batch", heads, rows[kind], size]
                inputs.append(info(f"past_{part}_{layer}", cache_type, shape))
                outputs.append(info(f"present_{part}_{layer}", cache_type, shape))
        more_inputs, more_outputs = self._more_interface()
        inputs, outputs = [*inputs, *more_inputs], [*outputs, *more_outputs]
        graph = helper.make_graph(self._write.nodes, GRAPH_NAME, inputs, outputs, self._write.initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, CONTRIB_OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="rejoinder")

    def _more_interface(self) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
        """Inputs and outputs beside those of every network."""
        return [], []


def build_graph(
    weights: Mapping[str, NDArray[np.float32]],
    architecture: Architecture,
    profile: QuantizationProfile = FLOAT32,
    *,
    layer_norm_eps: float = 1e-12,
) -> onnx.ModelProto:
    """Builds the graph from a `ReformerModelWithLMHead` state dictionary (relu, plain or axial positions).

    Computes what the stock network computes where it does not hash, that is for any length up to
    `lsh_attn_chunk_length`. Raises ValueError when a weight is missing or the position table does not fit.
    """
    return ReformerGraph(weights, architecture, profile, layer_norm_eps).build()
