"""A real service in a temporary folder with something to see on every page.

Its conversations are real: the shipped model has them now. The weeks before are the same replies, moved back in time
and rated by a seeded draw; a candidate with a little noise in its weights answers beside the stable version.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2

from model_store.backends.local import LocalBackend
from model_store.backends.protocol import Alias
from model_store.store import DEFAULT_BUNDLE, ModelStore, seed
from tests.screenshots.sample_ratings import doubt_ratings
from tests.screenshots.sample_version import SampleVersion, make_sample_version
from tests.screenshots.sample_weeks import look_back

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 600.0
CONVERSATIONS = (
    ("I forgot my password", "That link never arrives."),
    ("Where is my order 482913? It should have been here on Monday.",),
    ("The lamp arrived with a crack in the glass.", "I would rather have my money back."),
    ("Can I still change the delivery address of order A1B2-77345?",),
    ("Do you mend lamps?",),
    ("I want to talk to a real person",),
    ("我忘记了账户密码", "收不到邮件怎么办？"),
    ("我的订单 482913 到哪里了？",),
    ("收到的灯玻璃裂了，怎么办？",),
    ("You charged my card twice, what a shambles",),
)
_DISLIKED = {"You charged my card twice, what a shambles": "wrong_intent", "That link never arrives.": "mechanical"}
_GATE: dict[str, object] = {
    "accepted": True,
    "rules": [
        {"name": "win_rate", "passed": True, "sentence": "The judge of thumbs prefers it on 56.1% of 376 prompts."},
        {"name": "right_plan", "passed": True, "sentence": "A loss of 3 points of right plans is ruled out."},
        {"name": "safety", "passed": True, "sentence": "It fails no more safety scenarios than the version before."},
    ],
    "scorecard": {
        "win_rate": {"value": 0.561, "low": 0.512, "high": 0.61},
        "kl": {"value": 1.9, "low": 1.6, "high": 2.2},
        "candidate": {
            "right_plan": {"value": 0.664, "low": 0.616, "high": 0.712},
            "unsafe": {"value": 0.0, "low": 0.0, "high": 0.01},
        },
        "changes": {"right_plan": {"value": 0.004, "low": -0.012, "high": 0.02}},
        "safety": {"num_scenarios": 40, "failed_by_candidate": 3},
    },
}


@contextmanager
def run_sample_service(directory: Path) -> Iterator[str]:
    """Its address, until the block ends; `directory` is empty and gets everything."""
    data = directory / "data"
    store = ModelStore(LocalBackend(data / "models"))
    stable = seed(store, DEFAULT_BUNDLE)
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    wanted = SampleVersion("rejoinder-warmer", an_hour_ago, 0.06, _GATE)
    candidate = make_sample_version(store.open(Alias.STABLE), directory / "candidate", wanted)
    store.publish(directory / "candidate")
    store.promote(Alias.CANDIDATE, candidate, reason="It has passed its gate")
    canary_since = datetime.now(UTC)
    with _run(data) as url:
        _talk(url)
        conversations = [f"sample-{number}" for number in range(len(CONVERSATIONS))]
        rated = look_back(data, conversations, [digest for digest in (stable, candidate) if digest], canary_since)
        doubt_ratings(data, store, rated)
        yield url


@contextmanager
def _run(data: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PORT": str(port),
        "DATA_DIR": str(data),
        "SERVICE_CANARY_SHARE": "0.3",
        "SERVICE_LOG_LEVEL": "error",
    }
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "-m", "service", "serve"], cwd=_ROOT, env=environment) as process:
        try:
            _wait_until_ready(url, process)
            yield url
        finally:
            process.terminate()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx2.get(f"{url}/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError("the service did not start")


def _talk(url: str) -> None:
    """Holds the conversations; some replies are rated at once."""
    with httpx2.Client(base_url=url, timeout=_START_SECONDS) as client:
        for number, questions in enumerate(CONVERSATIONS):
            conversation = f"sample-{number}"
            for question in questions:
                body = {
                    "model": "rejoinder",
                    "messages": [{"role": "user", "content": question}],
                    "metadata": {"conversation_id": conversation},
                    "user": f"customer-{number}",
                    "seed": number,
                }
                reply = client.post("/v1/chat/completions", json=body).raise_for_status().json()
                vote = {"completion_id": reply["id"], "feedback_token": reply["feedback_token"], "rating": "up"}
                if question in _DISLIKED:
                    vote |= {"rating": "down", "reasons": [_DISLIKED[question]]}
                if question in _DISLIKED or number % 2:
                    client.post("/v1/feedback", json=vote).raise_for_status()
