"""Who a caller is, and whether this request is still within what the caller may ask for.

Decisions only: headers come in as text, errors go out as exceptions. What each route asks of its callers stands at the
route (`service.api.access`).
"""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from service.access.api_keys import BROWSER_SCOPES, OWN_PREFIX, ApiKey, Scope, check_origin, digest_of
from service.access.errors import InvalidApiKeyError, OriginNotAllowedError, TooManyWrongKeysError
from service.access.key_ring import KeyRing
from service.access.key_store import KeyStore
from service.access.rate_limits import Quota, RateLimits
from service.access.widget_tokens import WidgetTokenSigner
from service.records.store import DEFAULT_TENANT
from service.settings import Settings

_OPERATOR = "operator"
_MIN_SURE_CHARS = 32
"""A key of this length is not found by trying; what the operator chooses may be shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `token_id` is set for a browser with a widget token, `user` where its issuer knew for whom."""

    tenant: str
    key_id: str
    scopes: frozenset[Scope]
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
    """What a request says about its caller: two headers, and the address that it comes from."""

    authorization: str
    origin: str | None
    address: str


class AccessControl:
    """Lets callers in and keeps count of them. Lives on the event loop."""

    def __init__(self, settings: Settings, ring: KeyRing, signer: WidgetTokenSigner, limits: RateLimits) -> None:
        self._settings = settings
        self._ring = ring
        self._signer = signer
        self._limits = limits

    def allows_pages_of(self, origin: str | None) -> bool:
        """Whether any key may issue widget tokens for this origin."""
        return origin in self._ring.origins

    async def admit(self, credentials: Credentials) -> Caller:
        """The caller. Raises InvalidApiKeyError or RateLimitedError."""
        given = _bearer(credentials.authorization)
        if self._settings.is_keyless and not given.startswith(OWN_PREFIX):
            return Caller(tenant=DEFAULT_TENANT, key_id=_OPERATOR, scopes=frozenset(Scope))
        caller = self._identify(given, credentials.origin)
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
        return Quota(self._settings.wrong_keys_per_minute, "wrong-keys", _network(address), TooManyWrongKeysError)


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
async def open_access(settings: Settings, secret: str) -> AsyncIterator[AccessControl]:
    """Access control that follows the keys in the database, whose tables must be there, until the block ends."""
    store = KeyStore.open_reader(settings.records_url)
    ring = KeyRing(store, operator_keys(settings))
    await ring.poll()
    follower = asyncio.create_task(ring.follow(settings.poll_seconds))
    url = settings.rate_limit_url.get_secret_value() if settings.rate_limit_url else None
    signer = WidgetTokenSigner(secret, settings.widget_token_seconds)
    try:
        yield AccessControl(settings, ring, signer, RateLimits(url))
    finally:
        follower.cancel()
        with suppress(asyncio.CancelledError):
            await follower
        await asyncio.to_thread(store.close)


def _bearer(authorization: str) -> str:
    """The credential, or nothing. RFC 9110: the scheme's case does not matter."""
    scheme, _, given = authorization.partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _network(address: str) -> str:
    """What one guesser can call from: an address, or a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if parsed.version == 6:
        parsed = parsed.ipv4_mapped or ipaddress.ip_network((int(parsed), 64), strict=False).network_address
    return str(parsed)
