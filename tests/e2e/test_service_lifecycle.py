"""Places, people who leave, full houses, keys and endings, over real sockets."""

import json
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service import app
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, run_process, say_hello, wait_until

WEB = Path(app.__file__).with_name("web")
BODY: dict[str, Any] = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hello"}]}
STREAM = {**BODY, "stream": True}
UNUSUAL_TYPE = {"content-type": "Application/JSON"}
"""Means the same, and goes by way of FastAPI's route."""


@pytest.fixture
def engines() -> FakeEngines:
    """Engines with two slots and four waiting places."""
    return FakeEngines(say_hello, num_slots=2)


@pytest.fixture
def service(tmp_path: Path, engines: FakeEngines) -> Iterator[RunningService]:
    """A service with two slots."""
    with run_fake_service(tmp_path, engines, num_slots=2, heartbeat_seconds=0.2) as running:
        yield running


def asking(text: str) -> dict[str, Any]:
    """The body that asks this."""
    return {**BODY, "messages": [{"role": "user", "content": text}]}


def send(service: RunningService, body: dict[str, Any]) -> socket.socket:
    """Sends a request and gives the open socket; nothing is read."""
    content = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", int(service.url.rsplit(":", 1)[1])))
    connection.sendall(head.encode() + content)
    return connection


def num_completions(service: RunningService) -> float:
    """Completions that ended and were recorded."""
    return sum(service.metric("rejoinder_completions_total").values())


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["json", "stream"])
@pytest.mark.parametrize("state", ["running", "waiting"])
def test_who_leaves_frees_the_place(
    service: RunningService, engines: FakeEngines, body: dict[str, Any], state: str
) -> None:
    """Within a quarter of a second, running or queued, streaming or not; nothing is recorded of it."""
    engine = engines.opened[0]
    engine.hold.set()
    others = [send(service, STREAM) for _ in range(2 if state == "waiting" else 0)]
    wait_until(lambda: engine.num_running == len(others))
    leaver = send(service, body)
    wait_until(lambda: engine.num_running + engine.num_waiting == len(others) + 1)
    left_at = time.monotonic()
    leaver.close()
    wait_until(lambda: engine.num_running + engine.num_waiting == len(others))
    assert time.monotonic() - left_at < 0.25
    for connection in others:
        connection.close()
    wait_until(lambda: not engine.has_work)
    engine.hold.clear()
    assert num_completions(service) == 0
    assert service.http.post("/v1/chat/completions", json=BODY).status_code == 200


def test_a_full_house_refuses_with_a_time_to_come_back(service: RunningService, engines: FakeEngines) -> None:
    """Two slots and four waiting places are taken; the seventh gets 503, and the six are served in the end.

    A cry for help is answered even then, by a rule, and what is wrong with a request is said before that there is no
    place for it.
    """
    engine = engines.opened[0]
    engine.hold.set()
    with ThreadPoolExecutor(6) as pool:
        six = [pool.submit(service.http.post, "/v1/chat/completions", json=BODY) for _ in range(6)]
        wait_until(lambda: engine.num_running == 2 and engine.num_waiting == 4)
        assert service.metric("rejoinder_requests_running") == {"": 2}
        assert service.metric("rejoinder_requests_waiting") == {"": 4}
        refused = service.http.post("/v1/chat/completions", json=STREAM)
        by_route = service.http.post("/v1/chat/completions", content=json.dumps(STREAM), headers=UNUSUAL_TYPE)
        cry = service.http.post("/v1/chat/completions", json=asking("I want to kill myself"))
        unknown = service.http.post("/v1/chat/completions", json={**BODY, "model": "nobody"})
        engine.hold.clear()
        assert [done.result().status_code for done in six] == [200] * 6
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (by_route.status_code, by_route.json()) == (503, refused.json())
    assert (cry.status_code, unknown.status_code) == (200, 404)
    assert num_completions(service) == 7


def test_choices_count_as_places(service: RunningService, engines: FakeEngines) -> None:
    """Seven choices do not fit into six places, and leave none taken."""
    assert service.http.post("/v1/chat/completions", json={**BODY, "n": 7}).status_code == 503
    assert service.http.post("/v1/chat/completions", json={**BODY, "n": 6}).status_code == 200


def test_a_quiet_stream_sends_heartbeats(service: RunningService, engines: FakeEngines) -> None:
    """Comments that SSE readers skip keep proxies from closing the line."""
    engines.opened[0].hold.set()
    with send(service, STREAM) as connection:
        connection.settimeout(5)
        received = b""
        while b": heartbeat" not in received:
            received += connection.recv(4096)
    engines.opened[0].hold.clear()


