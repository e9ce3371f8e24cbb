"""What every rating counts: nothing where a doubt stands, else what its rater's reliability and the caps leave of it.

A person's ruling is above every rule: what counts counts, what is set aside is set aside, until the ruling is lifted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from model_store.curation import Reason
from training.config import FeedbackConfig
from training.data.feedback_rows import ANONYMOUS_RATER, FeedbackRow, Source
from training.stages.curation.caps import Cap, Grouping, capped
from training.stages.curation.doubts import DoubtRules, find_doubts, rater_of, unreliable
from training.stages.curation.groups.bounds import GroupBound, WeighedGroup
from training.stages.curation.groups.finding import find_groups
from training.stages.curation.groups.traits import Said, asked_in
from training.stages.curation.implicit import Signal
from training.stages.curation.likeness import alike, exchange
from training.stages.curation.rater_model import Evidence, Prior, Rater, Vote, estimate

_SAYS_NOTHING_OF_RATER: frozenset[Reason] = frozenset({"contradicts_gold", "unreliable_rater"})
"""With these a rating still tells about its rater; with any other it is no evidence about anything."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Ratings and signals with what each counts, and why not more. Numbers are places in `rows` and `signals`."""

    rows: Sequence[FeedbackRow]
    items: Sequence[int]
    """For each row, which words it is about: equal numbers, equal words."""
    gold: Mapping[int, bool]
    """Words about which the staff knows the truth."""
    evidence: Mapping[Rater, Evidence]
    doubts: Mapping[int, tuple[Reason, ...]]
    weights: Sequence[float]
    signals: Sequence[Signal]
    signal_weights: Sequence[float]
    groups: Sequence[WeighedGroup] = ()
    """Accounts as if they were one that weighed too much, the most surprising first."""
    accounts: Sequence[Rater] = ()
    """Whom the numbers in `groups` mean."""
    gold_rows: Mapping[int, FeedbackRow] = field(default_factory=dict)
    """For each of the words that `gold` is about the first rating of them, whether it counts or not."""


def weigh(rows: Sequence[FeedbackRow], signals: Sequence[Signal], feedback: FeedbackConfig) -> Weighed:
    """Ratings in the order in which they were given; signals about replies that none of them is about."""
    items = alike([exchange(row.messages, row.completion_text) for row in rows])
    replies = alike([*(row.completion_text for row in rows), *(signal.turn.completion_text for signal in signals)])
    gold = _gold(rows, items)
    doubts = _standing(rows, find_doubts(rows, items, gold, _rules(feedback)))
    prior = Prior(feedback.expected_reliability, feedback.reliability_strength)
    evidence = estimate(_votes(rows, items, doubts), gold, prior)
    for number in sorted(unreliable(rows, evidence)):
        if rows[number].ruling is None:
            doubts[number] = (*doubts.get(number, ()), "unreliable_rater")
    believed = [_belief(row, evidence) if number not in doubts else 0.0 for number, row in enumerate(rows)]
    accounts, of_groups = _group_bound(rows, believed, feedback)
    groupings = rating_groupings(rows, replies, feedback)
    weights = capped(believed, [*groupings, of_groups])
    meant = weigh_signals(signals, replies[len(rows) :], evidence, feedback, total=sum(weights))
    groups = of_groups.outcomes(np.array(capped(believed, groupings)), np.array(weights)) if of_groups.groups else []
    gold_rows = {item: row for item, row in reversed(list(zip(items, rows, strict=True))) if item in gold}
    return Weighed(rows, items, gold, evidence, doubts, weights, signals, meant, groups, accounts, gold_rows)


def weigh_signals(
    signals: Sequence[Signal],
    replies: Sequence[int],
    evidence: Mapping[Rater, Evidence],
    feedback: FeedbackConfig,
    *,
    total: float,
) -> list[float]:
    """What signals count beside ratings that weigh `total`; `replies` says for each which words it is about."""
    weights = _signal_weights(signals, evidence, feedback)
    return _beside(total, weights, _signal_groupings(signals, replies, feedback))


def rating_groupings(rows: Sequence[FeedbackRow], replies: Sequence[int], feedback: FeedbackConfig) -> list[Grouping]:
    """Every cap on ratings, as what it bounds and by how much."""

    def named(number: int) -> Rater | None:
        return None if rows[number].is_anonymous else rater_of(rows[number])

    def customer(number: int) -> Rater | None:
        return None if rows[number].is_from_staff else named(number)

    def text(number: int) -> tuple[int, bool]:
        return replies[number], rows[number].is_up

    origins = Cap(feedback.max_share_per_origin, feedback.max_weight_per_origin, is_relaxed=True)
    tenants = Cap(feedback.max_share_per_tenant, feedback.max_weight_per_tenant, is_relaxed=True)
    nameless = Cap(feedback.max_share_anonymous, feedback.max_weight_anonymous, feedback.anonymous_allowance)
    return [
        Grouping(
            lambda number: (customer(number), text(number)) if customer(number) else None,
            Cap(weight=feedback.max_weight_per_rater_and_text),
        ),
        Grouping(text, Cap(weight=feedback.max_weight_per_text)),
        Grouping(customer, Cap(weight=feedback.max_weight_per_rater)),
        Grouping(named, Cap(feedback.max_share_per_rater, is_relaxed=True)),
        Grouping(lambda number: rows[number].origin or None, origins),
        Grouping(lambda number: rows[number].tenant, tenants),
        Grouping(lambda number: ANONYMOUS_RATER if rows[number].is_anonymous else None, nameless),
    ]


