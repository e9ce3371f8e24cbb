"""How everything is signed that the service hands out and takes back: HMAC-SHA-256, with the moment in it.

Signed, not encrypted. What a text says and how long it is good: its own module's business (`access`, `chat.oversight`,
`records.feedback_tokens`), which names a salt of its own, so that none is taken for another.
"""

import hashlib
from typing import Any

from itsdangerous import Signer, TimedSerializer, URLSafeTimedSerializer
from itsdangerous.encoding import base64_encode


class _ShortTexts(URLSafeTimedSerializer):
    """Takes what was compressed and compresses nothing: some hundred random bytes get no shorter, and zlib clears a
    quarter of a megabyte for each attempt.
    """

    def dump_payload(self, obj: Any) -> bytes:
        return base64_encode(TimedSerializer.dump_payload(self, obj))


def timed_serializer(*secrets: str, salt: str) -> URLSafeTimedSerializer:
    """Signs JSON by the last secret and takes what any of them has signed under this salt; its texts are ASCII."""
    # A serializer makes a signer for each text, which by itself derives its key anew.
    keys = [
        Signer(secret, salt, key_derivation="hmac", digest_method=hashlib.sha256).derive_key() for secret in secrets
    ]
    return _ShortTexts(keys, salt=salt, signer_kwargs={"key_derivation": "none", "digest_method": hashlib.sha256})
