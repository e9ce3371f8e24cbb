"""What every request passes before a route sees it: an id and a stopwatch, and limits on what is received.

Plain ASGI: limits must act on bytes as they arrive, and streams must pass through untouched.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import REFUSED_FOR_NOW, error_response
from service.errors import RequestError, RequestTimeoutError, RequestTooLargeError
from service.telemetry import Telemetry

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_DISCARDED_BYTES = 4 << 20
_SECURITY_HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}

_log = structlog.get_logger(__name__)


def request_id_of(given: str) -> str:
    """The id that the client has given, where it is one, or a new one."""
    # No secret: `secrets` asks the kernel, and the interpreter may go to the engine's thread meanwhile.
    return given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def context_headers(request_id: str) -> dict[str, str]:
    """What every response has."""
    return {"x-request-id": request_id, **_SECURITY_HEADERS}


class RequestContextMiddleware:
    """Gives every request an id, measures it, logs it without its content, and answers what nobody else has caught."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope).get("x-request-id", ""))
        statuses: list[int] = []

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                MutableHeaders(scope=message).update(context_headers(request_id))
            await send(message)

        started_at = time.monotonic()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:  # the outermost loop of a request
                _log.exception("request_failed")
                if statuses:
                    raise  # too late for an answer: the server closes the socket
                await error_response(error)(scope, receive, send_with_id)
            finally:
                self._note(scope, statuses[0] if statuses else 499, time.monotonic() - started_at)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route_template(scope)
        self._telemetry.http_requests.labels(route, str(status)).inc()
        self._telemetry.http_latency.labels(route).observe(seconds)
        if status in REFUSED_FOR_NOW:
            return
        caller = scope.get("state", {}).get("caller")
        who = {"tenant": caller.tenant, "key": caller.key_id} if caller else {}
        _log.info("request", method=scope["method"], route=route, status=status, seconds=round(seconds, 4), **who)


class ReceiveLimitMiddleware:
    """Receives a request's body before anything works on it: so many bytes, in so much time.

    Received bytes count, not what a header claims. Bodies are small here, so waiting for the end costs nothing and
    keeps half a request from taking a place.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receives the body and passes the request on, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout_seconds):
                body = await self._receive_body(receive)
        except TimeoutError:
            await self._refuse(RequestTimeoutError(timeout_seconds=self._timeout_seconds), scope, receive, send)
            return
        except RequestTooLargeError as error:
            await self._refuse(error, scope, receive, send)
            return
        if body is not None:
            await self._app(scope, replay_body(body, receive), send)

    async def _receive_body(self, receive: Receive) -> bytes | None:
        """The whole body; None when the client goes first. Raises RequestTooLargeError.

        Reads on a little beyond the limit: a client that is still sending would not see an answer on a socket that is
        reset.
        """
        body = bytearray()
        num_bytes = 0
        async for piece in _pieces(receive):
            if piece is None:
                return None
            num_bytes += len(piece)
            if num_bytes <= self._max_bytes:
                body += piece
            elif num_bytes > self._max_bytes + _MAX_DISCARDED_BYTES:
                break
        if num_bytes > self._max_bytes:
            raise RequestTooLargeError(max_bytes=self._max_bytes)
        return bytes(body)

    async def _refuse(self, error: RequestError, scope: Scope, receive: Receive, send: Send) -> None:
        response = error_response(error)
        response.headers["connection"] = "close"
        await response(scope, receive, send)


async def _pieces(receive: Receive) -> AsyncIterator[bytes | None]:
    """A body's pieces; None when the client has gone."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            yield None
            return
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def replay_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first, in one piece."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        with suppress(IndexError):
            return waiting.pop()
        return await receive()

    return replay


def _route_template(scope: Scope) -> str:
    """The route's pattern, never the path: paths are the caller's and without bound."""
    route = scope.get("route")
    path = route.path_format if isinstance(route, Route) else getattr(route, "path", None)
    return path if isinstance(path, str) else "unmatched"
