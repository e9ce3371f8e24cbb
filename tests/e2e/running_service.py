"""The whole service on a real port in this process: everything is real but, where a test says so, the engine."""

import logging
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import openai
import structlog

from model_store.backends.local import LocalBackend
from model_store.bundle import Bundle
from model_store.intents.intent_model import DEFAULT_DIRECTORY as INTENT_MODEL
from model_store.intents.intent_model import IntentModel
from model_store.store import ModelStore
from service.app import create_app
from service.chat.chatbot import Chatbot
from service.chat.model_router import EngineOpener, ModelRouter
from service.engine.types import CompletionRequest
from service.http_server import DrainingServer, build_server
from service.records.sql_store import SqlRecordStore
from service.settings import Settings
from tests.contract.fake_engine import FakeEngines, make_chat_bundle
from tests.ports import free_port

FEEDBACK_SECRET = "a secret that only tests know"
DEADLINE_SECONDS = 60.0
"""How long a busy machine may take for anything."""
_ROOT = Path(__file__).resolve().parents[2]
_TLS = ssl.create_default_context()
"""Reading the authorities is nearly all that making a client takes, and here nobody speaks TLS."""


@dataclass
class RunningService:
    """A service that answers at `url`, and what a test may want to look at."""

    url: str
    settings: Settings
    store: ModelStore
    server: DrainingServer

    @property
    def http(self) -> httpx2.Client:
        """A plain HTTP client."""
        return httpx2.Client(base_url=self.url, timeout=DEADLINE_SECONDS, verify=_TLS)

    @property
    def openai(self) -> openai.OpenAI:
        """The real OpenAI client."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none needed", max_retries=0)

    @property
    def chatbot(self) -> Chatbot:
        """The service's own chatbot."""
        chatbot: Chatbot = self.server.lifespan.state["chatbot"]
        return chatbot

    @property
    def model_router(self) -> ModelRouter:
        """The service's own router."""
        router: ModelRouter = self.server.lifespan.state["model_router"]
        return router

    @contextmanager
    def records(self) -> Iterator[SqlRecordStore]:
        """A second look at the service's database."""
        store = SqlRecordStore.open(self.settings.records_url)
        try:
            yield store
        finally:
            store.close()

    def metric(self, name: str) -> dict[str, float]:
        """A metric's series: labels to value."""
        with self.http as client:
            lines = client.get("/metrics").text.splitlines()
        rows = (line.rsplit(" ", 1) for line in lines if line.startswith(name))
        return {series.removeprefix(name): float(value) for series, value in rows}


def wait_until(is_true: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    """Waits for something that another thread brings about. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not become true")
        time.sleep(0.01)


class _RememberingIntentModel(IntentModel):
    """Embeds a passage once: each service of a test reads the same articles."""

    def __init__(self, *loaded: Any) -> None:
        super().__init__(*loaded)
        self.embed_passage = cache(super().embed_passage)  # type: ignore[method-assign]


_load_once = cache(_RememberingIntentModel.load)


def _load_intents(directory: Path) -> IntentModel:
    """The model that ships is immutable; one for all services of a process saves most of what a start takes."""
    return _load_once() if directory == INTENT_MODEL else IntentModel.load(directory)


def say_hello(bundle: Bundle, request: CompletionRequest) -> str:
    """The script of most tests."""
    return "Hello! How can I help you with your order today?"


@contextmanager
def run_service(
    data_dir: Path, open_engine: EngineOpener | None, bundle: Path, **changes: object
) -> Iterator[RunningService]:
    """Serves `bundle` on a free port until the block ends; `changes` are settings.

    With an `open_engine` there is no engine beside the one that it opens; without, what ships opens as many as are set.
    """
    fields: dict[str, object] = {
        "host": "127.0.0.1",
        "port": free_port(),
        "data_dir": data_dir,
        "default_bundle": bundle,
        "poll_seconds": 0.05,
        "num_slots": 4,
        "feedback_secret": FEEDBACK_SECRET,
        "drain_seconds": 1.0,
    }
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = Settings.model_validate({**fields, **changes})
    app = create_app(settings, open_engine=open_engine, load_intents=_load_intents)
    server = build_server(app, settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        store = ModelStore(LocalBackend(Path(settings.model_store_location)))
        yield RunningService(f"http://127.0.0.1:{settings.port}", settings, store, server)
    finally:
        server.should_exit = True
        thread.join(DEADLINE_SECONDS)


@contextmanager
def run_fake_service(
    data_dir: Path, engines: FakeEngines, *, plans: Sequence[str] = (), **changes: object
) -> Iterator[RunningService]:
    """`run_service` with fake engines and a bundle for them, whose model has `plans`."""
    bundle = data_dir / "bundle"
    make_chat_bundle(bundle, plans=plans)
    with run_service(data_dir / "data", engines, bundle, **changes) as service:
        yield service


@dataclass
class ServiceProcess:
    """A service in a process of its own."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def run_process(
    directory: Path, pace: str, *, plans: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> Iterator[ServiceProcess]:
    """Runs `serve_fake` until the block ends; `variables` are added to its environment."""
    port = free_port()
    command = [sys.executable, "-m", "tests.e2e.serve_fake", str(directory), str(port), pace, *plans]
    with subprocess.Popen(command, cwd=_ROOT, env={**os.environ, **(variables or {})}) as process:
        running = ServiceProcess(f"http://127.0.0.1:{port}", process)
        try:
            wait_until(lambda: _answers(running.url), seconds=3 * DEADLINE_SECONDS)
            yield running
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/livez", verify=_TLS).status_code == 200
    except httpx2.TransportError:
        return False