def _group_bound(
    rows: Sequence[FeedbackRow], believed: Sequence[float], feedback: FeedbackConfig
) -> tuple[list[Rater], GroupBound]:
    """Customers whose ratings count, and the bound on groups of them, who are known by their places in that list."""

    def is_a_customers(number: int) -> bool:
        return believed[number] > 0 and not rows[number].is_anonymous and not rows[number].is_from_staff

    counting = [number for number in range(len(rows)) if is_a_customers(number)]
    accounts = sorted({rater_of(rows[number]) for number in counting})
    place_of = {rater: place for place, rater in enumerate(accounts)}
    account = np.full(len(rows), -1)
    account[counting] = [place_of[rater_of(rows[number])] for number in counting]
    said = [
        Said(int(account[number]), row.language, asked_in(row.messages), row.completion_text, row.is_up)
        for number, row in ((number, rows[number]) for number in counting)
    ]
    is_up = np.array([row.is_up for row in rows], dtype=bool)
    return accounts, GroupBound(account, is_up, find_groups(said), feedback.max_group_weight)


def _rules(feedback: FeedbackConfig) -> DoubtRules:
    return DoubtRules(
        feedback.flood_ratings_per_day,
        feedback.burst_ratings_per_minute,
        feedback.copied_remark_raters,
        feedback.poison_phrases,
    )


def _gold(rows: Sequence[FeedbackRow], items: Sequence[int]) -> dict[int, bool]:
    """The truth about words; where the staff has called it both, it is not known."""
    said: dict[int, set[bool]] = {}
    for item, row in zip(items, rows, strict=True):
        if row.gold is not None:
            said.setdefault(item, set()).add(row.gold)
    return {item: True in truths for item, truths in said.items() if len(truths) == 1}


def _standing(rows: Sequence[FeedbackRow], doubts: Mapping[int, tuple[Reason, ...]]) -> dict[int, tuple[Reason, ...]]:
    """Doubts with what people decided about them."""
    standing = {number: reasons for number, reasons in doubts.items() if rows[number].ruling != "count"}
    for number, row in enumerate(rows):
        if row.ruling == "set_aside":
            standing[number] = ("staff", *standing.get(number, ()))
    return standing


def _votes(rows: Sequence[FeedbackRow], items: Sequence[int], doubts: Mapping[int, tuple[Reason, ...]]) -> list[Vote]:
    """Ratings as evidence; every anonymous one is somebody else's."""
    return [
        Vote(items[n], Rater(row.tenant, f"{row.rater}\n{n}") if row.is_anonymous else rater_of(row), row.is_up)
        for n, row in enumerate(rows)
        if set(doubts.get(n, ())) <= _SAYS_NOTHING_OF_RATER
    ]


def _belief(row: FeedbackRow, evidence: Mapping[Rater, Evidence]) -> float:
    known = evidence.get(rater_of(row))
    return 1.0 if known is None or row.ruling == "count" else known.weight


def _signal_weights(
    signals: Sequence[Signal], evidence: Mapping[Rater, Evidence], feedback: FeedbackConfig
) -> list[float]:
    weights: dict[Source, float] = {
        "regeneration": feedback.regeneration_weight,
        "hand_over": feedback.hand_over_weight,
        "repeat": feedback.repeat_weight,
    }
    known = [evidence.get(Rater(signal.turn.tenant, signal.turn.rater)) for signal in signals]
    return [weights[signal.source] * (who.weight if who else 1.0) for signal, who in zip(signals, known, strict=True)]


def _signal_groupings(signals: Sequence[Signal], replies: Sequence[int], feedback: FeedbackConfig) -> list[Grouping]:
    def named(number: int) -> Rater | None:
        turn = signals[number].turn
        return None if turn.rater == ANONYMOUS_RATER else Rater(turn.tenant, turn.rater)

    return [
        Grouping(lambda number: (replies[number], signals[number].is_up), Cap(weight=feedback.max_weight_per_text)),
        Grouping(named, Cap(feedback.max_share_per_rater, feedback.max_weight_per_rater)),
        Grouping(lambda number: "implicit", Cap(feedback.max_share_implicit)),
    ]


def _beside(total: float, weights: Sequence[float], groupings: Sequence[Grouping]) -> list[float]:
    """Signals' weights, capped beside all ratings, which are not touched by it."""

    def but_the_last(grouping: Grouping) -> Grouping:
        return Grouping(lambda number: grouping.group_of(number) if number < len(weights) else None, grouping.cap)

    return capped([*weights, total], [but_the_last(grouping) for grouping in groupings])[:-1]
