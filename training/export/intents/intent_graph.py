"""The tuned sentence encoder (`training.data.plan_teacher`) as files that are served: integer products, few subwords.

Of the quarter of a million subwords of a hundred languages those stay that the pack's languages were seen to use; what
is left out is spelled with shorter ones. Graph: `token_ids` [1, S] int64 → `logits` [1, num intents], where passages
are searched by meaning `embedding` [1, D] of unit length, and with a head for it `sentiment` [1, 3].
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tokenizers import Regex as TokenizerRegex
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from model_store.intents.intent_model import EMBEDDING_OUTPUT, LOGITS_OUTPUT, SENTIMENT_OUTPUT
from model_store.intents.sentiment import SENTIMENTS
from training.export.graph_writer import CONTRIB, CONTRIB_OPSET, IR_VERSION, OPSET, GraphWriter
from training.export.int8_linear.calibration import LayerInputs, observe
from training.export.int8_linear.linear import Linear, Source, write_linear
from training.export.intents.ngram_head import NgramHead, write_ngrams
from training.export.intents.search_space import SearchSpace
from training.export.intents.sentiment_head import SentimentHead, write_sentiment
from training.export.quantize import FLOAT32, QuantizationProfile

GRAPH_NAME = "intents"
OPENING, PADDING, CLOSING = "<s>", "<pad>", "</s>"
NUM_SPECIAL = 4
"""Ids of the opening, the padding, the closing and the unknown token, as in the pretrained vocabulary."""
_LARGEST_BYTE = 127
_BLOCKS = QuantizationProfile("int8_block64")


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Sizes that the weights do not say."""

    num_layers: int
    num_heads: int
    layer_norm_eps: float


@dataclass(frozen=True, slots=True)
class EncoderHeads:
    """What reads the encoder's states, or the same tokens, beside its own head over intents."""

    space: SearchSpace | None = None
    """With it texts are embedded."""
    sentiment: SentimentHead | None = None
    """With it the sentiment is told."""
    ngrams: NgramHead | None = None
    """With it n-grams have their say about the intent."""
    end_ids: tuple[int, ...] = ()
    """Tokens at the first of which a message ends; sentiment and n-grams need them."""


_NO_HEADS = EncoderHeads()


def build_intent_graph(
    weights: Mapping[str, NDArray[np.float32]],
    shape: EncoderShape,
    heads: EncoderHeads = _NO_HEADS,
    examples: Sequence[Sequence[int]] = (),
) -> onnx.ModelProto:
    """The graph of an `IntentEncoder`'s weights, named as in its state dictionary, and of what heads there are.

    With `examples`, token ids of texts as they will be heard, its layers compute in integers (`int8_linear`), in half
    the time; without, with blocks of 8-bit weights. Raises ValueError when a weight is missing.
    """
    if not examples:
        return _EncoderGraph(weights, shape, heads).build()
    reference = _EncoderGraph(weights, shape, _NO_HEADS, profile=FLOAT32)
    inputs = observe(reference.build(), reference.linear_inputs, examples)
    return _EncoderGraph(weights, shape, heads, inputs=inputs).build()


