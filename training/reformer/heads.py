"""The reward model: a policy's trunk with an ensemble of linear heads read off its last real token.

Hugging Face's sequence classifier pools token 0, which in a causal model has seen nothing: such a reward model stays at
ln 2 without any error. The heads share the trunk, since a copy of it for each would cost as much again; what they
disagree about, ratings have not settled (Zhang et al. 2024, 2401.16635). Training it: `training.stages.reward_model`.
"""

import copy
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training import distributed
from training.precision import fast_matrices
from training.reformer.model import ReformerPolicy, load_policy, save_policy

_HEAD_FILE = "reward_head.safetensors"
_INIT_STD = 0.02


class RewardModel(nn.Module):
    """Scores a conversation with its completion; sigmoid(score) estimates the probability of a thumb up."""

    temperature: Tensor

    def __init__(self, trunk: ReformerPolicy, num_heads: int = 1) -> None:
        """Copies `trunk`. Fresh heads differ, but their mean is a score of 0."""
        super().__init__()
        self.trunk = copy.deepcopy(trunk)
        # The language-model head stays for the checkpoint's sake and is never asked for anything.
        self.trunk.lm_head.requires_grad_(False)
        self.head = nn.Linear(2 * int(trunk.config.hidden_size), num_heads)
        nn.init.normal_(self.head.weight, std=_INIT_STD)
        with torch.no_grad():  # heads that begin apart go on disagreeing about what they are never taught
            self.head.weight -= self.head.weight.mean(0)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """token_ids [B, S] padded on the right, lengths [B] ≥ 1 → each head's scores [B, K] in fp32.

        Divided by `temperature`.
        """
        return self.scores_of(self.trunk.encode(token_ids), lengths)

    def scores_of(self, hidden_states: Tensor, lengths: Tensor) -> Tensor:
        """The same from the trunk's states [B, S, 2H]."""
        last = hidden_states[torch.arange(len(lengths)), lengths - 1]
        with torch.autocast("cpu", enabled=False):
            scores: Tensor = self.head(last.float())
        return scores / self.temperature

    def save(self, directory: Path) -> None:
        """Writes trunk and heads into `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        save_policy(self.trunk, directory)
        head = {name: tensor.detach().contiguous() for name, tensor in self.head.state_dict().items()}
        save_file({**head, "temperature": self.temperature}, directory / _HEAD_FILE)

    @classmethod
    def load(cls, directory: Path) -> "RewardModel":
        """Reads what `save` wrote. Raises OSError when it is not there."""
        tensors = load_file(directory / _HEAD_FILE)
        temperature = tensors.pop("temperature")
        model = cls(load_policy(directory), num_heads=len(tensors["bias"]))
        model.temperature.copy_(temperature)
        model.head.load_state_dict(tensors)
        model.eval()
        return model


@torch.no_grad()
def score_heads(model: RewardModel, sequences: list[list[int]], batch_size: int = 16) -> Tensor:
    """Each head's scores [N, K] of token sequences in their order, from bf16 batches of similar lengths.

    Turns on eval mode. Several processes share the sequences.
    """
    model.eval()
    scores = torch.zeros(len(sequences), model.head.out_features)
    own = distributed.own_rows(len(sequences))
    order = sorted(own, key=lambda index: len(sequences[index]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        with fast_matrices():
            scores[rows] = model(*pad_right([sequences[row] for row in rows]))
    if distributed.num_processes() == 1:
        return scores
    gathered = distributed.gather(scores[list(own)].tolist(), len(sequences))
    return torch.tensor(gathered).view_as(scores)


def score_batches(model: RewardModel, sequences: list[list[int]], *, pessimism: float = 0.0) -> Tensor:
    """Scores [N]: the heads' mean, less `pessimism` times their standard deviation; turns on eval mode."""
    return pessimistic(score_heads(model, sequences), pessimism)


def pessimistic(head_scores: Tensor, pessimism: float) -> Tensor:
    """Mean - pessimism · standard deviation over the heads, [N, K] → [N] (lower bound; Coste et al. 2023, 2310.02743).

    What the heads disagree about earns less, so that a policy is not drawn to where no rating was.
    """
    return head_scores.mean(-1) - pessimism * head_scores.std(-1, correction=0)


def pad_right(sequences: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [B, S] padded with zeros, and lengths [B]."""
    tensors = [torch.tensor(sequence) for sequence in sequences]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True), torch.tensor([len(tensor) for tensor in tensors])
