"""Sampling completions for training and evaluation: exact, batched, with keys and values kept between tokens.

The same function as a full forward pass over the text so far, one position at a time: right-padded prompts of different
lengths share a batch and no row sees another. Serving people is `service.engine`'s business; this file needs torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_store.contract.control_tokens import EOS_ID
from model_store.phrases import Place
from training import distributed
from training.reformer.attention import ExactLocalSelfAttention, lsh_keys
from training.reformer.model import ReformerPolicy
from training.reformer.ngrams import last_tokens

BANNED_LOGIT = -1e9
"""In place of the logit of a banned token; finite, so that differences of log-probabilities stay numbers."""
_SELF_SCORE = -1e5


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion: its tokens, with `<|eos|>` when it `ended`, and each one's log-probability when it was drawn."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool


class SamplingOptions(TypedDict):
    """How tokens are drawn. `temperature` 0 takes the most probable one; its log-probabilities are then 0."""

    temperature: float
    top_p: NotRequired[float]
    max_new_tokens: int
    seed: int
    opening_min_p: NotRequired[float]
    """Openings less probable than this share of the most probable one are never drawn; 0, the default, draws all."""
    batch_size: NotRequired[int]


def sample_completions(
    policy: ReformerPolicy,
    prompts: Sequence[Sequence[int]],
    *,
    banned_ids: Sequence[frozenset[int]],
    opening_ids: Sequence[frozenset[int]] | None = None,
    **options: Unpack[SamplingOptions],
) -> list[Sample]:
    """One completion a prompt, in the prompts' order.

    A completion opens with one of its row's `opening_ids`, banned or not; with any token that is not banned where the
    row has none. Every row draws from numbers of its own, so a completion depends on `seed` and its place in `prompts`,
    not on the batches, nor on how many processes share the prompts. A completion also stops, without having ended, when
    the policy has no position left.

    Raises:
        ValueError: a prompt is empty or leaves no position for a completion.
    """
    max_positions = int(policy.config.max_position_embeddings)
    if any(not 0 < len(prompt) <= max_positions for prompt in prompts):
        raise ValueError(f"a prompt must have 1 to {max_positions} tokens")
    generator = torch.Generator().manual_seed(options["seed"])
    uniforms = torch.rand(len(prompts), options["max_new_tokens"], generator=generator, dtype=torch.float64)
    own = distributed.own_rows(len(prompts))
    order = sorted(own, key=lambda index: len(prompts[index]))
    batch_size = options.get("batch_size", 64)
    openings = opening_ids or [frozenset()] * len(prompts)
    samples: dict[int, Sample] = {}
    was_training = policy.training
    policy.eval()
    try:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = _Batch(policy, [prompts[row] for row in rows], [banned_ids[row] for row in rows])
            not_opening = not_opening_mask(batch.open_ones([openings[row] for row in rows]), batch.banned)
            samples.update(zip(rows, batch.complete(uniforms[rows], not_opening, options), strict=True))
    finally:
        policy.train(was_training)
    fields = [(samples[index].token_ids, samples[index].logprobs, samples[index].ended) for index in own]
    gathered = distributed.gather(fields, len(prompts))
    return [Sample(tuple(token_ids), tuple(logprobs), ended) for token_ids, logprobs, ended in gathered]


def banned_mask(banned_ids: Sequence[frozenset[int]], vocab_size: int) -> Tensor:
    """Which tokens each row must not hold: bool [B, V]."""
    mask = torch.zeros(len(banned_ids), vocab_size, dtype=torch.bool)
    for row, banned in enumerate(banned_ids):
        mask[row, sorted(token_id for token_id in banned if token_id < vocab_size)] = True
    return mask


def left_open(place: Place, openings: frozenset[int]) -> frozenset[int]:
    """Openings without those that are closed at the beginning of a reply kept to phrases."""
    return frozenset(place.open_ones(np.array(sorted(openings), np.int64)).tolist())


def not_opening_mask(opening_ids: Sequence[frozenset[int]], banned: Tensor) -> Tensor:
    """What must not come first in each row: all but its openings, or what is `banned` [B, V] in a row without any."""
    mask = banned.clone()
    for row, openings in enumerate(opening_ids):
        if openings:
            mask[row] = True
            mask[row, sorted(openings)] = False
    return mask


def opening_distribution(logits: Tensor, *, temperature: float, top_p: float, min_p: float) -> Tensor:
    """Probabilities [B, V] that a completion's first token is drawn with, from logits [B, V], banned ones masked."""
    return drawing_distribution(_likely(logits, min_p), temperature=temperature, top_p=top_p)


