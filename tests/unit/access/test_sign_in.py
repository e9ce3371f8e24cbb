"""Sign-in by its parts: what a provider is believed, and what a session is worth, for how long, and where."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from service.access.api_keys import Scope
from service.access.errors import ProviderUnavailableError, SignInExpiredError, TooManySignInsError
from service.access.rate_limits import RateLimits
from service.access.sign_in.attempts import Attempt, AttemptSigner, own_page
from service.access.sign_in.people import Person, Roles, person_id
from service.access.sign_in.provider import Provider
from service.access.sign_in.sessions import EndedSessions, SessionSigner
from service.access.sign_in.sign_in import ProviderAnswer, SignIn
from service.api.access.cookies import ATTEMPT, SESSION, set_cookie
from service.records.sql_store import SqlRecordStore
from service.settings import Settings
from service.sign_in_settings import StaffRole
from tests.e2e.openid_provider import CLIENT_ID, OpenIdProvider, run_provider

KIM = Person(id="person_1", name="Kim", tenant="default", scopes=frozenset({Scope.REVIEW}))
SECRET = "a secret that only tests know"


def settings(issuer: str = "https://id.example", **fields: object) -> Settings:
    """Settings with a provider."""
    given: dict[str, object] = {
        "oidc_issuer": issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": "0123456789abcdef",
        "oidc_origin": "https://chat.example",
        "oidc_roles": '{"leads": {"tenant": "default", "scopes": ["review"]}}',
    }
    return Settings.model_validate({**given, **fields})


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    """A real one, of which nothing is known yet."""
    with run_provider("https://chat.example/sign-in/done") as running:
        yield running


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SqlRecordStore]:
    """An empty store."""
    store = SqlRecordStore.open(f"sqlite:///{tmp_path / 'records.db'}")
    yield store
    store.close()


@pytest.mark.parametrize(
    "trouble", [{"is_down": True}, {"delay_seconds": 0.6}, {"names_itself": "https://other.example"}], ids=str
)
def test_a_provider_that_cannot_be_asked_is_named_in_time(
    provider: OpenIdProvider, trouble: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down, slow, or another than the one that was named: an error of ours; asked again later, it may be well."""
    asked = Provider(settings(provider.url, oidc_timeout_seconds=0.3))
    with monkeypatch.context() as patch:
        for name, value in trouble.items():
            patch.setattr(provider, name, value)
        with pytest.raises(ProviderUnavailableError):
            asyncio.run(asked.address_for(Attempt.begin("")))
    address = asyncio.run(Provider(settings(provider.url)).address_for(Attempt.begin("")))
    assert address.startswith(f"{provider.url}/authorize?")


def test_an_address_without_a_provider_is_named(provider: OpenIdProvider) -> None:
    """Nobody listens there, or nothing there speaks OpenID Connect."""
    for issuer in ("http://127.0.0.1:9", f"{provider.url}/nothing"):
        with pytest.raises(ProviderUnavailableError):
            asyncio.run(Provider(settings(issuer)).address_for(Attempt.begin("")))


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("groups", {"groups": ["leads"]}),
        ("realm_access.roles", {"realm_access": {"roles": ["leads", "offline_access"]}}),
        ("https://shop.example/roles", {"https://shop.example/roles": "leads"}),
    ],
)
def test_a_claim_may_lie_within_another(claim: str, claims: dict[str, Any]) -> None:
    """By its name as it stands, or by a path of names."""
    roles = Roles("https://id.example", claim, {"leads": StaffRole(tenant="acme", scopes={"admin"})}, SECRET)  # type: ignore[arg-type]
    person = roles.person({"sub": "1", "preferred_username": "kim\nx", "email": "kim@shop.example", **claims})
    assert (person.tenant, person.scopes, person.name) == ("acme", frozenset({Scope.ADMIN}), "kim@shop.example")


