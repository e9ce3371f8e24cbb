"""GET /v1/insights: the counts behind the overview."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import StringConstraints

from model_store.shares import Count
from service.access.api_keys import Scope
from service.api.access.scopes import caller_of, requires
from service.api.schemas import SafeText
from service.chat.oversight.insights import MAX_DAYS, Group, Overview, beginning_of
from service.chat.oversight.moods import Mood
from service.chat.oversight.oversight import Oversight
from service.records.oversight.usage import UsageFilter

_DEFAULT_DAYS = 30

router = APIRouter(dependencies=[requires(Scope.REVIEW)])
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[SafeText, StringConstraints(min_length=1, max_length=64)]


@router.get("/v1/insights")
async def show_insights(
    request: Request,
    days: Annotated[int, Query(ge=1, le=MAX_DAYS)] = _DEFAULT_DAYS,
    model_digest: Digest | None = None,
    language: Word | None = None,
    plan: Word | None = None,
) -> dict[str, Any]:
    """The tenant's last days: volume, thumbs, hand-overs, latency and reasons, by day, version, plan and language."""
    oversight: Oversight = request.state.oversight
    wanted = UsageFilter(
        since=beginning_of(days),
        tenant=caller_of(request).tenant,
        model_digest=model_digest,
        language=language,
        plan=plan,
    )
    return _overview_json(await oversight.insights.overview(wanted))


def share_json(count: Count) -> dict[str, Any]:
    """Thumbs up among ratings, with the 95 % interval of their share."""
    return {"num_up": count.num_hits, "num_ratings": count.num_trials, **asdict(count.share)}


def _overview_json(overview: Overview) -> dict[str, Any]:
    return {
        "object": "insights",
        "since": overview.since.isoformat(),
        "until": overview.until.isoformat(timespec="seconds"),
        "counted_since": overview.counted_since.isoformat() if overview.counted_since else None,
        "total": _group_json(overview.total),
        "by_day": [
            {**_group_json(group), "usual_thumbs_up": asdict(usual) if usual else None}
            for group, usual in zip(overview.by_day, overview.usual_by_day, strict=True)
        ],
        "surges": [asdict(surge) for surge in overview.surges],
        "moods": [_mood_json(mood) for mood in overview.moods],
        "by_version": [_group_json(group) for group in overview.by_version],
        "by_plan": [_group_json(group) for group in overview.by_plan],
        "by_language": [_group_json(group) for group in overview.by_language],
        "reasons": [{"reason": reason, "num_ratings": num} for reason, num in overview.reasons],
        "num_explained": overview.num_explained,
    }


def _mood_json(mood: Mood) -> dict[str, Any]:
    return {
        "day": mood.day,
        "num_messages": mood.negative.num_trials,
        "num_negative": mood.negative.num_hits,
        "num_positive": mood.positive.num_hits,
        "share_negative": asdict(mood.negative.share),
        "usual_share_negative": asdict(mood.usual) if mood.usual else None,
        "is_surge": mood.is_surge,
    }


def _group_json(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "num_completions": group.num_completions,
        "num_conversations": group.num_conversations,
        "num_hand_overs": group.num_hand_overs,
        "thumbs_up": share_json(group.thumbs),
        "median_latency_ms": group.latency.median_ms if group.latency else None,
        "p95_latency_ms": group.latency.p95_ms if group.latency else None,
    }
