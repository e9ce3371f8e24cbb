"""/v1/model-versions/comparisons: two versions answer the same prompts; nothing of it is recorded."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from model_store.contract.conversation import detect_language
from service.access.api_keys import Scope
from service.api.access.scopes import requires
from service.api.schemas import SafeText
from service.chat.comparison.comparison import Comparison
from service.chat.comparison.drawing import DrawnReply
from service.chat.comparison.side_by_side import MAX_PROMPT_CHARS, MAX_PROMPTS

router = APIRouter(dependencies=[requires(Scope.REVIEW)])

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Prompt = Annotated[
    SafeText, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT_CHARS, pattern=r"\S")
]


class ComparisonBody(BaseModel):
    """Which versions shall answer, and what: the shop's own prompts where none are given."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    first: Digest
    second: Digest
    prompts: Annotated[list[_Prompt], Field(max_length=MAX_PROMPTS)] = []


@router.post("/v1/model-versions/comparisons")
async def compare_versions(body: ComparisonBody, request: Request) -> dict[str, Any]:
    """What both versions say to each prompt: their most probable replies, under the shop's rules, as customers read."""
    comparison: Comparison = request.state.comparison
    prompts = tuple(dict.fromkeys(body.prompts))
    answered = await comparison.side_by_side.answers(body.first, body.second, prompts)
    rows = [
        {
            "prompt": row.prompt,
            "language": detect_language(row.prompt),
            "is_same": row.is_same,
            "first": _drawn_json(row.first),
            "second": _drawn_json(row.second),
        }
        for row in answered
    ]
    return {"object": "model_version.comparison", "first": body.first, "second": body.second, "data": rows}


def _drawn_json(drawn: DrawnReply) -> dict[str, Any]:
    record = drawn.record
    about = {name: record.sampling.get(name) for name in ("plan", "plan_confidence", "rule")}
    return {"text": drawn.text, **about, "finish_reason": record.finish_reason}
