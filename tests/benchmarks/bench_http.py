"""Tokens a second and time to first token of the shipped model, over HTTP, as a client meets them.

Starts the real service in a temporary data directory, then alternates 1 and 16 streams (A B A B), and prints medians:
a table for people and, as the last line, one JSON object.
"""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

STREAMS = (1, 16)
ROUNDS = 3
REQUESTS_A_STREAM = 6
PROMPTS = (
    "I forgot my password",
    "Where is my order 10423? It should have been here on Monday.",
    "我忘记了我的账户密码",
    "I want to return the shoes, they do not fit",
    "Why was I charged twice for the same order?",
    "可以开发票吗？",
)


@dataclass(frozen=True)
class Measured:
    """One round: completion tokens a second over all streams, and each request's time to first token."""

    tokens_per_second: float
    first_token_ms: list[float]


def main() -> int:
    """Runs the benchmark and returns the exit code."""
    with tempfile.TemporaryDirectory() as data_dir:
        port = _free_port()
        environment = {**os.environ, "PORT": str(port), "DATA_DIR": data_dir}
        command = [sys.executable, "-m", "service", "serve"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as service:
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_until_ready(url)
                rounds = [(streams, asyncio.run(_round(url, streams))) for _ in range(ROUNDS) for streams in STREAMS]
            finally:
                service.terminate()
    _report(rounds)
    return 0


async def _round(url: str, streams: int) -> Measured:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await _ask(client, 0)
        started = time.perf_counter()
        results = await asyncio.gather(*(_stream(client, number) for number in range(streams)))
        seconds = time.perf_counter() - started
    requests = [request for stream in results for request in stream]
    return Measured(sum(tokens for tokens, _ in requests) / seconds, [first for _, first in requests])


async def _stream(client: httpx.AsyncClient, number: int) -> list[tuple[int, float]]:
    return [await _ask(client, number + turn) for turn in range(REQUESTS_A_STREAM)]


async def _ask(client: httpx.AsyncClient, number: int) -> tuple[int, float]:
    """One streamed completion: its tokens, and the milliseconds until its first text."""
    body = {
        "model": "rejoinder",
        "messages": [{"role": "user", "content": PROMPTS[number % len(PROMPTS)]}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "seed": number,
    }
    started, first, tokens = time.perf_counter(), 0.0, 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if not first and event["choices"] and event["choices"][0]["delta"].get("content"):
                first = time.perf_counter() - started
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    return tokens, first * 1000


def _report(rounds: list[tuple[int, Measured]]) -> None:
    figures = {}
    print(f"{'streams':>8}{'tokens/s':>10}{'first token, median':>21}{'95th percentile':>17}")
    for streams in STREAMS:
        own = [measured for number, measured in rounds if number == streams]
        speed = statistics.median(measured.tokens_per_second for measured in own)
        first = sorted(value for measured in own for value in measured.first_token_ms)
        median, late = statistics.median(first), first[int(0.95 * (len(first) - 1))]
        print(f"{streams:8}{speed:10.0f}{median:18.1f} ms{late:14.1f} ms")
        figures[f"streams_{streams}"] = {
            "tokens_per_second": round(speed, 1),
            "first_token_ms_median": round(median, 2),
            "first_token_ms_p95": round(late, 2),
        }
    bundle = Path("model_store/default")
    size = sum(path.stat().st_size for path in bundle.iterdir())
    print(f"bundle: {size / 1e6:.1f} MB in {len(list(bundle.iterdir()))} files")
    print(json.dumps({**figures, "bundle_bytes": size}))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str) -> None:
    """Raises TimeoutError when the service is not ready within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError("the service did not become ready; run `make run` to see why")


if __name__ == "__main__":
    sys.exit(main())
