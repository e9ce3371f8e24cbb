"""Measured numbers with their 95 % intervals, as scorecards and reports keep them. The formulas: `rlhf.estimators`."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from training.rlhf.estimators import bootstrap_interval, wilson_interval

_Item = TypeVar("_Item")


class Figure(BaseModel):
    """A number and the bounds of its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Change(Figure):
    """A paired difference, after minus before, with its standard error."""

    standard_error: float


def share(flags: Sequence[bool]) -> Figure:
    """The share of True with Wilson's interval; without a flag 0, and anything is possible."""
    low, high = wilson_interval(sum(flags), len(flags))
    return Figure(value=sum(flags) / max(1, len(flags)), low=low, high=high)


def mean(values: Sequence[float], *, seed: int = 0) -> Figure:
    """The mean with a bootstrap interval; the same values give the same bounds. Raises ValueError without a value."""
    low, high = bootstrap_interval(values, seed=seed)
    return Figure(value=sum(values) / len(values), low=low, high=high)


def paired_difference(before: Sequence[float], after: Sequence[float], *, seed: int = 0) -> Figure:
    """The mean of after minus before, pair by pair. Raises ValueError for lists of different length or empty ones."""
    return mean([late - early for early, late in zip(before, after, strict=True)], seed=seed)


def paired_change(before: Sequence[float], after: Sequence[float]) -> Change:
    """`paired_difference` with its standard error. Raises ValueError for lists of different length, or below two."""
    if len(before) < 2:
        raise ValueError("a standard error needs at least two pairs")
    difference = paired_difference(before, after)
    spread = float(np.std([late - early for early, late in zip(before, after, strict=True)], ddof=1))
    return Change(**difference.model_dump(), standard_error=spread / math.sqrt(len(before)))


def grouped(items: Iterable[_Item], key: Callable[[_Item], str]) -> dict[str, list[_Item]]:
    """Items by their key, keys sorted, items in the order in which they came."""
    found: dict[str, list[_Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return dict(sorted(found.items()))
