"""A judgement for people, and the same as JSON for scripts."""

from typing import Any

from model_store.digest import short
from model_store.shares import Count
from model_store.store import Release
from training.canary.evidence import VersionEvidence
from training.canary.judge import Judgement
from training.canary.release import PlannedMove
from training.evaluation.figures import Figure
from training.rlhf.estimators import wilson_interval

NO_CANARY = "No canary is on: `candidate` is unset, is the stable version, or was named before that became stable."


def judgement_text(judgement: Judgement, release: Release, planned: PlannedMove | None) -> str:
    """Both versions side by side, the verdict with its reason, what is missing, and what was moved."""
    stable, candidate = judgement.stable, judgement.candidate
    rows = [
        ("", short(stable.digest), short(candidate.digest)),
        ("thumbs up (95 %, for one look)", _share(stable.thumbs), _share(candidate.thumbs)),
        ("ratings, one a conversation", str(len(stable.votes)), str(len(candidate.votes))),
        ("conversations that break a safety rule", _count(stable.unsafe), _count(candidate.unsafe)),
        ("median time to a whole reply", _milliseconds(stable), _milliseconds(candidate)),
    ]
    lines = [f"since {release.since:%Y-%m-%d %H:%M} UTC{'':18}{'stable':>24}{'candidate':>24}"]
    lines += [f"{name:40}{left:>24}{right:>24}" for name, left, right in rows]
    lines.append(f"{'difference (valid at every look)':40}{'':>24}{_percent(judgement.difference, sign='+'):>24}")
    lines += ["", f"{judgement.verdict.upper()}. {judgement.reason}"]
    if judgement.missing.always_valid:
        lines.append(judgement.missing.sentence)
    return "\n".join([*lines, *_move_lines(planned)])


def judgement_fields(judgement: Judgement, release: Release, planned: PlannedMove | None) -> dict[str, Any]:
    """Everything that the text says, JSON-able."""
    return {
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "since": release.since.isoformat(),
        "stable": _fields(judgement.stable),
        "candidate": _fields(judgement.candidate),
        "difference": judgement.difference.model_dump(),
        "num_more_ratings": judgement.missing.always_valid,
        "num_more_ratings_with_one_look": judgement.missing.fixed_sample,
        "is_dry_run": planned is not None and not planned.is_made,
        "alias": planned.alias.value if planned else None,
        "move": planned.move.model_dump(mode="json") if planned else None,
        "undo": planned.undo if planned else None,
    }


def _fields(evidence: VersionEvidence) -> dict[str, Any]:
    return {
        "digest": evidence.digest,
        "thumbs_up": _figure(evidence.thumbs).model_dump(),
        "num_ratings": len(evidence.votes),
        "num_up": evidence.thumbs.num_hits,
        "num_completions": evidence.num_completions,
        "num_conversations": evidence.unsafe.num_trials,
        "num_unsafe_conversations": evidence.unsafe.num_hits,
        "median_latency_ms": evidence.latency_ms,
    }


def _move_lines(planned: PlannedMove | None) -> list[str]:
    if planned is None:
        return []
    move, verb = planned.move, "moved" if planned.is_made else "would move, with --apply,"
    before = short(move.from_digest) if move.from_digest else "unset"
    line = f"{verb} {planned.alias}: {before} -> {short(move.to_digest)}, generation {move.generation}"
    return [line, f"undo: {planned.undo}"] if planned.undo else [line]


def _figure(count: Count) -> Figure:
    low, high = wilson_interval(count.num_hits, count.num_trials)
    return Figure(value=count.rate, low=low, high=high)


def _share(count: Count) -> str:
    return _percent(_figure(count)) if count.num_trials else "-"


def _percent(figure: Figure, sign: str = "") -> str:
    return f"{figure.value:{sign}.1%} [{figure.low:{sign}.1%}, {figure.high:{sign}.1%}]"


def _count(count: Count) -> str:
    return f"{count.num_hits} of {count.num_trials}"


def _milliseconds(evidence: VersionEvidence) -> str:
    return f"{evidence.latency_ms:.0f} ms" if evidence.latency_ms is not None else "-"
