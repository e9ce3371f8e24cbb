"""Estimators: how far a policy has moved, how good a score is, how sure a figure is, how varied text is."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from model_store.shares import Count


def kl_k1(logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Nats a completion, unbiased and perhaps negative: Σ (log π - log π_ref), inputs [B, S] → [B]."""
    return ((logprobs - reference_logprobs) * mask).sum(dim=1)


def kl_k3(logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Nats a completion, never negative: Σ (exp(d) - d - 1), d = log π_ref - log π; [B, S] → [B] (Schulman 2020)."""
    difference = reference_logprobs - logprobs
    return ((torch.exp(difference) - difference - 1) * mask).sum(dim=1)


def kl_of_distributions(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Nats a token, never negative: Σ_v π(v) (log π(v) - log π_ref(v)), both [N, V] → [N].

    Summed over completions of the policy as unbiased as `kl_k1` and of less variance, since it averages over all that
    could have been drawn in place of each token (Amini et al. 2025, 2504.10637, section 4).
    """
    return (logprobs.exp() * (logprobs - reference_logprobs)).sum(-1)


def auc(scores: Sequence[float], is_up: Sequence[bool]) -> float | None:
    """Probability that a thumb up scores above a thumb down, ties half; None when one kind is missing."""
    ups = np.asarray(is_up, dtype=bool)
    num_up, num_down = int(ups.sum()), int((~ups).sum())
    if not num_up or not num_down:
        return None
    ranks = rankdata(np.asarray(scores, dtype=np.float64))
    return float((ranks[ups].sum() - num_up * (num_up + 1) / 2) / (num_up * num_down))


def log_loss(scores: Sequence[float], is_up: Sequence[bool]) -> float:
    """Mean negative log-likelihood of thumbs under sigmoid(score), in nats."""
    signed = np.where(np.asarray(is_up, dtype=bool), 1.0, -1.0) * np.asarray(scores, dtype=np.float64)
    return float(np.logaddexp(0.0, -signed).mean())


def wilson_interval(num_successes: int, num_trials: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) without trials."""
    share = Count(num_successes, num_trials).share
    return share.low, share.high


def bootstrap_interval(values: Sequence[float], *, seed: int, num_resamples: int = 2000) -> tuple[float, float]:
    """95 % percentile interval of a mean; the same seed gives the same interval. Raises ValueError without values."""
    if not len(values):
        raise ValueError("an interval needs at least one value")
    data = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, len(data), (num_resamples, len(data)))
    low, high = np.quantile(data[picks].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def distinct_n(sequences: Sequence[Sequence[int]], n: int) -> float:
    """Distinct n-grams by all n-grams, over all sequences together (Li et al. 2016); 0 without n-grams."""
    grams = [gram for sequence in sequences for gram in _n_grams(sequence, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition_share(sequence: Sequence[int], n: int = 4) -> float:
    """Share of a sequence's n-grams that occurred in it before; 0 when it is shorter than n."""
    grams = _n_grams(sequence, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _n_grams(sequence: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(sequence[start : start + n]) for start in range(len(sequence) - n + 1)]
