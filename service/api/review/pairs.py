"""/v1/review/pairs: two versions' replies to one prompt, blind; the choice; what was chosen, counted and exported."""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, StringConstraints

from model_store.contract.feedback import Choice
from model_store.knowledge.offer import has_article
from model_store.shares import Count
from service.access.api_keys import Scope
from service.api.access.scopes import caller_of, requires
from service.api.errors import translate
from service.api.openapi import answers_text
from service.chat.comparison.comparison import Comparison
from service.chat.comparison.pair_desk import MAX_EXPORTED, PairDesk
from service.records.errors import RecordsError
from service.records.pairs.pair import PairCounts, PairPrompt, PreferencePair

router = APIRouter(dependencies=[requires(Scope.REVIEW)])
_log = structlog.get_logger(__name__)

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PairId = Annotated[str, Path(pattern=r"^pair_[0-9a-f]{1,64}$")]


class VersionsBody(BaseModel):
    """The versions to choose between."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    first: Digest
    second: Digest


class ChoiceBody(BaseModel):
    """Which reply is better: the first or the second as they were shown, neither, or no answer."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    choice: Choice


@router.post("/v1/review/pairs")
async def offer_pair(body: VersionsBody, request: Request) -> dict[str, Any]:
    """The next pair for the key that asks, drawn now; `pair` is null where both say the same, or nothing is left."""
    caller = caller_of(request)
    found = await _desk(request).next(caller.tenant, caller.key_id, (body.first, body.second))
    return {"object": "review.offer", "pair": None if found is None else _blind_json(*found)}


@router.post("/v1/review/pairs/{pair_id}/choice")
async def choose(pair_id: PairId, body: ChoiceBody, request: Request) -> dict[str, Any]:
    """Keeps the choice, which is final, and says whose reply is whose."""
    caller = caller_of(request)
    pair = await _desk(request).choose(caller.tenant, caller.key_id, pair_id, body.choice)
    versions = {"first": pair.first.model_digest, "second": pair.second.model_digest}
    return {"object": "review.choice", "id": pair.id, "choice": pair.choice, "versions": versions}


@router.get("/v1/review/pairs/results")
async def show_results(request: Request, first: Annotated[Digest, Query()], second: Annotated[Digest, Query()]) -> Any:
    """How often the staff preferred the second version to the first, each prompt counted once."""
    counts = await _desk(request).counts(caller_of(request).tenant, (first, second))
    return _counts_json(counts)


@router.get("/v1/review/pairs/export", response_class=Response, responses=answers_text("application/x-ndjson"))
async def export_pairs(request: Request) -> StreamingResponse:
    """All choices of the tenant, ties too, oldest first, one JSON object a line; a last line says whether it is all."""
    caller = caller_of(request)
    pairs = await _desk(request).begin_export(caller.tenant, caller.key_id)
    headers = {"content-disposition": 'attachment; filename="preference_pairs.jsonl"', "cache-control": "no-store"}
    return StreamingResponse(_lines(pairs), media_type="application/x-ndjson", headers=headers)


def _blind_json(pair: PreferencePair, prompt: PairPrompt) -> dict[str, Any]:
    """Nothing in here tells the versions."""
    messages = prompt.messages
    shown = (*messages[:-2], messages[-1]) if has_article(messages) else messages
    return {
        "object": "review.pair",
        "id": pair.id,
        "language": prompt.language,
        "messages": [message.as_dict() for message in shown],
        "replies": [pair.first.text, pair.second.text],
    }


def _counts_json(counts: PairCounts) -> dict[str, Any]:
    return {
        "object": "review.pair_results",
        "num_first": counts.num_first,
        "num_second": counts.num_second,
        "num_ties": counts.num_ties,
        "win_rate": asdict(Count(counts.num_second, counts.num_decided).share) if counts.num_decided else None,
    }


async def _lines(pairs: AsyncIterator[tuple[PreferencePair, PairPrompt]]) -> AsyncIterator[str]:
    num_pairs = 0
    try:
        async for pair, prompt in pairs:
            num_pairs += 1
            yield _line(_pair_json(pair, prompt))
    except RecordsError as error:  # the status is gone by now
        _log.error("export_failed", code=error.code)
        yield _line(translate(error)[1])
        return
    yield _line({"object": "review.export_end", "num_pairs": num_pairs, "is_whole": num_pairs < MAX_EXPORTED})


def _pair_json(pair: PreferencePair, prompt: PairPrompt) -> dict[str, Any]:
    return {
        "object": "review.preference_pair",
        "pair_id": pair.id,
        "completion_id": pair.completion_id,
        "language": prompt.language,
        "prompt_messages": [message.as_dict() for message in prompt.messages],
        "first": asdict(pair.first),
        "second": asdict(pair.second),
        "choice": pair.choice,
        "rater": pair.rater,
        "chosen_at": pair.chosen_at.isoformat() if pair.chosen_at else None,
    }


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _desk(request: Request) -> PairDesk:
    comparison: Comparison = request.state.comparison
    return comparison.pair_desk
