"""The door of a full service: whoever is refused there hears what the usual path would have told."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from service.app import create_app
from service.http_server import DoorProtocol, DrainingServer, build_server
from service.settings import Settings
from tests.contract.fake_engine import FakeEngines, make_chat_bundle
from tests.e2e.running_service import DEADLINE_SECONDS, say_hello

KEY = "a key that nobody guesses, of many letters"
SHORT_KEY = "sixteen letters."
ASK = "I forgot my password"
CRIES = ("I want to kill myself", "There is a gas leak", "我想自杀", "My password is hunter2x9", "i will sue you")


class MemoryTransport(asyncio.Transport):
    """A connection's other end, in this process."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class House:
    """A service with its places taken, and connections to it without a socket."""

    def __init__(self, server: DrainingServer, state: dict[str, Any], app: FastAPI) -> None:
        self.state, self.app = state, app
        self._config = server.config
        self._server_state = ServerState()
        self._server_state.default_headers = [(b"date", b"Mon, 30 Nov 2026 11:00:00 GMT")]
        self.worker = state["model_router"].models[0].worker

    def protocol(self) -> DoorProtocol:
        """What the server makes for a new connection."""
        protocol = self._config.http_protocol_class(
            self._config, self._server_state, self.state, _loop=asyncio.get_running_loop()
        )
        assert isinstance(protocol, DoorProtocol)
        return protocol

    def connect(self) -> DoorProtocol:
        """A new connection in memory."""
        protocol = self.protocol()
        protocol.connection_made(MemoryTransport())
        return protocol

    def series(self) -> dict[str, float]:
        """All counters."""
        text = self.state["telemetry"].render().decode()
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if "_total" in line and line[0] != "#")
        return {name: float(value) for name, value in rows}


async def hear(protocol: DoorProtocol, *pieces: bytes) -> tuple[bytes, bool]:
    """What the connection answers to these pieces, and whether it is closed."""
    transport = protocol.transport
    assert isinstance(transport, MemoryTransport)
    transport.written = b""
    for piece in pieces:
        protocol.data_received(piece)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while protocol.tasks:  # whose last step is to count
            await asyncio.sleep(0.001)
    return transport.written, transport.is_closed


@asynccontextmanager
async def open_house(folder: Path, **changes: object) -> AsyncIterator[House]:
    """A service all of whose places are taken until the block ends."""
    bundle = folder / "bundle"
    make_chat_bundle(bundle)
    fields = {"data_dir": folder / "data", "default_bundle": bundle, "num_slots": 2, "intent_weight": 0, **changes}
    settings = Settings.model_validate(fields)
    app = create_app(settings, open_engine=FakeEngines(say_hello))
    server = build_server(app, settings)
    server.config.load()
    async with app.router.lifespan_context(app) as state:
        house = House(server, dict(state), app)
        places = house.worker.capacity
        house.worker.reserve(places)
        try:
            yield house
        finally:
            house.worker.release(places)


@contextmanager
def running_house(folder: Path, **changes: object) -> Iterator[tuple[asyncio.Runner, House]]:
    """`open_house` for tests that are not coroutines, with the loop that it lives on."""
    with asyncio.Runner() as runner:
        opening = open_house(folder, **changes)
        house = runner.run(opening.__aenter__())
        try:
            yield runner, house
        finally:
            runner.run(opening.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, House]]:
    with running_house(
        tmp_path_factory.mktemp("door"),
        api_key=KEY,
        key_requests_per_minute=0,
        wrong_keys_per_minute=1_000_000,
        widget_origins="https://shop.example",
    ) as both:
        yield both


