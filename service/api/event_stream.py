"""Server-sent events: a response that notices when its reader goes and says something when there is nothing to say.

Starlette's StreamingResponse has no heartbeat, and ends a stream with an exception where a reader needs an event.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

DONE = b"data: [DONE]\n\n"
"""Ends a stream that went well; nothing comes behind it."""
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_HEARTBEAT = b": heartbeat\n\n"
_HEADERS = {
    "cache-control": "no-cache",
    "content-type": "text/event-stream; charset=utf-8",
    "x-accel-buffering": "no",  # nginx otherwise keeps every event until the last
}


def encode_event(data: Mapping[str, object], event: str | None = None) -> bytes:
    """One event. JSON has no raw line breaks, so one `data` line is enough."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {_JSON.encode(data)}\n\n".encode()


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
        sender = asyncio.create_task(self._send_all(send))
        watcher = asyncio.create_task(wait_for_disconnect(receive))
        try:
            await self._keep_alive(sender, watcher, send)
        finally:
            sender.cancel()
            watcher.cancel()
            try:
                await asyncio.wait((sender, watcher))
            finally:
                self._on_close()
        for task in (sender, watcher):
            if not task.cancelled():
                task.result()  # raises what it ended with

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        has_ended = False
        async for event in self._events:
            has_ended = event.endswith(DONE)
            await self._send(send, event, is_last=has_ended)
        if not has_ended:  # but by an error
            await self._send(send, b"", is_last=True)

    async def _keep_alive(self, sender: asyncio.Task[None], watcher: asyncio.Task[None], send: Send) -> None:
        """Returns when one of the two has ended; says meanwhile that the stream lives whenever it has been quiet."""
        self._last_sent_at = time.monotonic()
        while True:
            rest_seconds = self._last_sent_at + self._heartbeat_seconds - time.monotonic()
            ended, _ = await asyncio.wait(
                (sender, watcher), timeout=max(0.0, rest_seconds), return_when=asyncio.FIRST_COMPLETED
            )
            if ended:
                return
            if time.monotonic() >= self._last_sent_at + self._heartbeat_seconds:
                await self._send(send, _HEARTBEAT)

    async def _send(self, send: Send, body: bytes, *, is_last: bool = False) -> None:
        self._last_sent_at = time.monotonic()
        message: Message = {"type": "http.response.body", "body": body, "more_body": not is_last}
        await send(message)


async def wait_for_disconnect(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
