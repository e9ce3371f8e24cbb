"""Torch with keys and values kept, operator by operator: what training samples with (`training.reformer.decoder`)."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from model_store.contract.control_tokens import EOS_ID
from tests.benchmarks.engines.contender import Contender, PacedRunner
from tests.benchmarks.engines.shapes import Shape
from training.reformer.decoder import sample_completions
from training.reformer.model import ReformerPolicy


class TorchRunner(PacedRunner):
    """`sample_completions`, stopped between tokens."""

    def __init__(self, shape: Shape, folder: Path) -> None:
        super().__init__(shape)
        torch.set_num_threads(1)

    def _generate(self, prompts: list[tuple[int, ...]], mark: Callable[[], None]) -> None:
        policy = _with_marks(self._shape.policy, mark)
        sample_completions(
            policy,
            prompts,
            banned_ids=[frozenset({EOS_ID})] * len(prompts),
            temperature=0,
            max_new_tokens=self._shape.architecture.max_positions - len(prompts[0]),
            seed=1,
            batch_size=len(prompts),
        )


def _with_marks(policy: ReformerPolicy, mark: Callable[[], None]) -> ReformerPolicy:
    """The same network; sampling asks it for logits once a token, and then `mark` is called."""

    def token_logits(hidden_states: Tensor) -> Tensor:
        logits = policy.token_logits(hidden_states)
        mark()
        return logits

    marked = copy.copy(policy)
    marked.token_logits = token_logits  # type: ignore[method-assign]
    return marked


CONTENDER = Contender(
    "torch eager, KV cache",
    "the network in torch, float32, keys and values kept, as training samples",
    TorchRunner,
    step_share=1 / 8,
)
