"""The networks that are compared: the shipped one, a larger one with random weights, and a Llama of the same shape."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from model_store.contract.chat_template import render
from model_store.contract.control_tokens import NUM_CONTROL_TOKENS
from model_store.contract.conversation import Message, Role
from model_store.contract.manifest import MANIFEST_NAME, Architecture, Manifest
from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from training.data.domain_pack import load_pack
from training.reformer.model import ReformerPolicy, load_policy, new_policy
from training.reformer.ngrams import MAX_NGRAM, ROW_WIDTH

_NUM_SPOKEN = 200
_ROW_BLOCK = 32
_LLAMA_MATRICES, _OUR_MATRICES = 3, 2
"""Matrices of a feed-forward layer: Llama's is gated."""


@dataclass(frozen=True)
class Shape:
    """A network to compare, with its weights and with texts to read."""

    name: str
    architecture: Architecture
    bundle: Path | None = None
    """Where its weights and its tokenizer lie; without one, weights and texts are random."""

    @cached_property
    def policy(self) -> ReformerPolicy:
        """The network in torch, in float32, without dropout."""
        if self.bundle is not None:
            return load_policy(self.bundle).eval()
        policy: ReformerPolicy = new_policy(self.architecture, seed=1).eval()
        return policy

    def prompt(self, length: int, seed: int) -> tuple[int, ...]:
        """`length` token ids; texts of different seeds have no beginning in common that a cache could find again."""
        random = np.random.default_rng(seed)
        token_ids = random.integers(NUM_CONTROL_TOKENS, self.architecture.vocab_size, length).tolist()
        if not self._spoken:
            return tuple(token_ids)
        text = token_ids[:1]
        while len(text) < length:
            text += self._spoken[int(random.integers(len(self._spoken)))]
        return tuple(text[:length])

    @cached_property
    def _spoken(self) -> list[tuple[int, ...]]:
        """Token ids of customers' messages; none without a tokenizer."""
        if self.bundle is None:
            return []
        tokenizer = Tokenizer.load(self.bundle / "tokenizer.json")
        some = customers_asks()[:: len(customers_asks()) // _NUM_SPOKEN]
        return [render([Message(Role.USER, ask)], tokenizer, for_completion=True).token_ids[1:] for ask in some]


@cache
def customers_asks() -> tuple[str, ...]:
    """What customers say to the authored shop, in both languages."""
    return tuple(ask for intent in load_pack("shop").intents for ask in intent.asks)


def shipped_shape() -> Shape:
    """The model that ships with the project."""
    bundle = Path(DEFAULT_BUNDLE)
    manifest = Manifest.model_validate_json((bundle / MANIFEST_NAME).read_bytes())
    return Shape("shipped", manifest.architecture, bundle)


def large_shape() -> Shape:
    """About four times the weights of the shipped model, none of them in tables."""
    architecture = Architecture(
        hidden_size=512,
        attn_layers=("local", "lsh") * 4,
        num_attention_heads=8,
        attention_head_size=64,
        feed_forward_size=2048,
        vocab_size=16_384,
        max_positions=1024,
        local_chunk_length=64,
    )
    return Shape("large", architecture)


def tiny_shape() -> Shape:
    """What tests run: nothing that is measured on it means anything."""
    architecture = Architecture(
        hidden_size=64,
        attn_layers=("local", "lsh"),
        num_attention_heads=2,
        attention_head_size=32,
        feed_forward_size=128,
        vocab_size=512,
        max_positions=512,
        local_chunk_length=64,
    )
    return Shape("tiny", architecture)


SHAPES: dict[str, Callable[[], Shape]] = {"shipped": shipped_shape, "large": large_shape, "tiny": tiny_shape}


def matrix_sizes(shape: Architecture) -> list[tuple[int, int]]:
    """(outputs, inputs) of every weight matrix that one decoded token is multiplied by, in order."""
    hidden, inner = shape.hidden_size, shape.num_attention_heads * shape.attention_head_size
    sizes = [(hidden, MAX_NGRAM * ROW_WIDTH)] if shape.ngram_rows else []
    sizes += [(hidden, hidden)] if shape.message_summary else []
    for kind in shape.attn_layers:
        sizes += [((3 if kind == "local" else 2) * inner, hidden), (hidden, inner)]
        sizes += [(shape.feed_forward_size, hidden), (hidden, shape.feed_forward_size)]
    return [*sizes, (shape.vocab_size, 2 * hidden)]


def num_weights(sizes: list[tuple[int, int]]) -> int:
    """Weights that a token is multiplied by; as many bytes at 8 bits."""
    return sum(outputs * inputs for outputs, inputs in sizes)


@dataclass(frozen=True)
class LlamaShape:
    """A Llama with the layers, heads, hidden size and vocabulary of a Reformer."""

    hidden_size: int
    num_layers: int
    num_heads: int
    feed_forward_size: int
    vocab_size: int

    @property
    def matrix_sizes(self) -> list[tuple[int, int]]:
        """As the function of that name; smaller than the Reformer's, whose head reads two streams."""
        attention = [(self.hidden_size, self.hidden_size)] * 4
        feed_forward = [(self.feed_forward_size, self.hidden_size)] * 2 + [(self.hidden_size, self.feed_forward_size)]
        return (attention + feed_forward) * self.num_layers + [(self.vocab_size, self.hidden_size)]


def llama_shape(shape: Architecture) -> LlamaShape:
    """The Llama to compare with: as many weights in its three feed-forward matrices as we have in two.

    Rounded up to whole blocks of 32. Raises ValueError where heads do not add up to the hidden size, which a Llama
    needs.
    """
    if shape.num_attention_heads * shape.attention_head_size != shape.hidden_size:
        raise ValueError(f"{shape.num_attention_heads} heads x {shape.attention_head_size} are not {shape.hidden_size}")
    blocks = math.ceil(shape.feed_forward_size * _OUR_MATRICES / _LLAMA_MATRICES / _ROW_BLOCK)
    return LlamaShape(
        hidden_size=shape.hidden_size,
        num_layers=len(shape.attn_layers),
        num_heads=shape.num_attention_heads,
        feed_forward_size=blocks * _ROW_BLOCK,
        vocab_size=shape.vocab_size,
    )