def drawing_distribution(logits: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Probabilities [B, V] that a token is drawn with, float64: the nucleus at a temperature above 0."""
    probabilities = (logits / temperature).softmax(-1).double()
    if top_p == 1:
        return probabilities
    descending, ids = probabilities.sort(dim=-1, descending=True, stable=True)
    kept = descending.masked_fill(descending.cumsum(-1) - descending >= top_p, 0.0)
    nucleus = torch.zeros_like(probabilities).scatter(-1, ids, kept)
    return nucleus / nucleus.sum(-1, keepdim=True)


def heard_openings(policy: ReformerPolicy, prompts: Sequence[Sequence[int]], logits: Tensor) -> Tensor:
    """Logits [B, V] of the openings of replies to `prompts`, with what the policy's listener thinks, if any."""
    if policy.listener is None:
        return logits
    opinions = [policy.listener.opinion_of(prompt) for prompt in prompts]
    rows = [
        row if opinion is None else torch.from_numpy(opinion.applied(row.numpy())).to(row.dtype)
        for opinion, row in zip(opinions, logits, strict=True)
    ]
    return torch.stack(rows)


def _likely(logits: Tensor, min_p: float) -> Tensor:
    """Logits without tokens less probable than `min_p` times the most probable one, before any temperature."""
    if min_p == 0:
        return logits
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(min_p), BANNED_LOGIT)


