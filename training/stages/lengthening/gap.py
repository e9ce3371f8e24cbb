"""The gate of long reading: what hashing loses against exact attention, on held-out texts, by length.

Both read with the same weights; the difference of their cross-entropies on the assistant's tokens is the gap. Beside
them a third reading that sees the near tokens alone says how much there is to lose at all. A gap that is too large ends
the job with an error: nothing would be gained by serving it. Left out: an interval; the same tokens are read by both,
so that the difference is far surer than either figure.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from training.config import TrainingConfig
from training.errors import HashingGapError
from training.reformer.attention import ExactLSHSelfAttention
from training.reformer.model import ReformerPolicy, load_policy
from training.stages.base_model.language_modeling import token_losses
from training.stages.export import round_to_bfloat16
from training.stages.lengthening.lengthen import LENGTHENED, batch_of
from training.stages.lengthening.texts import HELD_OUT_NAME, LongTexts
from training.workspace import StageResult, Workspace

GAP_NAME = "long_reading.json"


class LengthFigures(BaseModel):
    """Cross-entropies of one length, in nats a token of the assistant."""

    model_config = ConfigDict(frozen=True)

    length: int
    num_texts: int
    num_tokens: int
    """Tokens of the assistant, which count."""
    exact: float
    hashed: float
    near: float
    """Where LSH layers see the chunk and the one before, and nothing else."""

    @property
    def gap(self) -> float:
        """What hashing loses."""
        return self.hashed - self.exact


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes `long_reading.json`; the result is the same. Raises HashingGapError where hashing loses too much."""
    assert config.lengthening is not None
    policy = round_to_bfloat16(load_policy(workspace.path(LENGTHENED)))
    figures = []
    for length in tqdm(config.lengthening.measured_lengths, desc="exact and hashed reading", file=sys.stderr):
        if length > config.lengthening.hashing.hash_beyond:
            figures.append(measure(policy, LongTexts.load(workspace.path(f"{HELD_OUT_NAME}_{length}.npz"))))
    report = {
        "max_gap": config.lengthening.max_gap,
        "hashing": config.lengthening.hashing.model_dump(),
        "lengths": [{**figure.model_dump(), "gap": figure.gap} for figure in figures],
    }
    workspace.write_text(GAP_NAME, json.dumps(report, indent=1) + "\n")
    check(figures, config.lengthening.max_gap)
    return report


def check(figures: Sequence[LengthFigures], max_gap: float) -> None:
    """Raises HashingGapError for the length that loses most, if that is too much or no number."""
    worst = max(figures, key=lambda figure: figure.gap if np.isfinite(figure.gap) else np.inf, default=None)
    if worst is not None and not worst.gap <= max_gap:
        raise HashingGapError(length=worst.length, gap=worst.gap, max_gap=max_gap)


def measure(policy: ReformerPolicy, texts: LongTexts) -> LengthFigures:
    """One length's cross-entropies, three times over the same texts."""
    losses = {reading: _mean_loss(policy, texts, reading) for reading in ("exact", "hashed", "near")}
    num_texts, length = texts.token_ids.shape
    num_tokens = losses["exact"][1]
    return LengthFigures(
        length=length, num_texts=num_texts, num_tokens=num_tokens, **{name: loss for name, (loss, _) in losses.items()}
    )


@torch.no_grad()
def _mean_loss(policy: ReformerPolicy, texts: LongTexts, reading: str) -> tuple[float, int]:
    """Nats a token of the assistant, and how many such tokens there are. Text by text: attention takes memory."""
    weights = torch.tensor([0.0, 0.0, 1.0, 1.0])
    total, count = 0.0, 0
    with _reading(policy, reading):
        for row in range(len(texts)):
            batch = batch_of(texts, np.array([row]))
            losses, _ = token_losses(policy, policy.encode(batch.token_ids), batch, weights)
            total += float(losses.double().sum())
            count += len(losses)
    return total / max(1, count), count


@contextmanager
def _reading(policy: ReformerPolicy, reading: str) -> Iterator[None]:
    """The policy reads so meanwhile."""
    attentions = [layer.attention.self_attention for layer in policy.reformer.encoder.layers]
    layers = [attention for attention in attentions if isinstance(attention, ExactLSHSelfAttention)]
    rules = [attention.hashing for attention in layers]
    policy.read_exactly(reading == "exact")
    try:
        for attention in layers:
            if reading == "near" and attention.hashing is not None:
                attention.hashing = attention.hashing.model_copy(update={"bucket_window": 0})
        yield
    finally:
        policy.read_exactly(False)
        for attention, rule in zip(layers, rules, strict=True):
            attention.hashing = rule
