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

from tests.benchmarks.engines.contender import Contender, PacedRunner
from tests.benchmarks.engines.shapes import Shape
from training.reformer.config import reformer_config

_HASH_CHUNK, _EXACT_CHUNK = 64, 512
"""Up to as many tokens it does not hash, and to a multiple of as many it pads prompts."""
transformers.logging.set_verbosity_error()
modeling_reformer.print = lambda *_: None  # it prints three warnings a token


class HuggingFaceRunner(PacedRunner):
    """`ReformerModelWithLMHead.generate`, stopped between tokens."""

    def __init__(self, shape: Shape, folder: Path, *, is_hashed: bool) -> None:
        super().__init__(shape)
        torch.set_num_threads(1)
        config = reformer_config(shape.architecture)
        config.eos_token_id = None
        config.lsh_attn_chunk_length = _HASH_CHUNK if is_hashed else _EXACT_CHUNK
        self._model = ReformerModelWithLMHead(config).eval()
        weights = self._model.state_dict()
        self._model.load_state_dict({name: shape.policy.state_dict()[name] for name in weights})

    @torch.no_grad()
    def _generate(self, prompts: list[tuple[int, ...]], mark: Callable[[], None]) -> None:
        input_ids = torch.tensor(prompts)
        room = self._shape.architecture.max_positions - input_ids.shape[1]
        criteria = StoppingCriteriaList([_MarkEveryToken(mark)])
        self._model.generate(
            input_ids,
            attention_mask=torch.ones_like(input_ids),
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
