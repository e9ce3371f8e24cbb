"""How far each rater can be believed, by what others and the staff's gold list say about the same words.

The one-coin model of Dawid and Skene (Applied Statistics 1979) by expectation maximisation: every rater is right with a
probability of their own. Left out: different errors for thumbs up and down (thumbs are too few to tell them apart).
Added: gold is certain, a Beta prior speaks where little is known, and nobody confirms themselves (what a rating is held
against is concluded from the others alone).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scipy.stats import beta

DOUBT = 0.1
"""A rater is judged by the upper end of a one-sided interval that leaves out so much: doubt speaks for the rater."""
UP_BOUNDS = (0.2, 0.8)
"""How much, at most, the share of thumbs up says about words that nobody else rated."""


class Rater(NamedTuple):
    """Rater ids are a tenant's own."""

    tenant: str
    id: str


@dataclass(frozen=True, slots=True)
class Vote:
    """One rating of one item: words that were said, in however many conversations."""

    item: int
    rater: Rater
    is_up: bool


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of a rater of whom nothing is known: the probability to be right, worth so many ratings."""

    mean: float
    strength: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for and against a rater, in ratings; they need not be whole."""

    num_right: float
    num_wrong: float
    prior: Prior

    @property
    def reliability(self) -> float:
        """Mean of the posterior."""
        right, wrong = self._posterior
        return right / (right + wrong)

    @property
    def best_case(self) -> float:
        """The reliability that the rater hardly exceeds."""
        return float(beta.ppf(1 - DOUBT, *self._posterior))

    @property
    def weight(self) -> float:
        """What a rating counts: 1 as long as the rater may be as good as expected, 0 when surely no better than a coin.

        In between in proportion to what a rating tells, which is 2 p - 1 of a whole one.
        """
        return min(1.0, max(0.0, (2 * self.best_case - 1) / (2 * self.prior.mean - 1)))

    @property
    def is_surely_wrong(self) -> bool:
        """Whether the rater is surely wrong more often than right."""
        return self.best_case < 0.5

    @property
    def _posterior(self) -> tuple[float, float]:
        mean, strength = self.prior.mean, self.prior.strength
        return mean * strength + self.num_right, (1 - mean) * strength + self.num_wrong


def estimate(
    votes: Sequence[Vote], gold: Mapping[int, bool], prior: Prior, *, num_rounds: int = 50, tolerance: float = 1e-6
) -> dict[Rater, Evidence]:
    """Evidence about every rater who voted; `gold` says for some items that thumbs up is (or is not) the truth."""
    by_item: dict[int, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_item[vote.item].append(vote)
    informative = [(item, given) for item, given in by_item.items() if item in gold or len(given) > 1]
    evidence = {vote.rater: Evidence(0.0, 0.0, prior) for vote in votes}
    bias = _bias(votes)
    for _ in range(num_rounds):
        right: dict[Rater, float] = defaultdict(float)
        wrong: dict[Rater, float] = defaultdict(float)
        for item, given in informative:
            for vote, p_up in zip(given, _truths(given, gold.get(item), evidence, bias), strict=True):
                is_right = p_up if vote.is_up else 1 - p_up
                right[vote.rater] += is_right
                wrong[vote.rater] += 1 - is_right
        new = {rater: Evidence(right[rater], wrong[rater], prior) for rater in evidence}
        change = max((abs(new[rater].reliability - evidence[rater].reliability) for rater in new), default=0.0)
        evidence = new
        if change < tolerance:
            break
    return evidence


def _truths(given: Sequence[Vote], gold: bool | None, evidence: Mapping[Rater, Evidence], bias: float) -> list[float]:
    """For each vote, the probability that thumbs up is the truth, by gold or by everybody else's votes."""
    if gold is not None:
        return [float(gold)] * len(given)
    says = [_log_odds(evidence[vote.rater].reliability) * (1 if vote.is_up else -1) for vote in given]
    total = bias + sum(says)
    return [1 / (1 + math.exp(said - total)) for said in says]


def _bias(votes: Sequence[Vote]) -> float:
    low, high = UP_BOUNDS
    share = sum(vote.is_up for vote in votes) / len(votes) if votes else 0.5
    return _log_odds(min(high, max(low, share)))


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))
