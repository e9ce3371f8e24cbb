"""API keys: what one is for, how it is made, and what is kept of it. Where it is kept: `key_store`.

A key is 256 random bits, so one round of SHA-256 hides it for good; a slow hash would let strangers spend our CPU.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from service.access.errors import InvalidApiKeyFieldError

OWN_PREFIX = "rj_"
"""Begins everything that this service gives out to call it with."""
KEY_PREFIX = f"{OWN_PREFIX}live_"
MAX_NAME_CHARS = 100

_KEY_BYTES = 32
_ID_HEX_DIGITS = 16
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ORIGIN = re.compile(r"https?://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Scope(StrEnum):
    """What an API key may be used for; none includes another."""

    CHAT = "chat"
    FEEDBACK = "feedback"
    REVIEW = "review"
    ADMIN = "admin"


BROWSER_SCOPES = frozenset({Scope.CHAT, Scope.FEEDBACK})
"""The most that a widget token can be good for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of a key. `origins` are the web pages that it may issue widget tokens for."""

    id: str
    tenant: str
    name: str
    digest: str
    scopes: frozenset[Scope]
    origins: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None = None


def make_key(tenant: str, name: str, scopes: Iterable[Scope], origins: Iterable[str] = ()) -> tuple[str, ApiKey]:
    """A new key and what to keep of it. Raises InvalidApiKeyFieldError."""
    text = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    given = tuple(dict.fromkeys(map(check_origin, origins)))
    if not _TENANT.fullmatch(tenant):
        raise InvalidApiKeyFieldError(problem="a tenant is named by 1 to 63 small letters, digits and hyphens")
    if not name.isprintable() or len(name) > MAX_NAME_CHARS:
        raise InvalidApiKeyFieldError(problem=f"its name must be one line of at most {MAX_NAME_CHARS} characters")
    if given and Scope.CHAT not in scopes:
        raise InvalidApiKeyFieldError(problem="widget tokens are for chatting, so --origin needs the scope `chat`")
    key = ApiKey(
        id=key_id(text),
        tenant=tenant,
        name=name,
        digest=digest_of(text),
        scopes=frozenset(scopes),
        origins=given,
        created_at=datetime.now(UTC),
    )
    return text, key


def digest_of(key: str) -> str:
    """What is kept of a key: SHA-256, in hex."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def key_id(key: str) -> str:
    """The name of a key that may be shown; made from its digest, so whoever finds a key can find out which it is."""
    return f"key_{digest_of(key)[:_ID_HEX_DIGITS]}"


def check_origin(text: str) -> str:
    """An origin as browsers send it. Raises InvalidApiKeyFieldError for everything else, `*` and `null` included."""
    origin = text.strip().lower().removesuffix("/")
    if not _ORIGIN.fullmatch(origin):
        problem = f"{text!r} is no origin; write scheme, host and port as browsers do: https://shop.example"
        raise InvalidApiKeyFieldError(problem=problem)
    scheme = origin.partition(":")[0]
    return origin.removesuffix(f":{_DEFAULT_PORTS[scheme]}")
