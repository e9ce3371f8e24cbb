"""A tiny base model made by the command line, and a real service process that serves it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from model_store.backends.local import LocalBackend
from model_store.backends.protocol import Alias
from model_store.store import ModelStore
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "training" / "configs" / "tiny.yaml"
_START_SECONDS = 90


@dataclass(frozen=True)
class Reply:
    """What a client keeps of a completion."""

    completion_id: str
    feedback_token: str
    digest: str
    text: str


@dataclass(frozen=True)
class Loop:
    """A service that answers at `url`, and where it keeps its things."""

    url: str
    root: Path
    environment: dict[str, str]

    @property
    def models(self) -> Path:
        """The model store's directory."""
        return self.root / "data" / "models"

    @property
    def store(self) -> ModelStore:
        """The model store."""
        return ModelStore(LocalBackend(self.models))

    @property
    def database_url(self) -> str:
        """The service's database."""
        return f"sqlite:///{self.root}/data/rejoinder.db"

    def ask(self, text: str, conversation_id: str | None = None) -> Reply:
        """One completion over HTTP, by default in a conversation of its own; raises on any status but 200."""
        body = {
            "model": "rejoinder",
            "messages": [{"role": "user", "content": text}],
            "max_completion_tokens": 24,
            "seed": len(text),  # what is learned from, and so what the gate sees, is the same each time
            "metadata": {"conversation_id": conversation_id or uuid4().hex},
        }
        response = httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=30).raise_for_status()
        data = response.json()
        text = data["choices"][0]["message"]["content"]
        return Reply(data["id"], data["feedback_token"], response.headers["x-model-digest"], text)

    def rate(self, reply: Reply, rating: str) -> None:
        """One thumb over HTTP; raises on any status but 200."""
        body = {"completion_id": reply.completion_id, "feedback_token": reply.feedback_token, "rating": rating}
        httpx.post(f"{self.url}/v1/feedback", json=body, timeout=30).raise_for_status()


def train_base(workspace: Path, config: Path = CONFIG) -> Path:
    """Makes a tiny base model; gives its bundle's directory."""
    command = [sys.executable, "-m", "training", "base", "--config", str(config), "--workspace", str(workspace)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return workspace / "bundle"


@contextmanager
def running_loop(root: Path, config: Path = CONFIG, settings: Mapping[str, str] | None = None) -> Iterator[Loop]:
    """Trains, publishes and serves; the service is terminated at the end. Raises TimeoutError if it does not start.

    `settings` are environment variables of the service.
    """
    bundle = train_base(root / "base", config)
    store = ModelStore(LocalBackend(root / "data" / "models"))
    store.promote(Alias.STABLE, store.publish(bundle), expected_generation=0)
    port = free_port()
    environment = {
        **os.environ,
        "DATA_DIR": str(root / "data"),
        "PORT": str(port),
        "SERVICE_POLL_SECONDS": "0.2",
        # A model that learned nothing is never sure: customers would rate a fixed question, which teaches nothing.
        "SERVICE_MIN_PLAN_CONFIDENCE": "0",
        **(settings or {}),
    }
    command = [sys.executable, "-m", "service", "serve"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
        loop = Loop(f"http://127.0.0.1:{port}", root, environment)
        try:
            _wait_until_ready(loop.url)
            yield loop
        finally:
            process.terminate()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"the service at {url} did not become ready")