class _EncoderGraph:
    """BERT (Devlin et al. 2019), the mean of its last states, and a linear head; beside it a projection of means."""

    def __init__(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        shape: EncoderShape,
        heads: EncoderHeads,
        *,
        profile: QuantizationProfile = _BLOCKS,
        inputs: Mapping[str, LayerInputs] | None = None,
    ) -> None:
        """With what its layers read of examples, the profile is not asked."""
        self._write = GraphWriter(weights, profile)
        self._shape = shape
        self._heads = heads
        self._inputs = inputs
        self.linear_inputs: dict[str, str] = {}
        """By layer, the tensor that it reads."""

    def build(self) -> onnx.ModelProto:
        write = self._write
        states = [self._embed()]
        for layer in range(self._shape.num_layers):
            states.append(self._layer(f"network.encoder.layer.{layer}", states[-1]))
        text_axis = write.constant("text_axis", [1], np.int64)
        heads = self._heads
        needed = {self._shape.num_layers, *(heads.space.layers if heads.space else ())}
        means = {layer: write.node("ReduceMean", [states[layer], text_axis], keepdims=0) for layer in sorted(needed)}
        is_own = self._is_own() if heads.sentiment or heads.ngrams else ""
        head = write.constant("head.weight", write.weight("head.weight").T, np.float32)
        scores = write.node("MatMul", [means[self._shape.num_layers], head])
        if heads.ngrams:
            scores = write.node("Add", [scores, write_ngrams(write, heads.ngrams, "token_ids", is_own)])
        bias = write.constant("head.bias", write.weight("head.bias"), np.float32)
        write.node("Add", [scores, bias], name=LOGITS_OUTPUT)
        if heads.space:
            self._project(heads.space, means)
        if heads.sentiment:
            write_sentiment(write, heads.sentiment, is_own, states)
        return self._as_model()

    def _is_own(self) -> str:
        """[1, S]: 1 for tokens before the first that ends the message, else 0."""
        write = self._write
        ends = [
            write.node("Equal", ["token_ids", write.constant(f"end.{number}", [number], np.int64)])
            for number in self._heads.end_ids
        ]
        is_end = ends[0]
        for other in ends[1:]:
            is_end = write.node("Or", [is_end, other])
        axis = write.constant("token_axis", np.array(1), np.int64)
        num_ends = write.node("CumSum", [write.node("Cast", [is_end], to=TensorProto.FLOAT), axis])
        none = write.constant("no_end", 0.0, np.float32)
        return write.node("Cast", [write.node("Equal", [num_ends, none])], to=TensorProto.FLOAT)

    def _project(self, space: SearchSpace, means: Mapping[int, str]) -> None:
        write = self._write
        parts = []
        for layer, centre in zip(space.layers, space.centres, strict=True):
            moved = write.node("Sub", [means[layer], write.constant(f"search.centre.{layer}", centre, np.float32)])
            parts.append(write.node("LpNormalization", [moved], axis=-1, p=2))
        directions = write.constant("search.directions", space.directions, np.float32)
        projected = write.node("MatMul", [write.node("Concat", parts, axis=-1), directions])
        write.node("LpNormalization", [projected], name=EMBEDDING_OUTPUT, axis=-1, p=2)

    def _embed(self) -> str:
        write, prefix = self._write, "network.embeddings"
        words = write.weight(f"{prefix}.word_embeddings.weight")
        scales = np.maximum(np.abs(words).max(axis=1, keepdims=True), 1e-12) / _LARGEST_BYTE
        rows = write.node("Gather", [write.constant("words", np.rint(words / scales), np.int8), "token_ids"])
        scale = write.node("Gather", [write.constant("word_scales", scales, np.float32), "token_ids"])
        tokens = write.node("Mul", [write.node("Cast", [rows], to=TensorProto.FLOAT), scale])
        # All tokens are of the first type.
        places = (
            write.weight(f"{prefix}.position_embeddings.weight")
            + write.weight(f"{prefix}.token_type_embeddings.weight")[:1]
        )
        length = write.node("Shape", ["token_ids"], start=1, end=2)
        table, start = write.constant("positions", places, np.float32), write.constant("start", [0], np.int64)
        positions = write.node("Slice", [table, start, length])
        return self._normalise(write.node("Add", [tokens, positions]), f"{prefix}.LayerNorm")

    def _layer(self, prefix: str, hidden: str) -> str:
        write = self._write
        parts = [f"{prefix}.attention.self.{name}" for name in ("query", "key", "value")]
        stacked = self._linear(hidden, f"{prefix}.attention.self", parts, "normalised")
        attended = write.node(
            "MultiHeadAttention", write.split(stacked, len(parts)), domain=CONTRIB, num_heads=self._shape.num_heads
        )
        attended = self._linear(attended, f"{prefix}.attention.out", [f"{prefix}.attention.output.dense"], "attended")
        hidden = self._normalise(write.node("Add", [hidden, attended]), f"{prefix}.attention.output.LayerNorm")
        inner = self._linear(hidden, f"{prefix}.inner", [f"{prefix}.intermediate.dense"], "normalised")
        inner = write.node("Gelu", [inner], domain=CONTRIB)
        outer = self._linear(inner, f"{prefix}.outer", [f"{prefix}.output.dense"], "activated")
        return self._normalise(write.node("Add", [hidden, outer]), f"{prefix}.output.LayerNorm")

    def _linear(self, x: str, name: str, layers: Sequence[str], source: Source) -> str:
        weight = np.concatenate([self._write.weight(f"{layer}.weight") for layer in layers])
        bias = np.concatenate([self._write.weight(f"{layer}.bias") for layer in layers])
        self.linear_inputs[name] = x
        if self._inputs is None:
            return self._write.linear(x, name, weight, bias)
        return write_linear(self._write, x, Linear(name, weight, bias, source), self._inputs[name])

    def _normalise(self, x: str, prefix: str) -> str:
        return self._write.layer_norm(x, prefix, self._shape.layer_norm_eps)

    def _as_model(self) -> onnx.ModelProto:
        num_intents = len(self._write.weight("head.bias"))
        inputs = [helper.make_tensor_value_info("token_ids", TensorProto.INT64, [1, "length"])]
        outputs = [helper.make_tensor_value_info(LOGITS_OUTPUT, TensorProto.FLOAT, [1, num_intents])]
        if self._heads.space:
            shape = [1, self._heads.space.directions.shape[1]]
            outputs.append(helper.make_tensor_value_info(EMBEDDING_OUTPUT, TensorProto.FLOAT, shape))
        if self._heads.sentiment:
            outputs.append(helper.make_tensor_value_info(SENTIMENT_OUTPUT, TensorProto.FLOAT, [1, len(SENTIMENTS)]))
        graph = helper.make_graph(self._write.nodes, GRAPH_NAME, inputs, outputs, self._write.initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, CONTRIB_OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="rejoinder")


def pieces_in_use(tokenizer: Tokenizer, texts: Iterable[str]) -> list[int]:
    """Ids of the subwords that these texts need, the special ones first, then in the vocabulary's order."""
    used: set[int] = set()
    for encoding in tokenizer.encode_batch(list(texts)):
        used.update(encoding.ids)
    return [*range(NUM_SPECIAL), *sorted(used - set(range(NUM_SPECIAL)))]


def prune_tokenizer(tokenizer: Tokenizer, kept: Sequence[int]) -> Tokenizer:
    """A unigram tokenizer (Kudo 2018) with the subwords `kept`, in this order, that marks both ends of a text.

    It normalises by Unicode's compatibility form, which is what the pretrained one's table does to our languages.
    """
    vocabulary = _vocabulary(tokenizer)
    pruned = Tokenizer(models.Unigram([vocabulary[index] for index in kept], unk_id=NUM_SPECIAL - 1))
    pruned.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(TokenizerRegex(r"\s+"), " "), normalizers.Strip()]
    )
    pruned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    pruned.post_processor = processors.TemplateProcessing(
        single=f"{OPENING} $A {CLOSING}", special_tokens=[(OPENING, 0), (CLOSING, 2)]
    )
    return pruned


def _vocabulary(tokenizer: Tokenizer) -> list[tuple[str, float]]:
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    return [(piece, score) for piece, score in state["model"]["vocab"]]
