"""POST /v1/chat/completions, in JSON or as a stream of events, as OpenAI's clients expect it."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from dataclasses import replace

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from service.access.api_keys import Scope
from service.api.access.scopes import caller_of, requires
from service.api.completion_format import Json, collect_completion, stream_pieces
from service.api.errors import NAMED_ERRORS, handle_error, translate
from service.api.event_stream import DONE, EventStreamResponse, encode_event, wait_for_disconnect
from service.api.keeping.idempotency import REPLAYED_HEADER, idempotency_key_of
from service.api.middleware import replay_body
from service.api.openapi import answers_text
from service.api.schemas import ChatCompletionRequest
from service.chat.conversations.reception import Reception
from service.chat.reply import Reply
from service.errors import ServiceError
from service.records.errors import RecordsError
from service.settings import Settings

_CLIENT_GONE = 499  # nginx's word for it; nobody is left to read it but the metrics

PATH = "/v1/chat/completions"
_JSON = "application/json"

router = APIRouter(dependencies=[requires(Scope.CHAT, is_for_browsers=True)])


@router.post(PATH, responses=answers_text("text/event-stream"))
async def create_completion(body: ChatCompletionRequest, request: Request) -> Response:
    """Answers a conversation. Errors before the first event have a status; later ones come as an `error` event."""
    reception: Reception = request.state.reception
    settings: Settings = request.state.settings
    chat_request = body.to_chat_request(
        max_messages=settings.max_messages, max_message_chars=settings.max_message_chars
    )
    caller = caller_of(request)
    chat_request = replace(chat_request, tenant=caller.tenant, user=caller.user or chat_request.user)
    reply = await reception.start(chat_request, await idempotency_key_of(request))
    headers = {"x-model-digest": reply.head.model_digest, **(REPLAYED_HEADER if reply.is_replay else {})}
    if body.stream:
        return EventStreamResponse(
            encode_stream(reply, body),
            on_close=reply.cancel,
            heartbeat_seconds=settings.heartbeat_seconds,
            headers=headers,
        )
    try:
        completion = await _unless_disconnected(
            collect_completion(reply, has_logprobs=bool(body.logprobs)), request.receive
        )
    finally:
        reply.cancel()
    if completion is None:
        return Response(status_code=_CLIENT_GONE)
    return JSONResponse(completion, headers=headers)


class DirectCompletions:
    """Answers requests for completions ahead of FastAPI, whose work around a route takes longer than a refusal.

    Only what the route would take: a body that does not validate or a caller who may not ask goes on to the route,
    which says why. Has to stand behind what receives bodies and finds out who calls.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        (self._route,) = router.routes

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answers, or passes the request on."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST" or not _has_json(scope):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        content = await request.body()
        body = valid_request(content) if Scope.CHAT in caller_of(request).scopes else None
        if body is None:
            await self._app(scope, replay_body(content, receive), send)
            return
        scope["route"] = self._route
        try:
            response = await create_completion(body, request)
        except NAMED_ERRORS as error:
            response = await handle_error(request, error)
        await response(scope, receive, send)


def is_json(content_type: str) -> bool:
    """Whether the content type is the one that all clients send, parameters aside."""
    return content_type.startswith(_JSON)


def valid_request(content: bytes) -> ChatCompletionRequest | None:
    """A body as the route takes it; None for what it would not take, and says why."""
    with suppress(ValidationError):
        return ChatCompletionRequest.model_validate_json(content)
    return None


def _has_json(scope: ASGIScope) -> bool:
    return is_json(next((value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"), ""))


async def encode_stream(reply: Reply, body: ChatCompletionRequest) -> AsyncIterator[bytes]:
    """The events of a stream, which ends with [DONE] or with one `error` event.

    What follows the last choice's last words comes as one: each piece is a message through the application and a frame.
    """
    ending = b""
    try:
        async for piece in stream_pieces(reply, has_logprobs=bool(body.logprobs), has_usage=body.has_usage_delta):
            if "feedback_token" in piece:  # every choice has ended
                ending += encode_event(piece)
            else:
                yield encode_event(piece)
    except (ServiceError, RecordsError) as error:
        _, envelope, _ = translate(error)
        yield ending + encode_event(envelope, event="error")
        return
    yield ending + DONE


async def _unless_disconnected(work: Awaitable[Json], receive: Receive) -> Json | None:
    """The result of `work`, or None when the client goes first; the work is then cancelled."""
    results: list[Json] = []
    errors: list[Exception] = []

    async def do_work() -> None:
        try:
            results.append(await work)
        except (ServiceError, RecordsError) as error:  # carried out by hand: a task group would wrap it
            errors.append(error)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(do_work)
        await wait_for_disconnect(receive)
        group.cancel_scope.cancel()
    if errors:
        raise errors[0]
    return results[0] if results else None
