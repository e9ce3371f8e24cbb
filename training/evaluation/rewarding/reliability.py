"""How reliable a score is: whether replies that it gives 70 % to are liked seven times of ten.

Expected calibration error over bins of equally many replies (Naeini et al. 2015; Guo et al. 2017, 1706.04599), and
Brier's score. Pure; the temperature that calibrates is fitted in `stages.reward_model`.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from training.evaluation.figures import Figure, share

MAX_BINS = 10
MIN_PER_BIN = 10
"""Fewer replies in a bin say nothing: small splits get fewer bins."""


class Bin(BaseModel):
    """Replies of neighbouring scores: what they were given on average, and how many of them were liked."""

    model_config = ConfigDict(frozen=True)

    num_replies: int
    expected: float
    liked: Figure


class Reliability(BaseModel):
    """Of one model on one split. `calibration_error` is the mean distance of `expected` and `liked`, by replies."""

    model_config = ConfigDict(frozen=True)

    calibration_error: float
    brier: float
    bins: tuple[Bin, ...]


def reliability(scores: Sequence[float], is_up: Sequence[bool]) -> Reliability:
    """Figures of raw scores (logits) against thumbs. Raises ValueError without a reply."""
    if not len(scores) or len(scores) != len(is_up):
        raise ValueError("reliability needs as many thumbs as scores, one at least")
    probabilities = 1 / (1 + np.exp(-np.clip(np.asarray(scores, dtype=np.float64), -60, 60)))
    ups = np.asarray(is_up, dtype=bool)
    order = np.argsort(probabilities, kind="stable")
    num_bins = max(1, min(MAX_BINS, len(order) // MIN_PER_BIN))
    bins = tuple(
        Bin(num_replies=len(rows), expected=float(probabilities[rows].mean()), liked=share(ups[rows].tolist()))
        for rows in np.array_split(order, num_bins)
    )
    error = sum(each.num_replies * abs(each.expected - each.liked.value) for each in bins) / len(order)
    return Reliability(calibration_error=error, brier=float(((probabilities - ups) ** 2).mean()), bins=bins)
