"""Server-sent events: a response that notices when its reader goes and says something when there is nothing to say.

Starlette's StreamingResponse has no heartbeat, and ends a stream with an exception where a reader needs an event.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping

import anyio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

DONE = b"data: [DONE]\n\n"
_HEARTBEAT = b": heartbeat\n\n"
_HEADERS = {
    "cache-control": "no-cache",
    "content-type": "text/event-stream; charset=utf-8",
    "x-accel-buffering": "no",  # nginx otherwise keeps every event until the last
}


def encode_event(data: Mapping[str, object], event: str | None = None) -> bytes:
    """One event. JSON has no raw line breaks, so one `data` line is enough."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'), allow_nan=False)}\n\n".encode()


class EventStreamResponse(Response):
    """Sends encoded events as they come; `on_close` is called once, however it ends."""

    def __init__(
        self,
        events: AsyncIterator[bytes],
        *,
        on_close: Callable[[], None],
        heartbeat_seconds: float,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(headers={**_HEADERS, **headers})
        del self.headers["content-length"]
        self._events = events
        self._on_close = on_close
        self._heartbeat_seconds = heartbeat_seconds
        self._last_sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the events or the reader end."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._cancel_on_disconnect, receive, group.cancel_scope)
                group.start_soon(self._keep_alive, send)
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                async for event in self._events:
                    await self._send(send, event)
                group.cancel_scope.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._on_close()

    async def _send(self, send: Send, body: bytes) -> None:
        self._last_sent_at = anyio.current_time()
        message: Message = {"type": "http.response.body", "body": body, "more_body": True}
        await send(message)

    async def _keep_alive(self, send: Send) -> None:
        self._last_sent_at = anyio.current_time()
        while True:
            await anyio.sleep_until(self._last_sent_at + self._heartbeat_seconds)
            if anyio.current_time() >= self._last_sent_at + self._heartbeat_seconds:
                await self._send(send, _HEARTBEAT)

    async def _cancel_on_disconnect(self, receive: Receive, scope: anyio.CancelScope) -> None:
        await wait_for_disconnect(receive)
        scope.cancel()


async def wait_for_disconnect(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
