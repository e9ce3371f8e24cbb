"""Distillation: a network that was made smaller learns what the one before would have said, not only what was said.

Hinton et al. 2015 (1503.02531), at temperature 1 and for every token that weighs something: the divergence from the
reference's next-token distribution, mixed with the cross-entropy. Left out: matching hidden states, which pruned layers
do not line up with.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.reformer.model import ReformerPolicy


@dataclass(frozen=True)
class Distillation:
    """Whom a network learns from, and how much."""

    reference: ReformerPolicy
    """In evaluation mode."""
    share: float
    """Of the divergence in a token's loss; the rest is its cross-entropy."""

    def mixed(self, losses: Tensor, logits: Tensor, token_ids: Tensor, is_target: Tensor) -> Tensor:
        """Losses [N] in nats of logits [N, V] at the positions `is_target` [B, S - 1] of token_ids [B, S]."""
        with torch.no_grad():
            hidden = self.reference.encode(token_ids)[:, :-1][is_target]
            wanted = self.reference.token_logits(hidden).float().log_softmax(-1)
        return (1 - self.share) * losses + self.share * divergences(wanted, logits.log_softmax(-1))


def divergences(wanted: Tensor, found: Tensor) -> Tensor:
    """KL(wanted ‖ found) [N] in nats of log-probabilities [N, V]."""
    return F.kl_div(found, wanted, reduction="none", log_target=True).sum(-1)
