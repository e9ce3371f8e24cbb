"""Log-probabilities of completions under the distribution that they were sampled from: same bans, same temperature."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.reformer.decoder import BANNED_LOGIT, banned_mask, not_opening_mask
from training.reformer.heads import pad_right
from training.reformer.model import ReformerPolicy
from training.rlhf.losses import gather_logprobs


@dataclass(frozen=True)
class CompletionBatch:
    """Prompts with their completions, ready for one forward pass."""

    token_ids: Tensor
    """[B, S], padded on the right."""
    mask: Tensor
    """bool [B, S - 1]: True at t where token t + 1 belongs to the completion."""
    banned: Tensor
    """bool [B, V]."""
    not_opening: Tensor
    """bool [B, V]: what a completion could not open with; one that does was made without that rule."""


@dataclass(frozen=True)
class TokenLogprobs:
    """Log-probabilities [B, S - 1], zero outside the completions, and the mean entropy of the distributions in nats."""

    values: Tensor
    entropy: Tensor


def pack_completions(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    banned_ids: Sequence[frozenset[int]],
    vocab_size: int,
    *,
    opening_ids: Sequence[frozenset[int]] | None = None,
) -> CompletionBatch:
    """Puts prompts and completions, one each a row, into tensors; rows without `opening_ids` open with any token."""
    rows = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    token_ids, lengths = pad_right(rows)
    starts = torch.tensor([len(prompt) for prompt in prompts])
    position = torch.arange(1, token_ids.shape[1])[None]
    mask = (position >= starts[:, None]) & (position < lengths[:, None])
    banned = banned_mask(banned_ids, vocab_size)
    not_opening = not_opening_mask(opening_ids or [frozenset()] * len(rows), banned)
    return CompletionBatch(token_ids, mask, banned, not_opening)


def completion_logprobs(policy: ReformerPolicy, batch: CompletionBatch, temperature: float) -> TokenLogprobs:
    """One forward pass with the head on the completions' tokens only. Gradients flow unless the caller forbids it."""
    logits = _logits(policy, batch)
    logprobs = gather_logprobs(logits, batch.token_ids[:, 1:][batch.mask], temperature)
    values = torch.zeros(batch.mask.shape).masked_scatter(batch.mask, logprobs)
    return TokenLogprobs(values, _mean_entropy(logits.detach(), temperature))


def completion_distributions(policy: ReformerPolicy, batch: CompletionBatch, temperature: float) -> Tensor:
    """Log-probabilities [N, V] of all that could have been drawn at each completion token; a ban's is near -1e9."""
    return (_logits(policy, batch) / temperature).log_softmax(-1)


def _logits(policy: ReformerPolicy, batch: CompletionBatch) -> Tensor:
    hidden = policy.encode(batch.token_ids)[:, :-1][batch.mask]
    banned = _banned_tokens(batch, batch.token_ids[:, 1:][batch.mask])
    return policy.token_logits(hidden).float().masked_fill(banned, BANNED_LOGIT)


def _banned_tokens(batch: CompletionBatch, token_ids: Tensor) -> Tensor:
    """What could not be drawn at each completion token, bool [N, V]."""
    row = batch.mask.nonzero()[:, 0]
    banned = batch.banned[row]
    is_first = torch.cat([row.new_ones(min(1, len(row)), dtype=torch.bool), row[1:] != row[:-1]])
    opens = is_first & ~batch.not_opening[row, token_ids]
    banned[opens] = batch.not_opening[row[opens]]
    return banned


def _mean_entropy(logits: Tensor, temperature: float) -> Tensor:
    log_probabilities = (logits / temperature).log_softmax(-1)
    return -(log_probabilities.exp() * log_probabilities).sum(-1).mean()
