"""What each of many ratings counts: `curation.doubts`, `rater_model`, `caps` and `weighing` over columns of numbers.

The same rules, so the same weights; a test holds one against the other. What is here judged among all ratings is capped
among those that a run takes into memory, the newest that count: shares are of what is learned from. Signals of people
who gave no thumb and the split are the stage's, which has the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from model_store.curation import Reason
from training.config import FeedbackConfig
from training.stages.curation.caps import MAX_PASSES, NEGLIGIBLE, Cap
from training.stages.curation.groups.bounds import GroupBound, WeighedGroup
from training.stages.curation.groups.finding import find_groups
from training.stages.curation.groups.traits import Said
from training.stages.curation.many.coded import NONE, Coded, Codes
from training.stages.curation.rater_model import DOUBT, UP_BOUNDS

REASONS: tuple[Reason, ...] = (
    "staff",
    "contradicts_gold",
    "flood",
    "burst",
    "poison_phrase",
    "copied_remark",
    "repeated",
    "unreliable_rater",
)
"""In the order in which a report names them."""
_SAYS_NOTHING_OF_RATER = 1 << REASONS.index("contradicts_gold")
_DAY, _MINUTE = 24 * 3600 * 1_000_000, 60 * 1_000_000
_MAX_ROUNDS, _TOLERANCE = 50, 1e-6
_VOTES_AT_A_TIME = 1_000_000
"""Votes for which there are floats in memory; of all there are codes."""

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]
Keys = NDArray[np.int64]


@dataclass(frozen=True)
class ManyWeighed:
    """N weights, and why they are not more: bit n of `doubts` is `REASONS[n]`."""

    weights: Numbers
    doubts: NDArray[np.uint8]
    truth: NDArray[np.int8]
    """By item: 1 or 0 where the staff knows it, else -1."""
    right: Numbers
    """By rater: how many ratings speak for them, and `wrong` against them."""
    wrong: Numbers
    has_voted: Flags
    num_counting: int
    """Ratings that would count something; what is beyond the newest that are kept weighs nothing."""
    accounts: Codes
    """Customers whose ratings count, by their raters' codes."""
    groups: Sequence[WeighedGroup] = ()
    """Of those, by their places, as if they were one that weighed too much."""

    @property
    def num_set_aside(self) -> int:
        """Ratings that count nothing because of a doubt."""
        return int(np.count_nonzero(self.doubts))


ReadSaid = Callable[[Keys], Sequence[Said]]
"""What ratings say, by their places; whose they are is put in here."""


def weigh_many(
    coded: Coded, feedback: FeedbackConfig, read_said: ReadSaid, *, max_kept: int | None = None
) -> ManyWeighed:
    """Weights of ratings in the order of rating; of those that count the newest `max_kept` weigh something.

    `read_said` is asked for customers' ratings among these alone, in which groups are found. Raises ValueError for
    poison phrases that were not looked for when texts became numbers.
    """
    if feedback.poison_phrases and coded.is_poisoned is None:
        raise ValueError("many ratings are weighed without their texts: tell `coded.opened` of poison_phrases")
    is_staff, is_nameless = _kinds(coded)
    truth = _gold(coded)
    doubts = np.zeros(len(coded), np.uint8)
    for reason, found in _found(coded, truth, feedback, is_staff, is_nameless):
        doubts |= found.astype(np.uint8) << REASONS.index(reason)
    doubts[coded.ruling == 1] = 0
    doubts[coded.ruling == 2] |= 1 << REASONS.index("staff")
    right, wrong, has_voted = _estimate(coded, doubts, truth, is_nameless, feedback)
    best_case = _best_case(right, wrong, feedback)
    is_wrong = (has_voted & (best_case < 0.5))[coded.rater] & ~is_nameless & ~is_staff & (coded.ruling == 0)
    doubts |= is_wrong.astype(np.uint8) << REASONS.index("unreliable_rater")
    worth = np.clip((2 * best_case - 1) / (2 * feedback.expected_reliability - 1), 0, 1)
    is_whole = ~has_voted[coded.rater] | (coded.ruling == 1)
    believed = np.where(doubts != 0, 0.0, np.where(is_whole, 1.0, worth[coded.rater]))
    counting = np.flatnonzero(believed > 0)
    kept = counting[-max_kept:] if max_kept is not None else counting
    groupings = list(_groupings(coded.only(kept), feedback, is_staff[kept], is_nameless[kept]))
    accounts, of_groups = _group_bound(
        coded.only(kept), ~is_staff[kept] & ~is_nameless[kept], feedback, lambda places: read_said(kept[places])
    )
    weights = np.zeros(len(coded))
    weights[kept] = _capped(believed[kept], [*groupings, of_groups])
    groups = of_groups.outcomes(_capped(believed[kept], groupings), weights[kept]) if of_groups.groups else ()
    return ManyWeighed(weights, doubts, truth, right, wrong, has_voted, len(counting), accounts, groups)


