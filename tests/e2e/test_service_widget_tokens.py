"""Widget tokens: what a browser may hold instead of a key, and where it works."""

from collections.abc import Iterator

import pytest

from service.access.api_keys import Scope
from tests.contract.fake_engine import FakeEngines
from tests.e2e.access_callers import BODY, SHOP, Holder, client, give_key, page_asks
from tests.e2e.running_service import RunningService, run_fake_service, say_hello

OTHER_SHOP = "https://other.example"
CHAT = "/v1/chat/completions"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that asks for keys."""
    directory = tmp_path_factory.mktemp("service")
    with run_fake_service(
        directory, FakeEngines(say_hello), api_key="x" * 40, wrong_keys_per_minute=10_000, widget_requests_per_minute=6
    ) as running:
        yield running


@pytest.fixture(scope="module")
def shop(service: RunningService) -> Holder:
    """A shop's server, whose key may issue tokens for the shop's pages."""
    return give_key(service, "acme", [Scope.CHAT, Scope.FEEDBACK], [SHOP])


@pytest.fixture(scope="module")
def other_shop(service: RunningService) -> Holder:
    """Another tenant with a shop of its own."""
    return give_key(service, "bolt", [Scope.CHAT], [OTHER_SHOP])


def test_a_page_chats_and_rates_with_a_token(service: RunningService, shop: Holder) -> None:
    """From its own origin, in JSON and as a stream; what it writes is the shop's."""
    token = shop.widget_token()
    answer = page_asks(service, token, SHOP, CHAT, BODY)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == SHOP
    assert "origin" in answer.headers["vary"].lower()
    completion = answer.json()
    right = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"], "rating": "up"}
    assert page_asks(service, token, SHOP, "/v1/feedback", right).status_code == 200
    stream = page_asks(service, token, SHOP, CHAT, {**BODY, "stream": True})
    assert stream.text.endswith("data: [DONE]\n\n") and stream.headers["access-control-allow-origin"] == SHOP
    with service.records() as records:
        assert records.get_completion(completion["id"], tenant="acme").tenant == "acme"


def test_the_answer_says_how_long_a_token_is_good(shop: Holder) -> None:
    """Ten minutes; what the widget needs to renew it in time."""
    issued = shop.ask("POST", "/v1/widget-tokens", {"origin": SHOP}).json()
    assert (issued["object"], issued["origin"], issued["expires_in"]) == ("widget_token", SHOP, 600)
    assert issued["expires_at"].endswith("+00:00") and issued["token"].startswith("rj_widget_")
    assert shop.text not in issued["token"]


@pytest.mark.parametrize("origin", [OTHER_SHOP, "https://evil.example", "http://shop.example", "null", None])
def test_a_token_is_worth_nothing_elsewhere(
    service: RunningService, shop: Holder, other_shop: Holder, origin: str | None
) -> None:
    """Replayed on another page or by a program: the 401 of who has no key; pages of no shop cannot even read it."""
    replayed = page_asks(service, shop.widget_token(), origin, CHAT, BODY)
    assert (replayed.status_code, replayed.text) == (401, client(service.url).post(CHAT, json=BODY).text)
    expected = origin if origin == OTHER_SHOP else None
    assert replayed.headers.get("access-control-allow-origin") == expected


def test_a_token_chats_and_rates_and_nothing_else(service: RunningService, shop: Holder) -> None:
    """No other route, and no further tokens; and no more than its key may do."""
    token = shop.widget_token()
    for method, path, body in (
        ("GET", "/v1/models", None),
        ("GET", "/v1/models/rejoinder", None),
        ("POST", "/v1/widget-tokens", {"origin": SHOP}),
    ):
        answer = page_asks(service, token, SHOP, path, body, method)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "api_key_required"), path
    chat_only = give_key(service, "acme", [Scope.CHAT], [SHOP]).widget_token()
    assert page_asks(service, chat_only, SHOP, "/v1/feedback", {}).json()["error"]["code"] == "missing_scope"


def test_tokens_are_issued_for_named_origins_only(service: RunningService, shop: Holder, other_shop: Holder) -> None:
    """Another shop's, an unknown one, a wildcard, `null`: refused; so is a key that may not chat."""
    for origin in (OTHER_SHOP, "https://evil.example", "*", "null"):
        answer = shop.ask("POST", "/v1/widget-tokens", {"origin": origin})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed"), origin
    rater = give_key(service, "acme", [Scope.FEEDBACK])
    assert rater.ask("POST", "/v1/widget-tokens", {"origin": SHOP}).json()["error"]["code"] == "missing_scope"


def test_only_pages_of_named_origins_may_ask_beforehand(service: RunningService, shop: Holder) -> None:
    """A preflight names its one origin, lets no cookie through, and fails for everybody else; `*` is never said."""
    allowed = client(service.url).options(CHAT, headers={"origin": SHOP, **PREFLIGHT})
    assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == SHOP
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in allowed.headers
    for origin in ("https://evil.example", "null", "https://shop.example.evil.example"):
        refused = client(service.url).options(CHAT, headers={"origin": origin, **PREFLIGHT})
        assert refused.status_code == 401 and "access-control-allow-origin" not in refused.headers


def test_a_token_goes_with_its_key(service: RunningService) -> None:
    """The key is revoked: its tokens are worth nothing at once, though they are not old."""
    holder = give_key(service, "acme", [Scope.CHAT], [SHOP])
    token = holder.widget_token()
    assert page_asks(service, token, SHOP, CHAT, BODY).status_code == 200
    holder.revoke()
    assert page_asks(service, token, SHOP, CHAT, BODY).status_code == 401


def test_a_page_cannot_pass_for_another_visitor(service: RunningService, shop: Holder) -> None:
    """Where the shop's server says who the visitor is, what the page claims does not count."""
    token = shop.widget_token(user="jane")
    ids = [
        page_asks(service, token, SHOP, CHAT, BODY).json()["id"],
        page_asks(service, token, SHOP, CHAT, {**BODY, "user": "joe"}).json()["id"],
        page_asks(service, shop.widget_token(), SHOP, CHAT, {**BODY, "user": "joe"}).json()["id"],
    ]
    with service.records() as records:
        raters = [records.get_completion(name, tenant="acme").rater for name in ids]
    assert raters[0] == raters[1] != raters[2]


def test_a_token_has_a_quota_of_its_own(service: RunningService, shop: Holder) -> None:
    """One page that asks too much hears 429, readable and with a time; other pages and the shop's server go on."""
    token = shop.widget_token()
    answers = [page_asks(service, token, SHOP, CHAT, BODY) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 6 + [429]
    assert answers[-1].headers["access-control-allow-origin"] == SHOP
    assert "retry-after" in answers[-1].headers["access-control-expose-headers"]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert page_asks(service, shop.widget_token(), SHOP, CHAT, BODY).status_code == 200
