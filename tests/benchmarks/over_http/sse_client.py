"""One streamed request over a socket of its own, as cheap for the client as it can be: it shares the machine.

HTTP/1.1 over asyncio's streams. Lines that are no events, those that frame chunks among them, are passed over.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of a request. Seconds count from when it was sent."""

    is_whole: bool
    """Whether the stream said [DONE]; false for a refusal, an `error` event and a connection that broke."""
    text: str = ""
    arrivals: tuple[float, ...] = ()
    """When each piece of text came."""
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    """As the server says; one a piece of text where it does not."""
    ended: float = 0.0
    """When [DONE] came; 0 where it did not."""

    @property
    def gaps(self) -> list[float]:
        """Seconds between one piece of text and the next."""
        return [later - earlier for earlier, later in zip(self.arrivals, self.arrivals[1:], strict=False)]


async def ask(port: int, path: str, body: Mapping[str, Any]) -> Heard:
    """Posts to a server on this machine and listens to the end."""
    started = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(_request(path, json.dumps(body).encode()))
            status = await reader.readline()
            if b" 200 " not in status:
                return Heard(is_whole=False)
            return await _listen(reader, started)
        finally:
            writer.close()
    except (OSError, asyncio.IncompleteReadError):
        return Heard(is_whole=False)


async def _listen(reader: asyncio.StreamReader, started: float) -> Heard:
    texts: list[str] = []
    arrivals: list[float] = []
    usage: dict[str, int] = {}
    is_whole, ended = False, 0.0
    while line := await reader.readline():
        if not line.startswith(b"data: "):
            continue
        data = line[6:].strip()
        if data == b"[DONE]":
            is_whole, ended = True, time.perf_counter() - started
            break
        event = json.loads(data)
        text = text_of(event)
        if text:
            arrivals.append(time.perf_counter() - started)
            texts.append(text)
        usage = event.get("usage") or usage
    num_tokens = usage.get("completion_tokens", len(texts))
    return Heard(is_whole, "".join(texts), tuple(arrivals), usage.get("prompt_tokens", 0), num_tokens, ended)


def text_of(event: Mapping[str, Any]) -> str:
    """The text that an event brings, in either of OpenAI's two formats; empty for others."""
    choice = next(iter(event.get("choices", ())), {})
    return str(choice.get("text") or choice.get("delta", {}).get("content") or "")


def _request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
