"""Losses of preference learning and policy optimisation. Pure; log-probabilities are in nats."""

import torch
import torch.nn.functional as F
from torch import Tensor

_MAX_LOG_RATIO = 10.0


def gather_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) at the targets: logits [..., V], targets [...] → [...]."""
    return (logits / temperature).log_softmax(-1).gather(-1, targets[..., None])[..., 0]


def sequence_sum(token_values: Tensor, mask: Tensor) -> Tensor:
    """Sums over a sequence's real tokens: values [B, S], mask [B, S] bool → [B]."""
    return (token_values * mask).sum(dim=1)


def clipped_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip_range: float
) -> Tensor:
    """PPO's clipped surrogate, averaged over all real tokens of the batch (Schulman et al. 2017, eq. 7).

    logprobs, old_logprobs, mask [B, S]; advantages [B], the same for every token of a completion.
    """
    ratio = (logprobs - old_logprobs).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    gain = torch.minimum(ratio * advantages[:, None], clipped * advantages[:, None])
    return -(gain * mask).sum() / mask.sum().clamp(min=1)


def clipped_completion_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip_range: float
) -> Tensor:
    """The same with a completion as one action, its ratio the product of its tokens', averaged over completions.

    What RLOO's paper means by it (Ahmadian et al. 2024, section 3) and TRL optimises. Where the policy has not moved
    since the rollout its gradient is that of `clipped_policy_loss` times the mean length.
    """
    ratio = sequence_sum(logprobs - old_logprobs, mask).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def supervised_loss(logprobs: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean negative log-likelihood of the real tokens: logprobs, mask [B, S], weights of sequences [B] or 1 → []."""
    token_weights = mask if weights is None else mask * weights[:, None]
    return -(logprobs * token_weights).sum() / token_weights.sum().clamp(min=1e-8)


def kto_loss(log_ratios: Tensor, is_up: Tensor, weights: Tensor, *, kl: Tensor, beta: float) -> Tensor:
    """KTO's loss, a weighted mean (Ethayarajh et al. 2024, eq. 8).

    log_ratios [B] are log π(y|x) - log π_ref(y|x) of whole completions, is_up [B] bool, weights [B];
    `kl` is the reference point z0 ≥ 0, without a gradient.
    """
    direction = torch.where(is_up, 1.0, -1.0)
    losses = 1 - torch.sigmoid(beta * direction * (log_ratios - kl.detach()))
    return (weights * losses).mean()


def kto_class_weights(is_up: Tensor, *, max_weight: float = 4.0) -> tuple[float, float]:
    """Weights (up, down) that give both kinds of thumb the same say, within `max_weight`."""
    num_up = max(1, int(is_up.sum()))
    num_down = max(1, int((~is_up).sum()))
    return min(max_weight, max(1.0, num_down / num_up)), min(max_weight, max(1.0, num_up / num_down))


def weighted_bce(scores: Tensor, is_up: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy of scores [B] against thumbs [B], a mean by weight [B]."""
    losses = F.binary_cross_entropy_with_logits(scores, is_up.float(), reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1e-8)


def pairwise_loss(good_scores: Tensor, bad_scores: Tensor) -> Tensor:
    """Mean of -log sigmoid(good - bad) over pairs of scores [P], P ≥ 1 (Ouyang et al. 2022, eq. 1)."""
    return -F.logsigmoid(good_scores - bad_scores).mean()
