"""Ratings under doubt, raters, the gold list: what a learning run set aside, and what the staff decides about it."""

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from model_store.contract.feedback import Rating, Ruling
from model_store.curation import REASON_WORDS, TRAIT_WORDS, CurationReport, GroupFigures, Reason
from service.access.api_keys import Scope
from service.api.access.scopes import caller_of, requires
from service.api.openapi import answers_text
from service.chat.review.rating_book import DoubtedRating, RaterView, RatingBook
from service.records.store import GoldRating

_ID = r"^[A-Za-z0-9-]{1,64}$"
_MAX_PAGE = 100
_MAX_GOLD_ROWS = 500
_MAX_OFFSET = 20_000
_MAX_EXCERPT_CHARS = 240
CompletionId = Annotated[str, StringConstraints(pattern=_ID)]
Rater = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]

router = APIRouter(dependencies=[requires(Scope.REVIEW)])


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class RulingBody(_Body):
    """A decision about one rating, or without a completion about everything a rater says; null takes it back."""

    rater: Rater
    completion_id: CompletionId | None = None
    ruling: Ruling | None


class GoldBody(_Body):
    """The truth about a reply; null takes it back."""

    rating: Rating | None


class GoldRow(_Body):
    """A line of a gold list."""

    completion_id: CompletionId
    rating: Rating


class GoldListBody(_Body):
    """A gold list, or a piece of it."""

    rows: Annotated[list[GoldRow], Field(max_length=_MAX_GOLD_ROWS)]


class DoubtedQuery(_Body):
    """Which of the ratings under doubt are asked for."""

    limit: int = Field(default=30, ge=1, le=_MAX_PAGE)
    offset: int = Field(default=0, ge=0, le=_MAX_OFFSET)
    rater: Rater | None = None
    reason: Reason | None = None


@router.get("/v1/review/doubted-ratings")
async def list_doubted(request: Request, query: Annotated[DoubtedQuery, Query()]) -> dict[str, Any]:
    """Ratings that the last learning run set aside, with its reasons, and those about which somebody has decided."""
    page = await asyncio.to_thread(
        _book(request).doubted,
        caller_of(request).tenant,
        limit=query.limit,
        offset=query.offset,
        rater=query.rater,
        reason=query.reason,
    )
    return {
        "object": "list",
        "data": [_doubted_json(one) for one in page.ratings],
        "next_offset": page.next_offset,
        "last_run": page.report and _report_json(page.report),
    }


@router.get("/v1/review/raters")
async def list_raters(request: Request) -> dict[str, Any]:
    """Who has rated how much, how far they agree with others and with gold, and what they weigh."""
    views = await asyncio.to_thread(_book(request).raters, caller_of(request).tenant)
    return {"object": "list", "data": [_rater_json(view) for view in views]}


@router.put("/v1/review/ruling")
async def rule(body: RulingBody, request: Request) -> dict[str, Any]:
    """Decides whether a rating, or a rater, counts; the next learning run obeys."""
    caller = caller_of(request)
    key = (body.completion_id, body.rater)
    await asyncio.to_thread(_book(request).rule, caller.tenant, caller.key_id, key, body.ruling)
    return {"object": "review.ruling", **body.model_dump()}


@router.put("/v1/review/completions/{completion_id}/gold")
async def mark_gold(
    completion_id: Annotated[str, Path(pattern=_ID)], body: GoldBody, request: Request
) -> dict[str, Any]:
    """Says what the truth about a reply is, against which raters are held."""
    caller = caller_of(request)
    await asyncio.to_thread(_book(request).mark_gold, caller.tenant, caller.key_id, completion_id, body.rating)
    return {"object": "review.gold", "completion_id": completion_id, "rating": body.rating}


