"""Keys in a running service's database, and callers that use them."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx2

from service.access.api_keys import ApiKey, Scope, make_key
from service.access.key_store import KeyStore
from tests.e2e.running_service import DEADLINE_SECONDS, RunningService, wait_until

BODY: dict[str, Any] = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hello"}]}
SHOP = "https://shop.example"


@cache
def client(url: str) -> httpx2.Client:
    """One client a service: to make one costs more than most requests."""
    return httpx2.Client(base_url=url, timeout=DEADLINE_SECONDS)


@dataclass(frozen=True)
class Holder:
    """Somebody with an API key."""

    service: RunningService
    text: str
    key: ApiKey

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx2.Response:
        """Sends a request with the key."""
        given = {"authorization": f"Bearer {self.text}", **headers}
        return client(self.service.url).request(method, path, json=body, headers=given)

    def complete(self, **fields: object) -> dict[str, Any]:
        """A completion that was made."""
        response = self.ask("POST", "/v1/chat/completions", {**BODY, **fields})
        assert response.status_code == 200, response.text
        completion: dict[str, Any] = response.json()
        return completion

    def widget_token(self, origin: str = SHOP, **fields: object) -> str:
        """A widget token that was issued."""
        response = self.ask("POST", "/v1/widget-tokens", {"origin": origin, **fields})
        assert response.status_code == 200, response.text
        return str(response.json()["token"])

    def revoke(self) -> None:
        """Revokes the key, as the command does, and waits until the service knows."""
        store = KeyStore.open(self.service.settings.records_url)
        store.revoke(self.key.id)
        store.close()
        wait_until(lambda: self.ask("GET", "/v1/models").status_code == 401)


def give_key(
    service: RunningService, tenant: str = "acme", scopes: Iterable[Scope] = tuple(Scope), origins: Iterable[str] = ()
) -> Holder:
    """Makes a key, as the command does, and waits until the service knows it."""
    text, key = make_key(tenant, "", scopes, origins)
    store = KeyStore.open(service.settings.records_url)
    store.add(key)
    store.close()
    holder = Holder(service, text, key)
    # Each try from an address of its own, as a trusted proxy would tell: none has guessed too often.
    addresses = (f"192.0.2.{number % 256}" for number in itertools.count())
    wait_until(lambda: holder.ask("GET", "/v1/models/x", **{"x-forwarded-for": next(addresses)}).status_code != 401)
    return holder


def page_asks(
    service: RunningService, token: str, origin: str | None, path: str, body: object, method: str = "POST"
) -> httpx2.Response:
    """What a browser sends for a page of this origin."""
    headers = {"authorization": f"Bearer {token}", **({"origin": origin} if origin else {})}
    return client(service.url).request(method, path, json=body, headers=headers)
