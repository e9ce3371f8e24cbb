"""What an ID token is worth: who signed it, for whom, until when, and in answer to which sign-in.

The rules of OpenID Connect Core 1.0, section 3.1.3.7, as Authlib's `CodeIDToken` and joserfc hold them, with what they
leave to the caller: the issuer and the audience are named, and the algorithm is one that only the provider can use.
"""

from collections.abc import Mapping
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, DecodeError, InvalidKeyIdError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
"""Public keys verify, private ones sign. Neither `none` nor an HMAC, whose key would be one that others have, too."""
_LEEWAY_SECONDS = 60
_REGISTRY = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)


class IdTokenCheck:
    """One answer of a token endpoint, and what has to be true of it."""

    def __init__(self, token: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str) -> None:
        self._text = str(token.get("id_token", ""))
        self._options = {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "values": [client_id]},
            "sub": {"essential": True},
            "nonce": {"essential": True, "value": nonce},
        }
        self._parameters = {"client_id": client_id, "nonce": nonce, "access_token": token.get("access_token")}

    def is_signed_by(self, keys: KeySet) -> bool:
        """Whether one of these keys signed it; false is the time to look for newer ones. Raises JoseError."""
        try:
            jwt.decode(self._text, keys, registry=_REGISTRY)
        except (InvalidKeyIdError, BadSignatureError):
            return False
        return True

    def claims(self, keys: KeySet) -> Mapping[str, Any]:
        """What it says. Raises JoseError for a signature or a claim that is not as it must be."""
        try:
            decoded = jwt.decode(self._text, keys, registry=_REGISTRY)
            claims = CodeIDToken(decoded.claims, decoded.header, self._options, self._parameters)
            claims.validate(leeway=_LEEWAY_SECONDS)
        except (ValueError, TypeError) as error:  # of a claim that has not even the right type
            raise DecodeError("a claim is malformed") from error
        said: Mapping[str, Any] = claims
        return said