@router.get("/v1/review/gold", response_class=Response, responses=answers_text("application/x-ndjson"))
async def export_gold(request: Request) -> PlainTextResponse:
    """The gold list, one JSON object a line."""
    gold = await asyncio.to_thread(_book(request).gold, caller_of(request).tenant)
    headers = {"content-disposition": 'attachment; filename="gold.jsonl"', "cache-control": "no-store"}
    return PlainTextResponse("".join(map(gold_line, gold)), media_type="application/x-ndjson", headers=headers)


@router.post("/v1/review/gold")
async def import_gold(body: GoldListBody, request: Request) -> dict[str, Any]:
    """Marks what a gold list says; names the completions that are not here."""
    caller = caller_of(request)
    rows = [(row.completion_id, row.rating) for row in body.rows]
    unknown = await asyncio.to_thread(_book(request).import_gold, caller.tenant, caller.key_id, rows)
    return {"object": "review.gold_import", "num_marked": len(rows) - len(unknown), "unknown": unknown}


def gold_line(gold: GoldRating) -> str:
    """A line of a gold list."""
    fields = {
        "completion_id": gold.completion_id,
        "rating": gold.rating,
        "decided_by": gold.actor,
        "decided_at": gold.decided_at.isoformat(),
    }
    return json.dumps(fields) + "\n"


def _doubted_json(one: DoubtedRating) -> dict[str, Any]:
    rating = one.rating
    return {
        "object": "review.doubted_rating",
        "completion_id": rating.key.completion_id,
        "conversation_id": rating.conversation_id,
        "rater": rating.key.rater,
        "rating": rating.rating,
        "rated_at": rating.rated_at.isoformat(),
        "question": rating.question[:_MAX_EXCERPT_CHARS],
        "text": rating.text[:_MAX_EXCERPT_CHARS],
        "comment": rating.comment and rating.comment[:_MAX_EXCERPT_CHARS],
        "gold": rating.gold,
        "reasons": [{"reason": reason, "words": REASON_WORDS[reason]} for reason in one.reasons],
        "ruling": one.ruling,
        "is_about_rater": one.is_about_rater,
    }


def _report_json(report: CurationReport) -> dict[str, Any]:
    return {
        "made_at": report.made_at.isoformat(),
        "num_ratings": report.num_ratings,
        "num_set_aside": report.num_set_aside,
        "weight": report.total_weight,
        "by_reason": [
            {"reason": reason, "words": REASON_WORDS[reason], "num_ratings": number}
            for reason, number in sorted(report.by_reason.items(), key=lambda pair: -pair[1])
        ],
        "groups": [_group_json(group) for group in report.groups],
    }


def _group_json(group: GroupFigures) -> dict[str, Any]:
    word = f"“{group.word}”" if group.word else "a word of their own"
    return {
        "raters": [one.rater for one in group.raters],
        "num_raters": group.num_raters,
        "trait": group.kind,
        "word": group.word,
        "words": TRAIT_WORDS[group.kind].format(word=word),
        "share_of_raters": group.share_of_raters,
        "weight_before": group.weight_before,
        "weight": group.weight,
        "share_of_weight": group.share_of_weight,
    }


def _rater_json(view: RaterView) -> dict[str, Any]:
    count, figures = view.count, view.figures
    return {
        "object": "review.rater",
        "rater": count.rater,
        "is_staff": view.is_staff,
        "num_ratings": count.num_ratings,
        "num_up": count.num_up,
        "num_gold": count.num_gold,
        "num_gold_right": count.num_gold_right,
        "ruling": view.ruling,
        "last_run": figures
        and {
            "num_ratings": figures.num_ratings,
            "num_set_aside": figures.num_set_aside,
            "num_compared": figures.num_compared,
            "num_agreed": figures.num_agreed,
            "num_gold": figures.num_gold,
            "num_gold_right": figures.num_gold_right,
            "reliability": figures.reliability,
            "weight": figures.weight,
        },
    }


def _book(request: Request) -> RatingBook:
    book: RatingBook = request.state.review_desk.ratings
    return book
