"""How many tokens a second the base model learns from, beside the same step on torch's own dropout and attention.

`python -m tests.benchmarks.bench_training`: the shipped model's shape, one core, A B A B, medians. Short windows are
asks with their plan, long ones conversations.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from model_store.contract.control_tokens import ASSISTANT_ID, FIRST_PLAN_ID, NUM_CONTROL_TOKENS, USER_ID
from training.config import TrainingConfig, load_config
from training.data.windows import LISTENER, PLAN, SPEAKER, STRUCTURE, Batch
from training.optimization import StepGuard, build_muon
from training.reformer import attention, model
from training.stages.base_model.language_modeling import batch_gradients

_CONFIG = Path("training/configs/small.yaml")
_BATCH_TOKENS = 8192
_ROUNDS = 5
_SHAPES = {"asks of 32 tokens": 32, "conversations of 256 tokens": 256}


def main() -> None:
    """Prints tokens a second and the ratio for both kinds of window."""
    torch.set_num_threads(1)
    config = load_config(_CONFIG)
    for name, length in _SHAPES.items():
        run = partial(_training_step(config), _batch(length, config.model.vocab_size))
        ours, stock = _alternate(run, partial(_on_stock_kernels, run))
        print(
            f"{name}: {_BATCH_TOKENS / ours:,.0f} tokens/s, on torch's dropout and fused attention "
            f"{_BATCH_TOKENS / stock:,.0f} (ratio {stock / ours:.2f})"
        )


def _training_step(config: TrainingConfig) -> Callable[[Batch], None]:
    policy = model.new_policy(config.model.architecture(), seed=1, dropout=0.1).train()
    optimizers = build_muon(policy, muon_lr=config.finetune.muon_lr, adamw_lr=config.finetune.adamw_lr)
    guard = StepGuard(policy, optimizers, stage="benchmark")

    def step(batch: Batch) -> None:
        guard.step(batch_gradients(policy, batch, config.finetune), number=0, lr_factor=1.0)

    return step


def _on_stock_kernels(run: Callable[[], None]) -> None:
    """The same step with `F.dropout` and `F.scaled_dot_product_attention`."""

    def stock_dropout(values: Tensor, share: float, *, training: bool) -> Tensor:
        return F.dropout(values, share, training=training)

    with patch.object(model, "dropout", stock_dropout), patch.object(attention, "MAX_WRITTEN_OUT", 0):
        run()


def _batch(length: int, vocab_size: int) -> Batch:
    """Random text: a message and the plan at its end, or a message and a reply of half the window each."""
    rows = _BATCH_TOKENS // length
    token_ids = torch.randint(NUM_CONTROL_TOKENS, vocab_size, (rows, length))
    kinds = torch.full((rows, length), LISTENER, dtype=torch.uint8)
    opening = length - 2 if length <= 64 else length // 2
    token_ids[:, 0], token_ids[:, opening], token_ids[:, opening + 1] = USER_ID, ASSISTANT_ID, FIRST_PLAN_ID
    kinds[:, 0], kinds[:, opening], kinds[:, opening + 1], kinds[:, opening + 2 :] = STRUCTURE, STRUCTURE, PLAN, SPEAKER
    none = torch.tensor([]).long()
    return Batch(token_ids, kinds, torch.zeros(0, 0), none, none)


def _alternate(first: Callable[[], None], second: Callable[[], None]) -> tuple[float, float]:
    """Median seconds of each, taken in turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(_ROUNDS + 1):
        for run, times in zip((first, second), seconds, strict=True):
            started = time.perf_counter()
            run()
            if number:  # the first round warms up
                times.append(time.perf_counter() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


if __name__ == "__main__":
    main()
