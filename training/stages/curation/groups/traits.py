"""What a rating may have that others have not, counted by account: words of what was asked or replied, and the thumb.

Sparse matrices, so that twenty thousand ratings take seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from model_store.contract.conversation import Message, Role
from model_store.curation import TraitKind
from training.stages.curation.words import words_and_bigrams

LONG = "(long)"
"""In place of a word of replies: longer than three quarters of those in their language. No word has brackets."""
_LONG_QUANTILE = 0.75
MIN_RATINGS = 2
"""Of an account that is judged: one rating is always one-sided. Words of fewer ratings are no trait."""


@dataclass(frozen=True, slots=True)
class Said:
    """A customer's rating. Texts are masked."""

    account: int
    """From 0 on, the same for the same customer."""
    language: str
    asked: str
    """All that the customer said up to the reply."""
    reply: str
    is_up: bool


def asked_in(messages: Sequence[Message]) -> str:
    """What the customer said in all of a prompt."""
    return "\n".join(message.content for message in messages if message.role is Role.USER)


@dataclass(frozen=True)
class Traits:
    """How many ratings of each account have which of F traits of one kind."""

    kind: TraitKind
    words: Sequence[str]
    counts: sparse.csc_array
    """[accounts, F]; what is not stored is 0."""
    rates: NDArray[np.float64]
    """[F]: the mean, over accounts that have rated more than once, of the share of their ratings that have it. Each
    counts once, however much it rates; and a flood of accounts of one rating cannot make others look odd."""

    def shares(self, number: int, num_ratings: NDArray[np.int64]) -> NDArray[np.float64]:
        """[accounts]: of each account's ratings, those that have the trait of that number."""
        part = slice(self.counts.indptr[number], self.counts.indptr[number + 1])
        found = np.zeros(len(num_ratings))
        accounts = self.counts.indices[part]
        found[accounts] = self.counts.data[part] / num_ratings[accounts]
        return found


def traits_of(said: Sequence[Said]) -> tuple[NDArray[np.int64], list[Traits]]:
    """Ratings by account, and every kind of trait."""
    account = np.array([one.account for one in said], dtype=np.int64)
    is_up = np.array([one.is_up for one in said], dtype=np.float64)
    num_ratings = np.bincount(account)
    ups = _by_account(account, is_up)
    downs = _by_account(account, 1 - is_up)
    replies = _words_of(said, _words_of_reply(said, num_ratings))
    asked = _words_of(said, lambda one: words_and_bigrams(one.asked))
    nothing = _Words([""], sparse.csr_array(np.ones((len(said), 1))))
    found = [
        _traits("asks", asked, ups + downs, num_ratings),
        _traits("likes_asked", asked, ups, num_ratings),
        _traits("dislikes_asked", asked, downs, num_ratings),
        _traits("likes", replies, ups, num_ratings),
        _traits("dislikes", replies, downs, num_ratings),
        _traits("likes_all", nothing, ups, num_ratings),
        _traits("dislikes_all", nothing, downs, num_ratings),
    ]
    return num_ratings, found


@dataclass(frozen=True)
class _Words:
    """Which ratings, [N, F], have which words."""

    words: list[str]
    have: sparse.csr_array


def _words_of_reply(said: Sequence[Said], num_ratings: NDArray[np.int64]) -> Callable[[Said], frozenset[str]]:
    lengths: dict[str, list[tuple[int, float]]] = {}
    for one in said:
        lengths.setdefault(one.language, []).append((len(one.reply), 1 / float(num_ratings[one.account])))
    bounds = {language: _length_at(_LONG_QUANTILE, found) for language, found in lengths.items()}

    def words(one: Said) -> frozenset[str]:
        found = words_and_bigrams(one.reply)
        return found | {LONG} if len(one.reply) > bounds[one.language] else found

    return words


def _length_at(quantile: float, weighed: list[tuple[int, float]]) -> int:
    """The quantile of lengths that weigh something."""
    weighed.sort()
    reached = np.cumsum([weight for _, weight in weighed])
    return weighed[int(np.searchsorted(reached, quantile * reached[-1]))][0]


def _words_of(said: Sequence[Said], words: Callable[[Said], frozenset[str]]) -> _Words:
    numbers: dict[str, int] = {}
    columns: list[int] = []
    ends = [0]
    for one in said:
        # Sorted: the order of a set is another one in every process, and the same ratings must give the same report.
        columns += [numbers.setdefault(word, len(numbers)) for word in sorted(words(one))]
        ends.append(len(columns))
    have = sparse.csr_array((np.ones(len(columns)), columns, ends), shape=(len(said), len(numbers)))
    often = np.flatnonzero(have.sum(0) >= MIN_RATINGS)
    names = list(numbers)
    return _Words([names[number] for number in often], sparse.csr_array(have[:, often]))


def _by_account(account: NDArray[np.int64], values: NDArray[np.float64]) -> sparse.csr_array:
    """[accounts, N]: each rating's value in the row of its account."""
    return sparse.csr_array((values, (account, np.arange(len(account)))))


def _traits(kind: TraitKind, words: _Words, by_account: sparse.csr_array, num_ratings: NDArray[np.int64]) -> Traits:
    counts = sparse.csc_array(by_account @ words.have)
    return Traits(kind, words.words, counts, _mean_share(counts, num_ratings))


def _mean_share(counts: sparse.csc_array, num_ratings: NDArray[np.int64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.asarray(_shares(num_ratings) @ counts).ravel()
    return found


def _shares(num_ratings: NDArray[np.int64]) -> NDArray[np.float64]:
    """By account: what one of its ratings is of a mean in which each account counts once."""
    often = num_ratings >= MIN_RATINGS
    found: NDArray[np.float64] = often / (np.maximum(num_ratings, 1) * max(1, int(np.count_nonzero(often))))
    return found
