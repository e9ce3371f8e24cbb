"""/v1/conversations: begin, list, show, erase. Objects look like those of OpenAI's conversations; texts are masked."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict

from model_store.contract.manifest import Manifest
from service.access.api_keys import Scope
from service.api.access.scopes import caller_of, requires
from service.api.schemas import CONVERSATION_ID_PATTERN
from service.chat.conversations.archive import Archive, ConversationView, ErasureReport
from service.chat.conversations.transcript import TranscriptMessage
from service.errors import InvalidValueError, UnsupportedParameterError
from service.records.copies.export_register import RegisteredExport
from service.records.store import ConversationSummary
from service.records.tables import format_timestamp

MAX_PAGE = 100
_DEFAULT_PAGE = 20
_MAX_CURSOR_CHARS = 256

router = APIRouter()
ConversationId = Annotated[str, Path(pattern=CONVERSATION_ID_PATTERN)]


class ConversationRequest(BaseModel):
    """OpenAI's clients may send what is not kept here; it is refused rather than dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    items: list[Any] | None = None
    metadata: dict[str, Any] | None = None


@router.post("/v1/conversations", dependencies=[requires(Scope.CHAT, is_for_browsers=True)])
async def begin_conversation(request: Request, body: ConversationRequest | None = None) -> dict[str, Any]:
    """Begins an empty conversation; completions with its id as `conversation_id` continue it."""
    for name in ("items", "metadata"):
        if body is not None and getattr(body, name):
            raise UnsupportedParameterError(param=name, name=name)
    return _summary_json(await _archive(request).begin(caller_of(request).tenant))


@router.get("/v1/conversations", dependencies=[requires(Scope.REVIEW)])
async def list_conversations(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = _DEFAULT_PAGE,
    cursor: Annotated[str | None, Query(max_length=_MAX_CURSOR_CHARS)] = None,
) -> dict[str, Any]:
    """The tenant's conversations, newest first; `next_cursor` is null on the last page."""
    before = None if cursor is None else _read_cursor(cursor)
    found = await _archive(request).page(caller_of(request).tenant, limit=limit + 1, before=before)
    page = found[:limit]
    return {
        "object": "list",
        "data": [_summary_json(summary) for summary in page],
        "has_more": len(found) > limit,
        "next_cursor": _write_cursor(page[-1]) if len(found) > limit else None,
    }


@router.get("/v1/conversations/{conversation_id}", dependencies=[requires(Scope.REVIEW)])
async def show_conversation(conversation_id: ConversationId, request: Request) -> dict[str, Any]:
    """A conversation with its messages as they were recorded."""
    view = await _archive(request).show(caller_of(request).tenant, conversation_id)
    return _view_json(view)


@router.delete("/v1/conversations/{conversation_id}", dependencies=[requires(Scope.ADMIN)])
async def erase_conversation(conversation_id: ConversationId, request: Request) -> dict[str, Any]:
    """Erases a conversation with everything about it, and names the versions that may have learned from it."""
    return _erasure_json(await _archive(request).erase(caller_of(request).tenant, conversation_id))


def _archive(request: Request) -> Archive:
    archive: Archive = request.state.archive
    return archive


def _summary_json(summary: ConversationSummary | ConversationView) -> dict[str, Any]:
    return {
        "id": summary.id,
        "object": "conversation",
        "created_at": int(summary.created_at.timestamp()),
        "metadata": {},
    }


def _view_json(view: ConversationView) -> dict[str, Any]:
    return {**_summary_json(view), "messages": [_message_json(item) for item in view.messages]}


def _message_json(item: TranscriptMessage) -> dict[str, Any]:
    return {**item.message.as_dict(), "completion_id": item.completion_id}


def _erasure_json(report: ErasureReport) -> dict[str, Any]:
    erasure, versions = report.erasure, report.versions
    return {
        "id": erasure.conversation_id,
        "object": "conversation.deleted",
        "deleted": True,
        "erased_at": erasure.erased_at.isoformat(),
        "num_completions": erasure.num_completions,
        "num_feedback": erasure.num_feedback,
        "model_versions": None if versions is None else [_version_json(manifest) for manifest in versions],
        "model_versions_basis": report.basis,
        "exports": [_export_json(export) for export in report.exports],
    }


def _version_json(manifest: Manifest) -> dict[str, str]:
    return {"digest": manifest.digest, "name": manifest.name, "created_at": manifest.created_at}


def _export_json(export: RegisteredExport) -> dict[str, str]:
    """Where it lies is for the operator to know."""
    return {"id": export.id, "table": export.table_name, "made_at": format_timestamp(export.made_at)}


def _write_cursor(summary: ConversationSummary) -> str:
    return base64.urlsafe_b64encode(f"{summary.created_at.isoformat()} {summary.id}".encode()).decode()


def _read_cursor(cursor: str) -> ConversationSummary:
    """Where a page begins, without looking it up: an erasure in between must not lose the place."""
    try:
        time, _, conversation_id = base64.urlsafe_b64decode(cursor).decode("ascii").partition(" ")
        created_at = datetime.fromisoformat(time)
    except (binascii.Error, ValueError) as error:
        raise InvalidValueError(param="cursor", problem="Send a next_cursor as it was given.") from error
    if created_at.tzinfo is None:
        raise InvalidValueError(param="cursor", problem="Send a next_cursor as it was given.")
    return ConversationSummary(conversation_id, created_at)