class _Batch:
    """Prompts that are completed together; rows that have ended are dropped once they are half of the batch."""

    def __init__(
        self, policy: ReformerPolicy, prompts: Sequence[Sequence[int]], banned_ids: Sequence[frozenset[int]]
    ) -> None:
        self._policy = policy
        self._prompts = prompts
        self._max_positions = int(policy.config.max_position_embeddings)
        self._lengths = torch.tensor([len(prompt) for prompt in prompts])
        self._prompt_ids = nn.utils.rnn.pad_sequence([torch.tensor(prompt) for prompt in prompts], batch_first=True)
        self.banned = banned_mask(banned_ids, int(policy.config.vocab_size))
        self._rows = torch.arange(len(prompts))
        self._token_ids: list[list[int]] = [[] for _ in prompts]
        self._logprobs: list[list[float]] = [[] for _ in prompts]
        self._has_ended = [False] * len(prompts)
        book = policy.phrases
        self._phrases = [] if book is None else list(map(book.open, banned_ids, prompts))

    def open_ones(self, openings: Sequence[frozenset[int]]) -> Sequence[frozenset[int]]:
        """Each row's openings without those that its phrases close, as the service leaves them out."""
        return [left_open(*row) for row in zip(self._phrases, openings, strict=True)] if self._phrases else openings

    @torch.no_grad()
    def complete(self, uniforms: Tensor, not_opening: Tensor, options: SamplingOptions) -> list[Sample]:
        """uniforms [B, max_new_tokens] in [0, 1) decide the draws; the first token is none of not_opening [B, V]."""
        width = min(self._max_positions, int(self._lengths.max()) + options["max_new_tokens"])
        caches = _Caches(self._policy, len(self._rows), width)
        prefix = torch.arange(self._prompt_ids.shape[1])[None]
        hidden = caches.run(self._prompt_ids, prefix)[self._rows, self._lengths - 1]
        previous = last_tokens(self._prompt_ids, self._lengths)
        for number in range(options["max_new_tokens"]):
            banned = self.banned[self._rows] if number else not_opening
            logits = self._policy.token_logits(hidden).float().masked_fill(banned, BANNED_LOGIT)
            if number == 0:
                logits = heard_openings(self._policy, self._prompts, logits)
                has_opening = (not_opening != self.banned).any(-1, keepdim=True)
                logits = torch.where(has_opening, _likely(logits, options.get("opening_min_p", 0.0)), logits)
                logits = torch.where(has_opening, logits, self._as_authors(logits))
            else:
                logits = self._as_authors(logits)
            chosen, logprobs = _choose(logits, uniforms[self._rows, number], options)
            is_open = self._append(chosen, logprobs)
            if not is_open.any():
                break
            if int(is_open.sum()) * 2 <= len(is_open):
                self._rows, chosen, previous = self._rows[is_open], chosen[is_open], previous[is_open]
                caches.keep(is_open)
            # Rows that are over but not yet dropped may lie beyond the caches; what they compute is never read.
            positions = (self._lengths[self._rows] + number).clamp(max=width - 1)
            hidden = caches.run(chosen[:, None], positions[:, None], previous)[:, 0]
            previous = torch.cat([previous[:, 1:], chosen[:, None]], dim=1)
        return [
            Sample(tuple(token_ids), tuple(logprobs), bool(token_ids) and token_ids[-1] == EOS_ID)
            for token_ids, logprobs in zip(self._token_ids, self._logprobs, strict=True)
        ]

    def _as_authors(self, logits: Tensor) -> Tensor:
        """Logits [rows, V] kept to the phrases that the policy's book holds, where it has one."""
        if not self._phrases:
            return logits
        places = [self._phrases[row] for row in self._rows.tolist()]
        kept = [place.keep(row.numpy()) for place, row in zip(places, logits, strict=True)]
        return torch.from_numpy(np.stack(kept))

    def _append(self, chosen: Tensor, logprobs: Tensor) -> Tensor:
        """Notes the tokens of open rows; says which rows go on, bool [rows]."""
        for row, token_id, logprob in zip(self._rows.tolist(), chosen.tolist(), logprobs.tolist(), strict=True):
            if self._has_ended[row]:
                continue
            self._token_ids[row].append(token_id)
            self._logprobs[row].append(logprob)
            if self._phrases:
                self._phrases[row].append(token_id)
            next_position = int(self._lengths[row]) + len(self._token_ids[row]) - 1
            self._has_ended[row] = token_id == EOS_ID or next_position >= self._max_positions
        return torch.tensor([not self._has_ended[row] for row in self._rows.tolist()])


