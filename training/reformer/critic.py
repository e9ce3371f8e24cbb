"""The critic: a policy's trunk with a value, and two numbers for every token that could come next.

Training it and what is made of it: `training.stages.learners.ilql`. It is never served.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.reformer.model import ReformerPolicy

_INIT_STD = 1e-3
"""Of the Q heads: enough to tell the two apart, too little to prefer a token that was never seen."""


@dataclass(frozen=True)
class StateValues:
    """Of N states: V [N], both Q [N, V] and the smaller of both slow copies of Q [N, V], in fp32."""

    value: Tensor
    first: Tensor
    second: Tensor
    target: Tensor


class Critic(nn.Module):
    """Values of states and of tokens in them, on a trunk of its own."""

    def __init__(self, trunk: ReformerPolicy, *, mean_reward: float, seed: int) -> None:
        """Copies `trunk`, frozen or not.

        Every value starts at about `mean_reward`, so that only differences are to be learned.
        """
        super().__init__()
        self.trunk = copy.deepcopy(trunk)
        for parameter in self.trunk.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        self.trunk.leave_untrained()
        self.trunk.lm_head.requires_grad_(False)
        width, vocab_size = 2 * int(trunk.config.hidden_size), int(trunk.config.vocab_size)
        generator = torch.Generator().manual_seed(seed)
        self.value_head = _head(width, 1, mean_reward, generator)
        self.q_heads = nn.ModuleList(_head(width, vocab_size, mean_reward, generator) for _ in range(2))
        self.target_heads = copy.deepcopy(self.q_heads).requires_grad_(False)

    def forward(self, token_ids: Tensor, mask: Tensor) -> StateValues:
        """Values of the states before the tokens of mask [B, S - 1] bool in token_ids [B, S], in the mask's order."""
        states = self.trunk.encode(token_ids)[:, :-1][mask]
        with torch.autocast("cpu", enabled=False):
            states = states.float()
            first, second = (head(states) for head in self.q_heads)
            with torch.no_grad():
                slow = [head(states) for head in self.target_heads]
            return StateValues(self.value_head(states)[:, 0], first, second, torch.minimum(*slow))


def _head(width: int, num_values: int, bias: float, generator: torch.Generator) -> nn.Linear:
    head = nn.Linear(width, num_values)
    nn.init.normal_(head.weight, std=_INIT_STD, generator=generator)
    nn.init.constant_(head.bias, bias)
    return head
