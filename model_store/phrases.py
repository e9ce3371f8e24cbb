"""What authors have said, word for word, so that a bot that is unsure of its wording keeps to theirs.

The longest end of the reply so far that any authored reply holds tells how authors went on (an n-gram model of
unbounded order, Liu et al. 2024, 2401.17377). A small network is confused by conversations of several turns; where it
wavers, a continuation that no author wrote is hardly ever a sentence. Where it is very sure, it says what it likes.

Nothing is said twice in a conversation while there is something else to say, what was written to follow another reply
is kept for that (`replies.Order`), and what was written for most of what the customer just said goes before what fits
anything, while what supposes something that he has not said is left out (`reply_fit`).

Left out: counts, for the network knows better than frequency what fits, and an index of suffixes: a reply is followed
token by token, and only who leaves the book looks for a place in it again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_store.contract.chat_template import message_start
from model_store.contract.control_tokens import ASSISTANT_ID, EOS_ID, PLACEHOLDER_IDS, USER_ID
from model_store.contract.placeholders import ENTITY_PLACEHOLDERS
from model_store.contract.tokenizer import Tokenizer
from model_store.replies import AFTER_ANY, AFTER_ITS_PLAN, CONDITIONS_NAME, Order, load_order, load_replies
from model_store.reply_fit import Fitting, ReplyFit

MIN_SHARE = 1e-6
"""Of the probability: with less for all that authors wrote, the network is sure of something else. As small as this,
because a network that is confused is not always unsure."""
_LEAST_TOLD = 2 / 3
"""Of the letters that the best reply of a plan was written for: those that were written for fewer wait."""
_NO_ANSWERS: Mapping[int, int] = {}
_MAX_VIEWS = 16
_ENTITY_IDS = frozenset(PLACEHOLDER_IDS[name] for name in ENTITY_PLACEHOLDERS)

_Places = NDArray[np.int64]
_Float = TypeVar("_Float", bound=np.floating[Any])


class PhraseBook:
    """Authored replies, each from its plan to its end of sequence. Not thread-safe."""

    def __init__(
        self,
        replies: Iterable[Sequence[int]],
        vocab_size: int,
        order: Order = (),
        fit: ReplyFit | None = None,
        answers: Mapping[int, int] = _NO_ANSWERS,
    ) -> None:
        """Replies of token ids below `vocab_size`; `order` says which of them follow others, `fit` whom they suit, and
        `answers`, for plans that ask for a detail, which plan answers at once.
        """
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
        self._timing = _Timing(rows, order, answers)
        self._fit = fit

    @classmethod
    def load(cls, bundle_directory: Path, vocab_size: int) -> "PhraseBook":
        """The book of a bundle's replies; empty where it knows none.

        Raises ValueError for files that are not what they should be, InvalidTokenizerError.
        """
        replies = list(load_replies(bundle_directory, vocab_size))
        has_conditions = (bundle_directory / CONDITIONS_NAME).exists()
        tokenizer = Tokenizer.load(bundle_directory / "tokenizer.json") if has_conditions else None
        fit = ReplyFit.load(bundle_directory, replies, tokenizer) if tokenizer else None
        order = load_order(bundle_directory, len(replies))
        return cls(replies, vocab_size, order, fit, _answers(tokenizer.plans) if tokenizer else _NO_ANSWERS)

    def __bool__(self) -> bool:
        """Whether there is any reply in it."""
        return len(self._starts) > 0

    @property
    def replies(self) -> list[NDArray[np.int32]]:
        """Each reply's token ids."""
        return np.split(self.token_ids, self._starts[1:]) if self else []

    def open(self, banned: Collection[int], prompt_ids: Sequence[int] = ()) -> "Place":
        """The beginning of all replies that have their time in a rendered conversation and hold no `banned` token:
        others could not be said to their end."""
        sayable = self._sayable(self._used.intersection(banned))
        earlier = _replies_in(prompt_ids)
        given = _ENTITY_IDS.intersection(prompt_ids[message_start(prompt_ids) :])
        fitting = self._fit.of(prompt_ids) if self._fit else None
        is_timely = self._timing.timely(sayable, earlier, given, fitting)
        closed = self._timing.needless_plans(is_timely, fitting) if fitting else np.zeros(0, np.int64)
        # What was written for some customers only, no network has learned: it would leave the book at once.
        never_leaves = fitting is not None or (self._timing.is_known and bool(earlier))
        return Place(self, np.repeat(is_timely, self._lengths), closed, never_leaves=never_leaves)

    def starts(self, sayable: NDArray[np.bool_]) -> _Places:
        """Where replies begin."""
        begins: _Places = self._starts[sayable[self._starts]]
        return begins

    def places_of(self, token_id: int) -> _Places:
        """Everywhere it stands."""
        places: _Places = self._by_token[self._first[token_id] : self._first[token_id + 1]]
        return places

    def _sayable(self, banned: frozenset[int]) -> NDArray[np.bool_]:
        """[replies]: whether one holds none of the `banned`."""
        if banned not in self._views:
            if len(self._views) >= _MAX_VIEWS:
                self._views.pop(next(iter(self._views)))
            is_banned = np.isin(self.token_ids, list(banned))
            is_banned[self._starts] = False  # a plan opens a reply although no reply may hold one
            holds = np.add.reduceat(is_banned, self._starts) > 0 if len(self._starts) else np.zeros(0, np.bool_)
            self._views[banned] = ~holds
        return self._views[banned]


