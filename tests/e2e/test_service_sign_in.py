"""Sign-in of the staff: the whole way through a real provider, all that must let nobody in, and out again."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from service.access.sign_in.attempts import STAFF_PAGES
from service.access.sign_in.people import person_id
from tests.contract.fake_engine import FakeEngines
from tests.e2e.access_callers import give_key
from tests.e2e.openid_provider import CLIENT_ID, OpenIdProvider, new_key
from tests.e2e.running_service import FEEDBACK_SECRET, RunningService, say_hello
from tests.e2e.signing_in import Visitor, run_with_sign_in

_AUDITED = ("access.sign_in", "access.sign_out", "review.rate")
Running = tuple[RunningService, OpenIdProvider]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that has started without asking its provider anything."""
    with run_with_sign_in(
        tmp_path_factory.mktemp("sign-in"),
        FakeEngines(say_hello),
        wrong_keys_per_minute=10_000,
    ) as (service, provider):
        assert provider.num_asked == {}
        yield service, provider


@pytest.fixture
def service(running: Running) -> RunningService:
    """The service."""
    return running[0]


@pytest.fixture
def provider(running: Running) -> Iterator[OpenIdProvider]:
    """The provider, which is honest again after each test."""
    honest = OpenIdProvider(key=running[1].key)
    yield running[1]
    for name in ("claims", "lie", "key", "algorithm", "published", "names_itself", "delay_seconds", "is_down"):
        setattr(running[1], name, getattr(honest, name))


@pytest.fixture
def visitor(service: RunningService) -> Visitor:
    """Somebody with a browser."""
    return Visitor(service.url)


def person(visitor: Visitor) -> dict[str, Any] | None:
    """Who the service says that this browser's person is."""
    found: dict[str, Any] | None = visitor.http.get("/sign-in/session").json()["person"]
    return found


