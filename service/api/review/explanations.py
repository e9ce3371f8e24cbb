"""GET /v1/review/completions/{id}/explanation: what decided a reply's plan, and the rated replies that are like it."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from service.access.api_keys import Scope
from service.api.access.scopes import caller_of, requires
from service.chat.review.explanation import ReplyExplanation
from service.chat.review.review_desk import ReviewDesk

router = APIRouter(dependencies=[requires(Scope.REVIEW)])


@router.get("/v1/review/completions/{completion_id}/explanation")
async def explain_completion(
    completion_id: Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,64}$")], request: Request
) -> dict[str, Any]:
    """Takes up to some seconds; texts are masked, as recorded."""
    desk: ReviewDesk = request.state.review_desk
    return _json(await desk.explain(caller_of(request).tenant, completion_id, request.state.model_router))


def _json(found: ReplyExplanation) -> dict[str, Any]:
    occlusion = found.occlusion
    return {
        "object": "review.explanation",
        "completion_id": found.completion_id,
        "plan": found.plan,
        "plan_probability": None if occlusion is None else round(occlusion.probability, 4),
        "pieces": None
        if occlusion is None
        else [{"text": piece.text, "effect": round(piece.effect, 3)} for piece in occlusion.pieces],
        "why_no_pieces": found.why_no_occlusion,
        "nearest": [asdict(each) for each in found.nearest],
    }
