"""Signatures of model versions: Ed25519 over a version's digest, which stands for every byte of it.

A signature lies beside the version and changes nothing in it. Whose signatures count is the operator's list of public
keys. Where signatures are kept: `backends`; when they are asked for: `store`.
"""

import base64
import binascii
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, Field

from model_store.errors import InvalidKeyError, UnsignedBundleError, UntrustedBundleError

PUBLIC_KEY_PREFIX = "ed25519:"
_CONTEXT = b"rejoinder model version 1\n"
"""Begins what is signed, so that no signature made for something else counts here."""


class Signature(BaseModel):
    """One signature of a version; its JSON form is a line of the version's signature file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(max_length=128)
    """The signer's public key. It only says which key to try: what counts is the reader's own list."""
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")
    time: str = Field(max_length=64)
    """ISO 8601, UTC."""

    def as_line(self) -> bytes:
        """The JSON form, without a line's end."""
        return self.model_dump_json().encode()


class SigningKey:
    """A private key, which signs versions."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def create(cls, path: Path) -> Self:
        """Makes a key and writes it to a new file that only its owner reads. Raises InvalidKeyError."""
        key = Ed25519PrivateKey.generate()
        data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InvalidKeyError(key=path, problem=error.strerror or error) from error
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a PEM file. Raises InvalidKeyError when it cannot be read or holds another kind of key."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise InvalidKeyError(key=path, problem=error.strerror or error) from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidKeyError(key=path, problem="it is no private key in PEM without a password") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidKeyError(key=path, problem="it is not an Ed25519 key")
        return cls(key)

    @property
    def public_key(self) -> str:
        """What others need to check its signatures, in one word."""
        raw = self._key.public_key().public_bytes_raw()
        return PUBLIC_KEY_PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def sign(self, digest: str) -> Signature:
        """Signs a version by its digest."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Signature(key=self.public_key, signature=self._key.sign(_message(digest)).hex(), time=now)


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """The public keys of those who may make versions."""

    keys: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads keys with commas between. Raises InvalidKeyError for a word that is no key, and for none at all."""
        words = [word.strip() for word in text.split(",") if word.strip()]
        if not words:
            raise InvalidKeyError(key=text, problem="it names no key")
        for word in words:
            _public_key(word)
        return cls(frozenset(words))

    def check(self, digest: str, signatures: Iterable[Signature]) -> str:
        """The trusted key that has signed a version. Raises UnsignedBundleError, UntrustedBundleError."""
        given = list(signatures)
        if not given:
            raise UnsignedBundleError(digest=digest)
        for signature in given:
            if signature.key in self.keys and _is_genuine(digest, signature):
                return signature.key
        raise UntrustedBundleError(digest=digest, problem=self._why_not(given))

    def _why_not(self, signatures: Sequence[Signature]) -> str:
        forged = [signature.key for signature in signatures if signature.key in self.keys]
        if forged:
            return f"the signature by {forged[0]} is not of this version"
        return f"it is signed by {signatures[0].key}, which is not in the list of trusted keys"


def _is_genuine(digest: str, signature: Signature) -> bool:
    try:
        _public_key(signature.key).verify(bytes.fromhex(signature.signature), _message(digest))
    except InvalidSignature:
        return False
    return True


def _message(digest: str) -> bytes:
    return _CONTEXT + digest.encode("ascii")


def _public_key(text: str) -> Ed25519PublicKey:
    encoded = text.removeprefix(PUBLIC_KEY_PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        if encoded == text:
            raise ValueError(f"it does not begin with {PUBLIC_KEY_PREFIX}")
        return Ed25519PublicKey.from_public_bytes(raw)
    except (ValueError, binascii.Error) as error:
        problem = f"a public key is {PUBLIC_KEY_PREFIX} and 43 letters, as `python -m model_store keys show` prints it"
        raise InvalidKeyError(key=text[:80], problem=problem) from error
