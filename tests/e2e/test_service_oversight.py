"""Versions and figures as the staff's pages ask for them, on a running service: who may look, and who may move."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from model_store.bundle import write_bundle
from model_store.contract.manifest import MANIFEST_NAME, parse_manifest
from service.access.api_keys import Scope
from tests.contract.fake_engine import FakeEngines, make_chat_bundle
from tests.e2e.access_callers import Holder, give_key
from tests.e2e.running_service import RunningService, run_fake_service, say_hello, wait_until

VERSIONS, MOVES = "/v1/model-versions", "/v1/model-versions/moves"
SOMEBODY_ELSE = "https://evil.example"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that asks for keys."""
    with run_fake_service(tmp_path_factory.mktemp("keyed"), FakeEngines(say_hello), api_key="k" * 40) as running:
        yield running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """A service on loopback, which needs no key, whose canaries answer every conversation."""
    with run_fake_service(tmp_path, FakeEngines(say_hello), canary_share=1.0) as running:
        yield running


def publish(service: RunningService, directory: Path, name: str, **changes: object) -> str:
    """Puts a version on the shelf; no alias moves."""
    digest = make_chat_bundle(directory / name, name, **changes)
    service.store.publish(directory / name)
    return digest


def move(client: httpx2.Client, action: str, **fields: object) -> dict[str, Any]:
    """Plans and makes a move, as the page does."""
    planned = client.post(MOVES, json={"action": action, "dry_run": True, **fields}).raise_for_status().json()
    body = {"action": action, "expected_generation": planned["expected_generation"], **fields}
    made: dict[str, Any] = client.post(MOVES, json=body).raise_for_status().json()
    assert {**made, "dry_run": True, "move": None} == {**planned, "move": None}
    return made


def shelf(client: httpx2.Client) -> dict[str, Any]:
    """What the page shows."""
    found: dict[str, Any] = client.get(VERSIONS).raise_for_status().json()
    return found


def ask(client: httpx2.Client, conversation: str, rating: str | None = None, **feedback: object) -> str:
    """One conversation with a thumb; gives the version that answered."""
    body = {
        "model": "rejoinder",
        "messages": [{"role": "user", "content": "Hello"}],
        "metadata": {"conversation_id": conversation},
    }
    reply = client.post("/v1/chat/completions", json=body).raise_for_status()
    if rating:
        vote = {"completion_id": reply.json()["id"], "feedback_token": reply.json()["feedback_token"]}
        client.post("/v1/feedback", json={**vote, "rating": rating, **feedback}).raise_for_status()
    return reply.headers["x-model-digest"]


def test_a_candidate_is_tried_watched_promoted_and_taken_back(service: RunningService, tmp_path: Path) -> None:
    """The whole life of a version by HTTP: each move is taken up, and each stands in history and audit."""
    old = service.store.resolve("stable").digest
    new = publish(service, tmp_path, "newer")
    with service.http as client:
        ask(client, "before", "up")
        assert shelf(client)["canary"] is None

        move(client, "try", version=new, reason="it reads well")
        wait_until(lambda: shelf(client)["serving"] == [old, new])
        assert [ask(client, "a", "up"), ask(client, "b", "down")] == [new, new]
        canary = shelf(client)["canary"]
        assert (canary["candidate"]["num_up"], canary["candidate"]["num_ratings"]) == (1, 2)
        assert canary["stable"]["num_ratings"] == 0  # what came before the canary does not count
        assert canary["sentence"] == "There are not yet ratings of both versions."

        move(client, "promote", version=new)
        wait_until(lambda: shelf(client)["serving"] == [new])
        assert shelf(client)["canary"] is None

        move(client, "roll_back", reason="Kim (kim@example.org) asked for it")
        wait_until(lambda: ask(client, "c") == old)
        moves = shelf(client)["moves"]
        assert [(m["alias"], m["action"], m["actor"]) for m in moves] == [
            ("stable", "rollback", "operator"),
            ("stable", "promote", "operator"),
            ("candidate", "promote", "operator"),
            ("stable", "promote", None),
        ]
        assert "kim@example.org" not in moves[0]["reason"] and "asked for it" in moves[0]["reason"]


