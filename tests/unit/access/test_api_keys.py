"""Keys and widget tokens as values: how they are made, and what makes them invalid."""

import re
import time

import pytest

from service.access.api_keys import Scope, check_origin, digest_of, key_id, make_key
from service.access.errors import InvalidApiKeyFieldError
from service.access.widget_tokens import WidgetTokenSigner

SECRET = "a secret that only tests know"


def test_a_key_is_256_random_bits_behind_a_prefix() -> None:
    """43 characters of base64 hold 256 bits; two keys differ; what is kept is SHA-256 and leads back to the id."""
    (one, kept), (other, _) = (make_key("acme", "", [Scope.CHAT]) for _ in range(2))
    assert re.fullmatch(r"rj_live_[A-Za-z0-9_-]{43}", one) and one != other
    assert kept.digest == digest_of(one) and re.fullmatch("[0-9a-f]{64}", kept.digest)
    assert kept.id == key_id(one) and one not in repr(kept)


def test_the_digest_is_sha_256() -> None:
    """The published test vector of "abc"."""
    assert digest_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://shop.example", "https://shop.example"),
        ("HTTPS://Shop.Example/", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(given: str, origin: str) -> None:
    """Small letters, no path, no port that goes without saying."""
    assert check_origin(given) == origin


@pytest.mark.parametrize(
    "given",
    ["*", "null", "", "shop.example", "ftp://shop.example", "https://*.example", "https://a.example/page"]
    + ["https://user@a.example", "https://a.example https://b.example", "https://käse.example", "https://a.example:0"],
)
def test_what_is_no_origin_is_refused(given: str) -> None:
    """Wildcards and `null` above all: any page could be meant."""
    with pytest.raises(InvalidApiKeyFieldError):
        check_origin(given)


@pytest.mark.parametrize(
    ("tenant", "name", "scopes", "origins"),
    [
        ("", "", [Scope.CHAT], []),
        ("Acme", "", [Scope.CHAT], []),
        ("a" * 64, "", [Scope.CHAT], []),
        ("acme\n", "", [Scope.CHAT], []),
        ("acme", "two\nlines", [Scope.CHAT], []),
        ("acme", "x" * 101, [Scope.CHAT], []),
        ("acme", "", [Scope.FEEDBACK], ["https://shop.example"]),
    ],
)
def test_a_key_with_unfit_fields_is_not_made(tenant: str, name: str, scopes: list[Scope], origins: list[str]) -> None:
    """Names that no list could show, and origins for a key that cannot chat."""
    with pytest.raises(InvalidApiKeyFieldError):
        make_key(tenant, name, scopes, origins)


def test_a_widget_token_says_whose_it_is_and_where_it_may_be_used() -> None:
    """Key, origin and user come back; each token has an id of its own."""
    signer = WidgetTokenSigner(SECRET, 60)
    tokens = [signer.issue("key_1", "https://shop.example", "小明") for _ in range(2)]
    claims = [signer.verify(token) for token in tokens]
    assert all(claim is not None for claim in claims)
    assert {(c.key_id, c.origin, c.user) for c in claims if c} == {("key_1", "https://shop.example", "小明")}
    assert len({c.token_id for c in claims if c}) == 2


def test_no_other_token_is_genuine() -> None:
    """Another secret, any changed character, no prefix, a token of another kind, and one that is too old."""
    signer = WidgetTokenSigner(SECRET, 1)
    token = signer.issue("key_1", "https://shop.example")
    assert WidgetTokenSigner("another secret", 60).verify(token) is None
    assert signer.verify(token.removeprefix("rj_widget_")) is None
    for index in range(0, len(token) - 1, 3):  # the last character holds two bits that mean nothing
        changed = token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :]
        assert signer.verify(changed) is None
    assert signer.verify("") is None and signer.verify("rj_widget_é") is None
    time.sleep(2.1)
    assert signer.verify(token) is None
