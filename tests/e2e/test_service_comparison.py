"""Two versions compared over HTTP: side by side, and blind by the staff; nothing of it is recorded as a completion."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_store.bundle import Bundle
from service.chat.comparison import side_by_side, version_lender
from service.engine.types import CompletionRequest
from tests.browser.staff_shelf import publish
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service, wait_until

COMPARE = "/v1/model-versions/comparisons"
PAIRS = "/v1/review/pairs"


def say(bundle: Bundle, request: CompletionRequest) -> str:
    """Each version says its name, but to short prompts, which all versions greet."""
    return "Hello!" if len(request.prompt_ids) < 12 else f"Order <ORDER_ID>: {bundle.manifest.name} looks after it."


@pytest.fixture
def engines() -> FakeEngines:
    """Those that the service opens."""
    return FakeEngines(say)


@pytest.fixture
def service(tmp_path: Path, engines: FakeEngines) -> Iterator[RunningService]:
    """A service with two versions on its shelf, of which one serves."""
    with run_fake_service(tmp_path, engines) as running:
        publish(running, tmp_path, "newer")
        publish(running, tmp_path, "refused-one")
        yield running


def versions(service: RunningService) -> dict[str, str]:
    """Digests by name."""
    return {version["name"]: version["digest"] for version in service.http.get("/v1/model-versions").json()["data"]}


def both(service: RunningService, first: str = "tiny", second: str = "newer") -> dict[str, str]:
    """The body that names two versions."""
    known = versions(service)
    return {"first": known[first], "second": known[second]}


def chat(service: RunningService, text: str, conversation: str) -> str:
    """A customer's turn; gives the completion's id."""
    body = {
        "model": "rejoinder",
        "messages": [{"role": "user", "content": text}],
        "metadata": {"conversation_id": conversation},
    }
    reply: dict[str, Any] = service.http.post("/v1/chat/completions", json=body).raise_for_status().json()
    return str(reply["id"])


def offer(service: RunningService, body: dict[str, str]) -> dict[str, Any] | None:
    """The pair that is offered, if one is."""
    pair: dict[str, Any] | None = service.http.post(PAIRS, json=body).raise_for_status().json()["pair"]
    return pair


def test_both_versions_answer_the_shops_prompts_and_nothing_is_recorded(
    service: RunningService, engines: FakeEngines
) -> None:
    """Ten prompts in both languages; a version that serves nobody is opened for it, and answers are kept."""
    answer = service.http.post(COMPARE, json=both(service)).raise_for_status().json()
    rows = answer["data"]
    assert len(rows) == 10 and {row["language"] for row in rows} == {"en", "zh"}
    order = next(row for row in rows if "482913" in row["prompt"] and row["language"] == "en")
    assert order["first"]["text"] == "Order 482913: tiny looks after it."
    assert order["second"]["text"] == "Order 482913: newer looks after it."
    assert not order["is_same"] and order["first"]["finish_reason"] == "stop"
    num_asked = sum(len(engine.requests) for engine in engines.opened)
    assert len(engines.opened) == 2, "only the version that did not serve was opened"
    assert service.http.post(COMPARE, json=both(service)).json() == answer
    assert sum(len(engine.requests) for engine in engines.opened) == num_asked, "nothing was drawn again"
    assert service.http.get("/v1/review/conversations").json()["data"] == []
    with service.records() as records:
        assert records.count_feedback() == (0, 0)


def test_own_prompts_are_masked_and_meet_the_shops_rules(service: RunningService, engines: FakeEngines) -> None:
    """The model sees a placeholder for the number, and a safety rule answers before any version."""
    prompts = ["Where is my order number 553311 that I paid for?", "I want to kill myself"]
    body = {**both(service), "prompts": prompts}
    rows = service.http.post(COMPARE, json=body).raise_for_status().json()["data"]
    assert [row["prompt"] for row in rows] == prompts
    assert rows[0]["first"]["text"] == "Order 553311: tiny looks after it."
    assert rows[1]["first"]["rule"] and rows[1]["is_same"]
    assert {len(engine.requests) for engine in engines.opened} == {1}


def test_what_cannot_be_compared_is_said(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown version, one that does not open, too many prompts, and versions that are too slow."""
    body = both(service)
    http = service.http
    assert http.post(COMPARE, json={**body, "second": "0" * 64}).status_code == 404
    refused = http.post(COMPARE, json=both(service, second="refused-one"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "version_unusable")
    assert http.post(COMPARE, json={**body, "prompts": ["why?"] * 21}).status_code == 400
    side: side_by_side.SideBySide = service.server.lifespan.state["comparison"].side_by_side
    monkeypatch.setattr(side, "_timeout_seconds", 0.0)
    slow = http.post(COMPARE, json={**body, "prompts": ["How long may this take, please?"]})
    assert (slow.status_code, slow.json()["error"]["code"]) == (503, "comparison_timeout")
    assert slow.headers["retry-after"]


def test_a_version_that_was_opened_to_be_asked_is_closed_again(
    service: RunningService, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without an asker; what serves stays open."""
    lender: version_lender.VersionLender = service.server.lifespan.state["comparison"].side_by_side._lender
    monkeypatch.setattr(lender, "_idle_seconds", 0.05)
    service.http.post(
        COMPARE, json={**both(service), "prompts": ["Is anybody there, in your shop?"]}
    ).raise_for_status()
    wait_until(lambda: lender.num_open == 0 and engines.opened[1].is_closed)
    assert not engines.opened[0].is_closed


def test_a_blind_pair_tells_its_versions_only_after_the_choice(service: RunningService) -> None:
    """Both versions answer the recorded, masked prompt; the pair stays until it is chosen from, and once only."""
    chat(service, "Where is my order 482913 that I paid for on Monday?", "conv-1")
    body = both(service)
    pair = offer(service, body)
    assert pair is not None
    names = {digest: name for name, digest in versions(service).items()}
    assert pair["messages"][-1]["content"].startswith("Where is my order <ORDER_ID>")
    said = [f"Order <ORDER_ID>: {name} looks after it." for name in ("newer", "tiny")]
    assert sorted(pair["replies"]) == said
    assert not any(digest in json.dumps(pair) for digest in names)
    assert offer(service, body) == pair, "a reload brings no other pair"
    assert offer(service, {"first": body["second"], "second": body["first"]}) == pair

    path = f"{PAIRS}/{pair['id']}/choice"
    chosen = service.http.post(path, json={"choice": "second"}).raise_for_status().json()
    for side, text in zip(("first", "second"), pair["replies"], strict=True):
        assert f": {names[chosen['versions'][side]]} looks" in text
    assert service.http.post(path, json={"choice": "second"}).json() == chosen, "a retry is told the same"
    again = service.http.post(path, json={"choice": "first"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "pair_chosen")
    missing = service.http.post(f"{PAIRS}/pair_00/choice", json={"choice": "first"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "pair_not_found")
    assert offer(service, body) is None, "one prompt, one choice a person"
    with service.records() as records:
        events = records.list_audit(["review.prefer"], limit=9)
        assert {(event.actor, event.subject) for event in events} == {("operator", pair["id"])}


def test_choices_are_counted_with_an_interval_and_exported(service: RunningService) -> None:
    """By prompt; ties aside. What was skipped is neither counted nor exported."""
    for number in range(4):
        chat(service, f"Where is my order 48291{number} that I paid for on Monday?", f"conv-{number}")
    body = both(service)
    names = {digest: name for name, digest in versions(service).items()}
    for wanted in ("newer", "newer", "tie", "skip"):
        pair = offer(service, body)
        assert pair is not None
        choice = wanted
        if wanted in names.values():
            choice = "first" if f": {wanted} looks" in pair["replies"][0] else "second"
        service.http.post(f"{PAIRS}/{pair['id']}/choice", json={"choice": choice}).raise_for_status()
    results = service.http.get(f"{PAIRS}/results", params=body).json()
    assert (results["num_first"], results["num_second"], results["num_ties"]) == (0, 2, 1)
    assert results["win_rate"]["value"] == 1.0 and 0.3 < results["win_rate"]["low"] < 0.4  # Wilson, 2 of 2
    turned = {"first": body["second"], "second": body["first"]}
    assert service.http.get(f"{PAIRS}/results", params=turned).json()["win_rate"]["value"] == 0.0
    *rows, end = map(json.loads, service.http.get(f"{PAIRS}/export").text.splitlines())
    assert end == {"object": "review.export_end", "num_pairs": 3, "is_whole": True}
    assert sorted(row["choice"] == "tie" for row in rows) == [False, False, True]
    for row in rows:
        if row["choice"] != "tie":
            assert row[row["choice"]]["text"] == "Order <ORDER_ID>: newer looks after it."
            assert names[row[row["choice"]]["model_digest"]] == "newer"


def test_prompts_that_both_answer_alike_are_not_offered(service: RunningService) -> None:
    """They would tell nothing; and nobody is asked to choose between a version and itself."""
    chat(service, "Hi", "conv-1")
    assert offer(service, both(service)) is None
    assert service.http.post(PAIRS, json=both(service, second="tiny")).status_code == 400


def test_a_pair_goes_with_the_conversation_that_it_is_of(service: RunningService) -> None:
    """Erased, it cannot be chosen from any more, and is neither counted nor exported."""
    chat(service, "Where is my order 482913 that I paid for on Monday?", "conv-1")
    chat(service, "Where is my order 482914 that I paid for on Monday?", "conv-2")
    body = both(service)
    first = offer(service, body)
    assert first is not None
    service.http.post(f"{PAIRS}/{first['id']}/choice", json={"choice": "first"}).raise_for_status()
    second = offer(service, body)
    assert second is not None
    for conversation in ("conv-1", "conv-2"):
        service.http.delete(f"/v1/conversations/{conversation}").raise_for_status()
    gone = service.http.post(f"{PAIRS}/{second['id']}/choice", json={"choice": "first"})
    assert gone.status_code == 404
    assert len(service.http.get(f"{PAIRS}/export").text.splitlines()) == 1
    assert service.http.get(f"{PAIRS}/results", params=body).json()["win_rate"] is None


def test_an_asker_too_many_is_sent_away(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Askers wait for one another, and not without end."""
    monkeypatch.setattr(version_lender, "MAX_WAITING", 0)
    refused = service.http.post(COMPARE, json=both(service))
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")


def test_a_shop_names_its_own_prompts(tmp_path: Path) -> None:
    """A file of them is read at start."""
    path = tmp_path / "prompts.yaml"
    path.write_text("- Do you have this lamp in green, by any chance?\n")
    with run_fake_service(tmp_path / "own", FakeEngines(say), comparison_prompts_file=path) as running:
        publish(running, tmp_path, "newer")
        rows = running.http.post(COMPARE, json=both(running)).raise_for_status().json()["data"]
    assert [row["prompt"] for row in rows] == ["Do you have this lamp in green, by any chance?"]
