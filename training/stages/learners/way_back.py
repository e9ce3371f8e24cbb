"""The way back: a policy that went further than its KL limit is moved towards its reference until it is within it.

On the straight line between their weights (Ramé et al. 2024, 2406.16768, section 3.3), not to an earlier checkpoint:
whatever was learned after that one stays in part. Which of the two keeps more: see `EXPERIMENTS.md`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.reformer.model import ReformerPolicy
from training.rlhf.kl_control import share_of_way

_MAX_MEASUREMENTS = 4
_AIM = 0.9
"""Of the limit: a measurement is not exact."""

Measure = Callable[[], Mapping[str, float]]
"""Figures of the policy as it is, `kl` among them."""


@dataclass(frozen=True)
class Arrival:
    """Where a policy was left: its figures, and which share of the way from where it started."""

    figures: Mapping[str, float]
    share: float


def walk_back(policy: ReformerPolicy, start: Mapping[str, Tensor], measure: Measure, limit: float) -> Arrival:
    """Leaves the policy where it is if that is within the limit, else at the first point towards `start` that is.

    At `start` itself where three points were tried in vain.
    """
    end = copy_weights(policy)
    figures, share = measure(), 1.0
    measured: list[tuple[float, float]] = []
    while not figures["kl"] <= limit:  # what is not a number is not within
        measured.append((share, figures["kl"]))
        is_hopeless = len(measured) == _MAX_MEASUREMENTS or not math.isfinite(figures["kl"])
        share = 0.0 if is_hopeless else share_of_way(measured, _AIM * limit)
        policy.load_state_dict(between(start, end, share))
        figures = measure()
        if is_hopeless:
            break
    return Arrival(figures, share)


def between(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights at that share of the way from `start` to `end`; what is no fraction is that of `start`."""
    return {
        name: torch.lerp(tensor, end[name], share) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in start.items()
    }


def copy_weights(policy: ReformerPolicy) -> dict[str, Tensor]:
    """A copy that goes on as it is while the policy learns."""
    return {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}
