"""A sign-in under way: what ties the provider's answer to the browser that asked, and to the page to come back to.

Kept by that browser alone, signed and for ten minutes, so that any replica can end what another one began.
"""

import secrets
from dataclasses import astuple, dataclass
from urllib.parse import urlsplit

from itsdangerous import BadData

from service.signed_texts import timed_serializer

STAFF_PAGES = ("/review", "/review/pairs", "/review/ratings", "/models", "/insights")
"""Where a sign-in may end, and nowhere else; the first one where nothing else is asked for."""
ATTEMPT_SECONDS = 600
_SALT = "rejoinder.sign-in"
_SECRET_BYTES = 32
_MAX_QUERY_CHARS = 1000


@dataclass(frozen=True, slots=True)
class Attempt:
    """Secrets of one sign-in: `state` against foreign answers, `nonce` against old tokens, the verifier of PKCE."""

    state: str
    nonce: str
    code_verifier: str
    page: str

    @classmethod
    def begin(cls, page: str) -> "Attempt":
        """A new one, which comes back to this page if it is one of the staff's."""
        state, nonce, verifier = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3))
        return cls(state, nonce, verifier, own_page(page))


class AttemptSigner:
    """Turns attempts into cookies and back (HMAC-SHA-256)."""

    def __init__(self, secret: str) -> None:
        self._serializer = timed_serializer(secret, salt=_SALT)

    def sign(self, attempt: Attempt) -> str:
        """ASCII, fit for a cookie."""
        return str(self._serializer.dumps(list(astuple(attempt))))

    def verify(self, text: str) -> Attempt | None:
        """The attempt of a genuine cookie; None for any other, and for one of more than `ATTEMPT_SECONDS`."""
        try:
            return Attempt(*self._serializer.loads(text, max_age=ATTEMPT_SECONDS))
        except (BadData, ValueError):
            return None


def own_page(address: str) -> str:
    """The staff's page at this address with its query; for anything else, wherever it leads, the first one."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return STAFF_PAGES[0]
    is_own = not (parts.scheme or parts.netloc) and parts.path in STAFF_PAGES
    is_plain = address.isascii() and address.isprintable() and len(parts.query) <= _MAX_QUERY_CHARS
    if not (is_own and is_plain):
        return STAFF_PAGES[0]
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
