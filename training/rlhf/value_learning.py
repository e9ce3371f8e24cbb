"""Implicit language Q-learning's mathematics (Snell et al. 2022, 2206.11871): values, their losses, the policy in them.

Pure functions. "Values" are expected rewards from a state on, one state before each token of a completion. Networks:
`reformer.critic`; the algorithm: `stages.learners.ilql`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_MAX_WEIGHT = 20.0


def lambda_returns(values: Tensor, rewards: Tensor, mask: Tensor, *, discount: float, trace: float) -> Tensor:
    """What each token is expected to bring, [B, S], zero outside the completions (Sutton & Barto 2018, eq. 12.20).

    values [B, S] are those of the states before the tokens of mask [B, S] bool, each row's in one piece; rewards [B]
    come with a completion's last token. `trace` 0 looks one token ahead, as the paper does; 1 waits for the reward.
    """
    returns = torch.zeros_like(values)
    ahead = torch.zeros_like(rewards)
    goes_on = torch.zeros_like(mask[:, 0])
    for column in range(values.shape[1] - 1, -1, -1):
        is_token = mask[:, column]
        ahead = torch.where(goes_on, discount * ahead, rewards)
        returns[:, column] = torch.where(is_token, ahead, 0.0)
        ahead = (1 - trace) * values[:, column] + trace * returns[:, column]
        goes_on = is_token
    return returns


def expectile_loss(differences: Tensor, weights: Tensor, expectile: float) -> Tensor:
    """|expectile - 1(d < 0)| d², a mean by weight; differences [N] are Q minus V, weights [N] (eq. 3).

    At 0.5 half of the squared error; towards 1 V nears the best action of those that were seen, without asking for any
    that was not.
    """
    asymmetry = torch.where(differences < 0, 1 - expectile, expectile)
    return _weighted_mean(asymmetry * differences.square(), weights)


def squared_loss(values: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Squared error of values [N] against targets [N], a mean by weight [N]; targets get no gradient."""
    return _weighted_mean((values - targets.detach()).square(), weights)


def conservative_loss(action_values: Tensor, token_ids: Tensor, prior_logprobs: Tensor, weights: Tensor) -> Tensor:
    """log Σ prior(a) exp Q(a) - Q(token), a mean by weight: keeps Q low where nothing was seen.

    action_values, prior_logprobs [N, V]; token_ids, weights [N]. CQL with a prior (Kumar et al. 2020, section 3.2, with
    the behaviour policy as ρ). The paper's own term has no prior, so it teaches Q the frequencies of tokens too, and
    what is decoded from it becomes sharper than the policy was; a prior of zeros gives that one.
    """
    seen = action_values.gather(-1, token_ids[:, None])[:, 0]
    return _weighted_mean((prior_logprobs + action_values).logsumexp(-1) - seen, weights)


def shifted_logprobs(logprobs: Tensor, action_values: Tensor, values: Tensor, scale: float) -> Tensor:
    """log π'(a) ∝ log π(a) + scale · (Q(a) - V): logprobs, action_values [N, V], values [N] → [N, V] (section 4.3)."""
    return (logprobs + scale * (action_values - values[:, None])).log_softmax(-1)


def distillation_loss(logprobs: Tensor, target_logprobs: Tensor, weights: Tensor) -> Tensor:
    """KL(target ‖ policy) in nats, a mean by weight: both [N, V], weights [N]; the target gets no gradient."""
    target = target_logprobs.detach()
    return _weighted_mean((target.exp() * (target - logprobs)).sum(-1), weights)


def regression_weights(advantages: Tensor, scale: float) -> Tensor:
    """exp(scale · advantage), at most 20: how much a seen token is imitated (Peng et al. 2019, eq. 4)."""
    return (scale * advantages).exp().clamp(max=_MAX_WEIGHT)


@torch.no_grad()
def polyak_update(targets: Iterable[nn.Parameter], sources: Iterable[nn.Parameter], share: float) -> None:
    """Moves each target by `share` of the way to its source, in place."""
    for target, source in zip(targets, sources, strict=True):
        target.lerp_(source, share)


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum().clamp(min=1e-8)
