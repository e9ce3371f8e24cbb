"""The decision about a candidate: promote, wait or roll back, with its reason. No input but evidence and rules.

Wrong promotions happen with probability alpha / 2 at most, wrong rollbacks with alpha, however often this is asked: the
thumbs' interval spends half of alpha on either side, a surge and safety a quarter each.
"""

from dataclasses import dataclass
from enum import StrEnum

from model_store.shares import Count, RatingsNeeded, ratings_needed
from training.canary.confidence_sequence import difference_interval, falls_short
from training.canary.evidence import VersionEvidence, count_up
from training.config import CanaryConfig
from training.evaluation.figures import Figure


class Verdict(StrEnum):
    """What to do with the candidate."""

    PROMOTE = "promote"
    WAIT = "wait"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason, and what it rests on."""

    verdict: Verdict
    reason: str
    stable: VersionEvidence
    candidate: VersionEvidence
    difference: Figure
    """Candidate's share of thumbs up minus the stable version's, valid however often it is looked at."""
    missing: RatingsNeeded
    """What is still missing before a gain of `visible_gain` shows."""


def judge(stable: VersionEvidence, candidate: VersionEvidence, rules: CanaryConfig) -> Judgement:
    """Applies the rules in their order: what speaks against the candidate comes first."""
    difference = difference_interval(stable.thumbs, candidate.thumbs, alpha=rules.alpha)
    verdict, reason = _decide(stable, candidate, difference, rules)
    missing = _missing(stable.thumbs, candidate.thumbs, rules)
    return Judgement(verdict, reason, stable, candidate, difference, missing)


def _decide(
    stable: VersionEvidence, candidate: VersionEvidence, difference: Figure, rules: CanaryConfig
) -> tuple[Verdict, str]:
    reason = _unsafe(stable, candidate, rules) or _disliked(difference, rules) or _surge(stable, candidate, rules)
    if reason:
        return Verdict.ROLL_BACK, reason
    if difference.low <= rules.min_gain:
        return Verdict.WAIT, f"The thumbs do not tell yet: {_points(difference)}."
    reason = _not_yet(stable, candidate, rules)
    if reason:
        return Verdict.WAIT, reason
    return Verdict.PROMOTE, f"People like it better: {_points(difference)}, all of it above {rules.min_gain:+.1%}."


def _unsafe(stable: VersionEvidence, candidate: VersionEvidence, rules: CanaryConfig) -> str | None:
    interval = difference_interval(stable.unsafe, candidate.unsafe, alpha=rules.alpha / 2)
    if interval.low <= rules.max_extra_unsafe:
        return None
    broken, before = _of(candidate.unsafe), _of(stable.unsafe)
    return f"Its replies break safety rules in {broken} conversations, those of the stable version in {before}."


def _disliked(difference: Figure, rules: CanaryConfig) -> str | None:
    if difference.high >= rules.min_gain:
        return None
    return f"People like it less than is asked for: {_points(difference)}, all of it below {rules.min_gain:+.1%}."


def _surge(stable: VersionEvidence, candidate: VersionEvidence, rules: CanaryConfig) -> str | None:
    """Looks once at each whole block of the candidate's votes, beside the stable version's votes of the same time.

    A version that was liked for a week would otherwise need as many bad days to be rolled back. The k-th block spends
    1 / (k (k + 1)) of its part of alpha, which adds up to the whole of it.
    """
    size = rules.surge_ratings
    for number in range(1, len(candidate.votes) // size + 1):
        block = candidate.votes[(number - 1) * size : number * size]
        beside = [vote for vote in stable.votes if block[0].rated_at <= vote.rated_at <= block[-1].rated_at]
        alpha = rules.alpha / 4 / (number * (number + 1))
        if falls_short(count_up(beside), count_up(block), by=rules.min_gain, alpha=alpha):
            liked, then = _of(count_up(block)), _of(count_up(beside))
            return f"A surge of thumbs down since {block[0].rated_at}: {liked} up, {then} for the stable version."
    return None


def _not_yet(stable: VersionEvidence, candidate: VersionEvidence, rules: CanaryConfig) -> str | None:
    """What still keeps a version from being promoted that people like better."""
    fewest = min(len(stable.votes), len(candidate.votes))
    if fewest < rules.min_ratings:
        return (
            f"People seem to like it better, but one version has {fewest} ratings; {rules.min_ratings} are asked for."
        )
    if candidate.unsafe.rate > stable.unsafe.rate + rules.max_extra_unsafe:
        broken, before = _of(candidate.unsafe), _of(stable.unsafe)
        return f"People like it better, but {broken} conversations break a safety rule, {before} of the stable one's."
    ratio = candidate.latency_ms / stable.latency_ms if candidate.latency_ms and stable.latency_ms else 1.0
    if ratio > rules.max_latency_ratio:
        return f"People like it better, but it takes {ratio:.2f} times as long; {rules.max_latency_ratio:g} is allowed."
    return None


def _missing(stable: Count, candidate: Count, rules: CanaryConfig) -> RatingsNeeded:
    return ratings_needed(
        stable, candidate, planned_share=rules.planned_share, gain=rules.visible_gain, alpha=rules.alpha
    )


def _points(difference: Figure) -> str:
    return f"{difference.value:+.1%} [{difference.low:+.1%}, {difference.high:+.1%}]"


def _of(count: Count) -> str:
    return f"{count.num_hits} of {count.num_trials}"