def request(text: Any = ASK, *headers: str, content: bytes | None = None, **fields: Any) -> bytes:
    """A request as clients send it."""
    body = {"model": "rejoinder", "messages": [{"role": "user", "content": text}], **fields}
    content = json.dumps(body).encode() if content is None else content
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: shop", f"content-length: {len(content)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def plain(answer: bytes) -> bytes:
    """An answer without what differs from one to the next: new ids, and the whole of what a rule says."""
    if answer.startswith(b"HTTP/1.1 200 "):
        return answer[:12]
    return re.sub(rb"(?<=x-request-id: )[0-9a-f]{32}", b"ID", answer)


JSON, BEARER = "content-type: application/json", f"authorization: Bearer {KEY}"

HEADERS = st.lists(
    st.sampled_from(
        [
            "connection: close",
            "connection: keep-alive",
            "Connection: Close",
            "x-request-id: mine-1",
            "x-request-id: not an id",
            "accept: */*",
            "user-agent: curl/8.5",
            "x-forwarded-for: 203.0.113.9",
            "cookie: rejoinder-staff=x",
            "sec-fetch-site: cross-site",
            "origin: https://shop.example",
            "origin: https://other.example",
            "idempotency-key: a bad key",
            "x-forwarded-proto: https",
            "te: trailers",
            "accept-encoding: gzip, br",
        ]
    ),
    max_size=4,
)
CREDENTIALS = st.just(BEARER) | st.sampled_from(
    [f"authorization: bearer   {KEY}", "authorization: Basic eDp5", "authorization: Bearer wrong", ""]
)
TYPES = st.just(JSON) | st.sampled_from(
    ["content-type: application/json; charset=utf-8", "content-type: text/plain", ""]
)
TEXTS = st.just(ASK) | st.sampled_from(
    ["我的包裹在哪里？", *CRIES, "", " ", "x" * 9000, "a\u0000b", 5, [], [{"type": "text", "text": ASK}]]
)
NAMES = ("stream", "n", "model", "conversation_id", "metadata", "user", "tools", "top_logprobs", "stop", "seed")
VALUES = (True, 1, 3, 9, None, "rejoinder", "nobody", "conv_" + "0" * 32, {"conversation_id": "mine"}, [{}])
FIELDS = st.just({}) | st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=2)


# A failure is plain as it is; making it smaller would take minutes.
@hypothesis_settings(
    max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
)
@example(text=ASK, fields={}, headers=[], credential=BEARER, content_type=JSON, cut=5)
@example(text=ASK, fields={}, headers=["connection: close"], credential=BEARER, content_type=JSON, cut=5)
@given(text=TEXTS, fields=FIELDS, headers=HEADERS, credential=CREDENTIALS, content_type=TYPES, cut=st.integers(1, 60))
def test_the_door_says_what_the_usual_path_says(
    keyed: tuple[asyncio.Runner, House],
    text: Any,
    fields: dict[str, Any],
    headers: list[str],
    credential: str,
    content_type: str,
    cut: int,
) -> None:
    """Header by header but for new request ids: asked in one piece, and in two, of which the door knows nothing."""
    runner, house = keyed
    data = request(text, *filter(None, (content_type, credential, *headers)), **fields)

    async def ask(*pieces: bytes) -> tuple[bytes, bool, dict[str, float]]:
        before = house.series()
        answer, is_closed = await hear(house.connect(), *pieces)
        after = house.series()
        return plain(answer), is_closed, {name: n - before.get(name, 0) for name, n in after.items()}

    at_once = runner.run(ask(data))
    assert at_once == runner.run(ask(data[:cut], data[cut:]))
    assert at_once[0].startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("headers", [(), ("connection: close",), ("x-request-id: mine-1",)])
def test_an_ordinary_request_is_refused_at_the_door(keyed: tuple[asyncio.Runner, House], headers: tuple[str]) -> None:
    """No application has heard of it; the next on that connection is refused as well, then one is let in."""
    runner, house = keyed

    async def ask() -> None:
        protocol = house.connect()
        for _ in range(1 if headers == ("connection: close",) else 2):
            answer, is_closed = await hear(protocol, request(ASK, JSON, BEARER, *headers))
            assert answer.startswith(b"HTTP/1.1 503 ") and b'"code":"overloaded"' in answer
            assert protocol.cycle is None
        assert is_closed == (headers == ("connection: close",))
        if is_closed:
            return
        assert protocol.timeout_keep_alive_task is not None
        house.worker.release(1)
        try:
            answer, _ = await hear(protocol, request(ASK, JSON, BEARER))
        finally:
            house.worker.reserve(1)
        assert answer.startswith(b"HTTP/1.1 200 ") and protocol.cycle is not None

    runner.run(ask())


