"""Cookies of those who sign in: out of reach of scripts, for this host alone, and over TLS but on loopback."""

from typing import NamedTuple

from starlette.requests import HTTPConnection
from starlette.responses import Response

from service.access.sign_in.attempts import ATTEMPT_SECONDS
from service.access.sign_in.sign_in import SignIn

_HOST_PREFIX = "__Host-"
"""With it a browser takes the cookie from this host over TLS only, and from no neighbour under the same domain."""


class Cookie(NamedTuple):
    """A kind of cookie; `seconds` 0: as long as a session."""

    name: str
    seconds: int


ATTEMPT = Cookie("rejoinder-sign-in", ATTEMPT_SECONDS)
SESSION = Cookie("rejoinder-staff", 0)


def read_cookie(connection: HTTPConnection, cookie: Cookie, sign_in: SignIn | None) -> str:
    """What the browser has brought back; "" for nothing."""
    return "" if sign_in is None else connection.cookies.get(_full_name(cookie, sign_in), "")


def set_cookie(response: Response, cookie: Cookie, value: str, sign_in: SignIn) -> None:
    """Lax: the provider's page leads back here, and no other site's form brings it along."""
    response.set_cookie(
        _full_name(cookie, sign_in),
        value,
        max_age=cookie.seconds or sign_in.sessions.seconds,
        path="/",
        secure=sign_in.is_secure,
        httponly=True,
        samesite="lax",
    )


def drop_cookie(response: Response, cookie: Cookie, sign_in: SignIn) -> None:
    """Makes the browser forget it."""
    response.delete_cookie(
        _full_name(cookie, sign_in), path="/", secure=sign_in.is_secure, httponly=True, samesite="lax"
    )


def _full_name(cookie: Cookie, sign_in: SignIn) -> str:
    return f"{_HOST_PREFIX}{cookie.name}" if sign_in.is_secure else cookie.name
