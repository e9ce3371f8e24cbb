"""What every operation's OpenAPI says beside its own answer: the error envelope, and answers that are no JSON."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

_TEXT = {"schema": {"type": "string"}}


class _Error(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorEnvelope(BaseModel):
    """OpenAI's error object, which every refusal wears."""

    error: _Error


def answers_text(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route whose success has these media types, beside what its response class says."""
    return {200: {"content": {media_type: _TEXT for media_type in media_types}}}


def document_errors(app: FastAPI) -> None:
    """Says for routes that are included from now on what `errors` answers, in place of FastAPI's own 422.

    A client made from FastAPI's document would look for a `detail` that never comes.
    """
    refused = "Refused; `code` says why, `param` where."
    app.router.responses.update(
        {
            "4XX": {"model": ErrorEnvelope, "description": refused},
            503: {"model": ErrorEnvelope, "description": "Full, draining or without a model or records: try again."},
        }
    )
