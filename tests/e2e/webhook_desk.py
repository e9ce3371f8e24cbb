"""A desk: a real HTTP server that verifies what it is told as a shop's own would, and answers by script."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@dataclass(frozen=True)
class Call:
    """One request. `is_genuine`: signature and time are right."""

    id: str
    path: str
    body: bytes
    is_genuine: bool

    @property
    def message(self) -> dict[str, Any]:
        """The body as JSON."""
        message: dict[str, Any] = json.loads(self.body)
        return message


@dataclass
class Desk:
    """What was asked, and the most requests that were open at the same time for one message."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    most_at_once: int = 0
    _open: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, call: Call) -> int:
        """Notes a call; gives its number, from 0."""
        with self._lock:
            self.calls.append(call)
            self._open[call.id] = self._open.get(call.id, 0) + 1
            self.most_at_once = max(self.most_at_once, self._open[call.id])
            return len(self.calls) - 1

    def end(self, call: Call) -> None:
        """The call is answered."""
        with self._lock:
            self._open[call.id] -= 1


@contextmanager
def run_desk(answer: Callable[[int, BaseHTTPRequestHandler], None]) -> Iterator[Desk]:
    """A desk until the block ends; `answer` gets the number of the call and what to answer with."""
    desk = Desk()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            call = _read(self)
            number = desk.begin(call)
            try:
                answer(number, self)
            finally:
                desk.end(call)

        def do_GET(self) -> None:
            desk.begin(Call("", self.path, b"", is_genuine=False))
            reply(self, 200)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    desk.url = f"http://127.0.0.1:{server.server_port}/hook?for=shop"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield desk
    finally:
        server.shutdown()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    """Answers without a body."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-length", "0")
    handler.end_headers()


def _read(handler: BaseHTTPRequestHandler) -> Call:
    body = handler.rfile.read(int(handler.headers["content-length"]))
    message_id, sent_at = handler.headers["webhook-id"], handler.headers["webhook-timestamp"]
    expected = hmac.new(KEY, f"{message_id}.{sent_at}.".encode() + body, "sha256").digest()
    signatures = [part.partition(",") for part in handler.headers["webhook-signature"].split()]
    is_signed = any(
        version == "v1" and hmac.compare_digest(base64.b64decode(text), expected) for version, _, text in signatures
    )
    return Call(message_id, handler.path, body, is_genuine=is_signed and abs(time.time() - int(sent_at)) < 300)
