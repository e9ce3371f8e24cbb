"""What clients say, and what they hear, over httpx."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

CHAT, FEEDBACK = "/v1/chat/completions", "/v1/feedback"
ASKS = (
    "I forgot my password",
    "Where is my parcel?",
    "我的包裹在哪里？",
    "How do I get my money back for a broken lamp?",
    "我想换一个尺码，可以吗？",
    "Which ways to pay do you take?",
)


@dataclass
class Heard:
    """A stream to its end, or to where it broke."""

    status: int
    error_code: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    """When each event came, in seconds from the request."""
    is_whole: bool = False
    """Whether [DONE] came."""
    num_ends: int = 0
    """Terminal events: [DONE] and `error`."""
    digest: str = ""
    retry_after: str | None = None

    @property
    def completion_id(self) -> str:
        """The completion's name."""
        return str(self.events[0]["id"])

    @property
    def feedback_token(self) -> str:
        """The right to rate it; comes with the last piece."""
        return str(next(event["feedback_token"] for event in reversed(self.events) if "feedback_token" in event))

    @property
    def digests(self) -> set[str]:
        """Of the header and of every event: one where the promise holds."""
        return {self.digest, *(str(event["system_fingerprint"]) for event in self.events)}


def body(text: str = ASKS[0], **fields: object) -> dict[str, Any]:
    """A streaming request of one message."""
    return {"model": "rejoinder", "stream": True, "messages": [{"role": "user", "content": text}], **fields}


def listen(client: httpx2.Client, request: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Heard:
    """Asks and listens to the end. Raises httpx2.TransportError when the connection breaks."""
    began = time.perf_counter()
    with client.stream("POST", CHAT, json=request, headers=dict(headers or {})) as response:
        heard = Heard(response.status_code, retry_after=response.headers.get("retry-after"))
        heard.digest = response.headers.get("x-model-digest", "")
        if response.status_code != 200:
            heard.error_code = json.loads(response.read())["error"]["code"]
            return heard
        name = ""
        for text in response.iter_lines():
            if text.startswith("event: "):
                name = text[7:]
            elif text.startswith("data: "):
                _take(heard, name, text[6:], time.perf_counter() - began)
                name = ""
        return heard


def _take(heard: Heard, name: str, data: str, seconds: float) -> None:
    if data == "[DONE]":
        heard.is_whole = True
        heard.num_ends += 1
    elif name == "error":
        heard.error_code = json.loads(data)["error"]["code"]
        heard.num_ends += 1
    else:
        heard.events.append(json.loads(data))
        heard.arrivals.append(seconds)


def thumb(heard: Heard, rating: str | None = "up") -> dict[str, Any]:
    """The body that rates a completion."""
    return {"completion_id": heard.completion_id, "feedback_token": heard.feedback_token, "rating": rating}
