"""What authors have said, word for word, so that a bot that is unsure of its wording keeps to theirs.

The longest end of the reply so far that any authored reply holds tells how authors went on (an n-gram model of
unbounded order, Liu et al. 2024, 2401.17377). A small network is confused by conversations of several turns; where it
wavers, a continuation that no author wrote is hardly ever a sentence. Where it is very sure, it says what it likes.

Left out: counts, for the network knows better than frequency what fits, and an index of suffixes: a reply is followed
token by token, and only who leaves the book looks for a place in it again.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

MIN_SHARE = 1e-6
"""Of the probability: with less for all that authors wrote, the network is sure of something else. As small as this,
because a network that is confused is not always unsure."""
_MAX_VIEWS = 16

_Places = NDArray[np.int64]
_Float = TypeVar("_Float", bound=np.floating[Any])


class PhraseBook:
    """Authored replies, each from its plan to its end of sequence. Not thread-safe."""

    def __init__(self, replies: Iterable[Sequence[int]], vocab_size: int) -> None:
        """Replies of token ids below `vocab_size`."""
        rows = [np.asarray(reply, np.int32) for reply in replies if len(reply)]
        self.token_ids = np.concatenate([*rows, np.zeros(0, np.int32)])
        """[N]: the replies in a row."""
        lengths = np.array([len(row) for row in rows], np.int64)
        self._starts = np.cumsum(lengths) - lengths
        self._lengths = lengths
        self._by_token = np.argsort(self.token_ids, kind="stable")
        counts = np.bincount(self.token_ids, minlength=vocab_size)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._used = frozenset(np.unique(self.token_ids).tolist())
        self._views: dict[frozenset[int], NDArray[np.bool_]] = {}

    def open(self, banned: Collection[int]) -> "Place":
        """The beginning of all replies that hold no `banned` token: others could not be said to their end."""
        return Place(self, self._sayable(self._used.intersection(banned)))

    def starts(self, sayable: NDArray[np.bool_]) -> _Places:
        """Where replies begin."""
        begins: _Places = self._starts[sayable[self._starts]]
        return begins

    def places_of(self, token_id: int) -> _Places:
        """Everywhere it stands."""
        places: _Places = self._by_token[self._first[token_id] : self._first[token_id + 1]]
        return places

    def _sayable(self, banned: frozenset[int]) -> NDArray[np.bool_]:
        """[N]: whether a token's reply holds none of the `banned`."""
        if banned not in self._views:
            if len(self._views) >= _MAX_VIEWS:
                self._views.pop(next(iter(self._views)))
            is_banned = np.isin(self.token_ids, list(banned))
            is_banned[self._starts] = False  # a plan opens a reply although no reply may hold one
            holds = np.add.reduceat(is_banned, self._starts) > 0 if len(self._starts) else np.zeros(0, np.bool_)
            self._views[banned] = np.repeat(~holds, self._lengths)
        return self._views[banned]


class Place:
    """Where in the book a reply that is being made stands."""

    def __init__(self, book: PhraseBook, sayable: NDArray[np.bool_]) -> None:
        self._book = book
        self._sayable = sayable
        self._places = book.starts(sayable)
        self._said: list[int] = []

    @property
    def continuations(self) -> _Places:
        """Ids, ascending, of the tokens with which authors went on; none where nobody wrote anything like it."""
        return np.unique(self._book.token_ids[self._places]).astype(np.int64)

    def append(self, token_id: int) -> None:
        """Goes on to the next token of the reply, which need not be one of the continuations."""
        self._said.append(token_id)
        followed = self._places[self._book.token_ids[self._places] == token_id] + 1
        self._places = self._inside(followed)
        if not len(self._places):
            self._places = self._find_again()

    def _find_again(self) -> _Places:
        """The places behind the longest end of what was said that is in the book."""
        places = self._inside(self._book.places_of(self._said[-1]) + 1)
        for back in range(2, len(self._said) + 1):
            narrower = places[places >= back]
            narrower = narrower[self._book.token_ids[narrower - back] == self._said[-back]]
            if not len(narrower):
                break
            places = narrower
        return places

    def _inside(self, places: _Places) -> _Places:
        """Without what cannot be said, and what lies behind the book's end."""
        places = places[places < len(self._sayable)]
        return places[self._sayable[places]]


def keep_to(continuations: _Places, scores: NDArray[_Float]) -> NDArray[_Float]:
    """Logits [V] with only the authors' continuations left, if these have a share of the probability worth naming.

    `scores` are -inf, or nearly, where a token is banned.
    """
    if not len(continuations):
        return scores
    peak = scores.max()
    # No more than V tokens are as likely as the likeliest: mostly that settles it, without a sum over all of them.
    if scores[continuations].max() < peak + np.log(MIN_SHARE * len(scores)):
        weights = np.exp(scores.astype(np.float64) - peak)
        if weights[continuations].sum() < MIN_SHARE * weights.sum():
            return scores
    kept = np.full_like(scores, -np.inf)
    kept[continuations] = scores[continuations]
    return kept
