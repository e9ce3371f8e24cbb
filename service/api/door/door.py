"""The door: refuses requests for completions while all places are taken, for a tenth of what the usual path takes.

Asks the same access control and the same chatbot and gives the same answer, to the byte but for date and request id;
counts, and tells the log, the same. Only where all of that can be told at once: whoever would get any other answer, and
whatever takes waiting, goes the usual way. So does each message that a safety pattern answers, however full it is.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import h11
import structlog
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES

from service.access.access_control import AccessControl, Credentials
from service.access.api_keys import Scope
from service.api.completions import PATH, is_json, valid_request
from service.api.door.simple_request import SimpleRequest, read_simple_request
from service.api.errors import error_response, refusals_of
from service.api.middleware import context_headers, request_id_of
from service.chat.chatbot import Chatbot
from service.errors import InvalidValueError, OverloadedError
from service.settings import Settings
from service.telemetry import Telemetry

_START_LINE = f"POST {PATH} HTTP/1.1".encode()
_DATE, _REQUEST_ID = "<date>", "<request-id>"
_ELSEWHERE = ("origin", "idempotency-key")
"""Headers whose requests have more to be asked: what a page may read, and what was answered before."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A whole response, and whether the connection ends with it."""

    response: bytes
    closes: bool


class Door:
    """Lives on the event loop, in front of one application; holds nothing of any request."""

    def __init__(self, app: FastAPI) -> None:
        self._refusals = refusals_of(app)

    def refuse(self, data: bytes, state: Mapping[str, Any], date: bytes) -> Refusal | None:
        """The refusal of a request that came in one piece; None: it goes the usual way, and nothing was counted.

        `state` is the application's. Never waits.
        """
        chatbot: Chatbot = state["chatbot"]
        if not chatbot.is_full or not data.startswith(_START_LINE):
            return None
        started_at = time.monotonic()
        request = read_simple_request(data, _START_LINE)
        if request is None or any(name in request.headers for name in _ELSEWHERE):
            return None
        error = _overload(request, state["settings"], chatbot)
        if error is None or not _admits(request, state["access"]):
            return None
        request_id = request_id_of(request.headers.get("x-request-id", ""))
        self._note(error, request_id, state["telemetry"], started_at)
        template = _template(error.context["capacity"], error.retry_after_seconds, request.closes)
        return Refusal(template % (date, request_id.encode()), request.closes)

    def _note(self, error: OverloadedError, request_id: str, telemetry: Telemetry, started_at: float) -> None:
        """What `RequestContextMiddleware` and `handle_error` note."""
        if self._refusals.is_resting:
            self._refusals.note(error.code)
        else:
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                self._refusals.note(error.code)
        telemetry.http_requests.labels(PATH, "503").inc()
        telemetry.http_latency.labels(PATH).observe(time.monotonic() - started_at)


def _overload(request: SimpleRequest, settings: Settings, chatbot: Chatbot) -> OverloadedError | None:
    """Why the chatbot does not take it; None where it might, or where something is wrong with the request."""
    if len(request.body) > settings.max_body_bytes or not is_json(request.headers.get("content-type", "")):
        return None
    body = valid_request(request.body)
    if body is None or body.conversation_id is not None:  # what is continued has to be looked up
        return None
    try:
        asked = body.to_chat_request(max_messages=settings.max_messages, max_message_chars=settings.max_message_chars)
    except InvalidValueError:
        return None
    return chatbot.overload(asked)


def _admits(request: SimpleRequest, access: AccessControl) -> bool:
    """Whether the caller may ask, and this request counts."""
    credentials = Credentials(request.headers.get("authorization", ""), origin=None, address="", is_safe_method=False)
    return access.admit_at_once(credentials, Scope.CHAT) is not None


@lru_cache(maxsize=256)
def _template(capacity: object, retry_after_seconds: int, closes: bool) -> bytes:
    """The response as h11 writes it, with `%b` for the date and for the request's id."""
    error = OverloadedError(capacity=capacity, retry_after_seconds=retry_after_seconds)
    response = error_response(error)
    message: dict[str, Any] = {"headers": [(b"date", _DATE.encode()), *response.raw_headers]}
    MutableHeaders(scope=message).update(context_headers(_REQUEST_ID))
    connection = h11.Connection(h11.SERVER)
    asked = b"connection: close\r\n" if closes else b""
    connection.receive_data(b"%b\r\nhost: x\r\n%b\r\n" % (_START_LINE, asked))
    connection.next_event()
    headers = [*message["headers"], *([CLOSE_HEADER] if closes else [])]
    status = response.status_code
    written = connection.send(h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status]))
    assert written is not None
    whole = (written + bytes(response.body)).replace(b"%", b"%%")
    return whole.replace(_DATE.encode(), b"%b").replace(_REQUEST_ID.encode(), b"%b")
