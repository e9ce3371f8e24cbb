"""An OpenID provider: a real HTTP server with real RSA keys, and the code flow as OpenID Connect Core 1.0 has it.

It knows one client and asks nobody for a password: whoever comes is the person whose claims a test has set. A test may
have it lie, and each lie is one that a service must notice.
"""

import base64
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID = "rejoinder"
CLIENT_SECRET = "the secret of a client of tests"
_KEY_BITS = 2048


@dataclass
class OpenIdProvider:
    """What it says and to whom it has said it; tests may change all of it while it runs."""

    redirect_uri: str = ""
    url: str = ""
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "kim-1", "name": "Kim", "groups": ["leads"]})
    lie: Callable[[dict[str, Any]], None] = lambda claims: None
    """Changes the claims of a token before it is signed."""
    key: RSAKey = field(default_factory=lambda: new_key("first"))
    algorithm: str = "RS256"
    published: list[RSAKey] = field(default_factory=list)
    """Keys that it shows; at first its own."""
    names_itself: str = ""
    """As what it describes itself, where that is not its address."""
    delay_seconds: float = 0.0
    is_down: bool = False
    num_asked: dict[str, int] = field(default_factory=dict)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.published = [self.key]

    def rotate(self, name: str) -> None:
        """Signs with a new key from now on, and shows no other."""
        self.key = new_key(name)
        self.published = [self.key]

    def authorize(self, query: Mapping[str, str]) -> str:
        """Where the browser goes on to, with a code. Raises ValueError for what is no request of the client's."""
        expected = {
            "client_id": CLIENT_ID,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "code_challenge_method": "S256",
        }
        if any(query.get(name) != value for name, value in expected.items()) or "openid" not in query["scope"].split():
            raise ValueError(f"not a request of the client's: {query}")
        code = secrets.token_urlsafe(16)
        self._codes[code] = {"nonce": query["nonce"], "challenge": query["code_challenge"]}
        return f"{self.redirect_uri}?{urlencode({'code': code, 'state': query['state'], 'iss': self.url})}"

    def exchange(self, form: Mapping[str, str], authorization: str) -> dict[str, Any]:
        """The tokens that a code is worth, once, to the client that began with its challenge."""
        credentials = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if authorization != f"Basic {credentials}":
            return {"error": "invalid_client"}
        begun = self._codes.pop(form.get("code", ""), None)
        is_same = begun is not None and create_s256_code_challenge(form["code_verifier"]) == begun["challenge"]
        if begun is None or not is_same or form.get("redirect_uri") != self.redirect_uri:
            return {"error": "invalid_grant", "error_description": f"no such code: {form.get('code')}"}
        return {
            "access_token": secrets.token_urlsafe(8),
            "token_type": "Bearer",
            "id_token": self._token(begun["nonce"]),
        }

    def metadata(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0."""
        return {
            "issuer": self.names_itself or self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }

    def _token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce, **self.claims}
        self.lie(claims)
        header = {"alg": self.algorithm, "kid": self.key.kid}
        if self.algorithm != "RS256":
            return self._badly_signed(header, claims)
        return jwt.encode(header, claims, self.key)

    def _badly_signed(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Not at all (`none`), or by HMAC with the public key, which everybody has."""
        text = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        public = self.key.as_pem(private=False)
        signature = b"" if self.algorithm == "none" else hmac.digest(public, text.encode(), "sha256")
        return f"{text}.{_base64(signature)}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def new_key(name: str) -> RSAKey:
    """A key pair that goes by this name."""
    return RSAKey.generate_key(_KEY_BITS, {"kid": name, "use": "sig"})


class _Server(ThreadingHTTPServer):
    """One provider's."""

    daemon_threads = True
    provider: OpenIdProvider


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        provider, parts = self.server.provider, urlsplit(self.path)
        if not self._is_heard(parts.path):
            return
        if parts.path == "/authorize":
            self._answer(302, {}, location=provider.authorize(dict(parse_qsl(parts.query))))
        elif parts.path == "/keys":
            self._answer(200, {"keys": [key.as_dict(private=False) for key in provider.published]})
        elif parts.path == "/.well-known/openid-configuration":
            self._answer(200, provider.metadata())
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if self._is_heard(self.path):
            tokens = self.server.provider.exchange(dict(parse_qsl(body)), self.headers.get("authorization", ""))
            self._answer(400 if "error" in tokens else 200, tokens)

    def _is_heard(self, path: str) -> bool:
        provider = self.server.provider
        provider.num_asked[path] = provider.num_asked.get(path, 0) + 1
        time.sleep(provider.delay_seconds)
        if provider.is_down:
            self._answer(502, {})
        return not provider.is_down

    def _answer(self, status: int, content: object, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "content-type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def run_provider(redirect_uri: str) -> Iterator[OpenIdProvider]:
    """A provider until the block ends, for a client that may be sent back to this address only."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.provider = OpenIdProvider(redirect_uri, f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.provider
    finally:
        server.shutdown()
        server.server_close()
