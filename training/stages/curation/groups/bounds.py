"""What a group may weigh: half as much as so many other accounts do that have rated more than once, or as one of them.

Where most accounts are in some group these are crowds, and each may weigh as much as so many others: one person, one
vote. Thumbs up and thumbs down are bounded each by itself: where people like little, a group that likes everything
would otherwise be most of what is liked, and liked replies are what is imitated. The heaviest accounts are cut first,
so that a customer who has a word in common with a loud group keeps what few ratings weigh.
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
    is_up: NDArray[np.bool_]
    groups: Sequence[Group]
    max_group_weight: float
    """Times its share of the accounts; 1 at least where most accounts are in some group."""

    def apply(self, weights: Sequence[float]) -> list[float]:
        """Weights as they are under the bound, each at most what it was."""
        return self.cut(np.array(weights)).tolist() if self.groups else list(weights)

    def cut(self, weights: Numbers) -> Numbers:
        """The same of numbers in an array."""
        found = weights.copy()
        if self.groups:
            rates_often = np.bincount(self.account[self.account >= 0]) >= MIN_RATINGS
            for is_of_kind in (self.is_up, ~self.is_up):
                chosen = (self.account >= 0) & is_of_kind
                before = np.bincount(self.account[chosen], weights[chosen], len(rates_often)).astype(np.float64)
                after = self._bounded(before, rates_often)
                factors = np.divide(after, before, out=np.ones_like(before), where=before > 0)
                found[chosen] *= factors[self.account[chosen]]
        return found

    def _bounded(self, by_account: Numbers, rates_often: NDArray[np.bool_]) -> Numbers:
        """What thumbs of one kind weigh by account, group after group; of a kind that others lack nothing is known.

        Measured by accounts in no group, which no group's bound cuts: else bounds below 1 would cut without end.
        """
        left, outside = by_account.copy(), rates_often.copy()
        outside[[account for group in self.groups for account in group.accounts]] = False
        is_few = 2 * np.count_nonzero(outside) >= np.count_nonzero(rates_often)
        for group in self.groups:
            members, others = np.array(group.accounts), outside
            if not is_few:
                others = rates_often.copy()
                others[members] = False
            if others.any() and left[others].any():
                factor = self.max_group_weight if is_few else max(1.0, self.max_group_weight)
                most = max(1.0, factor * len(members)) * float(left[others].mean())
                left[members] = cut_to(left[members], most)
        return left

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