def assert_refused(answer: httpx2.Response, status: int, visitor: Visitor, words: str) -> None:
    """A page for people says why, and nobody is signed in."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), answer.text
    assert words in answer.text and "{problem}" not in answer.text
    assert person(visitor) is None
    assert visitor.http.get("/v1/model-versions").status_code == 401


def test_a_person_signs_in_and_is_the_staff(provider: OpenIdProvider, visitor: Visitor) -> None:
    """Out to the provider, back to the page with its query; the cookie is out of scripts' reach and ends by itself."""
    assert visitor.http.get("/v1/model-versions").status_code == 401
    answer = visitor.sign_in("/review?view=all")
    assert (answer.status_code, answer.headers["location"]) == (303, "/review?view=all")
    kept = next(text for text in answer.headers.get_list("set-cookie") if text.startswith("rejoinder-staff="))
    attributes = {part.strip().lower() for part in kept.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", "max-age=28800"} <= attributes and "secure" not in attributes
    me = person(visitor)
    assert me is not None
    who = person_id(provider.url, "kim-1", FEEDBACK_SECRET)
    assert (me["id"], me["name"], me["tenant"], me["scopes"]) == (who, "Kim", "default", ["admin", "review"])
    assert visitor.http.get("/v1/model-versions").json()["can_move"] is True
    assert [visitor.http.get(path).status_code for path in STAFF_PAGES] == [200] * len(STAFF_PAGES)
    refusal = visitor.http.post("/v1/chat/completions", json={}, headers=visitor.own_page)
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (403, "missing_scope")


def forge(provider: OpenIdProvider) -> None:
    """Somebody else signs, under the name of the provider's key."""
    provider.key = new_key(str(provider.key.kid))


def sign_nothing(provider: OpenIdProvider) -> None:
    """No signature at all."""
    provider.algorithm = "none"


def sign_with_the_public_key(provider: OpenIdProvider) -> None:
    """HMAC, keyed with what everybody can read."""
    provider.algorithm = "HS256"


def claiming(**claims: object) -> Callable[[OpenIdProvider], None]:
    """A token whose claims differ; None leaves one out."""

    def change(said: dict[str, Any]) -> None:
        said.update(claims)
        for name, value in claims.items():
            if value is None:
                del said[name]

    return lambda provider: setattr(provider, "lie", change)


FORGERIES = {
    "forged": forge,
    "unsigned": sign_nothing,
    "hmac": sign_with_the_public_key,
    "issuer": claiming(iss="https://other.example"),
    "audience": claiming(aud="another-client"),
    "audience with azp": claiming(aud="another-client", azp=CLIENT_ID),
    "no audience": claiming(aud=None),
    "azp": claiming(aud=[CLIENT_ID, "another-client"], azp="another-client"),
    "expired": claiming(exp=int(time.time()) - 120),
    "never expires": claiming(exp=None),
    "of the future": claiming(iat=int(time.time()) + 3600),
    "nonce": claiming(nonce="of another sign-in"),
    "no nonce": claiming(nonce=None),
    "nobody": claiming(sub=None),
    "empty": claiming(sub=""),
    "malformed": claiming(exp="tomorrow"),
}


@pytest.mark.parametrize("lie", FORGERIES.values(), ids=FORGERIES)
def test_a_token_that_is_not_as_it_must_be_lets_nobody_in(
    provider: OpenIdProvider, visitor: Visitor, lie: Callable[[OpenIdProvider], None]
) -> None:
    """Signature, algorithm, issuer, audience, times, nonce and subject are each looked at."""
    lie(provider)
    assert_refused(visitor.sign_in(), 403, visitor, "did not confirm who you are")


def test_the_provider_may_change_its_keys(provider: OpenIdProvider, visitor: Visitor) -> None:
    """A key that is not known yet is looked up once; one that is known is not looked up again."""
    assert visitor.sign_in().status_code == 303
    provider.rotate("second")
    before = provider.num_asked["/keys"]
    assert [visitor.sign_in().status_code for _ in range(2)] == [303, 303]
    assert provider.num_asked["/keys"] == before + 1


def test_an_answer_is_good_for_the_browser_that_asked_and_once(service: RunningService, visitor: Visitor) -> None:
    """In another browser, with another state, or a second time it is nothing; and neither is the provider's no."""
    address = visitor.go_to_provider()
    for stranger in (Visitor(service.url), Visitor(service.url)):
        assert_refused(stranger.come_back(address), 400, stranger, "in another browser")
        stranger.go_to_provider()  # has a cookie now, of another attempt
        assert_refused(stranger.come_back(address), 400, stranger, "in another browser")
    assert visitor.come_back(address).status_code == 303
    visitor.http.post("/sign-in/end", headers=visitor.own_page)
    assert_refused(visitor.come_back(address), 400, visitor, "too long ago")
    state = visitor.go_to_provider().partition("state=")[2].partition("&")[0]
    no = visitor.http.get("/sign-in/done", params={"error": "access_denied", "state": state})
    assert_refused(no, 403, visitor, "did not confirm")
    assert_refused(visitor.come_back(visitor.go_to_provider().replace("code=", "code=x")), 403, visitor, "not confirm")
    assert_refused(visitor.come_back(visitor.go_to_provider().replace("iss=", "iss=x")), 403, visitor, "not confirm")


@pytest.mark.parametrize(
    ("groups", "tenant", "scopes"),
    [
        (["clerks"], "default", ["review"]),
        (["others", "clerks", "leads"], "default", ["admin", "review"]),
        ("acme-clerks", "acme", ["review"]),
        (["acme-clerks", "clerks"], "default", ["review"]),
        (["Clerks", "lead"], None, None),
        ([{"name": "clerks"}, 7, None], None, None),
        ({"clerks": True}, None, None),
        (None, None, None),
    ],
)
def test_roles_say_what_a_person_may_do(
    provider: OpenIdProvider, visitor: Visitor, groups: object, tenant: str | None, scopes: list[str] | None
) -> None:
    """The first one in the operator's order names the tenant, all of that tenant add up; without one nobody gets in."""
    provider.claims = {"sub": "kim-1", "groups": groups}
    answer = visitor.sign_in()
    if tenant is None:
        assert_refused(answer, 403, visitor, "have no role here")
        return
    me = person(visitor)
    assert me is not None and (me["tenant"], me["scopes"]) == (tenant, scopes)
    assert visitor.http.get("/v1/model-versions").json()["can_move"] is ("admin" in me["scopes"])
    move = visitor.http.post("/v1/model-versions/moves", json={}, headers=visitor.own_page)
    assert (move.status_code == 403) is ("admin" not in me["scopes"])


def test_other_sites_cannot_use_a_sign_in(service: RunningService, visitor: Visitor) -> None:
    """What changes something needs the browser's word that our own page asks; a foreign page gets no answer at all."""
    visitor.sign_in()
    foreign = "https://evil.example"
    for headers in (
        {},
        {"origin": foreign},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-site", "origin": service.url},
        {"sec-fetch-site": "same-origin", "origin": foreign},
    ):
        for path in ("/v1/model-versions/moves", "/sign-in/end"):
            refusal = visitor.http.post(path, json={}, headers=headers)
            assert (refusal.status_code, refusal.json()["error"]["code"]) == (403, "cross_site_request"), headers
    for headers in ({"origin": service.url}, {"sec-fetch-site": "same-origin"}):
        assert visitor.http.post("/v1/model-versions/moves", json={}, headers=headers).status_code == 400
    reads = [
        visitor.http.get("/v1/model-versions", headers={"sec-fetch-site": site}) for site in ("cross-site", "none")
    ]
    assert [answer.status_code for answer in reads] == [403, 200]
    assert person(visitor) is not None


def test_a_key_goes_before_a_sign_in(service: RunningService, visitor: Visitor) -> None:
    """With a key in the request it is the key that asks, from wherever; a wrong key is not mended by a cookie."""
    visitor.sign_in()
    holder = give_key(service, "acme")
    with_key = {"authorization": f"Bearer {holder.text}", "origin": "https://evil.example"}
    assert visitor.http.get("/v1/model-versions", headers=with_key).json()["can_move"] is False
    assert visitor.http.post("/v1/model-versions/moves", json={}, headers=with_key).status_code == 400
    wrong = {"authorization": "Bearer rj_live_" + "A" * 43, **visitor.own_page}
    assert visitor.http.get("/v1/model-versions", headers=wrong).status_code == 401


def test_who_signs_out_is_out(service: RunningService, visitor: Visitor) -> None:
    """So is a copy of the cookie; another session goes on."""
    visitor.sign_in()
    thief, colleague = Visitor(service.url), Visitor(service.url)
    thief.http.cookies.update(visitor.http.cookies)
    colleague.sign_in()
    assert thief.http.get("/v1/model-versions").status_code == 200
    answer = visitor.http.post("/sign-in/end", headers=visitor.own_page)
    assert answer.status_code == 204 and 'rejoinder-staff=""' in answer.headers["set-cookie"]
    answers = [browser.http.get("/v1/model-versions") for browser in (visitor, thief, colleague)]
    assert [answer.status_code for answer in answers] == [401, 401, 200]


def test_people_are_kept_by_an_id_alone(service: RunningService, provider: OpenIdProvider, visitor: Visitor) -> None:
    """The audit and a rating name the person by a digest; subject, name and address stand nowhere in the records."""
    provider.claims = {"sub": "subject-of-lee", "name": "Lee Example", "email": "lee@shop.example", "groups": "clerks"}
    visitor.sign_in()
    reply = give_key(service, "default").complete()
    path = f"/v1/review/completions/{reply['id']}/feedback"
    assert visitor.http.post(path, json={"rating": "up"}, headers=visitor.own_page).status_code == 200
    visitor.http.post("/sign-in/end", headers=visitor.own_page)
    who = person_id(provider.url, "subject-of-lee", FEEDBACK_SECRET)
    with service.records() as records:
        events = records.list_audit(_AUDITED, limit=3)
    assert [(event.actor, event.action) for event in reversed(events)] == [
        (who, "access.sign_in"),
        (who, "review.rate"),
        (who, "access.sign_out"),
    ]
    stored = b"".join(path.read_bytes() for path in service.settings.data_dir.glob("rejoinder.db*"))
    assert who.encode() in stored
    assert not [text for text in (b"subject-of-lee", b"Lee Example", b"lee@shop") if text in stored]


@pytest.mark.parametrize(
    "to",
    ["https://evil.example/review", "//evil.example", "/\\evil.example", "/v1/models", "/review/../..", "javascript:x",
     "/review#x", "/review?a=\r\nset-cookie: x=y", "/review@evil.example", "http://[", ""],
)  # fmt: skip
def test_a_sign_in_ends_on_our_own_pages(visitor: Visitor, to: str) -> None:
    """Whatever else is asked for, it is the review page."""
    location = visitor.sign_in(to).headers["location"]
    assert location == "/review"


def test_without_the_provider_nobody_signs_in(
    service: RunningService, provider: OpenIdProvider, visitor: Visitor
) -> None:
    """A page says so; those who are in stay in, and afterwards all is well again."""
    inside = Visitor(service.url)
    inside.sign_in()
    address = visitor.go_to_provider()
    provider.is_down = True
    answer = visitor.come_back(address)
    assert answer.headers["retry-after"] == "10"
    assert_refused(answer, 503, visitor, "cannot be asked now")
    assert inside.http.get("/v1/model-versions").status_code == 200
    provider.is_down = False
    assert visitor.sign_in().status_code == 303
    assert service.metric("rejoinder_sign_ins_total")['{outcome="identity_provider_unavailable"}'] >= 1