def _group_bound(
    coded: Coded, is_customers: Flags, feedback: FeedbackConfig, read_said: ReadSaid
) -> tuple[Codes, GroupBound]:
    """Customers by their codes, and the bound on groups of them, by their places, for these ratings."""
    codes = np.unique(coded.rater[is_customers])
    account = np.where(is_customers, np.searchsorted(codes, coded.rater), -1)
    read = read_said(np.flatnonzero(is_customers))
    said = [replace(one, account=place) for one, place in zip(read, account[is_customers].tolist(), strict=True)]
    return codes, GroupBound(account, coded.is_up, find_groups(said), feedback.max_group_weight)


def _kinds(coded: Coded) -> tuple[Flags, Flags]:
    """Which ratings are the staff's, and which are nobody's in particular."""
    return coded.is_staff[coded.rater], coded.is_nameless[coded.rater]


def _gold(coded: Coded) -> NDArray[np.int8]:
    """By item: 1 or 0 where the staff knows the truth; -1 where it has not said, or has said both."""
    size = int(coded.item.max(initial=0)) + 1
    said = [np.bincount(coded.item[coded.gold == value], minlength=size) > 0 for value in (0, 1)]
    return np.where(said[0] ^ said[1], said[1].astype(np.int8), -1).astype(np.int8)


def _found(
    coded: Coded, truth: NDArray[np.int8], feedback: FeedbackConfig, is_staff: Flags, is_nameless: Flags
) -> Iterator[tuple[Reason, Flags]]:
    known = truth[coded.item]
    yield "contradicts_gold", (known >= 0) & ((known == 1) != coded.is_up)
    is_customer = ~is_staff & ~is_nameless
    yield "flood", _too_many(coded, is_customer, _DAY, feedback.flood_ratings_per_day)
    yield "burst", _too_many(coded, is_customer, _MINUTE, feedback.burst_ratings_per_minute)
    if coded.is_poisoned is not None:
        yield "poison_phrase", coded.is_poisoned
    yield "copied_remark", _copied(coded, is_customer, feedback.copied_remark_raters)
    yield "repeated", _is_again(_pair(coded.rater, _text(coded.item, coded.is_up))) & ~is_nameless


def _too_many(coded: Coded, is_customer: Flags, span: int, most: int) -> Flags:
    """All ratings of a customer that lie in any span of time with more than `most` of them."""
    rows = np.flatnonzero(is_customer)
    rows = rows[np.lexsort((coded.time[rows], coded.rater[rows]))]
    # Customers one after the other on one axis, gaps cut to just beyond a span: one search finds where windows begin.
    gaps = np.diff(coded.time[rows], prepend=0).clip(max=span + 1)
    gaps[np.diff(coded.rater[rows], prepend=-1) != 0] = span + 1
    axis = gaps.cumsum()
    first = np.searchsorted(axis, axis - span, side="right")
    is_last = np.arange(len(rows)) - first + 1 > most
    edges = np.zeros(len(rows) + 1, np.int64)
    np.add.at(edges, first[is_last], 1)
    np.add.at(edges, np.flatnonzero(is_last) + 1, -1)
    found = np.zeros(len(coded), bool)
    found[rows] = edges.cumsum()[:-1] > 0
    return found


def _copied(coded: Coded, is_customer: Flags, most: int) -> Flags:
    """Remarks and corrections that at least `most` customers sent."""
    columns = (coded.comment, coded.correction)
    said = [(c, is_customer & (c != NONE)) for c in columns]
    sent = np.unique(np.concatenate([_pair(c[which], coded.rater[which]) for c, which in said]))
    num_senders = np.bincount(sent >> 32, minlength=1 + max(int(c.max(initial=0)) for c in columns))
    is_copied = num_senders >= most
    is_copied[NONE] = False
    return is_customer & (is_copied[coded.comment] | is_copied[coded.correction])


