"""Caps: how much of all weight one rater, one origin, one tenant, nameless people or one and the same text may have.

Shares are of what is counted in the end, not of what was sent: a flood cannot raise its own ceiling. Every cap only
takes weight away; taking from one group raises another's share, so the caps are applied in turn until all of them hold.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_PASSES = 200
NEGLIGIBLE = 1e-9


@dataclass(frozen=True, slots=True)
class Cap:
    """The bound of one kind of group, as a share of everything and in weight; the lower of both holds.

    `allowance` is what a group may weigh whatever its share is. `is_relaxed`: with so few groups that one of them must
    have more than the share, all get the same.
    """

    share: float = 1.0
    weight: float = math.inf
    allowance: float = 0.0
    is_relaxed: bool = False


def group_factors(totals: Mapping[Hashable, float], cap: Cap, *, rest: float = 0.0) -> dict[Hashable, float]:
    """By what the weights in each group are multiplied so that no group has more than `cap` allows.

    `rest` is what lies in no group: it counts in everything, and is bounded by nothing.
    """
    weighing = sorted((total for total in totals.values() if total > 0), reverse=True)
    share = max(cap.share, 1 / len(weighing)) if cap.is_relaxed and weighing and not rest else cap.share
    bound = min(cap.weight, max(_common_bound(weighing, share, rest), cap.allowance))
    return {group: min(1.0, bound / total) if total > 0 else 1.0 for group, total in totals.items()}


class Bound(Protocol):
    """What takes weight away."""

    def apply(self, weights: Sequence[float]) -> list[float]:
        """Weights as they are under it, each at most what it was."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which group each item lies in, by its number; None: in none."""

    group_of: Callable[[int], Hashable | None]
    cap: Cap

    def apply(self, weights: Sequence[float]) -> list[float]:
        """Weights as they are under the cap."""
        groups = [self.group_of(number) for number in range(len(weights))]
        totals: dict[Hashable, float] = defaultdict(float)
        rest = 0.0
        for group, weight in zip(groups, weights, strict=True):
            if group is None:
                rest += weight
            else:
                totals[group] += weight
        factors = group_factors(totals, self.cap, rest=rest)
        pairs = zip(groups, weights, strict=True)
        return [weight if group is None else weight * factors[group] for group, weight in pairs]


def capped(weights: Sequence[float], bounds: Sequence[Bound]) -> list[float]:
    """Weights as they are under all bounds at once, each at most what it was."""
    left = list(weights)
    for _ in range(MAX_PASSES):
        before = list(left)
        for bound in bounds:
            left = bound.apply(left)
        if all(old - new <= NEGLIGIBLE * max(1.0, old) for old, new in zip(before, left, strict=True)):
            break
    return left


def _common_bound(totals: Sequence[float], share: float, rest: float) -> float:
    """The largest b such that groups cut down to b have at most `share` of everything that is then left.

    `totals` from the largest on. With the k largest at b: b = share · (k · b + the others + rest), solved for b.
    """
    if share >= 1:
        return math.inf
    for num_capped in range(len(totals) + 1):
        others = sum(totals[num_capped:]) + rest
        free = 1 - share * num_capped
        bound = share * others / free if free > NEGLIGIBLE else math.inf
        if num_capped == len(totals) or totals[num_capped] <= bound:
            return totals[-1] if math.isinf(bound) and totals else bound
    return math.inf
