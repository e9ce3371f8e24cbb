"""Hand-over to a person: the reply says so, and the shop's desk is told, whatever happens in between."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.cli import main
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, run_process, say_hello, wait_until
from tests.e2e.webhook_desk import SECRET, Desk, reply, run_desk

PLANS = ("human_agent",)
BODY: dict[str, Any] = {"model": "rejoinder", "messages": [{"role": "user", "content": "a person please, I am Ann"}]}
DELIVERIES = "rejoinder_handover_deliveries_total"


@contextmanager
def serve(directory: Path, desk: Desk, **changes: object) -> Iterator[RunningService]:
    """A service that hands every conversation over, with short pauses."""
    settings = {
        "handover_webhook_url": desk.url,
        "handover_webhook_secret": SECRET,
        "handover_retry_seconds": 0.05,
        **changes,
    }
    with run_fake_service(directory, FakeEngines(say_hello), plans=PLANS, **settings) as service:
        yield service


def ask(service: RunningService) -> dict[str, Any]:
    completion: dict[str, Any] = service.http.post("/v1/chat/completions", json=BODY).raise_for_status().json()
    return completion


def fail_twice(number: int, handler: BaseHTTPRequestHandler) -> None:
    """503, then no answer at all, then yes."""
    if number == 0:
        reply(handler, 503)
    elif number == 1:
        handler.connection.close()
    else:
        reply(handler, 204)


def test_a_desk_that_fails_twice_is_told_the_third_time(tmp_path: Path) -> None:
    """The same signed message each time, of ids only; then it is counted as delivered, and nothing is left."""
    with run_desk(fail_twice) as desk, serve(tmp_path, desk) as service:
        completion = ask(service)
        assert completion["choices"][0]["finish_reason"] == "handover"
        wait_until(lambda: service.metric(DELIVERIES).get('{outcome="delivered"}') == 1)
        assert service.metric(DELIVERIES) == {
            '{outcome="delivered"}': 1,
            '{outcome="failed"}': 2,
            '{outcome="dead"}': 0,
        }
        wait_until(lambda: service.metric("rejoinder_handovers_pending") == {"": 0})
        assert service.metric("rejoinder_handover_oldest_pending_seconds") == {"": 0}
    assert len(desk.calls) == 3 and all(call.is_genuine for call in desk.calls)
    assert {(call.id, call.path, call.body) for call in desk.calls} == {
        (desk.calls[0].id, "/hook?for=shop", desk.calls[0].body)
    }
    message = desk.calls[0].message
    assert message["type"] == "conversation.handed_over" and desk.calls[0].id.startswith("msg_")
    assert message["data"] == {
        "conversation_id": completion["conversation_id"],
        "completion_id": completion["id"],
        "tenant": "default",
        "language": "en",
        "plan": "human_agent",
        "rule": None,
        "model_digest": completion["system_fingerprint"],
    }
    assert b"Ann" not in desk.calls[0].body and b"Hello" not in desk.calls[0].body


def test_openai_clients_pass_the_hand_over_on(tmp_path: Path) -> None:
    """Whole and streamed; they do not refuse a reason that they do not know. Without a desk nobody is told."""
    with run_fake_service(tmp_path, FakeEngines(say_hello), plans=PLANS) as service:
        create = service.openai.chat.completions.create
        assert create(**BODY).choices[0].finish_reason == "handover"  # type: ignore[comparison-overlap]
        last = list(create(**BODY, stream=True))[-1]
        assert last.choices[0].finish_reason == "handover"
        with service.records() as records:
            assert records.handovers.backlog().num_pending == 0
            assert records.get_completion(last.id).finish_reason == "handover"


def test_a_desk_that_never_answers_well_leaves_a_dead_letter_that_can_be_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A redirect is a failure and is not followed; the dead one is counted, listed, and told when the desk is back."""
    is_back = threading.Event()

    def answer(number: int, handler: BaseHTTPRequestHandler) -> None:
        reply(handler, 200) if is_back.is_set() else reply(handler, 307, location="/elsewhere")

    with run_desk(answer) as desk, serve(tmp_path, desk, handover_max_attempts=2) as service:
        completion_id = ask(service)["id"]
        wait_until(lambda: service.metric("rejoinder_handovers_dead") == {"": 1})
        assert [call.path for call in desk.calls] == ["/hook?for=shop"] * 2
        monkeypatch.setenv("DATA_DIR", str(service.settings.data_dir))
        assert main(["handovers", "list"]) == 0
        listed = capsys.readouterr().out
        assert completion_id in listed and "status 307" in listed and "Hello" not in listed
        is_back.set()
        assert main(["handovers", "retry"]) == 1 and main(["handovers", "retry", completion_id]) == 0
        wait_until(lambda: len(desk.calls) == 3)
        wait_until(lambda: service.metric("rejoinder_handovers_dead") == {"": 0})
        assert main(["handovers", "drop", "--all"]) == 0
        assert "0 forgotten" in capsys.readouterr().out


