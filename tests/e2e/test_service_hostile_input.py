"""Whatever comes in that cannot be served: a 4xx with a stable code, nothing stored, never a 500."""

import json
import socket
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text

from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, say_hello

HELLO = [{"role": "user", "content": "Hello"}]


def body(**changes: object) -> bytes:
    """A good request with some fields replaced."""
    return json.dumps({"model": "rejoinder", "messages": HELLO, **changes}).encode()


def says(content: object, role: str = "user") -> bytes:
    """A request with one message."""
    return body(messages=[{"role": role, "content": content}])


HOSTILE = {
    "no JSON": (b"{", 400, "invalid_json"),
    "empty body": (b"", 400, "invalid_json"),
    "not UTF-8": (b"\xff\xfe{}", 400, "invalid_json"),
    "a list": (b"[1, 2]", 400, "invalid_json"),
    "a string": (b'"hi"', 400, "invalid_json"),
    "nested deeply": (b"[" * 30_000 + b"]" * 30_000, 400, "invalid_json"),
    "a number of 5,000 digits": (b'{"model": "rejoinder", "seed": ' + b"9" * 5000 + b"}", 400, "invalid_json"),
    "no model": (json.dumps({"messages": HELLO}).encode(), 400, "missing_parameter"),
    "model is null": (body(model=None), 400, "invalid_value"),
    "unknown model": (body(model="gpt-4o"), 404, "model_not_found"),
    "digest too short": (body(model="0"), 404, "model_not_found"),
    "model with surrogate": (
        b'{"model": "\\ud800", "messages": [{"role": "user", "content": "x"}]}',
        400,
        "unsafe_text",
    ),
    "no messages": (body(messages=[]), 400, "invalid_value"),
    "messages is text": (body(messages="Hello"), 400, "invalid_value"),
    "a message without content": (body(messages=[{"role": "user"}]), 400, "missing_parameter"),
    "content is null": (says(None), 400, "invalid_value"),
    "content is a number": (says(7), 400, "invalid_value"),
    "content is an image": (says([{"type": "image_url", "image_url": {"url": "x"}}]), 400, "invalid_value"),
    "content is empty": (says(""), 400, "invalid_value"),
    "content is white space": (says(" \n\t"), 400, "invalid_value"),
    "content is empty parts": (says([{"type": "text", "text": " "}]), 400, "invalid_value"),
    "content too long": (says("x" * 8001), 400, "invalid_value"),
    "too many messages": (body(messages=HELLO * 51), 400, "invalid_value"),
    "longer than the context": (says("complaint " * 700), 400, "context_length_exceeded"),
    "unknown role": (says("x", role="wizard"), 400, "invalid_value"),
    "tool role": (says("x", role="tool"), 400, "invalid_value"),
    "last message is the assistant's": (says("x", role="assistant"), 400, "invalid_conversation"),
    "system message in the middle": (
        body(messages=[*HELLO, {"role": "system", "content": "x"}, *HELLO]),
        400,
        "invalid_conversation",
    ),
    "NUL": (says("a\x00b"), 400, "unsafe_text"),
    "escape sequence": (says("\x1b[2J"), 400, "unsafe_text"),
    "C1 control": (says("a\x9bb"), 400, "unsafe_text"),
    "lone surrogate": (b'{"model":"rejoinder","messages":[{"role":"user","content":"a\\ud800b"}]}', 400, "unsafe_text"),
    "lone surrogate in a part": (
        b'{"model":"rejoinder","messages":[{"role":"user","content":[{"type":"text","text":"\\udc00"}]}]}',
        400,
        "unsafe_text",
    ),
    "lone surrogate as a key": (b'{"\\ud800": 1, "model": "rejoinder"}', 400, "missing_parameter"),
    "NaN temperature": (b'{"model":"rejoinder","messages":[],"temperature":NaN}', 400, "invalid_value"),
    "NaN temperature, good messages": (
        b'{"model":"rejoinder","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        400,
        "invalid_value",
    ),
    "infinite top_p": (body(top_p=float("inf")), 400, "invalid_value"),
    "temperature too high": (body(temperature=2.1), 400, "invalid_value"),
    "temperature below zero": (body(temperature=-0.1), 400, "invalid_value"),
    "top_p zero": (body(top_p=0), 400, "invalid_value"),
    "n zero": (body(n=0), 400, "invalid_value"),
    "n nine": (body(n=9), 400, "invalid_value"),
    "five stop strings": (body(stop=list("abcde")), 400, "invalid_value"),
    "empty stop string": (body(stop=""), 400, "invalid_value"),
    "seed too large": (body(seed=2**63), 400, "invalid_value"),
    "seed is text": (body(seed="x"), 400, "invalid_value"),
    "no tokens": (body(max_completion_tokens=0), 400, "invalid_value"),
    "top_logprobs without logprobs": (body(top_logprobs=3), 400, "invalid_value"),
    "21 top_logprobs": (body(logprobs=True, top_logprobs=21), 400, "invalid_value"),
    "frequency penalty": (body(frequency_penalty=0.5), 400, "unsupported_parameter"),
    "tools": (body(tools=[{"type": "function"}]), 400, "unsupported_parameter"),
    "JSON mode": (body(response_format={"type": "json_object"}), 400, "unsupported_parameter"),
    "audio": (body(modalities=["text", "audio"]), 400, "unsupported_parameter"),
    "logit bias": (body(logit_bias={"5": 100}), 400, "unsupported_parameter"),
    "conversation id too long": (body(metadata={"conversation_id": "c" * 65}), 400, "invalid_value"),
    "conversation id with spaces": (body(metadata={"conversation_id": "a b"}), 400, "invalid_value"),
    "user with NUL": (body(user="a\x00"), 400, "unsafe_text"),
    "1 MB": (says("x" * 1_000_000), 413, "request_too_large"),
    "one byte too much": (body() + b" " * (65_537 - len(body())), 413, "request_too_large"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for the whole table: it must survive all of it."""
    directory = tmp_path_factory.mktemp("service")
    with run_fake_service(directory, FakeEngines(say_hello), receive_timeout_seconds=1.0) as running:
        yield running


def num_rows(service: RunningService) -> int:
    """Rows in all tables that requests can write."""
    engine = create_engine(service.settings.records_url)
    with engine.connect() as connection:
        tables = ("conversations", "completions", "feedback")
        counts = [connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables]
    engine.dispose()
    return sum(counts)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_gets_its_code_and_leaves_nothing(service: RunningService, name: str) -> None:
    """Streaming or not makes no difference; the envelope is OpenAI's and repeats nothing that was sent."""
    content, status, code = HOSTILE[name]
    before = num_rows(service)
    response = service.http.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), error
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert "xxx" not in response.text and "gpt-4o" not in response.text
    assert response.headers["x-request-id"]
    assert num_rows(service) == before


def test_the_largest_body_allowed_is_answered(service: RunningService) -> None:
    """The control for the limit: 65,536 bytes pass."""
    content = body() + b" " * (65_536 - len(body()))
    response = service.http.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 200


def test_a_chunked_body_counts_as_it_arrives(service: RunningService) -> None:
    """Without a content length the limit holds as well."""
    pieces = (b" " * 1000 for _ in range(200))
    response = service.http.post("/v1/chat/completions", content=pieces, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


def test_a_form_is_no_json(service: RunningService) -> None:
    """Another content type is refused: a page elsewhere cannot post here without asking the browser first."""
    response = service.http.post("/v1/chat/completions", content=body(), headers={"content-type": "text/plain"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


def test_fields_that_openai_clients_send_and_that_change_nothing_are_ignored(service: RunningService) -> None:
    """`store`, `service_tier`, neutral values of unsupported fields and unknown ones."""
    polite = body(
        store=False,
        service_tier="auto",
        parallel_tool_calls=True,
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        modalities=["text"],
        frequency_penalty=0,
        presence_penalty=0.0,
        logit_bias={},
        stop=None,
        n=None,
        temperature=None,
        metadata={"other": "x"},
        something_new={"a": [1]},
    )
    response = service.http.post("/v1/chat/completions", content=polite, headers={"content-type": "application/json"})
    assert response.status_code == 200, response.text


def test_parts_and_the_developer_role_are_understood(service: RunningService) -> None:
    """Text parts are joined; developer is another word for system."""
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
    ]
    response = service.http.post("/v1/chat/completions", json={"model": "rejoinder", "messages": messages})
    with service.records() as records:
        record = records.get_completion(response.json()["id"])
    assert [message.as_dict() for message in record.prompt_messages] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hel\nlo"},
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("GET", "/v1/models/nobody", 404, "model_not_found"),
        ("GET", "/web/../app.py", 404, "not_found"),
        ("GET", "/web/%2e%2e/app.py", 404, "not_found"),
        ("DELETE", "/v1/feedback", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_get_the_same_envelope(
    service: RunningService, method: str, path: str, status: int, code: str
) -> None:
    """Errors that no route raises look like all others."""
    response = service.http.request(method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_many_paths_make_no_new_metric_series(service: RunningService) -> None:
    """A hundred invented paths count under one label."""
    service.http.get("/unknown")
    service.http.get("/metrics")
    before = set(service.metric("rejoinder_http_requests_total"))
    for number in range(100):
        service.http.get(f"/unknown/{number}")
    assert set(service.metric("rejoinder_http_requests_total")) == before


@pytest.mark.parametrize(
    "beginning",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"",
    ],
    ids=["body", "headers", "nothing"],
)
def test_a_slow_sender_is_cut_by_the_deadline(service: RunningService, beginning: bytes) -> None:
    """One byte every tenth of a second: cut after about a second, with 408 where a request had begun."""
    port = int(service.url.rsplit(":", 1)[1])
    started_at = time.monotonic()
    received = b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.1)
        connection.sendall(beginning)
        while time.monotonic() - started_at < 10:
            try:
                if beginning:
                    connection.sendall(b"x")
                piece = connection.recv(4096)
                if not piece:
                    break
                received += piece
            except TimeoutError:
                continue
            except OSError:
                break
    assert 0.8 < time.monotonic() - started_at < 5
    assert b"request_timeout" in received if b"\r\n\r\n" in beginning else received == b""
