"""The review console's routes: lists, one conversation, a rating with a correction, and an export as JSON lines."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from model_store.contract.feedback import (
    MAX_COMMENT_CHARS,
    MAX_CORRECTION_CHARS,
    MAX_REASONS,
    REASON_PATTERN,
    Rating,
)
from service.access.api_keys import Scope
from service.api.access.scopes import caller_of, requires
from service.api.errors import translate
from service.api.openapi import answers_text
from service.api.review import ratings
from service.api.review.formats import choices_json, feedback_json, found_json, page_json, reading_json
from service.api.review.queries import (
    TAG_PATTERN,
    FilterQuery,
    PageQuery,
    read_queue_place,
    read_reply_place,
    write_cursor,
)
from service.api.schemas import CONVERSATION_ID_PATTERN, SafeText
from service.chat.review.reading import Reading
from service.chat.review.review_desk import MAX_EXPORTED, Judgement, ReviewDesk
from service.records.errors import RecordsError

_COMPLETION_ID_PATTERN = r"^[A-Za-z0-9-]{1,64}$"
ConversationId = Annotated[str, Path(pattern=CONVERSATION_ID_PATTERN)]
Tag = Annotated[str, Path(pattern=TAG_PATTERN)]
_Correction = Annotated[SafeText, StringConstraints(pattern=r"\S", max_length=MAX_CORRECTION_CHARS)]

router = APIRouter(dependencies=[requires(Scope.REVIEW)])
router.include_router(ratings.router)
_log = structlog.get_logger(__name__)


class JudgementBody(BaseModel):
    """A rating; null withdraws it, and what was said with it. A correction is the reply that should have been given."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    rating: Rating | None
    reasons: Annotated[
        list[Annotated[str, StringConstraints(pattern=REASON_PATTERN)]], Field(max_length=MAX_REASONS)
    ] = []
    comment: Annotated[SafeText, StringConstraints(max_length=MAX_COMMENT_CHARS)] | None = None
    correction: _Correction | None = None


@router.get("/v1/review/conversations")
async def list_conversations(request: Request, query: Annotated[PageQuery, Query()]) -> dict[str, Any]:
    """Conversations that hold a wanted reply, each by the newest of these; the latest first."""
    wanted = query.to_filter(caller_of(request).tenant)
    place = read_reply_place(query.cursor)
    found = await _desk(request).newest(wanted, limit=query.limit + 1, before=place)
    page = found[: query.limit]
    return page_json(list(map(found_json, page)), write_cursor(page[-1].place) if len(found) > query.limit else None)


@router.get("/v1/review/queue")
async def list_queue(request: Request, query: Annotated[PageQuery, Query()]) -> dict[str, Any]:
    """Replies worth a look, of those that are wanted: disliked ones first, then those that the model was unsure of."""
    wanted = query.to_filter(caller_of(request).tenant)
    place = read_queue_place(query.cursor)
    found = await _desk(request).worth_a_look(wanted, limit=query.limit + 1, after=place)
    page = found[: query.limit]
    more = write_cursor(page[-1].queue_place) if len(found) > query.limit else None
    return page_json(list(map(found_json, page)), more)


@router.get("/v1/review/choices")
async def show_choices(request: Request) -> dict[str, Any]:
    """The versions, plans and reasons that occur among recent replies."""
    return choices_json(await _desk(request).choices(caller_of(request).tenant))


@router.get("/v1/review/conversations/{conversation_id}")
async def show_conversation(
    conversation_id: ConversationId,
    request: Request,
    up_to: Annotated[str | None, Query(pattern=_COMPLETION_ID_PATTERN)] = None,
) -> dict[str, Any]:
    """A conversation whole, with what was recorded and said about each reply; of a long one the part up to a reply."""
    caller = caller_of(request)
    return reading_json(await _desk(request).show(caller.tenant, conversation_id, up_to=up_to), caller.key_id)


@router.post("/v1/review/completions/{completion_id}/feedback")
async def judge_completion(
    completion_id: Annotated[str, Path(pattern=_COMPLETION_ID_PATTERN)], body: JudgementBody, request: Request
) -> dict[str, Any]:
    """Records, replaces or withdraws the rating of the API key that asks."""
    caller = caller_of(request)
    judgement = Judgement(
        completion_id=completion_id,
        actor=caller.key_id,
        rating=body.rating,
        reasons=tuple(body.reasons),
        comment=body.comment,
        correction=body.correction and body.correction.strip(),
        tenant=caller.tenant,
    )
    return feedback_json(await _desk(request).judge(judgement), caller.key_id)


@router.put("/v1/review/conversations/{conversation_id}/tags/{tag}")
async def put_tag(conversation_id: ConversationId, tag: Tag, request: Request) -> dict[str, Any]:
    """Puts a tag on a conversation, where it is not there yet."""
    caller = caller_of(request)
    tags = await _desk(request).tag(caller.tenant, caller.key_id, conversation_id, tag, is_on=True)
    return {"object": "review.tags", "tags": list(tags)}


@router.delete("/v1/review/conversations/{conversation_id}/tags/{tag}")
async def remove_tag(conversation_id: ConversationId, tag: Tag, request: Request) -> dict[str, Any]:
    """Takes a tag off a conversation, where it is there."""
    caller = caller_of(request)
    tags = await _desk(request).tag(caller.tenant, caller.key_id, conversation_id, tag, is_on=False)
    return {"object": "review.tags", "tags": list(tags)}


@router.get("/v1/review/export", response_class=Response, responses=answers_text("application/x-ndjson"))
async def export_conversations(request: Request, query: Annotated[FilterQuery, Query()]) -> StreamingResponse:
    """The conversations that a filter shows, one JSON object a line; a last line says whether these are all."""
    caller = caller_of(request)
    readings = await _desk(request).begin_export(query.to_filter(caller.tenant), caller.key_id)
    headers = {"content-disposition": 'attachment; filename="conversations.jsonl"', "cache-control": "no-store"}
    return StreamingResponse(_lines(readings, caller.key_id), media_type="application/x-ndjson", headers=headers)


async def _lines(readings: AsyncIterator[Reading], key_id: str) -> AsyncIterator[str]:
    num_conversations = 0
    try:
        async for reading in readings:
            num_conversations += 1
            yield _line(reading_json(reading, key_id))
    except RecordsError as error:  # the status is gone by now
        _log.error("export_failed", code=error.code)
        yield _line(translate(error)[1])
        return
    is_whole = num_conversations < MAX_EXPORTED
    yield _line({"object": "review.export_end", "num_conversations": num_conversations, "is_whole": is_whole})


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _desk(request: Request) -> ReviewDesk:
    desk: ReviewDesk = request.state.review_desk
    return desk
