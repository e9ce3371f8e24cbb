"""What a group may weigh: as much as so many other accounts do that have rated more than once. One person, one vote.

Where it weighs more, its heaviest accounts are cut first, so that a customer who has a word in common with a loud group
keeps what few ratings weigh.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.stages.curation.groups.finding import Group
from training.stages.curation.groups.traits import MIN_RATINGS

Numbers = NDArray[np.float64]
_NOTICEABLE = 0.01


@dataclass(frozen=True, slots=True)
class WeighedGroup:
    """What became of a group that weighed more than its accounts' share."""

    group: Group
    num_accounts: int
    """Of everybody."""
    weight_before: float
    weight: float
    total_weight: float
    """Of everybody's ratings, customers' or not."""


@dataclass(frozen=True)
class GroupBound:
    """Of ratings by customers; `account` says whose each is, -1: nobody's in particular, or the staff's."""

    account: NDArray[np.int64]
    groups: Sequence[Group]
    max_group_weight: float
    """Times its share of the accounts."""

    def apply(self, weights: Sequence[float]) -> list[float]:
        """Weights as they are under the bound, each at most what it was."""
        return self.cut(np.array(weights)).tolist() if self.groups else list(weights)

    def cut(self, weights: Numbers) -> Numbers:
        """The same of numbers in an array."""
        if not self.groups:
            return weights
        is_customers, before = self.account >= 0, self._by_account(weights)
        rates_often = np.bincount(self.account[is_customers]) >= MIN_RATINGS
        after = before.copy()
        for group in self.groups:
            members = np.array(group.accounts)
            others = rates_often.copy()
            others[members] = False
            if others.any():
                most = max(1.0, self.max_group_weight * len(members)) * float(after[others].mean())
                after[members] = cut_to(after[members], most)
        factors = np.divide(after, before, out=np.ones_like(before), where=before > 0)
        found = weights.copy()
        found[is_customers] *= factors[self.account[is_customers]]
        return found

    def outcomes(self, before: Numbers, after: Numbers) -> list[WeighedGroup]:
        """Groups that weigh less now, by what each rating weighed without this bound, and what it weighs."""
        if not self.groups:
            return []
        had, has = self._by_account(before), self._by_account(after)
        num_accounts, total = int(np.count_nonzero(had)), float(after.sum())
        found = []
        for group in self.groups:
            members = np.array(group.accounts)
            old, new = float(had[members].sum()), float(has[members].sum())
            if old - new > _NOTICEABLE * old:
                found.append(WeighedGroup(group, num_accounts, old, new, total))
        return found

    def _by_account(self, weights: Numbers) -> Numbers:
        is_customers = self.account >= 0
        found: Numbers = np.bincount(self.account[is_customers], weights[is_customers]).astype(np.float64)
        return found


def cut_to(weights: Numbers, total: float) -> Numbers:
    """The same, cut at one height so that they are `total` together at most."""
    if weights.sum() <= total:
        return weights
    ascending = np.sort(weights)
    num_left = len(weights) - np.arange(len(weights))
    heights = (total - np.concatenate([[0.0], np.cumsum(ascending)[:-1]])) / num_left
    height = heights[np.argmax(heights <= ascending)]
    found: Numbers = np.minimum(weights, height)
    return found
