"""Who may call: every route against every caller that must not get through, guesses, and quotas."""

import re
from collections.abc import Iterator

import httpx2
import pytest

from service.access.api_keys import Scope
from service.app import create_app
from service.settings import Settings
from tests.contract.fake_engine import FakeEngines
from tests.e2e.access_callers import BODY, SHOP, Holder, client, give_key, page_asks
from tests.e2e.running_service import RunningService, run_fake_service, say_hello

OPERATOR_KEY = "a-key-of-some-length"
ROUTES = sorted(
    (method.upper(), re.sub(r"{\w+}", "x", path.replace("{digest}", "0" * 64)))
    for path, methods in create_app(Settings()).openapi()["paths"].items()
    for method in methods
    if path.startswith("/v1/")
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that asks for keys and takes its time to lose patience."""
    directory = tmp_path_factory.mktemp("service")
    with run_fake_service(
        directory, FakeEngines(say_hello), api_key=OPERATOR_KEY, wrong_keys_per_minute=10_000, widget_origins=SHOP
    ) as running:
        yield running


@pytest.fixture(scope="module")
def acme(service: RunningService) -> Holder:
    """A tenant's key that may do everything."""
    return give_key(service, "acme")


@pytest.fixture(scope="module")
def bolt(service: RunningService) -> Holder:
    """Another tenant's key that may do everything."""
    return give_key(service, "bolt")


def outcome(response: httpx2.Response) -> tuple[int, str]:
    """What a caller can tell answers apart by."""
    return response.status_code, response.text


def test_strangers_all_hear_the_same_on_every_route(service: RunningService, acme: Holder) -> None:
    """No key, wrong, halved, revoked, of another scheme, a forged token: one and the same 401."""
    fired = give_key(service, "acme")
    fired.revoke()
    strangers = {
        "none": None,
        "wrong": "Bearer rj_live_" + "A" * 43,
        "half": f"Bearer {acme.text[:-20]}",
        "longer": f"Bearer {acme.text}x",
        "revoked": f"Bearer {fired.text}",
        "id": f"Bearer {acme.key.id}",
        "digest": f"Bearer {acme.key.digest}",
        "basic": f"Basic {acme.text}",
        "bare": acme.text,
        "operator": f"Bearer {OPERATOR_KEY}x",
        "token": "Bearer rj_widget_WyJhIl0.aa.bb",
    }
    answers = {}
    for name, authorization in strangers.items():
        headers = {"authorization": authorization} if authorization else {}
        for method, path in ROUTES:
            answer = client(service.url).request(method, path, headers=headers, content=b"not json")
            answers[name, method, path] = (*outcome(answer), answer.headers["www-authenticate"])
    assert len(answers) >= len(strangers) * 5
    assert len(set(answers.values())) == 1, answers
    assert next(iter(answers.values()))[0] == 401


def test_every_route_asks_for_exactly_one_scope(service: RunningService) -> None:
    """A key with no scope gets nowhere; a key with one scope gets to its own routes only; the refusal names it."""
    needed = {}
    holders = {scope: give_key(service, "acme", [scope]) for scope in Scope}
    powerless = give_key(service, "acme", [])
    for method, path in ROUTES:
        refusal = powerless.ask(method, path, {})
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (403, "missing_scope"), path
        passing = [scope for scope, holder in holders.items() if holder.ask(method, path, {}).status_code != 403]
        assert len(passing) == 1 and f"`{passing[0]}`" in refusal.json()["error"]["message"], (path, passing)
        needed[path] = passing[0]
    assert needed["/v1/chat/completions"] == needed["/v1/widget-tokens"] == needed["/v1/models"] == Scope.CHAT
    assert needed["/v1/feedback"] == Scope.FEEDBACK


def test_another_tenants_completion_is_an_unknown_one(service: RunningService, acme: Holder, bolt: Holder) -> None:
    """Rated with its own genuine token by another tenant, even the operator: the 404 of an id that nobody has."""
    completion = acme.complete()
    token = completion["feedback_token"]
    operator = Holder(service, OPERATOR_KEY, acme.key)
    for stranger in (bolt, operator):
        answers = [
            stranger.ask("POST", "/v1/feedback", {"completion_id": name, "feedback_token": token, "rating": "up"})
            for name in (completion["id"], "chatcmpl-nobodys")
        ]
        assert outcome(answers[0]) == outcome(answers[1])
        assert answers[0].status_code == 404
    own = acme.ask("POST", "/v1/feedback", {"completion_id": completion["id"], "feedback_token": token, "rating": "up"})
    assert own.status_code == 200


def test_each_tenant_has_its_own_records(service: RunningService, acme: Holder, bolt: Holder) -> None:
    """One conversation id of two tenants names two conversations; the same user's name is two raters."""
    with service.records() as records:
        kept = {
            holder.key.tenant: records.get_completion(
                holder.complete(metadata={"conversation_id": "conv-1"}, user="jane")["id"], tenant=holder.key.tenant
            )
            for holder in (acme, bolt)
        }
    assert {record.tenant for record in kept.values()} == {"acme", "bolt"}
    assert {record.conversation_id for record in kept.values()} == {"conv-1"}
    assert len({record.rater for record in kept.values()}) == 2


def test_the_operators_key_goes_on_working(service: RunningService) -> None:
    """SERVICE_API_KEY chats, rates, and issues widget tokens, for the default tenant."""
    operator = Holder(service, OPERATOR_KEY, give_key(service).key)
    completion = operator.complete()
    right = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"]}
    assert operator.ask("POST", "/v1/feedback", {**right, "rating": "up"}).status_code == 200
    with service.records() as records:
        assert records.get_completion(completion["id"]).tenant == "default"
    assert page_asks(service, operator.widget_token(), SHOP, "/v1/chat/completions", BODY).status_code == 200


def test_a_machine_to_itself_needs_no_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    """On loopback without SERVICE_API_KEY anything goes but a credential of ours that is not genuine; real keys have
    their own tenant."""
    with run_fake_service(tmp_path_factory.mktemp("open"), FakeEngines(say_hello)) as service:
        for headers in ({}, {"authorization": "Bearer none needed"}):
            assert client(service.url).post("/v1/chat/completions", json=BODY, headers=headers).status_code == 200
        wrong = {"authorization": "Bearer rj_live_" + "A" * 43}
        assert client(service.url).post("/v1/chat/completions", json=BODY, headers=wrong).status_code == 401
        holder = give_key(service, "acme")
        with service.records() as records:
            assert records.get_completion(holder.complete()["id"], tenant="acme").tenant == "acme"


def test_without_a_provider_nobody_signs_in(service: RunningService) -> None:
    """Its paths are none, and pages are told to ask for a key."""
    answers = [client(service.url).get(f"/sign-in{path}") for path in ("", "/done")]
    answers.append(client(service.url).post("/sign-in/end"))
    assert [answer.status_code for answer in answers] == [404] * 3
    state = client(service.url).get("/sign-in/session").json()
    assert (state["can_sign_in"], state["person"]) == (False, None)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with little patience: five wrong keys, four requests of a key, six of a tenant."""
    limits = {"wrong_keys_per_minute": 5, "key_requests_per_minute": 4, "tenant_requests_per_minute": 6}
    directory = tmp_path_factory.mktemp("strict")
    with run_fake_service(directory, FakeEngines(say_hello), api_key=OPERATOR_KEY, **limits) as running:
        yield running


def test_who_guesses_is_shut_out(strict: RunningService) -> None:
    """After five wrong keys from one address every further one, and the right short one, hears 429; a key that nobody
    can guess goes on, and so does who calls from elsewhere."""
    neighbour = give_key(strict, "calm")
    ask = client(strict.url).get
    answers = [ask("/v1/models", headers={"authorization": f"Bearer {OPERATOR_KEY[:-1]}{n}"}) for n in range(9)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 4
    assert answers[-1].json()["error"]["code"] == "too_many_wrong_keys"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    right = {"authorization": f"Bearer {OPERATOR_KEY}"}
    assert ask("/v1/models", headers=right).status_code == 429
    elsewhere = {**right, "x-forwarded-for": "198.51.100.7"}  # told by a proxy that is trusted: this machine
    assert ask("/v1/models", headers=elsewhere).status_code == 200
    assert neighbour.ask("GET", "/v1/models").status_code == 200
    assert ask("/v1/models").status_code == 401
    assert strict.metric("rejoinder_refused_callers_total")['{code="too_many_wrong_keys"}'] == 5


def test_a_quota_is_the_callers_own(strict: RunningService) -> None:
    """429 with a time to come back, for a key, then for all keys of its tenant, and for nobody else."""
    one, same, other = give_key(strict, "acme"), give_key(strict, "acme"), give_key(strict, "bolt")
    answers = [holder.ask("POST", "/v1/chat/completions", BODY) for holder in (one, one, one, one, same, same, other)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 200, 429, 200]
    for refused in (answers[3], answers[5]):
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert client(strict.url).get("/readyz").status_code == 200
