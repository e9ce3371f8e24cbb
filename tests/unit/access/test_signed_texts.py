"""How what the service hands out is signed: what people have in their hands stays good over an upgrade."""

import hashlib

import pytest
from itsdangerous import BadSignature, URLSafeTimedSerializer

from service.signed_texts import timed_serializer

SIGNED_LONG_AGO = "WyJhIiwxXQ.awzbdA.WWavxpGvFQr1lIqnmfhLdJw4bj8Arup0ijV5_aGawB8"
"""["a", 1] under the salt `rejoinder.test`, by "a secret", on 2026-11-30."""


def test_a_text_that_was_signed_by_an_earlier_version_is_still_good() -> None:
    """Another digest, derivation or form would end all sessions, widget tokens and rights to rate."""
    assert timed_serializer("a secret", salt="rejoinder.test").loads(SIGNED_LONG_AGO) == ["a", 1]


@pytest.mark.parametrize("content", [["a", 1], "a" * 500], ids=["short", "compressible"])
def test_earlier_versions_and_this_one_take_each_others_texts(content: object) -> None:
    """While a release is rolled out both answer; what they compressed is read, and nothing is compressed here."""
    theirs = URLSafeTimedSerializer(
        ["a secret", "the next"],
        salt="rejoinder.test",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
    ours = timed_serializer("a secret", "the next", salt="rejoinder.test")
    assert theirs.loads(ours.dumps(content)) == content == ours.loads(theirs.dumps(content))


def test_any_of_the_secrets_verifies_and_the_last_one_signs() -> None:
    """So that a secret can be changed."""
    both = timed_serializer("a secret", "the next", salt="rejoinder.test")
    assert both.loads(SIGNED_LONG_AGO) == ["a", 1]
    assert timed_serializer("the next", salt="rejoinder.test").loads(both.dumps("new")) == "new"


@pytest.mark.parametrize(
    ("secret", "salt", "text"),
    [
        ("another", "rejoinder.test", SIGNED_LONG_AGO),
        ("a secret", "rejoinder.other", SIGNED_LONG_AGO),
        ("a secret", "rejoinder.test", SIGNED_LONG_AGO.replace("WyJhIiwxXQ", "WyJhIiwyXQ")),
    ],
    ids=["secret", "salt", "content"],
)
def test_another_secret_another_purpose_and_another_content_are_refused(secret: str, salt: str, text: str) -> None:
    """A text for one purpose is worth nothing for another."""
    with pytest.raises(BadSignature):
        timed_serializer(secret, salt=salt).loads(text)
