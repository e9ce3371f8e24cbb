"""The HTTP server: uvicorn, a deadline for request headers, a door, and a drain that waits for streams."""

import asyncio
import gc
import socket
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from model_store.errors import CodedError
from service.api.door.connection import LeanConnection
from service.api.door.door import Door, Refusal
from service.chat.chatbot import Chatbot
from service.settings import Settings

_KEEP_ALIVE_SECONDS = 15
_LAST_BYTES_SECONDS = 3
_BETWEEN_REQUESTS = {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}
_NOTHING_MORE = (b"", False)
_START_FAILED = "lifespan.startup.failed"


class DrainingServer(uvicorn.Server):
    """On SIGTERM stays reachable, not ready, until running replies have ended or the grace period is over.

    uvicorn itself closes its port at once and then waits for streams without end, or cuts them without a last event.
    """

    def __init__(self, config: uvicorn.Config, drain_seconds: float, start: "NamedStart") -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds
        self._start = start
        self._drain: asyncio.Task[None] | None = None
        self._is_drain_wanted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Raises the named error that stops the start; uvicorn itself only exits."""
        try:
            await super().startup(sockets)
        except SystemExit:
            if self._start.error is None:
                raise
            raise self._start.error from None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second stops at once."""
        if self._is_drain_wanted:
            super().handle_exit(sig, frame)
        self._is_drain_wanted = True

    async def on_tick(self, counter: int) -> bool:
        """Runs ten times a second; true ends the server."""
        if self._is_drain_wanted and self._drain is None:
            chatbot: Chatbot = self.lifespan.state["chatbot"]
            self._drain = asyncio.create_task(chatbot.drain(self._drain_seconds))
        has_drained = self._drain is not None and self._drain.done()
        return await super().on_tick(counter) or has_drained


def build_server(app: FastAPI, settings: Settings) -> DrainingServer:
    """A server for the application, with bounded connections and timeouts."""
    given = {"header_timeout_seconds": settings.receive_timeout_seconds, "door": Door(app)}
    protocol = type("Protocol", (DoorProtocol,), given)
    start = NamedStart(app)
    config = uvicorn.Config(
        start,
        host=settings.host,
        port=settings.port,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_LAST_BYTES_SECONDS,
    )
    return DrainingServer(config, settings.drain_seconds, start)


def set_program_aside() -> None:
    """Keeps the garbage collector from looking at what is there now; for a process's start, before a server runs.

    Modules, classes and routes, nine of ten objects, stay to the end, and a full collection would stop everybody for as
    long as it takes to walk them. What comes and goes is not there yet: versions of the model are opened later.
    """
    gc.collect()
    gc.freeze()


class NamedStart:
    """The application; keeps the named error that stops its start.

    Starlette tells the server of any error by its traceback, above which nobody finds the line that says what to do.
    An error without a name keeps its traceback: it is a fault of the program.
    """

    error: CodedError | None = None

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Holds back that the start failed until the error itself has come."""
        failures: list[Message] = []

        async def send_what_goes_well(message: Message) -> None:
            if message["type"] == _START_FAILED:
                failures.append(message)
            else:
                await send(message)

        try:
            await self._app(scope, receive, send_what_goes_well if scope["type"] == "lifespan" else send)
        except CodedError as error:
            if failures:
                self.error, failures = error, [{"type": _START_FAILED}]
            raise
        finally:
            for message in failures:
                await send(message)


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request headers do not arrive in time."""

    header_timeout_seconds = 10.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first request has to come."""
        super().connection_made(transport)
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        """uvicorn's own keep-alive timer ends with a request's first byte; this one begins there."""
        if self._deadline is None and self._is_waiting:
            self._start_deadline()
        super().data_received(data)
        if not self._is_waiting:
            self._stop_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is left to wait for."""
        self._stop_deadline()
        super().connection_lost(exc)

    @property
    def _is_waiting(self) -> bool:
        """Whether no request is being answered. uvicorn declares `cycle` as always set; at first it is not."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self.header_timeout_seconds, self._close_if_waiting)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_if_waiting(self) -> None:
        self._deadline = None
        if self._is_waiting:
            self.transport.close()


class DoorProtocol(DeadlineProtocol):
    """HTTP/1.1 that asks the door about whole requests first. What the door does not refuse never knows of it."""

    door: Door

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = LeanConnection(h11.SERVER)

    def data_received(self, data: bytes) -> None:
        """What came: a whole request, or anything else."""
        refusal = self._ask_door(data)
        if refusal is None:
            super().data_received(data)
            return
        self._unset_keepalive_if_required()
        self._stop_deadline()
        self.transport.write(refusal.response)
        self.server_state.total_requests += 1
        if refusal.closes:
            self.transport.close()
        else:  # as after any other response
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _ask_door(self, data: bytes) -> Refusal | None:
        match self.server_state.default_headers:
            case [(b"date", date)] if self._is_idle and not self._is_crowded:
                return self.door.refuse(data, self.app_state, date)
        return None

    @property
    def _is_idle(self) -> bool:
        """Whether a request would begin with the next byte, and its response could be written at once."""
        is_between_requests = self._is_waiting and self.conn.states == _BETWEEN_REQUESTS
        is_writable = not self.flow.write_paused and not self.transport.is_closing()
        return is_between_requests and is_writable and self.conn.trailing_data == _NOTHING_MORE

    @property
    def _is_crowded(self) -> bool:
        """Whether uvicorn refuses it for the number of connections."""
        limit = self.limit_concurrency
        return limit is not None and (len(self.connections) >= limit or len(self.tasks) >= limit)