def test_a_person_is_told_from_others_by_provider_subject_and_secret() -> None:
    """The same again gives the same id; anything else another one."""
    names = [("https://a.example", "1", "s"), ("https://b.example", "1", "s"), ("https://a.example", "2", "s")]
    ids = {person_id(*name) for name in [*names, *names, ("https://a.example", "1", "t")]}
    assert len(ids) == 4 and all(text.startswith("person_") for text in ids)


def test_a_session_ends_with_its_time_its_roles_or_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A genuine one says who, what and until when; changed by a letter, or under other roles, it says nothing."""
    signer = SessionSigner(SECRET, 600, "roles")
    text = signer.begin(KIM)
    session = signer.verify(text)
    assert session is not None and session.person == KIM
    assert 595 < session.ends_at.timestamp() - time.time() <= 600
    assert SessionSigner(SECRET, 600, "other roles").verify(text) is None
    assert SessionSigner("another secret", 600, "roles").verify(text) is None
    assert AttemptSigner(SECRET).verify(text) is None
    assert [signer.verify(forged) for forged in ("", "x", "é", text[:-1], "A" + text[1:])] == [None] * 5
    now = time.time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 602)
    assert signer.verify(text) is None


def test_a_sign_in_under_way_ends_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then its browser may bring it back."""
    signer = AttemptSigner(SECRET)
    attempt = Attempt.begin("/models")
    text = signer.sign(attempt)
    assert signer.verify(text) == attempt and attempt.page == "/models"
    now = time.time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 602)
    assert signer.verify(text) is None


def test_every_replica_hears_of_a_session_that_ended(records: SqlRecordStore) -> None:
    """At once where it ended, by the audit elsewhere; that of another tenant or from long ago is not looked for."""
    signer = SessionSigner(SECRET, 600, "roles")
    session, other = signer.verify(signer.begin(KIM)), signer.verify(signer.begin(KIM))
    assert session is not None and other is not None
    here, elsewhere = (EndedSessions(records, {"default", "acme"}, 600) for _ in range(2))
    acmes, late = EndedSessions(records, {"acme"}, 600), EndedSessions(records, {"default"}, 0)

    async def end() -> None:
        await here.end(session)
        assert session in here and session not in elsewhere
        for replica in (here, elsewhere, acmes, late):
            await replica.poll()

    asyncio.run(end())
    assert session in here and session in elsewhere and other not in here and other not in elsewhere
    assert session not in acmes and session not in late


def test_who_fails_to_sign_in_again_and_again_has_to_wait(records: SqlRecordStore) -> None:
    """By address; nobody else waits."""
    sign_in = SignIn(settings(wrong_keys_per_minute=2), SECRET, records, RateLimits())

    def fail(address: str) -> type[Exception]:
        answer = ProviderAnswer(state="x", code="x", error="", issuer="", cookie="", address=address)
        with pytest.raises((SignInExpiredError, TooManySignInsError)) as refused:
            asyncio.run(sign_in.finish(answer))
        return refused.type

    kinds = [fail("192.0.2.1") for _ in range(3)]
    assert kinds == [SignInExpiredError, SignInExpiredError, TooManySignInsError]
    assert fail("192.0.2.2") is SignInExpiredError


@pytest.mark.parametrize("cookie", [ATTEMPT, SESSION])
def test_off_loopback_cookies_travel_over_tls_only(records: SqlRecordStore, cookie: Any) -> None:
    """And belong to this host alone."""
    response = Response()
    set_cookie(response, cookie, "x", SignIn(settings(), SECRET, records, RateLimits()))
    text = response.headers["set-cookie"]
    assert text.startswith(f"__Host-{cookie.name}=x;")
    assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in text.split(";")}


@pytest.mark.parametrize("page", ["/review", "/review/pairs", "/models?x=1", "/insights?days=30&tenant=a%20b"])
def test_the_staffs_pages_are_come_back_to(page: str) -> None:
    """With their query."""
    assert own_page(page) == page