def test_holding_a_candidate_ends_the_canary(service: RunningService, tmp_path: Path) -> None:
    """The stable version answers everybody again, and there is nothing left to hold."""
    old = service.store.resolve("stable").digest
    new = publish(service, tmp_path, "newer")
    with service.http as client:
        move(client, "try", version=new)
        wait_until(lambda: ask(client, "a") == new)
        planned = client.post(MOVES, json={"action": "hold", "dry_run": True}).json()
        assert planned["consequences"][0].startswith(f"Version {old[:12]}")
        move(client, "hold")
        wait_until(lambda: ask(client, "a") == old)
        refused = client.post(MOVES, json={"action": "hold", "dry_run": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "no_canary")


def test_a_dry_run_changes_nothing_and_writes_no_audit(service: RunningService, tmp_path: Path) -> None:
    """It says what would happen, also that nobody has measured the version."""
    new = publish(service, tmp_path, "newer")
    before = service.store.resolve("stable")
    with service.http as client:
        planned = client.post(MOVES, json={"action": "promote", "version": new, "dry_run": True}).json()
    assert service.store.resolve("stable") == before
    assert any("no gate report" in sentence for sentence in planned["consequences"])
    with service.records() as records:
        assert records.list_audit(["models.promote"], limit=9) == ()


def test_a_decision_that_rests_on_an_old_state_is_refused(service: RunningService, tmp_path: Path) -> None:
    """Somebody else was faster: 409, and the alias stays where the other one put it."""
    first, second = publish(service, tmp_path, "first"), publish(service, tmp_path, "second")
    with service.http as client:
        move(client, "promote", version=first)
        late = client.post(MOVES, json={"action": "promote", "version": second, "expected_generation": 1})
        missing = client.post(MOVES, json={"action": "promote", "version": second})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "alias_conflict")
    assert missing.status_code == 400 and "expected_generation" in missing.json()["error"]["message"]
    assert service.store.resolve("stable").digest == first
    with service.records() as records:
        events = records.list_audit(["models.promote"], limit=9)
    assert [(event.details["outcome"], event.actor, event.subject) for event in events] == [
        ("done", "operator", first),
        ("begun", "operator", first),
    ]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"action": "promote", "version": "0" * 64}, 404, "version_not_found"),
        ({"action": "promote"}, 400, "invalid_value"),
        ({"action": "promote", "version": "stable"}, 400, "invalid_value"),
        ({"action": "sell"}, 400, "invalid_value"),
        ({"action": "roll_back"}, 409, "no_earlier_version"),
        ({"action": "roll_back", "reason": "a\u0000b"}, 400, "unsafe_text"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    keyed: RunningService, body: dict[str, object], status: int, code: str
) -> None:
    """No 500, and no word about where the store lies."""
    with keyed.http as client:
        headers = {"authorization": f"Bearer {'k' * 40}"}
        refused = client.post(MOVES, json={**body, "dry_run": True}, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert str(keyed.settings.data_dir) not in refused.text


def test_a_foreign_web_page_cannot_move_anything(service: RunningService, tmp_path: Path) -> None:
    """What a browser sends for other sites without asking beforehand is no JSON, and is refused even without keys."""
    new = publish(service, tmp_path, "newer")
    body = json.dumps({"action": "promote", "version": new, "expected_generation": 1}).encode()
    with service.http as client:
        for kind in ({"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {}):
            assert client.post(MOVES, content=body, headers={**kind, "origin": SOMEBODY_ELSE}).status_code == 400
        asked = client.options(MOVES, headers={"origin": SOMEBODY_ELSE, "access-control-request-method": "POST"})
    assert "access-control-allow-origin" not in asked.headers
    assert service.store.resolve("stable").digest != new


def test_reading_needs_review_and_moving_needs_admin_of_the_operators_tenant(keyed: RunningService) -> None:
    """Each key may do what it was made for; a tenant cannot change what all tenants have."""
    reader = give_key(keyed, "default", [Scope.REVIEW])
    admin = give_key(keyed, "default", [Scope.ADMIN])
    tenant = give_key(keyed, "acme", [Scope.REVIEW, Scope.ADMIN])
    dry = {"action": "roll_back", "dry_run": True}

    def statuses(holder: Holder) -> list[int]:
        paths = [VERSIONS, f"{VERSIONS}/{keyed.store.resolve('stable').digest}", "/v1/insights"]
        return [*(holder.ask("GET", path).status_code for path in paths), holder.ask("POST", MOVES, dry).status_code]

    assert statuses(reader) == [200, 200, 200, 403]
    assert statuses(admin) == [403, 403, 403, 409]  # there is nothing to roll back to
    assert statuses(tenant) == [200, 200, 200, 403]
    assert [holder.ask("GET", VERSIONS).json()["can_move"] for holder in (reader, tenant)] == [False, False]
    with keyed.http as client:
        assert [client.get(path).status_code for path in (VERSIONS, "/v1/insights", "/models", "/insights")] == [
            401,
            401,
            200,
            200,
        ]


def test_a_tenant_sees_its_own_figures_and_the_operator_no_other_tenants(keyed: RunningService) -> None:
    """Counts by tenant."""
    acme, other = give_key(keyed, "acme-two"), give_key(keyed, "other-two")
    acme.complete()
    assert [holder.ask("GET", "/v1/insights").json()["total"]["num_completions"] for holder in (acme, other)] == [1, 0]


def test_a_version_tells_its_figures_with_the_intervals_that_were_kept(service: RunningService, tmp_path: Path) -> None:
    """From manifest and gate report; where there is no interval it says so, and a broken report is no report."""
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    scorecard = {
        "win_rate": {"value": 0.6, "low": 0.55, "high": 0.65},
        "candidate": {"right_plan": figure, "unsafe": {"value": 0.0, "low": 0.0, "high": 0.1}},
        "changes": {"right_plan": {"value": 0.02, "low": -0.01, "high": 0.05, "standard_error": 0.015}},
        "safety": {"num_scenarios": 10, "failed_by_candidate": 2, "unsafe_replies": ["never shown"]},
    }
    rules = [
        {"name": "win_rate", "passed": False, "sentence": "Too few prefer it.", "is_left_out": False},
        {"name": "thumbs_know_gold", "passed": True, "sentence": "Nobody marked gold.", "is_left_out": True},
    ]
    metrics = {"right_plan": 0.5, "perplexity": 1.25, "kl": 0.5, "kl_low": 0.25, "kl_high": 0.75}
    directory = tmp_path / "gated"
    digest = make_gated_bundle(directory, {"accepted": False, "rules": rules, "scorecard": scorecard}, metrics)
    service.store.publish(directory)
    with service.http as client:
        report = client.get(f"{VERSIONS}/{digest}").json()
        planned = client.post(MOVES, json={"action": "promote", "version": digest, "dry_run": True}).json()
    figures = {figure["name"]: (figure["value"], figure["low"], figure["high"]) for figure in report["figures"]}
    assert figures["right_plan"] == (0.5, 0.4, 0.6)
    assert figures["perplexity"] == (1.25, None, None)
    assert figures["kl"] == (0.5, 0.25, 0.75)
    assert figures["failed_safety_scenarios"] == pytest.approx((0.2, 0.0567, 0.5098), abs=1e-4)
    assert report["changes"] == [{"name": "right_plan", "value": 0.02, "low": -0.01, "high": 0.05}]
    assert report["gate"] == {"accepted": False, "rules": rules}
    assert "never shown" not in str(report)
    assert "Careful: its gate has refused it (1 of 2 rules are broken)." in planned["consequences"]


def make_gated_bundle(directory: Path, gate: object, metrics: dict[str, float]) -> str:
    """A bundle in which a gate report travels, as training's do."""
    make_chat_bundle(directory, "gated", metrics=metrics)
    fields = parse_manifest((directory / MANIFEST_NAME).read_bytes(), digest="").model_dump(mode="json")
    (directory / "gate.json").write_text(json.dumps(gate))
    del fields["files"]
    return write_bundle(directory, fields).digest


def test_an_overview_counts_what_people_asked_and_said(service: RunningService) -> None:
    """Two rated conversations and one unrated, today."""
    with service.http as client:
        digest = ask(client, "a", "up")
        ask(client, "b", "down", reasons=["mechanical", "too_long"])
        ask(client, "c")
        overview = client.get("/v1/insights?days=3").json()
        other = client.get("/v1/insights?language=zh").json()
        refused = client.get("/v1/insights?days=400")
    total = overview["total"]
    assert (total["num_completions"], total["num_conversations"], total["num_hand_overs"]) == (3, 3, 0)
    assert (total["thumbs_up"]["num_up"], total["thumbs_up"]["num_ratings"]) == (1, 2)
    assert total["thumbs_up"]["low"] < 0.5 < total["thumbs_up"]["high"]
    assert total["p95_latency_ms"] >= total["median_latency_ms"] > 0
    assert [day["num_completions"] for day in overview["by_day"]] == [0, 0, 3]
    assert [(group["name"], group["num_completions"]) for group in overview["by_version"]] == [(digest, 3)]
    assert overview["reasons"] == [
        {"reason": "mechanical", "num_ratings": 1},
        {"reason": "too_long", "num_ratings": 1},
    ]
    assert (other["total"]["num_completions"], refused.status_code) == (0, 400)