def test_a_desk_that_is_gone_gets_no_second_message(tmp_path: Path) -> None:
    """410 says that nothing more is wanted: dead at once."""
    with run_desk(lambda number, handler: reply(handler, 410)) as desk, serve(tmp_path, desk) as service:
        ask(service)
        wait_until(lambda: service.metric("rejoinder_handovers_dead") == {"": 1})
        assert len(desk.calls) == 1


def test_a_slow_or_talkative_desk_holds_nothing_up(tmp_path: Path) -> None:
    """An endless body is not read, a drip of header bytes is cut by the deadline, and people are answered meanwhile."""
    stop = threading.Event()

    def answer(number: int, handler: BaseHTTPRequestHandler) -> None:
        if number == 0:
            while not stop.wait(0.05):
                handler.wfile.write(b"HTTP/1.1 200 OK\r\n"[:1])
                handler.wfile.flush()
            return
        handler.send_response(200)
        handler.end_headers()
        try:
            while not stop.is_set():
                handler.wfile.write(b"x" * 65_536)
        except OSError:
            pass

    with run_desk(answer) as desk, serve(tmp_path, desk, handover_webhook_timeout_seconds=0.5) as service:
        ask(service)
        wait_until(lambda: len(desk.calls) == 1)
        assert httpx2.get(f"{service.url}/livez").status_code == 200
        wait_until(lambda: service.metric(DELIVERIES).get('{outcome="delivered"}') == 1)
        stop.set()
        assert len(desk.calls) == 2 and service.metric(DELIVERIES)['{outcome="failed"}'] == 1


def test_a_hand_over_survives_kill_9_while_it_is_being_told(tmp_path: Path) -> None:
    """The next process tells it when the claim of the dead one is over: the same message, and never two at once."""
    variables = {"SERVICE_HANDOVER_WEBHOOK_SECRET": SECRET, "SERVICE_HANDOVER_WEBHOOK_TIMEOUT_SECONDS": "0.5"}
    released = threading.Event()

    def answer(number: int, handler: BaseHTTPRequestHandler) -> None:
        if number == 0:
            released.wait(30)
        else:
            reply(handler, 200)

    with run_desk(answer) as desk:
        variables["SERVICE_HANDOVER_WEBHOOK_URL"] = desk.url
        with run_process(tmp_path, "fast", plans=PLANS, variables=variables) as service:
            completion = httpx2.post(f"{service.url}/v1/chat/completions", json=BODY, timeout=30).json()
            wait_until(lambda: len(desk.calls) == 1)
            service.process.kill()
            service.process.wait()
            released.set()
        with run_process(tmp_path, "fast", plans=PLANS, variables=variables) as service:
            wait_until(lambda: len(desk.calls) == 2, seconds=40)
            delivered = f'{DELIVERIES}{{outcome="delivered"}} 1.0'
            with httpx2.Client(base_url=service.url) as client:
                wait_until(lambda: delivered in client.get("/metrics").text)
    assert desk.calls[0].id == desk.calls[1].id and desk.calls[0].body == desk.calls[1].body
    assert desk.calls[1].message["data"]["completion_id"] == completion["id"]
    assert desk.most_at_once == 1
