"""Two engines behind HTTP, the second one in a process of its own: the same words, and one without the other."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.engine.engine import Engine
from service.engine.types import Delta
from tests.e2e.running_service import RunningService, run_service, wait_until

BODY: dict[str, Any] = {
    "model": "rejoinder",
    "messages": [{"role": "user", "content": f"Where is my order? {'It should have been here on Monday. ' * 6}"}],
    "max_completion_tokens": 24,
    "seed": 5,
}


def engine_processes() -> list[int]:
    """Those that this process has started and that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_engine = b"service.engine.running.child" in (path / "cmdline").read_bytes()
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if is_engine and parent == os.getpid():
            found.append(int(path.name))
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with two engines of two slots, which leaves no process behind."""
    pytest.importorskip("torch", reason="no torch, to export the tiny model: pip install -e '.[training]'")
    from tests.e2e.tiny_model import make_real_bundle

    directory = tmp_path_factory.mktemp("engines")
    make_real_bundle(directory / "bundle")
    changes = {"num_engines": 2, "num_slots": 2, "min_plan_confidence": 0.0}
    with run_service(directory / "data", None, directory / "bundle", **changes) as running:
        wait_until(lambda: num_engines(running) == 2)
        yield running
    assert engine_processes() == []


def num_engines(service: RunningService) -> float:
    """Those that take completions."""
    return service.metric("rejoinder_engines")[""]


def ask(service: RunningService, **changes: object) -> httpx2.Response:
    """Asks for one reply, or as many as are wanted."""
    with service.http as client:
        return client.post("/v1/chat/completions", json={**BODY, **changes})


def words(response: httpx2.Response) -> list[str]:
    """What the replies say."""
    return [choice["message"]["content"] for choice in response.json()["choices"]]


def test_it_does_not_matter_which_process_answers(service: RunningService) -> None:
    """Two choices are made in two engines; each says what it says alone, and the metrics are of both together."""
    queries = "rejoinder_prefix_cache_queries_total"
    before = sum(service.metric(queries).values())
    both = ask(service, n=2)
    num_asked = 2 * both.json()["usage"]["prompt_tokens"]
    assert sum(service.metric(queries).values()) - before == num_asked
    assert words(both) == [*words(ask(service)), *words(ask(service, seed=6))]
    wait_until(lambda: service.metric("rejoinder_prefix_cache_bytes")[""] > 0)
    assert service.metric("rejoinder_slots") == {"": 4}
    assert service.metric("rejoinder_engines_missing") == {"": 0}


def test_an_engine_that_is_killed_takes_its_own_replies_along_and_comes_back(service: RunningService) -> None:
    """What it was making ends with the error that says so, everybody else is answered, and it returns by itself."""
    expected = words(ask(service, n=2))
    (pid,) = engine_processes()
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        caught = threads.submit(ask, service, n=2)
        worker = service.model_router.models[0].worker
        wait_until(lambda: bool(worker._seats[1].request_ids))
        os.kill(pid, signal.SIGKILL)
        failed = caught.result()
    assert failed.status_code >= 500 and failed.json()["error"]["code"] == "completion_failed"
    assert words(ask(service)) == expected[:1]
    with service.http as client:
        assert client.get("/readyz").status_code == 200
    wait_until(lambda: num_engines(service) == 2)
    assert engine_processes() != [pid]
    assert words(ask(service, n=2)) == expected


def test_the_others_serve_while_a_failed_first_engine_is_opened_again(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is taken up anew, with all its engines; the service is ready all the time."""
    expected = words(ask(service, n=2))
    worker = service.model_router.models[0].worker
    steps = Engine.step

    def fail_once(engine: Engine) -> list[Delta]:
        monkeypatch.setattr(Engine, "step", steps)
        raise RuntimeError("the processor is at fault")

    monkeypatch.setattr(Engine, "step", fail_once)
    failed = ask(service, n=2)
    assert failed.json()["error"]["code"] == "completion_failed"
    with service.http as client:
        assert client.get("/readyz").status_code == 200
    wait_until(lambda: service.model_router.models[0].worker is not worker)
    wait_until(lambda: num_engines(service) == 2)
    assert words(ask(service, n=2)) == expected
    wait_until(lambda: len(engine_processes()) == 1)
