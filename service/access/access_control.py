"""Who a caller is, and whether this request is still within what the caller may ask for.

Decisions only: headers come in as text, errors go out as exceptions. What each route asks of its callers stands at the
route (`service.api.access`).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from service.access.api_keys import BROWSER_SCOPES, OWN_PREFIX, ApiKey, Scope, check_origin, digest_of
from service.access.errors import InvalidApiKeyError, OriginNotAllowedError, TooManyWrongKeysError
from service.access.key_ring import KeyRing
from service.access.key_store import KeyStore
from service.access.rate_limits import Quota, RateLimits, network_of
from service.access.sign_in.sign_in import PageProof, SignIn
from service.access.widget_tokens import WidgetTokenSigner
from service.records.store import DEFAULT_TENANT, RecordStore
from service.settings import Settings

_OPERATOR = "operator"
_MIN_SURE_CHARS = 32
"""A key of this length is not found by trying; what the operator chooses may be shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `token_id` is set for a browser with a widget token, `user` where its issuer knew for whom."""

    tenant: str
    key_id: str
    """The API key's id; of a person who has signed in, theirs."""
    scopes: frozenset[Scope]
    is_person: bool = False
    token_id: str | None = None
    user: str | None = None
    origin: str | None = None
    """The web page's, for a browser."""

    @property
    def is_browser(self) -> bool:
        """Whether a web page asks, rather than a program that can keep a key."""
        return self.token_id is not None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says about its caller: headers, its address, and the cookie of a person who has signed in."""

    authorization: str
    origin: str | None
    address: str
    session_cookie: str = ""
    fetch_site: str = ""
    is_safe_method: bool = True


class AccessControl:
    """Lets callers in and keeps count of them. Lives on the event loop."""

    def __init__(
        self,
        settings: Settings,
        ring: KeyRing,
        signer: WidgetTokenSigner,
        limits: RateLimits,
        sign_in: SignIn | None = None,
    ) -> None:
        self.sign_in = sign_in
        """None where people have API keys only."""
        self._settings = settings
        self._is_keyless = settings.is_keyless
        self._ring = ring
        self._signer = signer
        self._limits = limits

    def allows_pages_of(self, origin: str | None) -> bool:
        """Whether any key may issue widget tokens for this origin."""
        return origin in self._ring.origins

    async def admit(self, credentials: Credentials) -> Caller:
        """The caller; a key goes before a sign-in.

        Raises InvalidApiKeyError, RateLimitedError or CrossSiteRequestError.
        """
        given = _bearer(credentials.authorization)
        if self._is_keyless and not given.startswith(OWN_PREFIX):
            return Caller(tenant=DEFAULT_TENANT, key_id=_OPERATOR, scopes=frozenset(Scope))
        caller = self._identify(given, credentials.origin) if given else self._person(credentials)
        if caller is None:
            if given:
                await self._limits.spend(self._wrong_keys(credentials.address))
            raise InvalidApiKeyError()
        if caller.key_id == _OPERATOR and len(given) < _MIN_SURE_CHARS:
            # Whoever guesses has to be kept out even with the right one. Keys that nobody can guess are never kept out:
            # a neighbour behind the same address must not be able to do that.
            await self._limits.check(self._wrong_keys(credentials.address))
        for quota in self._quotas(caller):
            await self._limits.spend(quota)
        return caller

    def admit_at_once(self, credentials: Credentials, scope: Scope) -> Caller | None:
        """The caller whom `admit` lets in, counted as there, where that is told without waiting; None: ask `admit`.

        None for whoever would be refused or may not do this, for people who have signed in, for web pages, for the
        operator's short key, and where replicas count together. Then nothing was counted.
        """
        given = _bearer(credentials.authorization)
        if self._is_keyless and not given.startswith(OWN_PREFIX):
            return Caller(tenant=DEFAULT_TENANT, key_id=_OPERATOR, scopes=frozenset(Scope))
        caller = self._identify(given, credentials.origin) if given else None
        if caller is None or caller.is_browser or scope not in caller.scopes:
            return None
        if caller.key_id == _OPERATOR and len(given) < _MIN_SURE_CHARS:
            return None
        return caller if self._limits.spend_at_once(self._quotas(caller)) else None

    def issue_widget_token(self, caller: Caller, origin: str, user: str | None) -> tuple[str, int]:
        """A token for a page of this origin, and for how many seconds it is good. Raises OriginNotAllowedError."""
        key = self._ring.get(caller.key_id)
        if key is None or origin not in key.origins:
            raise OriginNotAllowedError()
        return self._signer.issue(key.id, origin, user), self._signer.max_age_seconds

    def _identify(self, given: str, origin: str | None) -> Caller | None:
        key = self._ring.find(given)
        if key is not None:
            return Caller(tenant=key.tenant, key_id=key.id, scopes=key.scopes)
        claim = self._signer.verify(given)
        key = self._ring.get(claim.key_id) if claim else None
        if claim is None or key is None or claim.origin != origin:
            return None
        return Caller(
            tenant=key.tenant,
            key_id=key.id,
            scopes=key.scopes & BROWSER_SCOPES,
            token_id=claim.token_id,
            user=claim.user,
            origin=claim.origin,
        )

    def _person(self, credentials: Credentials) -> Caller | None:
        """Raises CrossSiteRequestError."""
        if self.sign_in is None:
            return None
        proof = PageProof(credentials.origin or "", credentials.fetch_site, credentials.is_safe_method)
        person = self.sign_in.admit(credentials.session_cookie, proof)
        if person is None:
            return None
        return Caller(tenant=person.tenant, key_id=person.id, scopes=person.scopes, is_person=True)

    def _quotas(self, caller: Caller) -> list[Quota]:
        """The narrowest first: what one page asks too much is not taken from the others."""
        settings = self._settings
        shared = [
            Quota(settings.key_requests_per_minute, "key", caller.key_id),
            Quota(settings.tenant_requests_per_minute, "tenant", caller.tenant),
        ]
        if caller.token_id is None:
            return shared
        return [Quota(settings.widget_requests_per_minute, "widget", caller.token_id), *shared]

    def _wrong_keys(self, address: str) -> Quota:
        return Quota(self._settings.wrong_keys_per_minute, "wrong-keys", network_of(address), TooManyWrongKeysError)


def operator_keys(settings: Settings) -> tuple[ApiKey, ...]:
    """SERVICE_API_KEY as a key of the default tenant that may do everything. Raises InvalidApiKeyFieldError."""
    origins = tuple(check_origin(origin) for origin in settings.widget_origins.replace(",", " ").split())
    if settings.api_key is None:
        return ()
    key = ApiKey(
        id=_OPERATOR,
        tenant=DEFAULT_TENANT,
        name="SERVICE_API_KEY",
        digest=digest_of(settings.api_key.get_secret_value()),
        scopes=frozenset(Scope),
        origins=origins,
        created_at=datetime.now(UTC),
    )
    return (key,)


@asynccontextmanager
async def open_access(settings: Settings, secret: str, records: RecordStore) -> AsyncIterator[AccessControl]:
    """Access control that follows the keys in the database, whose tables must be there, until the block ends."""
    store = KeyStore.open_reader(settings.records_url)
    ring = KeyRing(store, operator_keys(settings))
    await ring.poll()
    follower = asyncio.create_task(ring.follow(settings.poll_seconds))
    url = settings.rate_limit_url.get_secret_value() if settings.rate_limit_url else None
    signer, limits = WidgetTokenSigner(secret, settings.widget_token_seconds), RateLimits(url)
    sign_in = SignIn(settings, secret, records, limits) if settings.has_sign_in else None
    try:
        async with sign_in.following(settings.poll_seconds) if sign_in else nullcontext():
            yield AccessControl(settings, ring, signer, limits, sign_in)
    finally:
        follower.cancel()
        with suppress(asyncio.CancelledError):
            await follower
        await asyncio.to_thread(store.close)


def _bearer(authorization: str) -> str:
    """The credential, or nothing. RFC 9110: the scheme's case does not matter."""
    scheme, _, given = authorization.partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""
