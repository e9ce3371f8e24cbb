"""Exact attention for the Reformer's two kinds of layer, with Hugging Face's weights.

Same parameters and same mathematics as the stock classes (Kitaev et al. 2020, section 2), about twice as fast on a
CPU. What is left out: attention masks (we pad on the right, and causality hides padding) and the stock classes' caches.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import ReformerConfig
from transformers.models.reformer import modeling_reformer as stock

from training.reformer.config import hashing_of
from training.reformer.hashing.causal_attention import Rule, buckets_of, draw_rotations, hashed_attention

_SELF_SCORE = -1e5
"""A token's own key in an LSH layer: seen only when it is the only one (position 0)."""
MAX_WRITTEN_OUT = 256
"""Keys up to which the scores are written out as one matrix."""


def lsh_keys(query_keys: Tensor) -> Tensor:
    """Keys of an LSH layer from its shared query-keys [..., D]: unit mean square, then 1/√D, token by token."""
    scale = torch.rsqrt(query_keys.float().pow(2).mean(-1, keepdim=True) + 1e-6) / math.sqrt(query_keys.shape[-1])
    return (query_keys * scale).to(query_keys.dtype)


def lsh_mask(num_queries: int, num_keys: int, dtype: torch.dtype) -> Tensor:
    """Additive mask [num_queries, num_keys] of the last `num_queries` positions: causal, self scores at -1e5."""
    offset = num_keys - num_queries
    mask = torch.full((num_queries, num_keys), float("-inf"), dtype=torch.float32).triu(offset + 1)
    mask.diagonal(offset).fill_(_SELF_SCORE)
    return mask.to(dtype)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """softmax(scale · query keyᵀ + mask) value, for [B, heads, S, D]; the mask is additive, [S, T] or [B, 1, S, T].

    Written out for short texts: the backward pass of PyTorch's fused kernel for CPUs is several times slower there.
    """
    if key.shape[2] > MAX_WRITTEN_OUT:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    rows = query.shape[0] * query.shape[1]
    queries, keys, values = (x.reshape(rows, *x.shape[2:]) for x in (query, key, value))
    added = mask.expand(*query.shape[:2], *mask.shape[-2:]).reshape(rows, *mask.shape[-2:]).to(query.dtype)
    scores = torch.baddbmm(added, queries, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), values).view(query.shape)


def causal_mask(length: int) -> Tensor:
    """Additive mask [length, length] float32: nothing later than oneself."""
    return torch.full((length, length), float("-inf")).triu(1)


class ExactLocalSelfAttention(stock.LocalSelfAttention):  # type: ignore[misc]
    """Position p attends to keys j in [max(0, (p // C - 1)·C), p]: its own chunk and the one before."""

    def forward(self, hidden_states: Tensor, **_: Any) -> stock.LocalSelfAttentionOutput:
        """hidden_states [B, S, H] at any S; pads to whole chunks by itself."""
        batch_size, length, _width = hidden_states.shape
        chunk = self.chunk_length
        padded = F.pad(hidden_states, (0, 0, 0, -length % chunk)) if length > chunk else hidden_states
        query, key, value = (self._heads(projection(padded)) for projection in (self.query, self.key, self.value))
        if length <= chunk:
            context = attend(query, key, value, causal_mask(length), self.attention_head_size**-0.5)
        else:
            context = self._chunked(query, key, value)
        merged = context.transpose(1, 2).reshape(batch_size, padded.shape[1], self.all_head_size)
        return stock.LocalSelfAttentionOutput(hidden_states=merged[:, :length], attention_probs=())

    def _heads(self, projected: Tensor) -> Tensor:
        batch_size, length, _ = projected.shape
        return projected.view(batch_size, length, self.num_attention_heads, self.attention_head_size).transpose(1, 2)

    def _chunked(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[B, heads, S, D] → the same; chunks become batch rows so that one fused call serves all of them."""
        batch_size, heads, length, size = query.shape
        chunk = self.chunk_length
        num_chunks = length // chunk

        def as_rows(x: Tensor, *, with_previous: bool) -> Tensor:
            x = x.reshape(batch_size, heads, num_chunks, chunk, size)
            if with_previous:
                x = torch.cat([F.pad(x[:, :, :-1], (0, 0, 0, 0, 1, 0)), x], dim=3)
            return x.transpose(1, 2).reshape(batch_size * num_chunks, heads, -1, size)

        query_index = torch.arange(chunk)[:, None]
        key_index = torch.arange(2 * chunk)[None]
        visible = (key_index <= query_index + chunk).repeat(num_chunks, 1, 1)
        visible[0, :, :chunk] = False
        mask = torch.zeros(visible.shape).masked_fill_(~visible, float("-inf")).repeat(batch_size, 1, 1)[:, None]
        context = attend(
            as_rows(query, with_previous=False),
            as_rows(key, with_previous=True),
            as_rows(value, with_previous=True),
            mask,
            size**-0.5,
        )
        context = context.reshape(batch_size, num_chunks, heads, chunk, size).transpose(1, 2)
        return context.reshape(batch_size, heads, length, size)


class ExactLSHSelfAttention(stock.LSHSelfAttention):  # type: ignore[misc]
    """Shared query-key attention over everything before; of what is long, by hashing where the network was trained to.

    The stock hashed path, which sees later tokens, is taken beyond `chunk_length` only, and only if allowed to.
    """

    hash_beyond_chunk = False
    reads_exactly = False
    """Whether long texts are read exactly in spite of the architecture's hashing: for comparison."""

    def __init__(self, config: ReformerConfig, layer_id: int) -> None:
        super().__init__(config, layer_id)
        self.hashing = hashing_of(config)
        self.local_chunk = int(config.local_attn_chunk_length)
        if self.hashing is not None:
            generator = torch.Generator().manual_seed(layer_id)
            self.register_buffer(
                "rotations", draw_rotations(self.hashing, config.attention_head_size, generator), persistent=True
            )

    def forward(self, hidden_states: Tensor, **stock_arguments: Any) -> stock.LSHSelfAttentionOutput:
        """hidden_states [B, S, H]; with `hash_beyond_chunk`, S > chunk_length takes the stock hashed path."""
        batch_size, length, _ = hidden_states.shape
        if self.hash_beyond_chunk and length > self.chunk_length:
            return super().forward(hidden_states, **stock_arguments)
        hashing = None if self.reads_exactly else self.hashing
        is_hashed = hashing is not None and length > hashing.hash_beyond
        padded = F.pad(hidden_states, (0, 0, 0, -length % self.local_chunk)) if is_hashed else hidden_states
        shape = (batch_size, padded.shape[1], self.num_attention_heads, self.attention_head_size)
        query = self.query_key(padded).view(shape).transpose(1, 2)
        value = self.value(padded).view(shape).transpose(1, 2)
        if hashing is not None and is_hashed:
            rule = Rule(self.local_chunk, hashing.bucket_window)
            context = hashed_attention(query, lsh_keys(query), value, buckets_of(query, self.rotations), rule)
        else:
            context = attend(query, lsh_keys(query), value, lsh_mask(length, length, query.dtype), 1.0)
        merged = context.transpose(1, 2).reshape(batch_size, padded.shape[1], self.all_head_size)[:, :length]
        return stock.LSHSelfAttentionOutput(hidden_states=merged, attention_probs=(), buckets=None)
