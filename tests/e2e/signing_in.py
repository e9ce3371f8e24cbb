"""A service whose staff signs in at a provider of ours, and browsers without a screen that do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from tests.contract.fake_engine import FakeEngines
from tests.e2e.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, run_provider
from tests.e2e.running_service import DEADLINE_SECONDS, RunningService, run_fake_service
from tests.ports import free_port

ROLES = (
    '{"leads": {"tenant": "default", "scopes": ["review", "admin"]},'
    ' "clerks": {"tenant": "default", "scopes": ["review"]},'
    ' "acme-clerks": {"tenant": "acme", "scopes": ["review"]}}'
)


@contextmanager
def run_with_sign_in(
    directory: Path, engines: FakeEngines, **changes: object
) -> Iterator[tuple[RunningService, OpenIdProvider]]:
    """Both until the block ends; `changes` are settings of the service."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    with run_provider(f"{origin}/sign-in/done") as provider:
        settings: dict[str, Any] = {
            "oidc_issuer": provider.url,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
            "oidc_origin": origin,
            "oidc_roles": ROLES,
            "port": port,
            **changes,
        }
        with run_fake_service(directory, engines, **settings) as service:
            yield service, provider


class Visitor:
    """A browser of one person: keeps cookies, and follows redirects one by one."""

    def __init__(self, url: str) -> None:
        self.http = httpx2.Client(base_url=url, timeout=DEADLINE_SECONDS)
        self.own_page = {"origin": url, "sec-fetch-site": "same-origin"}
        """What a browser says of a request that one of our own pages makes."""

    def go_to_provider(self, to: str = "/review") -> str:
        """Begins a sign-in; gives the address that the provider sends the browser back to."""
        answer = self.http.get("/sign-in", params={"to": to})
        assert answer.status_code == 303, answer.text
        return httpx2.get(answer.headers["location"], timeout=DEADLINE_SECONDS).headers["location"]

    def come_back(self, address: str) -> httpx2.Response:
        """Opens the address that the provider named, here."""
        parts = urlsplit(address)
        return self.http.get(f"{parts.path}?{parts.query}")

    def sign_in(self, to: str = "/review") -> httpx2.Response:
        """The whole way; gives the last answer, which leads to a page or says what is wrong."""
        return self.come_back(self.go_to_provider(to))
