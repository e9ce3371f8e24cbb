"""Advantages: how much better a completion was than what the same prompt could have brought."""

import torch
from torch import Tensor

_EPSILON = 1e-4


def rloo(rewards: Tensor) -> Tensor:
    """Reward minus the mean of the prompt's other rewards: [P, K], K ≥ 2 → [P, K] (Ahmadian et al. 2024, eq. 6)."""
    num_samples = rewards.shape[1]
    others_mean = (rewards.sum(dim=1, keepdim=True) - rewards) / (num_samples - 1)
    return rewards - others_mean


def grpo(rewards: Tensor) -> Tensor:
    """Standard deviations from the prompt's mean: [P, K], K ≥ 2 → [P, K] (Shao et al. 2024, section 4.1)."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred / (rewards.std(dim=1, keepdim=True) + _EPSILON)


def whiten(values: Tensor) -> Tensor:
    """Values of any shape scaled to standard deviation 1; the mean stays, since a leave-one-out mean is 0 already."""
    return values / (values.std() + _EPSILON) if values.numel() > 1 else torch.zeros_like(values)
