"""The webhook: one signed request to the operator's address, as Standard Webhooks 1.0.0 describes it.

It goes to no other address: redirects are not followed, and neither a proxy nor credentials are taken from the
environment. What is answered is not read beyond its status and `Retry-After`. When to tell what: `courier`.
"""

import asyncio
import base64
import hmac
import json
import ssl
import time
from dataclasses import dataclass
from types import TracebackType

import httpx

from service.records.handovers.outbox import Handover
from service.records.tables import format_timestamp

EVENT_TYPE = "conversation.handed_over"
_GONE = 410
_USER_AGENT = "Rejoinder-Webhook/1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the desk answered. `problem` is None when it took the message, and never holds what it said."""

    problem: str | None
    retry_after_seconds: int | None = None
    is_final: bool = False
    """Whether the desk wants no more of this (410)."""


class Webhook:
    """The way to the desk; an async context manager, since it keeps connections."""

    def __init__(self, url: str, signing_keys: tuple[bytes, ...], timeout_seconds: float) -> None:
        """A message is signed with every key, so that a key can be changed while the desk knows only the old one."""
        self._url = url
        self._signing_keys = signing_keys
        self.timeout_seconds = timeout_seconds
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(), follow_redirects=False, trust_env=False, timeout=timeout_seconds
        )

    async def __aenter__(self) -> "Webhook":
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def tell(self, handover: Handover) -> Answer:
        """Tells the desk once. Whatever goes wrong is in the answer."""
        body = message_body(handover)
        headers = signed_headers(message_id(handover), int(time.time()), body, self._signing_keys)
        try:
            # httpx bounds each read and write; this bounds them all.
            async with asyncio.timeout(self.timeout_seconds):
                async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                    return _read(response)
        except TimeoutError:
            return Answer("timeout")
        except httpx.HTTPError as error:
            return Answer(type(error).__name__)  # its text would repeat the address, which may hold a secret


def message_id(handover: Handover) -> str:
    """The same in every attempt: by it the desk knows what it has got already."""
    return f"msg_{handover.completion_id.rpartition('-')[2]}"


def message_body(handover: Handover) -> bytes:
    """The message, the same bytes in every attempt. Ids only: nothing that was said leaves the service."""
    message = {
        "type": EVENT_TYPE,
        "timestamp": format_timestamp(handover.created_at),
        "data": {
            "conversation_id": handover.conversation_id,
            "completion_id": handover.completion_id,
            "tenant": handover.tenant,
            "language": handover.language,
            "plan": handover.plan,
            "rule": handover.rule,
            "model_digest": handover.model_digest,
        },
    }
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def signed_headers(message_id: str, timestamp: int, body: bytes, keys: tuple[bytes, ...]) -> dict[str, str]:
    """Headers of a message that is sent at `timestamp`, seconds since 1970 (Standard Webhooks, "Signature scheme")."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _read(response: httpx.Response) -> Answer:
    if response.is_success:
        return Answer(None)
    wait = response.headers.get("retry-after", "")
    seconds = int(wait) if wait.isascii() and wait.isdecimal() and len(wait) < 10 else None
    return Answer(f"status {response.status_code}", seconds, is_final=response.status_code == _GONE)