class _Caches:
    """Keys and values of every layer, [B, heads, width, D] each."""

    def __init__(self, policy: ReformerPolicy, num_rows: int, width: int) -> None:
        config = policy.config
        shape = (num_rows, config.num_attention_heads, width, config.attention_head_size)
        self._policy = policy
        self._reformer = policy.reformer
        self._chunk = int(config.local_attn_chunk_length)
        self._heads, self._head_size = config.num_attention_heads, config.attention_head_size
        self._keys = [torch.zeros(shape) for _ in config.attn_layers]
        self._values = [torch.zeros(shape) for _ in config.attn_layers]

    def keep(self, is_kept: Tensor) -> None:
        """Drops the rows where `is_kept` [B] is False."""
        self._keys = [keys[is_kept] for keys in self._keys]
        self._values = [values[is_kept] for values in self._values]

    def run(self, token_ids: Tensor, positions: Tensor, previous_ids: Tensor | None = None) -> Tensor:
        """Hidden states [B, n, 2H] of token_ids [B, n] at positions [B, n] or [1, n]; earlier positions are cached.

        `previous_ids` [B, 2] are the two tokens before; none where a text begins.
        """
        local_mask, lsh_mask, start = self._masks(positions)
        x1 = x2 = self._policy.embed(token_ids, positions.expand(token_ids.shape), previous_ids)
        for index, layer in enumerate(self._reformer.encoder.layers):
            block = layer.attention
            query, key, value = self._project(block.self_attention, block.layer_norm(x2))
            self._write(index, positions, key, value)
            is_local = isinstance(block.self_attention, ExactLocalSelfAttention)
            first, end = (start if is_local else 0), int(positions.max()) + 1
            context = F.scaled_dot_product_attention(
                query,
                self._keys[index][:, :, first:end],
                self._values[index][:, :, first:end],
                attn_mask=local_mask if is_local else lsh_mask,
                scale=None if is_local else 1.0,
            )
            x1 = x1 + block.output(context.transpose(1, 2).flatten(2))
            x2 = x2 + layer.feed_forward(x1)
        normalised: Tensor = self._reformer.encoder.layer_norm(torch.cat([x1, x2], dim=-1))
        return normalised

    def _project(self, attention: nn.Module, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def heads(projection: nn.Module) -> Tensor:
            projected: Tensor = projection(hidden)
            return projected.view(*hidden.shape[:2], self._heads, self._head_size).transpose(1, 2)

        if isinstance(attention, ExactLocalSelfAttention):
            return heads(attention.query), heads(attention.key), heads(attention.value)
        query = heads(attention.query_key)  # type: ignore[arg-type]
        return query, lsh_keys(query), heads(attention.value)  # type: ignore[arg-type]

    def _write(self, index: int, positions: Tensor, key: Tensor, value: Tensor) -> None:
        if positions.shape[0] == 1 and positions.shape[1] == key.shape[2] and key.shape[2] > 1:
            self._keys[index][:, :, : key.shape[2]] = key
            self._values[index][:, :, : key.shape[2]] = value
            return
        rows = torch.arange(key.shape[0])
        self._keys[index][rows, :, positions[:, 0]] = key[:, :, 0]
        self._values[index][rows, :, positions[:, 0]] = value[:, :, 0]

    def _masks(self, positions: Tensor) -> tuple[Tensor, Tensor, int]:
        """Additive masks of local and LSH layers [B or 1, 1, n, keys], and the first key of the local one."""
        window_start = (positions // self._chunk - 1).clamp(min=0) * self._chunk
        start = int(window_start.min())
        keys = torch.arange(int(positions.max()) + 1)[None, None]
        query = positions[:, :, None]
        lsh = torch.zeros(positions.shape[0], positions.shape[1], keys.shape[-1])
        lsh = lsh.masked_fill(keys > query, float("-inf"))
        local = lsh.masked_fill(keys < window_start[:, :, None], float("-inf"))
        lsh = lsh.masked_fill(keys == query, _SELF_SCORE)
        return local[:, None, :, start:], lsh[:, None], start


def _choose(logits: Tensor, uniforms: Tensor, options: SamplingOptions) -> tuple[Tensor, Tensor]:
    """Token ids [B] and their log-probabilities [B] under the sampling distribution, from logits [B, V].

    Raises FloatingPointError where these are no numbers.
    """
    if options["temperature"] == 0:
        return logits.argmax(-1), torch.zeros(len(logits))
    probabilities = drawing_distribution(logits, temperature=options["temperature"], top_p=options.get("top_p", 1.0))
    # A token of probability zero adds nothing to the sum, so it is never the first to exceed a draw.
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1:]
    if not total.isfinite().all():
        raise FloatingPointError("the network gives probabilities that are no numbers")
    chosen = torch.searchsorted(cumulative, uniforms[:, None] * total, right=True)
    return chosen[:, 0], (probabilities.gather(-1, chosen) / total).log()[:, 0]
