"""Widget tokens: the signed right of one web page to chat for some minutes, so that no API key reaches a browser.

Signed, not encrypted, and stored nowhere. A token names its key, and is worth nothing once that is revoked.
"""

import secrets
from dataclasses import dataclass

from itsdangerous import BadData

from service.access.api_keys import OWN_PREFIX
from service.signed_texts import timed_serializer

TOKEN_PREFIX = f"{OWN_PREFIX}widget_"
_SALT = "rejoinder.widget-token"
_ID_BYTES = 9


@dataclass(frozen=True, slots=True)
class WidgetClaim:
    """What a token says: whose it is, where it may be used, and for whom, if its issuer knew."""

    token_id: str
    key_id: str
    origin: str
    user: str | None


class WidgetTokenSigner:
    """Issues and verifies widget tokens (HMAC-SHA-256)."""

    def __init__(self, secret: str, max_age_seconds: int) -> None:
        self.max_age_seconds = max_age_seconds
        self._serializer = timed_serializer(secret, salt=_SALT)

    def issue(self, key_id: str, origin: str, user: str | None = None) -> str:
        """A token for one key and one origin; ASCII, fit for a header."""
        claim = [secrets.token_urlsafe(_ID_BYTES), key_id, origin, user]
        return TOKEN_PREFIX + str(self._serializer.dumps(claim))

    def verify(self, token: str) -> WidgetClaim | None:
        """What a genuine token says; None for any other, and for one older than `max_age_seconds`."""
        if not token.startswith(TOKEN_PREFIX) or not token.isascii():
            return None
        try:
            return WidgetClaim(*self._serializer.loads(token.removeprefix(TOKEN_PREFIX), max_age=self.max_age_seconds))
        except BadData:
            return None