@pytest.mark.parametrize("text", CRIES)
def test_what_a_safety_pattern_answers_is_never_refused(keyed: tuple[asyncio.Runner, House], text: str) -> None:
    """However full the service is."""
    runner, house = keyed
    answer, _ = runner.run(_ask(house, request(text, JSON, BEARER)))
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("second", [request(ASK, JSON, BEARER), b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"])
def test_pipelined_requests_are_answered_in_order(keyed: tuple[asyncio.Runner, House], second: bytes) -> None:
    """Two in one piece are h11's; so is what comes while an answer is on its way."""
    runner, house = keyed
    first = request(ASK, JSON, BEARER)

    async def ask(*pieces: bytes) -> bytes:
        protocol = house.connect()
        await hear(protocol, *pieces)
        transport = protocol.transport
        assert isinstance(transport, MemoryTransport)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while transport.written.count(b"HTTP/1.1 ") < 2:
                await asyncio.sleep(0.001)
        return plain(transport.written)

    together = runner.run(ask(first + second))
    assert together.startswith(b"HTTP/1.1 503 ")
    assert together == runner.run(ask(first[:9], first[9:], second))


def test_a_callers_quota_is_counted_at_the_door_and_kept_there(tmp_path: Path) -> None:
    """Of five requests a minute, three are refused at the door and two on the usual path; the sixth is one too many."""
    with running_house(tmp_path, api_key=KEY, key_requests_per_minute=5) as (runner, house):
        data = request(ASK, JSON, BEARER)
        answers = [
            runner.run(_ask(house, *pieces))[0] for pieces in 2 * [(data,), (data[:5], data[5:])] + 2 * [(data,)]
        ]
    assert [answer[9:12] for answer in answers] == 5 * [b"503"] + [b"429"]
    assert b"retry-after: " in answers[-1]


@pytest.mark.parametrize("address", [None, "redis://127.0.0.1:1/0"])
def test_a_short_key_and_shared_counts_go_the_usual_way(tmp_path: Path, address: str | None) -> None:
    """Who guesses is kept out there, and replicas are asked there."""
    key = SHORT_KEY if address is None else KEY
    with running_house(tmp_path, api_key=key, rate_limit_url=address) as (runner, house):
        answer, protocol = runner.run(_ask(house, request(ASK, JSON, f"authorization: Bearer {key}")))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert protocol.cycle is not None


@pytest.fixture
def every_level() -> Iterator[None]:
    """Other tests of this process let only errors pass."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    yield
    structlog.configure(wrapper_class=before)


@pytest.mark.usefixtures("every_level")
def test_the_log_tells_of_refusals_at_the_door(tmp_path: Path) -> None:
    """Of the first at once, with its request's id."""
    with running_house(tmp_path) as (runner, house):
        with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
            runner.run(_ask(house, request(ASK, JSON, "x-request-id: mine-1")))
    refused = [line for line in lines if line["event"] == "requests_refused"]
    assert refused[0] == {
        "event": "requests_refused",
        "code": "overloaded",
        "num_requests": 1,
        "request_id": "mine-1",
        "log_level": "warning",
    }


def test_a_request_with_an_idempotency_key_goes_the_usual_way(keyed: tuple[asyncio.Runner, House]) -> None:
    """It may have been answered before."""
    runner, house = keyed
    answer, protocol = runner.run(_ask(house, request(ASK, JSON, BEARER, "idempotency-key: a-key")))
    assert answer.startswith(b"HTTP/1.1 503 ") and protocol.cycle is not None


def test_a_full_service_refuses_over_a_socket(tmp_path: Path) -> None:
    """With uvicorn's own loop and a real connection, closed by the service where the client asks for it."""
    with running_house(tmp_path) as (runner, house):

        async def ask() -> bytes:
            loop = asyncio.get_running_loop()
            ours, theirs = socket.socketpair(socket.AF_UNIX)
            ours.setblocking(False)
            theirs.setblocking(False)
            await loop.connect_accepted_socket(house.protocol, theirs)
            reader, writer = await asyncio.open_connection(sock=ours)
            writer.write(request(ASK, JSON, "connection: close"))
            return await reader.read()

        assert runner.run(ask()).endswith(b"}}")


async def _ask(house: House, *pieces: bytes) -> tuple[bytes, DoorProtocol]:
    protocol = house.connect()
    answer, _ = await hear(protocol, *pieces)
    return answer, protocol
