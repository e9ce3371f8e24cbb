"""The real service in a process of its own, and the HTTP client that the simulated customers use."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = "0.5"


@dataclass(frozen=True, slots=True)
class ServedReply:
    """A completion as a customer gets it, with the right to rate it."""

    text: str
    digest: str
    completion_id: str
    feedback_token: str


class ServiceClient:
    """Talks to a running service. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60.0)

    def ask(self, text: str, *, conversation_id: str, user: str, seed: int) -> ServedReply:
        """One message and its reply. Raises httpx.HTTPError for every answer but 200."""
        body = {
            "model": "rejoinder",
            "messages": [{"role": "user", "content": text}],
            "user": user,
            "seed": seed,
            "metadata": {"conversation_id": conversation_id},
        }
        response = self._http.post("/v1/chat/completions", json=body)
        response.raise_for_status()
        completion = response.json()
        choice = completion["choices"][0]
        return ServedReply(
            text=choice["message"]["content"],
            digest=response.headers["x-model-digest"],
            completion_id=choice["completion_id"],
            feedback_token=completion["feedback_token"],
        )

    def rate(self, reply: ServedReply, *, is_up: bool) -> None:
        """A thumb. Raises httpx.HTTPError when it was not stored."""
        body = {
            "completion_id": reply.completion_id,
            "feedback_token": reply.feedback_token,
            "rating": "up" if is_up else "down",
        }
        self._http.post("/v1/feedback", json=body).raise_for_status()

    def is_ready(self) -> bool:
        """Whether the service would answer now."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Lets go of the connections."""
        self._http.close()


@contextmanager
def running_service(data_dir: Path, log_file: Path) -> Iterator[ServiceClient]:
    """Serves from `data_dir` on a free port until the block ends; the service then drains and exits.

    Raises RuntimeError, with the end of its log, when it does not become ready.
    """
    port = _free_port()
    environment = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATA_DIR": str(data_dir),
        "SERVICE_POLL_SECONDS": _POLL_SECONDS,
        "SERVICE_MIN_PLAN_CONFIDENCE": "0",  # who asks back instead of answering learns nothing from a thumb
    }
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve"], env={**os.environ, **environment}, stdout=log, stderr=log
        )
    client = ServiceClient(f"http://127.0.0.1:{port}")
    try:
        _wait_until_ready(client, process, log_file)
        yield client
    finally:
        client.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(client: ServiceClient, process: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not client.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log_file.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the service did not become ready; its log ends with:\n{tail}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
