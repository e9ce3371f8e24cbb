"""Requests that are sent twice under one `Idempotency-Key`: one effect, and the same answer."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from model_store.bundle import Bundle
from service.engine.types import CompletionRequest
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, wait_until

BODY: dict[str, Any] = {
    "model": "rejoinder",
    "messages": [{"role": "user", "content": "Where is my order A1B2-77345?"}],
}


def say_order(bundle: Bundle, request: CompletionRequest) -> str:
    """A reply that names the order."""
    return "Order <ORDER_ID> is on its way."


@pytest.fixture(scope="module")
def engines() -> FakeEngines:
    """Engines that name the order."""
    return FakeEngines(say_order)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, engines: FakeEngines) -> Iterator[RunningService]:
    """A service with those engines."""
    with run_fake_service(tmp_path_factory.mktemp("service"), engines) as running:
        yield running


def post(service: RunningService, key: str, body: dict[str, Any] = BODY, path: str = "/v1/chat/completions") -> Any:
    """Sends a request under a key."""
    return service.http.post(path, json=body, headers={"Idempotency-Key": key})


def num_completions(service: RunningService) -> float:
    """Completions that were recorded."""
    return sum(service.metric("rejoinder_completions_total").values())


def test_a_retry_is_answered_with_the_first_completion(service: RunningService, engines: FakeEngines) -> None:
    """Same id and text, the order number put back; the model is not asked; the answer says that it is a replay."""
    first = post(service, "retry-1")
    num_asked, num_recorded = len(engines.opened[0].requests), num_completions(service)
    second = post(service, "retry-1", dict(reversed(BODY.items())))
    assert (len(engines.opened[0].requests), num_completions(service)) == (num_asked, num_recorded)
    assert "idempotent-replayed" not in first.headers and second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-model-digest"] == first.headers["x-model-digest"]
    answers = [first.json(), second.json()]
    for answer in answers:
        assert answer["choices"][0]["message"]["content"] == "Order A1B2-77345 is on its way."
        thumb = {"completion_id": answer["id"], "feedback_token": answer["feedback_token"], "rating": "up"}
        assert service.http.post("/v1/feedback", json=thumb).status_code == 200
    same = ("id", "created", "model", "usage", "conversation_id", "system_fingerprint")
    assert [answers[0][name] for name in same] == [answers[1][name] for name in same]


def test_a_streamed_completion_is_replayed_as_a_stream(service: RunningService) -> None:
    """The pieces add up to the same text under the same id, and end with [DONE]."""
    streams = [post(service, "stream-1", {**BODY, "stream": True}).text.split("\n\n") for _ in range(2)]
    texts = []
    for events in streams:
        assert events[-2] == "data: [DONE]"
        pieces = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
        text = "".join(choice["delta"].get("content") or "" for piece in pieces for choice in piece["choices"])
        texts.append((pieces[0]["id"], text, pieces[-1]["choices"][0]["finish_reason"]))
    assert texts[0] == texts[1] and texts[0][1] == "Order A1B2-77345 is on its way."


def test_a_retry_in_a_kept_conversation_sees_the_history_of_the_first(service: RunningService) -> None:
    """The replayed turn is no part of its own history, so the same placeholder stands for the same number."""
    conversation_id = service.http.post("/v1/conversations").json()["id"]
    body = {**BODY, "conversation_id": conversation_id}
    answers = [post(service, "turn-1", body).json()["choices"][0]["message"]["content"] for _ in range(2)]
    assert answers == ["Order A1B2-77345 is on its way."] * 2
    assert len(service.http.get(f"/v1/conversations/{conversation_id}").json()["messages"]) == 2


def test_a_key_with_another_request_is_refused(service: RunningService) -> None:
    """422, whatever the difference; the same key on another route is another key."""
    post(service, "other-1")
    refused = post(service, "other-1", {**BODY, "temperature": 0.1})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert post(service, "other-1", {}, "/v1/feedback").status_code == 400


def test_a_key_in_use_is_refused_and_a_client_that_left_frees_it(service: RunningService, engines: FakeEngines) -> None:
    """409 while the first request is being answered; after its client has gone the next one is made anew."""
    engine = engines.opened[0]
    engine.hold.set()
    body = {**BODY, "stream": True}
    try:
        with service.http.stream("POST", "/v1/chat/completions", json=body, headers={"Idempotency-Key": "busy-1"}):
            wait_until(lambda: engine.has_work)
            refused = post(service, "busy-1", body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    finally:
        engine.hold.clear()
    wait_until(lambda: post(service, "busy-1", body).status_code == 200)


def test_a_request_that_failed_may_be_sent_again(service: RunningService) -> None:
    """At once. Nothing was done, so nothing is remembered: not of a refusal, nor of what could not be read."""
    missing = {**BODY, "model": "no such model"}
    assert [post(service, "failed-1", missing).status_code for _ in range(20)] == [404] * 20
    assert post(service, "failed-2", {"model": "rejoinder"}).status_code == 400
    assert post(service, "failed-1").status_code == 200
    assert post(service, "failed-2").status_code == 200


def test_retries_at_the_same_time_have_one_effect(service: RunningService) -> None:
    """Eight at once: one completion; the others hear that it is being made, or what it was."""
    before = num_completions(service)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: post(service, "crowd-1"), range(8)))
    assert {response.status_code for response in responses} <= {200, 409}
    assert len({response.json()["id"] for response in responses if response.status_code == 200}) == 1
    assert num_completions(service) == before + 1


def test_a_late_retry_of_a_vote_does_not_undo_a_newer_one(service: RunningService) -> None:
    """The retry hears what it heard the first time; what stands is the newer vote."""
    completion = service.http.post("/v1/chat/completions", json=BODY).json()
    right = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"]}
    down = {**right, "rating": "down", "comment": "wrong order"}
    first = post(service, "vote-1", down, "/v1/feedback")
    service.http.post("/v1/feedback", json={**right, "rating": "up"})
    late = post(service, "vote-1", down, "/v1/feedback")
    assert late.json() == first.json() and late.json()["comment"] == "wrong order"
    assert late.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers
    newest = service.http.post("/v1/feedback", json={**right, "rating": "up"}).json()
    assert newest["created_at"] == first.json()["created_at"]
    assert post(service, "vote-1", {**down, "rating": "up"}, "/v1/feedback").status_code == 422
    with service.records() as records:
        conversation = records.get_conversation(completion["conversation_id"], max_turns=100)
        assert completion["id"] in [turn.completion_id for turn in conversation.turns]


def test_neither_key_nor_request_can_be_read_in_the_database(service: RunningService) -> None:
    """Clients put names into keys; the order number was masked and the request is kept as a keyed digest only."""
    post(service, "jane-canary-key")
    files = list(service.settings.data_dir.glob("rejoinder.db*"))
    content = b"".join(path.read_bytes() for path in files)
    assert b"Order <ORDER_ID> is on its way." in content
    assert b"jane-canary-key" not in content and b"A1B2-77345" not in content


@pytest.mark.parametrize(
    ("key", "changes", "code"),
    [
        ("", {}, "invalid_value"),
        ("a b", {}, "invalid_value"),
        ("x" * 256, {}, "invalid_value"),
        ("ok", {"n": 2}, "unsupported_parameter"),
        ("ok", {"logprobs": True}, "unsupported_parameter"),
    ],
    ids=str,
)
def test_what_cannot_be_repeated_is_refused(
    service: RunningService, key: str, changes: dict[str, Any], code: str
) -> None:
    """Before anything is made: keys that are none, several choices, log-probabilities."""
    before = num_completions(service)
    response = post(service, key, {**BODY, **changes})
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert num_completions(service) == before