class _Timing:
    """Which replies have their time, given what was said before."""

    def __init__(self, rows: Sequence[NDArray[np.int32]], order: Order, answers: Mapping[int, int]) -> None:
        plans = np.array([row[0] for row in rows], np.int32)
        self._plans, self._plan_numbers = np.unique(plans, return_inverse=True)
        places = {int(plan): place for place, plan in enumerate(self._plans)}
        pairs = [(places[asks], places[answer]) for asks, answer in answers.items() if {asks, answer} <= places.keys()]
        self._asking, self._answering = np.array(pairs, np.int64).reshape(-1, 2).T
        self._by_words: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self._by_detail: dict[int, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            self._by_words[tuple(row[1:].tolist())].append(number)
            for token_id in _ENTITY_IDS.intersection(row.tolist()):
                self._by_detail[token_id].append(number)
        followers: dict[int, list[int]] = defaultdict(list)
        for reply, before in order:
            followers[before].append(reply)
        self._followers = followers
        self._follows = self._marked(reply for reply, _ in order)
        self._after_its_plan = self._marked(followers[AFTER_ITS_PLAN])
        self._after_any = self._marked(followers[AFTER_ANY])
        self.is_known = bool(order)

    def timely(
        self,
        sayable: NDArray[np.bool_],
        earlier: Sequence[tuple[int, ...]],
        given: Collection[int],
        fitting: Fitting | None = None,
    ) -> NDArray[np.bool_]:
        """[replies]: of those `sayable`, what can be said next, after `earlier` replies.

        `given` are the details of the customer's last message: a reply that names one takes it up, whatever was said.
        Of a plan with replies that speak to what the customer said, or take a detail up, only those; and of those that
        speak to it none that was written for much less of it than another.
        """
        takes_up = self._marked(number for detail in given for number in self._by_detail.get(detail, ()))
        if fitting is None:
            return self._next(sayable, earlier, takes_up)
        speaks = fitting.speaks | (takes_up & fitting.fits)
        timely = self._next(sayable & fitting.fits, earlier, speaks)
        timely &= speaks | ~self._shares_plan(timely & speaks)
        most = self._most_by_plan(fitting.told * timely)
        timely &= takes_up | (fitting.told >= _LEAST_TOLD * most[self._plan_numbers])
        for further in (sayable & fitting.is_said, sayable):  # rather beside the point than not at all
            if (further & ~self._shares_plan(timely)).any():
                timely |= self._next(further, earlier, takes_up) & ~self._shares_plan(timely)
        return timely

    def needless_plans(self, timely: NDArray[np.bool_], fitting: Fitting) -> NDArray[np.int64]:
        """Tokens of plans that ask for a detail although a reply that was written for what the customer said answers at
        once, and none of theirs was.
        """
        told = self._most_by_plan(fitting.told * timely)
        needless = self._asking[(told[self._answering] > 0) & (told[self._asking] == 0)]
        tokens: NDArray[np.int64] = self._plans[needless].astype(np.int64)
        return tokens

    def _next(
        self, sayable: NDArray[np.bool_], earlier: Sequence[tuple[int, ...]], takes_up: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """[replies]: of those `sayable`. What `takes_up` what was just said has its time whatever was said before."""
        anywhere = sayable & ~self._follows
        if not earlier:
            return anywhere
        said = [self._by_words.get(words, []) for words in earlier]
        said_before = self._marked(number for numbers in said for number in numbers)
        next_in_talk = self._marked(follower for number in said[-1] for follower in self._followers.get(number, ()))
        later = sayable & ~said_before & (self._after_any | (self._after_its_plan & self._shares_plan(said_before)))
        timely = later | (anywhere & (takes_up | ~self._shares_plan(later))) | (sayable & next_in_talk)
        timely &= ~said_before
        return timely | (anywhere & ~self._shares_plan(timely))  # rather twice than not at all

    def _shares_plan(self, replies: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """[replies]: whether one has the plan of one of these."""
        is_there = np.zeros(len(self._plan_numbers), np.bool_)
        is_there[self._plan_numbers[replies]] = True
        shares: NDArray[np.bool_] = is_there[self._plan_numbers]
        return shares

    def _most_by_plan(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """[plan numbers]: the largest of the values [replies], none below 0, of a plan's replies."""
        most = np.zeros(len(self._plan_numbers), np.int64)
        there = np.flatnonzero(values)
        np.maximum.at(most, self._plan_numbers[there], values[there])
        return most

    def _marked(self, numbers: Iterable[int]) -> NDArray[np.bool_]:
        marked = np.zeros(len(self._plan_numbers), np.bool_)
        marked[list(numbers)] = True
        return marked


def _answers(plans: Mapping[str, int]) -> dict[int, int]:
    """For each plan that asks for a detail (`track_package/ask_order_id`) the one that answers (`track_package`)."""
    topics = {token_id: name.partition("/")[0] for name, token_id in plans.items() if "/" in name}
    return {token_id: plans[topic] for token_id, topic in topics.items() if topic in plans}


def _replies_in(prompt_ids: Sequence[int]) -> list[tuple[int, ...]]:
    """What the bot has said in a rendered conversation, each reply with its end."""
    replies: list[tuple[int, ...]] = []
    start: int | None = None
    for index, token_id in enumerate(prompt_ids):
        if token_id == ASSISTANT_ID:
            start = index + 1
        elif start is not None and (token_id == EOS_ID or token_id == USER_ID):
            replies.append((*prompt_ids[start:index], EOS_ID))
            start = None
    return replies


class Place:
    """Where in the book a reply that is being made stands."""

    def __init__(
        self, book: PhraseBook, sayable: NDArray[np.bool_], closed: _Places, *, never_leaves: bool = False
    ) -> None:
        """`closed` are tokens that a reply had better not open with; `never_leaves`: nothing but what authors wrote is
        said, however sure the network is.
        """
        self._book = book
        self._closed = closed
        self._sayable = sayable
        self._places = book.starts(sayable)
        self._said: list[int] = []
        self._least_share = 0.0 if never_leaves else MIN_SHARE

    def open_ones(self, openings: _Places) -> _Places:
        """Those of the tokens that a reply may open with; all where each is closed."""
        left = np.setdiff1d(openings, self._closed)
        return left if len(left) else openings

    @property
    def continuations(self) -> _Places:
        """Ids, ascending, of the tokens with which authors went on; none where nobody wrote anything like it."""
        return np.unique(self._book.token_ids[self._places]).astype(np.int64)

    def keep(self, scores: NDArray[_Float]) -> NDArray[_Float]:
        """See `keep_to`."""
        return keep_to(self.continuations, scores, self._least_share)

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


def keep_to(continuations: _Places, scores: NDArray[_Float], least_share: float = MIN_SHARE) -> NDArray[_Float]:
    """Logits [V] with only the authors' continuations left, if these have a share of the probability worth naming.

    `scores` are -inf, or nearly, where a token is banned.
    """
    if not len(continuations):
        return scores
    peak = scores.max()
    # No more than V tokens are as likely as the likeliest: mostly that settles it, without a sum over all of them.
    if least_share and scores[continuations].max() < peak + np.log(least_share * len(scores)):
        weights = np.exp(scores.astype(np.float64) - peak)
        if weights[continuations].sum() < least_share * weights.sum():
            return scores
    kept = np.full_like(scores, -np.inf)
    kept[continuations] = scores[continuations]
    return kept