@dataclass(frozen=True)
class _Votes:
    """M ratings about whose words something else is known too: what others say, or the staff."""

    voter: Codes
    """Raters, and after them one for each rating of nobody in particular."""
    item: Codes
    is_up: Flags
    known: NDArray[np.int8]
    """The truth, 1 or 0, as the staff says it; else -1."""

    def parts(self) -> Iterator["_Votes"]:
        """A few at a time and in order, so that sums of floats come out the same."""
        for start in range(0, len(self.voter), _VOTES_AT_A_TIME):
            part = slice(start, start + _VOTES_AT_A_TIME)
            yield _Votes(self.voter[part], self.item[part], self.is_up[part], self.known[part])

    def said(self, odds: Numbers) -> Numbers:
        """What each adds to the log-odds of thumbs up being the truth, by the odds of its voter to be right."""
        return np.where(self.is_up, odds[self.voter], -odds[self.voter])


def _estimate(
    coded: Coded, doubts: NDArray[np.uint8], truth: NDArray[np.int8], is_nameless: Flags, feedback: FeedbackConfig
) -> tuple[Numbers, Numbers, Flags]:
    """For and against each rater, and who has voted (`rater_model.estimate`). Every nameless one is somebody else."""
    speaks = (doubts & ~np.uint8(_SAYS_NOTHING_OF_RATER)) == 0
    num_speaking = np.count_nonzero(speaks)
    share_up = np.count_nonzero(coded.is_up & speaks) / num_speaking if num_speaking else 0.5
    bias = float(_log_odds(np.clip(share_up, *UP_BOUNDS)))
    votes = _votes(coded, speaks, truth, is_nameless)
    mean, strength = feedback.expected_reliability, feedback.reliability_strength
    num_voters = max(coded.num_raters, int(votes.voter.max(initial=0)) + 1)
    right, wrong = np.zeros(num_voters), np.zeros(num_voters)
    reliability = np.full(num_voters, mean)
    for _ in range(_MAX_ROUNDS):
        right, wrong = _right_and_wrong(votes, _log_odds(reliability), bias, num_items=len(truth))
        before, reliability = reliability, (mean * strength + right) / (strength + right + wrong)
        if np.abs(reliability - before).max(initial=0.0) < _TOLERANCE:
            break
    has_voted = np.zeros(coded.num_raters, bool)
    has_voted[coded.rater[speaks & ~is_nameless]] = True
    return right[: coded.num_raters], wrong[: coded.num_raters], has_voted


def _votes(coded: Coded, speaks: Flags, truth: NDArray[np.int8], is_nameless: Flags) -> _Votes:
    """Of those that speak; a single one on words of which nobody knows the truth changes nobody's reliability."""
    has_news = (truth >= 0) | (np.bincount(coded.item[speaks], minlength=len(truth)) > 1)
    rows = speaks & has_news[coded.item]
    nameless = is_nameless[rows]
    voter = np.where(nameless, coded.num_raters - 1 + np.cumsum(nameless, dtype=np.int32), coded.rater[rows])
    item = coded.item[rows]
    return _Votes(voter, item, coded.is_up[rows], truth[item])


def _right_and_wrong(votes: _Votes, odds: Numbers, bias: float, *, num_items: int) -> tuple[Numbers, Numbers]:
    """By voter, of how many votes the truth is what they say and is not, for voters who are right by these odds."""
    said = np.zeros(num_items)
    for part in votes.parts():
        np.add.at(said, part.item, part.said(odds))
    right, wrong = np.zeros(len(odds)), np.zeros(len(odds))
    for part in votes.parts():
        others = said[part.item] + bias - part.said(odds)
        p_up = np.where(part.known >= 0, part.known, 1 / (1 + np.exp(-others)))
        p_right = np.where(part.is_up, p_up, 1 - p_up)
        np.add.at(right, part.voter, p_right)
        np.add.at(wrong, part.voter, 1 - p_right)
    return right, wrong


def _best_case(right: Numbers, wrong: Numbers, feedback: FeedbackConfig) -> Numbers:
    """The reliability that a rater hardly exceeds."""
    mean, strength = feedback.expected_reliability, feedback.reliability_strength
    found: Numbers = beta.ppf(1 - DOUBT, mean * strength + right, (1 - mean) * strength + wrong)
    return found


