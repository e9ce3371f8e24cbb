"""How far an exported graph is from the network it came from, on real token sequences.

Two questions: does the float32 graph compute what the network in torch computes, and what did quantisation cost? The
answers go into the manifest; refusing to publish is the gate's and the export stage's business.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_store.contract.manifest import Quantization
from training.export.graph_session import GraphSession
from training.export.quantize import QuantizationProfile

MAX_FLOAT32_DIFFERENCE = 1e-4
"""Largest accepted |logit difference| between torch and the float32 graph."""
MIN_TOP1_AGREEMENT = 0.98
MIN_HASHED_AGREEMENT = 0.95
"""Of long prompts. Rounding moves some tokens into another bucket, which then see other far tokens, as good as those:
their most probable token may change, and perplexity does not. Measured: `training/EXPERIMENTS.md`, 2026-11-30."""
MAX_PERPLEXITY_RATIO = 1.02


def max_difference_from_torch(model: nn.Module, session: GraphSession, sequences: Iterable[Sequence[int]]) -> float:
    """The largest |logit difference| over all positions of all sequences.

    `model` takes token ids [1, S] and returns an object with `logits` [1, S, V]. Raises ValueError without a sequence.
    """
    was_training = model.training
    model.eval()
    differences = []
    with torch.no_grad():
        for token_ids in sequences:
            expected = model(torch.tensor([list(token_ids)])).logits[0].float().numpy()
            differences.append(float(np.abs(session.run(token_ids).logits - expected).max()))
    model.train(was_training)
    if not differences:
        raise ValueError("comparing needs at least one sequence of token ids")
    return max(differences)


def measure_quantization(
    reference: GraphSession,
    quantized: GraphSession,
    sequences: Iterable[Sequence[int]],
    profile: QuantizationProfile,
) -> Quantization:
    """What `quantized` lost against the float32 graph: arg-max agreement, perplexity, largest logit difference.

    Every position of every sequence counts once; perplexity is over each token given those before it. Raises ValueError
    when no sequence has two tokens.
    """
    num_agreed = num_positions = num_targets = 0
    excess = largest = 0.0
    for token_ids in sequences:
        expected, found = reference.run(token_ids).logits, quantized.run(token_ids).logits
        num_agreed += int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
        num_positions += len(token_ids)
        largest = max(largest, float(np.abs(expected - found).max()))
        targets = np.asarray(token_ids[1:], np.int64)
        excess += _negative_log_likelihood(found, targets) - _negative_log_likelihood(expected, targets)
        num_targets += len(targets)
    if num_targets == 0:
        raise ValueError("measuring needs at least one sequence of two tokens or more")
    return Quantization(
        weights=profile.weights,
        kv_cache=profile.kv_cache,
        top1_agreement=num_agreed / num_positions,
        perplexity_ratio=float(np.exp(excess / num_targets)),
        max_logit_difference=largest,
    )


def bounds_broken(quantization: Quantization, *, is_hashed: bool = False) -> list[str]:
    """A sentence for each bound that this quantisation breaks; empty when it may be published."""
    problems = []
    agreement, least = quantization.top1_agreement, MIN_HASHED_AGREEMENT if is_hashed else MIN_TOP1_AGREEMENT
    if agreement < least:
        problems.append(f"the quantised model agrees on {agreement:.2%} of the tokens, fewer than {least:.0%}")
    if quantization.perplexity_ratio > MAX_PERPLEXITY_RATIO:
        ratio = quantization.perplexity_ratio
        problems.append(f"quantisation multiplies perplexity by {ratio:.4f}, more than {MAX_PERPLEXITY_RATIO}")
    return problems


def _negative_log_likelihood(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Summed over the targets, in nats; row p of the logits predicts targets[p]."""
    rows = logits[: len(targets)].astype(np.float64)
    if not len(rows):
        return 0.0
    peaks = rows.max(axis=1, keepdims=True)
    log_normalisers = peaks[:, 0] + np.log(np.exp(rows - peaks).sum(axis=1))
    return float((log_normalisers - rows[np.arange(len(rows)), targets]).sum())
