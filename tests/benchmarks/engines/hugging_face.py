"""Hugging Face's own Reformer and its `generate`, cached and greedy: exact as our model is trained, and hashed.

The stock class has no n-gram tables, so on the shipped weights it does a little less than the model that ships.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import ReformerModelWithLMHead, StoppingCriteria, StoppingCriteriaList
from transformers.models.reformer import modeling_reformer

from tests.benchmarks.engines.contender import Contender, PacedRun, Timing
from tests.benchmarks.engines.shapes import Shape
from training.reformer.config import reformer_config

_HASH_CHUNK, _EXACT_CHUNK = 64, 512
"""Up to as many tokens it does not hash, and to a multiple of as many it pads prompts."""
transformers.logging.set_verbosity_error()
modeling_reformer.print = lambda *_: None  # it prints three warnings a token


class HuggingFaceRunner:
    """`ReformerModelWithLMHead.generate`, stopped between tokens."""

    def __init__(self, shape: Shape, folder: Path, *, is_hashed: bool) -> None:
        torch.set_num_threads(1)
        config = reformer_config(shape.architecture)
        config.eos_token_id = None
        config.lsh_attn_chunk_length = _HASH_CHUNK if is_hashed else _EXACT_CHUNK
        self._shape = shape
        self._model = ReformerModelWithLMHead(config).eval()
        weights = self._model.state_dict()
        self._model.load_state_dict({name: shape.policy.state_dict()[name] for name in weights})
        self._run: PacedRun | None = None

    def start(self, num_streams: int, context: int) -> None:
        """Begins to generate from `num_streams` prompts of `context` tokens."""
        self._begin([self._shape.prompt(context, seed=stream) for stream in range(num_streams)])

    def decode(self, num_steps: int) -> Timing:
        """Goes on generating."""
        assert self._run is not None
        return self._run.steps(num_steps, self._num_streams)

    def prefill(self, length: int, seed: int) -> Timing:
        """Up to the first token of `generate`."""
        opening = self._begin([self._shape.prompt(length, seed)]).opening
        return Timing(length, opening.wall_seconds, opening.cpu_seconds)

    def close(self) -> None:
        """Ends the generation."""
        if self._run is not None:
            self._run.stop()

    def _begin(self, prompts: list[tuple[int, ...]]) -> PacedRun:
        self.close()
        self._num_streams = len(prompts)
        self._run = PacedRun(partial(self._generate, torch.tensor(prompts)))
        return self._run

    @torch.no_grad()
    def _generate(self, prompts: torch.Tensor, mark: Callable[[], None]) -> None:
        room = self._shape.architecture.max_positions - prompts.shape[1]
        criteria = StoppingCriteriaList([_MarkEveryToken(mark)])
        self._model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=room,
            do_sample=False,
            use_cache=True,
            stopping_criteria=criteria,
        )


class _MarkEveryToken(StoppingCriteria):  # type: ignore[misc]
    """Never stops; `generate` asks it after every token."""

    def __init__(self, mark: Callable[[], None]) -> None:
        self._mark = mark

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._mark()
        return torch.zeros(len(input_ids), dtype=torch.bool)


NAME = "Hugging Face generate, {}"
EXACT = Contender(
    NAME.format("exact"),
    "transformers' ReformerModelWithLMHead on the same weights, never hashing, float32; pads prompts to 512",
    partial(HuggingFaceRunner, is_hashed=False),
    step_share=1 / 8,
)
HASHED = Contender(
    NAME.format("hashed"),
    "the same with LSH chunks of 64; its cache is wrong for more than one stream, and the text is another one",
    partial(HuggingFaceRunner, is_hashed=True),
    step_share=1 / 8,
    max_streams=1,
)