def test_a_first_token_that_does_not_come_ends_the_wait(tmp_path: Path) -> None:
    """After `max_wait_seconds`: 503 without a stream, an error event in one."""
    engines = FakeEngines(say_hello)
    with run_fake_service(tmp_path, engines, max_wait_seconds=0.3) as service:
        engines.opened[0].hold.set()
        refused = service.http.post("/v1/chat/completions", json=BODY)
        stream = service.http.post("/v1/chat/completions", json=STREAM)
        wait_until(lambda: not engines.opened[0].has_work)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert stream.status_code == 200 and "event: error" in stream.text and '"code":"overloaded"' in stream.text


def test_nothing_is_acknowledged_when_it_cannot_be_recorded(service: RunningService) -> None:
    """The database is locked by somebody else: an error instead of the last event, and 503 for the thumb."""
    right = service.http.post("/v1/chat/completions", json=BODY).json()
    path = service.settings.records_url.removeprefix("sqlite:///")
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        thumb = {"completion_id": right["id"], "feedback_token": right["feedback_token"], "rating": "up"}
        asked = [("/v1/chat/completions", BODY), ("/v1/feedback", thumb), ("/v1/chat/completions", STREAM)]
        with ThreadPoolExecutor(3) as pool:
            *answers, stream = pool.map(lambda request: service.http.post(request[0], json=request[1]), asked)
        other.execute("ROLLBACK")
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "record_store_unavailable")
        assert answer.headers["retry-after"] and path not in answer.text
    assert "event: error" in stream.text and 'finish_reason":"stop' not in stream.text
    assert service.http.post("/v1/chat/completions", json=BODY).status_code == 200


def test_an_api_key_guards_v1_and_nothing_else(tmp_path: Path) -> None:
    """Missing, wrong and half keys all get the same 401; probes and metrics stay open."""
    key = "a-key-of-some-length"
    with run_fake_service(tmp_path, FakeEngines(say_hello), api_key=key) as service:
        answers = []
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": key},
            {"authorization": f"Bearer {key}x"},
        ):
            for method, route in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("POST", "/v1/feedback")):
                answers.append(service.http.request(method, route, headers=headers))
        assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
        assert answers[0].json()["error"]["code"] == "invalid_api_key"
        right = {"authorization": f"Bearer {key}"}
        assert service.http.post("/v1/chat/completions", json=BODY, headers=right).status_code == 200
        for route in ("/livez", "/readyz", "/metrics"):
            assert service.http.get(route).status_code == 200


def test_no_text_of_a_message_reaches_logs_or_metrics(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A canary sent through every route and failure is found neither on stderr nor in /metrics."""
    canary = "CANARY77"
    with run_process(tmp_path, "fast") as running:
        client = httpx2.Client(base_url=running.url)
        body = {"model": "rejoinder", "messages": [{"role": "user", "content": canary}], "user": canary}
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        assert client.post("/v1/chat/completions", json={**body, "temperature": canary}).status_code == 400
        assert client.post("/v1/chat/completions", json={**body, "model": canary}).status_code == 404
        assert client.post("/v1/feedback", json={"completion_id": canary, "comment": canary}).status_code == 400
        assert client.get(f"/{canary}").status_code == 404
        metrics = client.get("/metrics").text
    logged = capfd.readouterr().err
    assert '"event": "request"' in logged
    assert canary not in metrics and canary not in logged


@pytest.mark.parametrize("pace", ["slow", "stuck"])
def test_sigterm_lets_streams_end_and_takes_no_new_work(tmp_path: Path, pace: str) -> None:
    """Not ready at once; replies end inside the grace period, or with an error event after it; then exit 0."""
    with run_process(tmp_path, pace) as running, ThreadPoolExecutor(4) as pool:
        client = httpx2.Client(base_url=running.url, timeout=20)
        streams = [pool.submit(client.post, "/v1/chat/completions", json=STREAM) for _ in range(4)]
        wait_until(lambda: "rejoinder_requests_running 4.0" in client.get("/metrics").text)
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: client.get("/readyz").status_code == 503)
        refused = client.post("/v1/chat/completions", json=BODY)
        texts = [stream.result().text for stream in streams]
        exit_code = running.process.wait(10)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    if pace == "slow":
        assert all(text.endswith("data: [DONE]\n\n") for text in texts)
    else:
        assert all(text.count("event: error") == 1 and '"code":"draining"' in text for text in texts)
    assert exit_code == 0


def test_the_page_comes_with_a_strict_content_security_policy(service: RunningService) -> None:
    """So do its files; nothing outside its directory is served."""
    files = [path.name for path in WEB.iterdir() if path.suffix in (".js", ".css")]
    answers = [service.http.get("/"), *(service.http.get(f"/web/{name}") for name in files)]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert answer.status_code == 200
        assert "default-src 'none'" in policy and "require-trusted-types-for 'script'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert service.http.get("/web/%2e%2e/facts.yaml").status_code == 404
    assert '{route="unmatched",status="404"}' in service.metric("rejoinder_http_requests_total")
