"""What the served graph of a candidate costs: eight bits, and time beside its base's. Measuring:
`stages.served_graph`."""

from collections.abc import Sequence
from statistics import median

import numpy as np
from pydantic import BaseModel, ConfigDict

from model_store.contract.manifest import Quantization
from training.evaluation.figures import Figure

SERVING_NAME = "serving.json"
_NUM_RESAMPLES = 1000


class ServingFigures(BaseModel):
    """The candidate's graph; `problem` says why there is none, or why its parts could not be measured."""

    model_config = ConfigDict(frozen=True)

    quantization: Quantization | None = None
    latency_ratio: Figure | None = None
    """Median over pairs of runs of the candidate's time over the base's, on the same tokens; replies of another length
    are the length rule's business."""
    problem: str | None = None


def median_ratio(before: Sequence[float], after: Sequence[float], *, seed: int = 0) -> Figure:
    """The median of after / before, pair by pair, with its bootstrap interval. Raises ValueError without a pair."""
    ratios = [late / early for early, late in zip(before, after, strict=True)]
    if not ratios:
        raise ValueError("a ratio needs at least one pair of runs")
    picks = np.random.default_rng(seed).integers(0, len(ratios), (_NUM_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(np.array(ratios)[picks], axis=1), [0.025, 0.975])
    return Figure(value=median(ratios), low=float(low), high=float(high))
