"""Log-probabilities of completions under the distribution that they were sampled from: same bans, same temperature."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.reformer.decoder import BANNED_LOGIT, banned_mask, not_opening_mask
from training.reformer.heads import pad_right
from training.reformer.model import ReformerPolicy
from training.rlhf.estimators import kl_of_distributions
from training.rlhf.losses import gather_logprobs

_ROWS_TOGETHER = 16
"""Fewer leave less padding, but then the layers' own overhead costs more."""


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
class Comparison:
    """How a policy and its reference see the same completions; no gradients."""

    values: Tensor
    """Log-probabilities [B, S - 1] under the policy, zero outside the completions."""
    reference_values: Tensor
    """The same under the reference."""
    entropy: float
    """Mean over the completions' tokens of what the policy could have drawn there, in nats."""
    kl: Tensor
    """Nats a completion [B], over all that could have been drawn at each of its tokens."""


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


def completion_logprobs(policy: ReformerPolicy, batch: CompletionBatch, temperature: float) -> Tensor:
    """Log-probabilities [B, S - 1], zero outside the completions; the head computes these alone.

    Gradients flow unless the caller forbids it.
    """
    return _by_completion(gather_logprobs(_logits(policy, batch), _drawn(batch), temperature), batch)


def completion_distributions(policy: ReformerPolicy, batch: CompletionBatch, temperature: float) -> Tensor:
    """Log-probabilities [N, V] of all that could have been drawn at each completion token; a ban's is near -1e9."""
    return (_logits(policy, batch) / temperature).log_softmax(-1)


@torch.no_grad()
def compare(
    policy: ReformerPolicy, reference: ReformerPolicy, batch: CompletionBatch, temperature: float
) -> Comparison:
    """One forward pass of each; a single one where they are the same."""
    ours = completion_distributions(policy, batch, temperature)
    references = ours if policy is reference else completion_distributions(reference, batch, temperature)
    of_policy, of_reference = (
        _by_completion(logprobs.gather(-1, _drawn(batch)[:, None])[:, 0], batch) for logprobs in (ours, references)
    )
    by_token = _by_completion(kl_of_distributions(ours, references), batch)
    entropy = float(-(ours.exp() * ours).sum(-1).mean())
    return Comparison(of_policy, of_reference, entropy, by_token.sum(1))


def _drawn(batch: CompletionBatch) -> Tensor:
    """The completions' tokens [N], one after the other."""
    return batch.token_ids[:, 1:][batch.mask]


def _by_completion(values: Tensor, batch: CompletionBatch) -> Tensor:
    """Values of the completions' tokens [N] in their places, [B, S - 1], zero elsewhere."""
    return torch.zeros(batch.mask.shape).masked_scatter(batch.mask, values)


def _logits(policy: ReformerPolicy, batch: CompletionBatch) -> Tensor:
    banned = _banned_tokens(batch, _drawn(batch))
    return policy.token_logits(_states(policy, batch)).float().masked_fill(banned, BANNED_LOGIT)


def _states(policy: ReformerPolicy, batch: CompletionBatch) -> Tensor:
    """Hidden states [N, 2H] that the completions' tokens are drawn from, one after the other.

    Rows of similar lengths are read together: side by side, most of what is read would be padding.
    """
    position = torch.arange(1, batch.mask.shape[1] + 1)
    lengths = (batch.mask * position).amax(1) + 1
    order = lengths.argsort(stable=True)
    place = torch.zeros_like(batch.mask, dtype=torch.long).masked_scatter(
        batch.mask, torch.arange(int(batch.mask.sum()))
    )
    states, places = [], []
    for rows in torch.split(order, _ROWS_TOGETHER):
        length = int(lengths[rows[-1]])
        mask = batch.mask[rows, : length - 1]
        states.append(policy.encode(batch.token_ids[rows, :length])[:, :-1][mask])
        places.append(place[rows, : length - 1][mask])
    return torch.cat(states)[torch.cat(places).argsort()]


def _banned_tokens(batch: CompletionBatch, token_ids: Tensor) -> Tensor:
    """What could not be drawn at each completion token, bool [N, V]."""
    row = batch.mask.nonzero()[:, 0]
    banned = batch.banned[row]
    is_first = torch.cat([row.new_ones(min(1, len(row)), dtype=torch.bool), row[1:] != row[:-1]])
    opens = is_first & ~batch.not_opening[row, token_ids]
    banned[opens] = batch.not_opening[row[opens]]
    return banned
