"""Lets nobody near /v1/ who has not shown who they are, and lets pages of named origins read the answers.

Before the body is read, and before any route: a route that forgets to ask who calls still has no strangers.
"""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.access_control import AccessControl, Credentials
from service.access.errors import CrossSiteRequestError, InvalidApiKeyError, RateLimitedError
from service.api.access.cookies import SESSION, read_cookie
from service.api.errors import REFUSED_FOR_NOW, error_response, refusals_of
from service.telemetry import Telemetry

_METHODS = ("POST",)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""What changes nothing (RFC 9110, 9.2.1)."""
_SENT_HEADERS = ("authorization", "content-type", "idempotency-key", "x-request-id")
_READ_HEADERS = ("idempotent-replayed", "retry-after", "x-model-digest", "x-request-id")


class AccessMiddleware:
    """Puts the `caller` into the state of every request to /v1/, or refuses it."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on or refuses it."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        access: AccessControl = scope["state"]["access"]
        origin = Headers(scope=scope).get("origin")
        if origin is None or not access.allows_pages_of(origin):
            await self._admit(scope, receive, send)
            return
        # Outside of `_admit`: a page must be able to read a refusal, and asks beforehand without its token.
        answer = CORSMiddleware(
            self._admit,
            allow_origins=(origin,),
            allow_methods=_METHODS,
            allow_headers=_SENT_HEADERS,
            expose_headers=_READ_HEADERS,
        )
        await answer(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        access: AccessControl = scope["state"]["access"]
        try:
            caller = await access.admit(_credentials(HTTPConnection(scope), access))
        except (InvalidApiKeyError, CrossSiteRequestError, RateLimitedError) as error:
            self._telemetry.refused_callers.labels(error.code).inc()
            response = error_response(error)
            if response.status_code in REFUSED_FOR_NOW:
                refusals_of(scope["app"]).note(error.code)
            await response(scope, receive, send)
            return
        scope["state"]["caller"] = caller
        await self._app(scope, receive, send)


def _credentials(connection: HTTPConnection, access: AccessControl) -> Credentials:
    headers = connection.headers
    return Credentials(
        authorization=headers.get("authorization", ""),
        origin=headers.get("origin"),
        address=connection.client.host if connection.client else "",
        session_cookie=read_cookie(connection, SESSION, access.sign_in),
        fetch_site=headers.get("sec-fetch-site", ""),
        is_safe_method=connection.scope["method"] in SAFE_METHODS,
    )
