"""Torch with keys and values kept, operator by operator: what training samples with (`training.reformer.decoder`)."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from model_store.contract.control_tokens import EOS_ID
from tests.benchmarks.engines.contender import Contender, PacedRun, Timing
from tests.benchmarks.engines.shapes import Shape
from training.reformer.decoder import sample_completions
from training.reformer.model import ReformerPolicy


class TorchRunner:
    """`sample_completions`, stopped between tokens."""

    def __init__(self, shape: Shape, folder: Path) -> None:
        torch.set_num_threads(1)
        self._shape = shape
        self._run: PacedRun | None = None

    def start(self, num_streams: int, context: int) -> None:
        """Begins to sample from `num_streams` prompts of `context` tokens."""
        self._begin([self._shape.prompt(context, seed=stream) for stream in range(num_streams)])

    def decode(self, num_steps: int) -> Timing:
        """Goes on sampling."""
        assert self._run is not None
        return self._run.steps(num_steps, self._num_streams)

    def prefill(self, length: int, seed: int) -> Timing:
        """Up to the first token's logits."""
        opening = self._begin([self._shape.prompt(length, seed)]).opening
        return Timing(length, opening.wall_seconds, opening.cpu_seconds)

    def close(self) -> None:
        """Ends the sampling."""
        if self._run is not None:
            self._run.stop()

    def _begin(self, prompts: list[tuple[int, ...]]) -> PacedRun:
        self.close()
        self._num_streams = len(prompts)
        self._run = PacedRun(partial(self._sample, prompts))
        return self._run

    def _sample(self, prompts: list[tuple[int, ...]], mark: Callable[[], None]) -> None:
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
