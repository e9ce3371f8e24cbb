"""The curation as people read it: what was set aside and why, and what each rater is worth."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from model_store.curation import (
    MAX_GROUP_RATERS,
    MAX_GROUPS,
    MAX_RATERS,
    MAX_SET_ASIDE,
    CurationReport,
    GroupFigures,
    RaterFigures,
    RaterName,
    Reason,
    SetAside,
)
from training.data.feedback_rows import FeedbackRow
from training.stages.curation.doubts import rater_of
from training.stages.curation.groups.bounds import WeighedGroup
from training.stages.curation.rater_model import Rater
from training.stages.curation.weighing import Weighed


@dataclass(frozen=True)
class Curated:
    """What is learned from, with what is known of all ratings that a snapshot has."""

    weighed: Weighed
    report: CurationReport
    num_rows: int
    num_broken: int
    num_raters: int
    """Of ratings that can be learned from, set aside or not."""
    num_gold: int
    """Words about which the staff knows the truth."""


def curation_report(weighed: Weighed, made_at: datetime) -> CurationReport:
    """Everything the service shows of a run's curation."""
    by_reason: Counter[Reason] = Counter(reason for reasons in weighed.doubts.values() for reason in reasons)
    newest = sorted(weighed.doubts, key=lambda number: (weighed.rows[number].rated_at, number), reverse=True)
    return CurationReport(
        made_at=made_at,
        num_ratings=len(weighed.rows),
        num_set_aside=len(weighed.doubts),
        total_weight=round(sum(weighed.weights), 3),
        by_reason=dict(by_reason.most_common()),
        set_aside=tuple(_set_aside(weighed, number) for number in newest[:MAX_SET_ASIDE]),
        raters=tuple(_raters(weighed)[:MAX_RATERS]),
        groups=group_figures(weighed.groups, lambda places: [weighed.accounts[place] for place in places]),
    )


def group_figures(
    groups: Sequence[WeighedGroup], raters_at: Callable[[list[int]], Sequence[Rater]]
) -> tuple[GroupFigures, ...]:
    """The groups that lost most; `raters_at` says who the accounts of a group are."""
    lost_most = sorted(groups, key=lambda one: one.weight - one.weight_before)[:MAX_GROUPS]
    return tuple(
        GroupFigures(
            raters=tuple(
                RaterName(tenant=rater.tenant, rater=rater.id)
                for rater in raters_at(list(one.group.accounts[:MAX_GROUP_RATERS]))
            ),
            num_raters=len(one.group.accounts),
            kind=one.group.kind,
            word=one.group.word or None,
            share_of_raters=round(len(one.group.accounts) / one.num_accounts, 4),
            weight_before=round(one.weight_before, 3),
            weight=round(one.weight, 3),
            share_of_weight=round(one.weight / one.total_weight, 4),
        )
        for one in lost_most
    )


def _set_aside(weighed: Weighed, number: int) -> SetAside:
    row = weighed.rows[number]
    return SetAside(
        tenant=row.tenant,
        completion_id=row.completion_id,
        rater=row.rater,
        rating="up" if row.is_up else "down",
        rated_at=row.rated_at,
        reasons=weighed.doubts[number],
    )


def _raters(weighed: Weighed) -> list[RaterFigures]:
    by_rater: dict[Rater, list[int]] = defaultdict(list)
    for number, row in enumerate(weighed.rows):
        by_rater[rater_of(row)].append(number)
    opinions = Counter((item, row.is_up) for item, row in zip(weighed.items, weighed.rows, strict=True))
    figures = [_figures(weighed, rater, numbers, opinions) for rater, numbers in by_rater.items()]
    return sorted(figures, key=lambda figure: (-figure.num_ratings, figure.tenant, figure.rater))


def _figures(
    weighed: Weighed, rater: Rater, numbers: Sequence[int], opinions: Counter[tuple[int, bool]]
) -> RaterFigures:
    rows, items = weighed.rows, weighed.items
    own = Counter((items[number], rows[number].is_up) for number in numbers)
    agreed: list[bool] = []
    for number in numbers:
        item = items[number]
        balance = sum((1 if is_up else -1) * (opinions[item, is_up] - own[item, is_up]) for is_up in (True, False))
        if balance:
            agreed.append((balance > 0) == rows[number].is_up)
    known = [number for number in numbers if items[number] in weighed.gold]
    evidence = weighed.evidence.get(rater)
    return RaterFigures(
        tenant=rater.tenant,
        rater=rater.id,
        num_ratings=len(numbers),
        num_up=sum(rows[number].is_up for number in numbers),
        num_set_aside=sum(number in weighed.doubts for number in numbers),
        num_compared=len(agreed),
        num_agreed=sum(agreed),
        num_gold=len(known),
        num_gold_right=sum(_is_right(weighed, rows[number], number) for number in known),
        reliability=round(evidence.reliability, 4) if evidence else _expected(weighed),
        weight=round(sum(weighed.weights[number] for number in numbers), 3),
    )


def _is_right(weighed: Weighed, row: FeedbackRow, number: int) -> bool:
    return weighed.gold[weighed.items[number]] == row.is_up


def _expected(weighed: Weighed) -> float:
    """What is believed of somebody about whom nothing counts as evidence: what is believed of everybody."""
    return next((known.prior.mean for known in weighed.evidence.values()), 0.8)
