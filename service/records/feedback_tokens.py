"""Feedback tokens: the signed, expiring right of one rater to rate one completion.

A token travels with its completion and comes back with the thumb; nothing about it is stored. Signed, not encrypted: it
names the completion, the rater and the tenant to anyone who reads it.
"""

from collections.abc import Sequence

from itsdangerous import BadData, SignatureExpired

from service.records.errors import ExpiredFeedbackTokenError, InvalidFeedbackTokenError
from service.records.store import DEFAULT_TENANT
from service.signed_texts import timed_serializer

_SALT = "rejoinder.feedback-token"


class FeedbackTokenSigner:
    """Issues and verifies feedback tokens (HMAC-SHA-256). Safe to share between threads."""

    def __init__(self, secret_keys: Sequence[str], max_age_seconds: int) -> None:
        """`secret_keys` are newest first: the first signs, all verify, so a key can be rotated without losing votes.

        Raises ValueError when there is no key or an empty one.
        """
        if not secret_keys or not all(secret_keys):
            raise ValueError("feedback tokens need at least one secret key, and no empty one")
        self._max_age_seconds = max_age_seconds
        self._serializer = timed_serializer(*reversed(secret_keys), salt=_SALT)

    def issue(self, completion_id: str, rater: str, *, tenant: str = DEFAULT_TENANT) -> str:
        """A token for one rater and one completion; ASCII, fit for URLs."""
        return str(self._serializer.dumps([completion_id, rater, tenant]))

    def verify(self, token: str, completion_id: str, *, tenant: str = DEFAULT_TENANT) -> str:
        """The rater that the token was issued to.

        Raises ExpiredFeedbackTokenError for a genuine token older than `max_age_seconds`, InvalidFeedbackTokenError for
        everything else that is not a token for this completion and tenant.
        """
        if not token.isascii():
            raise InvalidFeedbackTokenError(completion_id=completion_id)
        try:
            payload = self._serializer.loads(token, max_age=self._max_age_seconds)
        except SignatureExpired as error:
            raise ExpiredFeedbackTokenError(
                completion_id=completion_id, max_age_seconds=self._max_age_seconds
            ) from error
        except BadData as error:
            raise InvalidFeedbackTokenError(completion_id=completion_id) from error
        token_completion_id, rater, token_tenant = payload
        if (token_completion_id, token_tenant) != (completion_id, tenant):
            raise InvalidFeedbackTokenError(completion_id=completion_id)
        return str(rater)
