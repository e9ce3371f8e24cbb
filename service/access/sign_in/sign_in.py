"""Sign-in as the routes and the access control see it: begin, finish, who is here, end.

HTTP stays outside: cookies come in as text, and what to answer goes out as values or errors.
"""

import asyncio
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog

from service.access.errors import (
    CrossSiteRequestError,
    ForbiddenError,
    SignInExpiredError,
    SignInRefusedError,
    TooManySignInsError,
)
from service.access.rate_limits import Quota, RateLimits, network_of
from service.access.sign_in.attempts import Attempt, AttemptSigner
from service.access.sign_in.people import Person, Roles
from service.access.sign_in.provider import Provider
from service.access.sign_in.sessions import EndedSessions, Session, SessionSigner
from service.records.store import RecordStore
from service.settings import Settings

_ERROR_CODE = re.compile(r"[a-z_]{1,40}")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """What the provider sends a browser back with, "" for what is missing, and the cookie that came along."""

    state: str
    code: str
    error: str
    issuer: str
    cookie: str
    address: str


@dataclass(frozen=True, slots=True)
class PageProof:
    """What a browser says about the page that asks: the headers Origin and Sec-Fetch-Site, "" where it sends none."""

    origin: str
    fetch_site: str
    is_safe_method: bool


class SignIn:
    """Lets people in by the provider's word. Lives on the event loop."""

    def __init__(self, settings: Settings, secret: str, records: RecordStore, limits: RateLimits) -> None:
        self.origin = settings.oidc_origin or ""
        self.is_secure = self.origin.startswith("https:")
        """Whether cookies may only travel over TLS."""
        issuer, roles = settings.oidc_issuer or "", settings.staff_roles
        tenants = {role.tenant for role in roles.values()}
        self.sessions = SessionSigner(secret, settings.oidc_session_seconds, _what_roles_are_worth(settings))
        self._issuer = issuer
        self._attempts = AttemptSigner(secret)
        self._ended = EndedSessions(records, tenants, settings.oidc_session_seconds)
        self._limits = limits
        self._provider = Provider(settings)
        self._roles = Roles(issuer, settings.oidc_claim, roles, secret)
        self._failures_per_minute = settings.wrong_keys_per_minute

    async def begin(self, page: str) -> tuple[str, str]:
        """Where to send the browser, and the cookie that it has to bring back. Raises ProviderUnavailableError."""
        attempt = Attempt.begin(page)
        return await self._provider.address_for(attempt), self._attempts.sign(attempt)

    async def finish(self, answer: ProviderAnswer) -> tuple[str, str]:
        """A session's cookie, and the page to go to.

        Raises SignInExpiredError, SignInRefusedError, NoRoleError, ProviderUnavailableError, TooManySignInsError or
        RecordStoreUnavailableError.
        """
        failures = Quota(self._failures_per_minute, "sign-in", network_of(answer.address), TooManySignInsError)
        await self._limits.check(failures)
        try:
            attempt = self._attempt_of(answer)
            person = self._roles.person(await self._provider.claims_of(answer.code, attempt))
        except (ForbiddenError, SignInExpiredError):
            await self._limits.spend(failures)
            raise
        await self._ended.begin(person)
        _log.info("signed_in", person=person.id, tenant=person.tenant, scopes=sorted(person.scopes))
        return self.sessions.begin(person), attempt.page

    def session_of(self, cookie: str) -> Session | None:
        """The session that a browser's cookie stands for, if it is not over."""
        session = self.sessions.verify(cookie)
        return None if session is None or session in self._ended else session

    def admit(self, cookie: str, proof: PageProof) -> Person | None:
        """Who is asking; None: nobody who has signed in. Raises CrossSiteRequestError."""
        session = self.session_of(cookie)
        if session is None:
            return None
        self.check_own_page(proof)
        return session.person

    def check_own_page(self, proof: PageProof) -> None:
        """Raises CrossSiteRequestError where another site's page asks, and where something is to be changed and the
        browser does not say whose page it is."""
        is_foreign = proof.origin not in ("", self.origin) or proof.fetch_site in ("cross-site", "same-site")
        is_proven = proof.origin == self.origin or proof.fetch_site == "same-origin"
        if is_foreign or not (is_proven or proof.is_safe_method):
            raise CrossSiteRequestError()

    async def end(self, cookie: str) -> None:
        """Ends a session for good, in every replica. Raises RecordStoreUnavailableError."""
        session = self.session_of(cookie)
        if session is not None:
            await self._ended.end(session)

    @asynccontextmanager
    async def following(self, poll_seconds: float) -> AsyncIterator[None]:
        """Until the block ends, hears of sessions that end elsewhere."""
        await self._ended.poll()
        follower = asyncio.create_task(self._ended.follow(poll_seconds))
        try:
            yield
        finally:
            follower.cancel()
            with suppress(asyncio.CancelledError):
                await follower

    def _attempt_of(self, answer: ProviderAnswer) -> Attempt:
        """The attempt that this answers, if it does and the provider says yes."""
        attempt = self._attempts.verify(answer.cookie)
        if attempt is None or not hmac.compare_digest(attempt.state.encode(), answer.state.encode()):
            raise SignInExpiredError()
        is_other_provider = answer.issuer not in ("", self._issuer)  # RFC 9207
        if answer.error or is_other_provider or not answer.code:
            error = answer.error if _ERROR_CODE.fullmatch(answer.error) else "unusable answer"
            _log.warning("sign_in_refused", problem="the provider sent no code", error=error)
            raise SignInRefusedError()
        return attempt


def _what_roles_are_worth(settings: Settings) -> str:
    """One text that changes when sessions given before must no longer hold."""
    return "\n".join(
        map(str, (settings.oidc_issuer, settings.oidc_client_id, settings.oidc_claim, settings.oidc_roles))
    )
