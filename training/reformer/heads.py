"""The reward model: a policy's trunk with one number read off its last real token.

Hugging Face's sequence classifier pools token 0, which in a causal model has seen nothing: such a reward model stays at
ln 2 without any error. Training it: `training.stages.reward_model`.
"""

import copy
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.precision import fast_matrices
from training.reformer.model import ReformerPolicy, load_policy, save_policy

_HEAD_FILE = "reward_head.safetensors"


class RewardModel(nn.Module):
    """Scores a conversation with its completion; sigmoid(score) estimates the probability of a thumb up."""

    temperature: Tensor

    def __init__(self, trunk: ReformerPolicy) -> None:
        """Copies `trunk`; the head starts at zero, so every first score is 0."""
        super().__init__()
        self.trunk = copy.deepcopy(trunk)
        # The language-model head stays for the checkpoint's sake and is never asked for anything.
        self.trunk.lm_head.requires_grad_(False)
        self.head = nn.Linear(2 * int(trunk.config.hidden_size), 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """token_ids [B, S] padded on the right, lengths [B] ≥ 1 → scores [B] in fp32, divided by `temperature`."""
        hidden = self.trunk.encode(token_ids)
        last = hidden[torch.arange(len(lengths)), lengths - 1]
        with torch.autocast("cpu", enabled=False):
            scores: Tensor = self.head(last.float())[:, 0]
        return scores / self.temperature

    def save(self, directory: Path) -> None:
        """Writes trunk and head into `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        save_policy(self.trunk, directory)
        head = {name: tensor.detach().contiguous() for name, tensor in self.head.state_dict().items()}
        save_file({**head, "temperature": self.temperature}, directory / _HEAD_FILE)

    @classmethod
    def load(cls, directory: Path) -> "RewardModel":
        """Reads what `save` wrote. Raises OSError when it is not there."""
        model = cls(load_policy(directory))
        tensors = load_file(directory / _HEAD_FILE)
        model.temperature.copy_(tensors.pop("temperature"))
        model.head.load_state_dict(tensors)
        model.eval()
        return model


@torch.no_grad()
def score_batches(model: RewardModel, sequences: list[list[int]], batch_size: int = 64) -> Tensor:
    """Scores [N] of token sequences in their order, from bf16 batches of similar lengths; turns on eval mode."""
    model.eval()
    scores = torch.zeros(len(sequences))
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        with fast_matrices():
            scores[rows] = model(*pad_right([sequences[row] for row in rows]))
    return scores


def pad_right(sequences: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [B, S] padded with zeros, and lengths [B]."""
    tensors = [torch.tensor(sequence) for sequence in sequences]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True), torch.tensor([len(tensor) for tensor in tensors])
