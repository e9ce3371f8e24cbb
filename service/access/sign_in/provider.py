"""The OpenID provider: where it sends people who sign in, and who it says that they are (OpenID Connect Core, 3.1).

It is asked when somebody signs in, never at the start, and each time within a timeout. Authlib's client and joserfc's
keys, but not Authlib's Starlette integration: that keeps one session for all pages, takes every algorithm which the
provider lists, does not look at the audience, and never asks again what the provider says about itself.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import structlog
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, KeySet
from pydantic import BaseModel

from service.access.errors import ProviderUnavailableError, SignInRefusedError
from service.access.sign_in.attempts import Attempt
from service.access.sign_in.id_token import IdTokenCheck
from service.addresses import is_safe_transport, is_web_address
from service.settings import Settings

CALLBACK_PATH = "/sign-in/done"
_DISCOVERY_PATH = "/.well-known/openid-configuration"
_KEEP_SECONDS = 3600.0
"""For how long is believed what the provider says about itself; its keys are fetched anew when an unknown one signs."""

_log = structlog.get_logger(__name__)


class _Metadata(BaseModel):
    """What is used of OpenID Connect Discovery 1.0, section 3."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)

    @property
    def auth_method(self) -> str:
        """How this service proves itself."""
        offered = self.token_endpoint_auth_methods_supported
        return "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"


class _Keys(BaseModel):
    """A JWK Set (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]


@dataclass(slots=True)
class _Known:
    """What the provider has said about itself, and when."""

    metadata: _Metadata
    asked_at: float
    keys: KeySet | None = None


class Provider:
    """One provider as the settings name it. Lives on the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.oidc_issuer or ""
        self._redirect_uri = f"{settings.oidc_origin}{CALLBACK_PATH}"
        self._scopes = settings.oidc_scopes
        self._client_id = settings.oidc_client_id or ""
        self._secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else ""
        self._timeout_seconds = settings.oidc_timeout_seconds
        self._tls = ssl.create_default_context()
        self._known: _Known | None = None

    async def address_for(self, attempt: Attempt) -> str:
        """Where to send the browser. Raises ProviderUnavailableError."""
        async with self._asking() as client:
            metadata = (await self._know(client)).metadata
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint,
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.code_verifier,
            )
        return str(url)

    async def claims_of(self, code: str, attempt: Attempt) -> Mapping[str, Any]:
        """The claims of the ID token that a code is worth. Raises ProviderUnavailableError or SignInRefusedError."""
        async with self._asking() as client:
            known = await self._know(client)
            client.token_endpoint_auth_method = known.metadata.auth_method
            token = await client.fetch_token(
                known.metadata.token_endpoint,
                grant_type="authorization_code",
                code=code,
                code_verifier=attempt.code_verifier,
                redirect_uri=self._redirect_uri,
            )
            check = IdTokenCheck(token, issuer=self._issuer, client_id=self._client_id, nonce=attempt.nonce)
            if known.keys is None or not check.is_signed_by(known.keys):
                known.keys = await self._fetch_keys(client, known.metadata)
            return check.claims(known.keys)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[AsyncOAuth2Client]:
        """A client for the time of one question; whatever goes wrong with the provider becomes an error of ours."""
        try:
            async with asyncio.timeout(self._timeout_seconds), self._client() as client:
                yield client
        except OAuthError as error:  # its description is the provider's, and may repeat what we sent
            _log.warning("sign_in_refused", problem="the provider refused the code", error=str(error.error)[:40])
            raise SignInRefusedError() from error
        except JoseError as error:
            _log.warning("sign_in_refused", problem="the ID token is not valid", error=error.error)
            raise SignInRefusedError() from error
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            problem = "its answer cannot be used" if isinstance(error, ValueError) else type(error).__name__
            _log.error("identity_provider_unavailable", problem=problem)
            raise ProviderUnavailableError() from error

    def _client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self._client_id,
            client_secret=self._secret,
            scope=self._scopes,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            verify=self._tls,
            timeout=self._timeout_seconds,
            follow_redirects=False,
            trust_env=False,
        )

    async def _know(self, client: AsyncOAuth2Client) -> _Known:
        if self._known is None or time.monotonic() - self._known.asked_at > _KEEP_SECONDS:
            metadata = _Metadata.model_validate(await _get(client, self._issuer.rstrip("/") + _DISCOVERY_PATH))
            self._check(metadata)
            self._known = _Known(metadata, time.monotonic())
        return self._known

    def _check(self, metadata: _Metadata) -> None:
        """Raises ValueError for a provider that is another, or that secrets would reach in the clear."""
        if metadata.issuer != self._issuer:
            raise ValueError("it calls itself by another name")
        for url in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
            if not (is_web_address(url) and is_safe_transport(url)):
                raise ValueError("it names an address that is not https")

    async def _fetch_keys(self, client: AsyncOAuth2Client, metadata: _Metadata) -> KeySet:
        document = _Keys.model_validate(await _get(client, metadata.jwks_uri))
        keys = []
        for entry in document.keys:
            with suppress(JoseError, ValueError):  # of a kind that is not known here, beside those that are
                keys.append(JWKRegistry.import_key(entry))
        return KeySet(keys)


async def _get(client: AsyncOAuth2Client, url: str) -> Any:
    """JSON from the provider, without any credential of ours."""
    response = await client.request("GET", url, withhold_token=True, headers={"accept": "application/json"})
    response.raise_for_status()
    return response.json()