@dataclass(frozen=True)
class _Groups:
    """The group of each rating from 0 on; -1 for those in none."""

    group: NDArray[np.integer]
    cap: Cap

    def cut(self, weights: Numbers) -> Numbers:
        """Weights as they are under the cap."""
        totals = _sums(self.group + 1, weights)
        in_groups = totals[1:]
        bound = _bound(np.sort(in_groups[in_groups > 0])[::-1], self.cap, float(totals[0]))
        factors = np.ones_like(totals)
        is_over = np.concatenate([[False], in_groups > bound])
        factors[is_over] = bound / totals[is_over]
        found: Numbers = weights * factors[self.group + 1]
        return found


def _groupings(coded: Coded, feedback: FeedbackConfig, is_staff: Flags, is_nameless: Flags) -> Iterator[_Groups]:
    """`weighing.rating_groupings`, in its order."""
    text = _text(coded.reply, coded.is_up)
    customer = np.where(is_staff | is_nameless, -1, coded.rater)
    with_text = _codes(_pair(customer.clip(min=0), text))
    yield _Groups(np.where(customer < 0, -1, with_text), Cap(weight=feedback.max_weight_per_rater_and_text))
    yield _Groups(text, Cap(weight=feedback.max_weight_per_text))
    yield _Groups(customer, Cap(weight=feedback.max_weight_per_rater))
    yield _Groups(np.where(is_nameless, -1, coded.rater), Cap(feedback.max_share_per_rater, is_relaxed=True))
    origins = Cap(feedback.max_share_per_origin, feedback.max_weight_per_origin, is_relaxed=True)
    yield _Groups(np.where(coded.origin == NONE, -1, coded.origin), origins)
    tenants = Cap(feedback.max_share_per_tenant, feedback.max_weight_per_tenant, is_relaxed=True)
    yield _Groups(coded.tenant, tenants)
    nameless = Cap(feedback.max_share_anonymous, feedback.max_weight_anonymous, feedback.anonymous_allowance)
    yield _Groups(np.where(is_nameless, 0, -1), nameless)


def _capped(weights: Numbers, bounds: Sequence[_Groups | GroupBound]) -> Numbers:
    """`caps.capped`."""
    left = weights
    for _ in range(MAX_PASSES):
        before = left
        for bound in bounds:
            left = bound.cut(left)
        if np.all(before - left <= NEGLIGIBLE * np.maximum(1.0, before)):
            break
    return left


def _bound(descending: Numbers, cap: Cap, rest: float) -> float:
    """What a group may weigh at most (`caps.group_factors`)."""
    is_relaxed = cap.is_relaxed and len(descending) > 0 and not rest
    share = max(cap.share, 1 / len(descending)) if is_relaxed else cap.share
    return min(cap.weight, max(_common_bound(descending, share, rest), cap.allowance))


def _common_bound(descending: Numbers, share: float, rest: float) -> float:
    """The largest b such that groups cut down to b have at most `share` of everything (`caps`)."""
    if share >= 1:
        return float("inf")
    num_capped = np.arange(len(descending) + 1)
    others = np.append(np.cumsum(descending[::-1])[::-1], 0.0) + rest
    free = 1 - share * num_capped
    bounds = np.divide(share * others, free, out=np.full(len(free), np.inf), where=free > NEGLIGIBLE)
    first = int(np.argmax(np.append(descending <= bounds[:-1], True)))
    bound = float(bounds[first])
    return float(descending[-1]) if np.isinf(bound) and len(descending) else bound


def _sums(groups: NDArray[np.integer], values: Numbers, num_groups: int = 0) -> Numbers:
    return np.bincount(groups, values, num_groups).astype(np.float64)


def _pair(first: NDArray[np.generic], second: NDArray[np.generic]) -> Keys:
    """One number of two, of which the second is below 2^32."""
    return (first.astype(np.int64) << 32) | second.astype(np.int64)


def _text(codes: NDArray[np.int32], is_up: Flags) -> Keys:
    """Words and a kind of thumb."""
    return 2 * codes.astype(np.int64) + is_up


def _codes(keys: Keys) -> Keys:
    """Equal keys get equal numbers, from 0 on."""
    found: Keys = np.unique(keys, return_inverse=True)[1]
    return found


def _is_again(keys: Keys) -> Flags:
    """Where a key came before."""
    found = np.ones(len(keys), bool)
    found[np.unique(keys, return_index=True)[1]] = False
    return found


def _log_odds(probability: Numbers) -> Numbers:
    return np.log(probability / (1 - probability))
