"""Finding groups: so many accounts so one-sided as neither chance makes them nor the ways in which people differ.

Of a trait's accounts those that rate at least so often are looked at, for several bounds: one of three ratings is
one-sided by chance, one of thirty is not. Poisson tail of the expected number (beta-binomial account by account: some
people like everything), Bonferroni over traits and bounds. Left out: accounts that hide what they want among a fifth
of other ratings, and what no single word tells. What an honest crowd may weigh (`bounds`) does not hurt it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln
from scipy.stats import poisson

from model_store.curation import TraitKind
from training.stages.curation.groups.traits import MIN_RATINGS, Said, Traits, traits_of

ONE_SIDED = (0.8, 0.9, 0.95)
"""Shares of an account's ratings that have the trait, each tried: what most people do four times in five, such as
rating down, nobody does thirty times on end."""
LEVEL = 0.01
"""Probability that chance alone makes any group, where accounts differ in nothing."""
_TRIMMED = 0.1
"""Share of the accounts, the most one-sided, by which it is not judged how much accounts differ."""
_LEAST_CORRELATION = 1e-4
_BOUNDS = (2, 3, 5, 8, 13, 21, 34, 55)
_HIGH = 0.9
_LEAST_RATIO = 1.5
"""Of that decile and the median."""


@dataclass(frozen=True, slots=True)
class Group:
    """Accounts, by their numbers, and the trait by which they are most surprising."""

    accounts: tuple[int, ...]
    kind: TraitKind
    word: str
    log_probability: float


def find_groups(said: Sequence[Said], *, level: float = LEVEL) -> list[Group]:
    """Groups that differ in their accounts, the most surprising first; accounts may be in several."""
    if not said:
        return []
    num_ratings, every = traits_of(said)
    num_tests = sum(len(traits.words) for traits in every) * len(_BOUNDS) * len(ONE_SIDED)
    limit = float(np.log(level / max(1, num_tests)))
    best: dict[tuple[int, ...], Group] = {}
    of_traits = (_groups(traits, num_ratings, share, limit) for traits, share in product(every, ONE_SIDED))
    for group in chain(*of_traits, _busiest(num_ratings, float(np.log(level / len(_BOUNDS))))):
        known = best.get(group.accounts)
        if known is None or group.log_probability < known.log_probability:
            best[group.accounts] = group
    return sorted(best.values(), key=lambda group: (group.log_probability, group.accounts))


def _groups(traits: Traits, num_ratings: NDArray[np.int64], share: float, limit: float) -> Iterator[Group]:
    """At most one a trait, at the bound at which it is least likely."""
    counts, needed = traits.counts, _needed(num_ratings, share)
    column = np.repeat(np.arange(len(traits.words)), np.diff(counts.indptr))
    is_one_sided = (counts.data >= needed[counts.indices]) & (num_ratings[counts.indices] >= MIN_RATINGS)
    place, account = column[is_one_sided], counts.indices[is_one_sided]
    tried, place = np.unique(place, return_inverse=True)
    if not len(tried):
        return
    bounds = np.array(_BOUNDS)
    found = np.zeros((len(tried), len(bounds)))
    for column_number, bound in enumerate(bounds):
        found[:, column_number] = np.bincount(place[num_ratings[account] >= bound], minlength=len(tried))
    expected = _expected(traits.rates[tried], _correlations(traits, tried, num_ratings), num_ratings, share)
    with np.errstate(divide="ignore"):  # a probability of nought has the logarithm -inf
        logs = np.where(found > 0, poisson.logsf(found - 1, expected), 0.0)
    chosen = logs.argmin(1)
    for number in np.flatnonzero(logs.min(1) < limit):
        members = account[place == number]
        members = np.sort(members[num_ratings[members] >= bounds[chosen[number]]])
        word = traits.words[tried[number]]
        yield Group(tuple(members.tolist()), traits.kind, word, float(logs[number, chosen[number]]))


def _busiest(num_ratings: NDArray[np.int64], limit: float) -> Iterator[Group]:
    """Who rates more often than a Pareto tail through the median and the ninth decile of accounts allows."""
    sizes = num_ratings[num_ratings >= MIN_RATINGS]
    if not len(sizes):
        return
    middle, high = np.quantile(sizes, (0.5, _HIGH))
    exponent = np.log(0.5 / (1 - _HIGH)) / np.log(max(_LEAST_RATIO, high / middle))
    bounds = np.array([bound for bound in _BOUNDS if bound > high])
    found = np.array([np.count_nonzero(sizes >= bound) for bound in bounds], dtype=np.int64)
    logs = poisson.logsf(found - 1, len(sizes) * 0.5 * (bounds / middle) ** -exponent)
    if len(bounds) and logs.min() < limit:
        members = np.flatnonzero(num_ratings >= bounds[logs.argmin()])
        yield Group(tuple(members.tolist()), "often", "", float(logs.min()))


def _needed(num_ratings: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Ratings with the trait that make an account of so many one-sided."""
    found: NDArray[np.int64] = np.ceil(share * num_ratings - 1e-9).astype(np.int64)
    return found


def _correlations(traits: Traits, tried: NDArray[np.int64], num_ratings: NDArray[np.int64]) -> NDArray[np.float64]:
    """[F]: how alike ratings of one account are, 0 to 1, by the variance of accounts' shares (method of moments)."""
    often = np.flatnonzero(num_ratings >= MIN_RATINGS)
    num_kept = max(2, len(often) - int(np.ceil(_TRIMMED * len(often))))
    found = np.zeros(len(tried))
    for place, number in enumerate(tried):
        shares = traits.shares(int(number), num_ratings)[often]
        kept = often[np.argsort(shares, kind="stable")[:num_kept]]
        values = np.sort(shares, kind="stable")[:num_kept]
        mean, by_chance = values.mean(), (1 / num_ratings[kept]).mean()
        if 0 < mean < 1:
            found[place] = (values.var() / (mean * (1 - mean)) - by_chance) / (1 - by_chance)
    return found.clip(_LEAST_CORRELATION, 1 - _LEAST_CORRELATION)


def _expected(
    rates: NDArray[np.float64], correlations: NDArray[np.float64], num_ratings: NDArray[np.int64], share: float
) -> NDArray[np.float64]:
    """[F, bounds]: how many accounts of at least so many ratings would be one-sided anyway."""
    sizes, num_accounts = np.unique(num_ratings[num_ratings >= MIN_RATINGS], return_counts=True)
    tails = np.stack([_tail(int(size), share, rates, correlations) for size in sizes], axis=1) * num_accounts
    return np.stack([tails[:, sizes >= bound].sum(1) for bound in _BOUNDS], axis=1)


def _tail(
    size: int, share: float, rates: NDArray[np.float64], correlations: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[F]: the beta-binomial probability that so large a share of so many ratings has the trait."""
    having = np.arange(int(_needed(np.array([size]), share)[0]), size + 1)[None, :]
    strength = ((1 - correlations) / correlations)[:, None]
    rate = rates.clip(1e-9, 1 - 1e-9)[:, None]
    first, second = rate * strength, (1 - rate) * strength
    ways = gammaln(size + 1) - gammaln(having + 1) - gammaln(size - having + 1)
    logs = ways + betaln(having + first, size - having + second) - betaln(first, second)
    found: NDArray[np.float64] = np.exp(logs).sum(1)
    return found
