"""Feedback tokens: genuine ones verify; forged, swapped and old ones do not."""

import hashlib
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer

from service.records.errors import ExpiredFeedbackTokenError, FeedbackTokenError, InvalidFeedbackTokenError
from service.records.feedback_tokens import FeedbackTokenSigner

KEY, OLD_KEY = "k" * 32, "o" * 32
SIGNER = FeedbackTokenSigner([KEY], max_age_seconds=60)


def test_a_token_names_its_rater() -> None:
    """Also when it is sent twice: a token is a right, not a coin."""
    token = SIGNER.issue("cmpl-1", "客户 42")
    assert token.isascii()
    assert [SIGNER.verify(token, "cmpl-1"), SIGNER.verify(token, "cmpl-1")] == ["客户 42", "客户 42"]


def test_a_token_for_another_completion_or_tenant_is_invalid() -> None:
    """One token, one completion."""
    token = SIGNER.issue("cmpl-1", "kim")
    with pytest.raises(InvalidFeedbackTokenError):
        SIGNER.verify(token, "cmpl-2")
    with pytest.raises(InvalidFeedbackTokenError):
        SIGNER.verify(token, "cmpl-1", tenant="acme")
    assert SIGNER.verify(SIGNER.issue("cmpl-1", "kim", tenant="acme"), "cmpl-1", tenant="acme") == "kim"


def test_every_changed_character_makes_a_token_invalid() -> None:
    """All but the last, whose spare bits stand for nothing."""
    token = SIGNER.issue("cmpl-1", "kim")
    for place in range(len(token) - 1):
        forged = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(InvalidFeedbackTokenError):
            SIGNER.verify(forged, "cmpl-1")


@example("\ud800.a.b")
@given(st.text() | st.text("abcAB01.-_=", max_size=80))
def test_arbitrary_text_is_never_a_token(text: str) -> None:
    """Lone surrogates, dots and all: the same error, never another."""
    with pytest.raises(InvalidFeedbackTokenError):
        SIGNER.verify(text, "cmpl-1")


def test_a_token_signed_with_another_key_salt_or_digest_is_invalid() -> None:
    """A stranger's key, another use of the same key, and SHA-1 all fail."""
    kwargs = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    forgeries = [
        FeedbackTokenSigner(["x" * 32], 60).issue("cmpl-1", "kim"),
        URLSafeTimedSerializer(KEY, salt="other", signer_kwargs=kwargs).dumps(["cmpl-1", "kim", "default"]),
        URLSafeTimedSerializer(
            KEY,
            salt="rejoinder.feedback-token",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha1},
        ).dumps(["cmpl-1", "kim", "default"]),
    ]
    for forged in forgeries:
        with pytest.raises(InvalidFeedbackTokenError):
            SIGNER.verify(forged, "cmpl-1")


def test_an_old_token_is_expired_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Good until the last second of its age, then an error of its own."""
    token = SIGNER.issue("cmpl-1", "kim")
    now = int(time.time())
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 59)
    assert SIGNER.verify(token, "cmpl-1") == "kim"
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 62)
    with pytest.raises(ExpiredFeedbackTokenError, match="60 seconds"):
        SIGNER.verify(token, "cmpl-1")


def test_a_rotated_key_still_verifies_until_it_is_taken_away() -> None:
    """The newest key signs; older ones only verify."""
    token = FeedbackTokenSigner([OLD_KEY], 60).issue("cmpl-1", "kim")
    rotated = FeedbackTokenSigner([KEY, OLD_KEY], 60)
    assert rotated.verify(token, "cmpl-1") == "kim"
    assert SIGNER.verify(rotated.issue("cmpl-1", "kim"), "cmpl-1") == "kim"
    with pytest.raises(FeedbackTokenError):
        SIGNER.verify(token, "cmpl-1")


@pytest.mark.parametrize("keys", [[], [""], [KEY, ""]])
def test_a_missing_or_empty_key_is_refused_at_start(keys: list[str]) -> None:
    """An empty key would let anyone sign."""
    with pytest.raises(ValueError, match="secret key"):
        FeedbackTokenSigner(keys, 60)
