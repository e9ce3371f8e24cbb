"""POST /v1/feedback: a thumb on a completion."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from service.access.api_keys import Scope
from service.api.access.scopes import caller_of, requires
from service.api.keeping.idempotency import REPLAYED_HEADER, idempotency_key_of
from service.api.schemas import FeedbackRequest
from service.chat.recording import Feedback, Recorder
from service.records.store import StoredFeedback

router = APIRouter(dependencies=[requires(Scope.FEEDBACK, is_for_browsers=True)])


@router.post("/v1/feedback")
async def record_feedback(body: FeedbackRequest, request: Request, response: Response) -> dict[str, Any]:
    """Records, replaces or (rating null) withdraws a thumb; answers what is stored now, masked as it is stored."""
    recorder: Recorder = request.state.recorder
    caller = caller_of(request)
    feedback = Feedback(
        completion_id=body.completion_id,
        feedback_token=body.feedback_token,
        rating=body.rating,
        reasons=tuple(body.reasons),
        comment=body.comment,
        correction=body.correction,
        tenant=caller.tenant,
        origin=caller.origin or caller.key_id,
        key=await idempotency_key_of(request),
    )
    stored = await recorder.record_feedback(feedback)
    if stored.is_replay:
        response.headers.update(REPLAYED_HEADER)
    return _feedback_json(stored)


def _feedback_json(stored: StoredFeedback) -> dict[str, Any]:
    return {
        "object": "feedback",
        "completion_id": stored.completion_id,
        "rating": stored.rating,
        "reasons": list(stored.reasons),
        "comment": stored.comment,
        "correction": stored.correction,
        "created_at": stored.created_at.isoformat(),
        "updated_at": stored.updated_at.isoformat(),
        "withdrawn_at": _iso(stored.withdrawn_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
