"""New model versions under a running service: taken up without a failed request, or refused by name."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from model_store.bundle import Bundle, write_bundle
from service.engine.types import CompletionRequest
from tests.bundles import manifest_fields
from tests.contract.fake_engine import FakeEngines, make_chat_bundle
from tests.e2e.running_service import RunningService, run_fake_service, wait_until

BODY: dict[str, Any] = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hello"}]}


def say_version(bundle: Bundle, request: CompletionRequest) -> str:
    """A reply of many tokens that all name the version which made it."""
    return f"{bundle.manifest.name} " * 12


@pytest.fixture
def engines() -> FakeEngines:
    """Engines that say which version they are and take a millisecond a token."""
    engines = FakeEngines(say_version)
    engines.step_seconds = 0.001
    return engines


@pytest.fixture
def service(tmp_path: Path, engines: FakeEngines) -> Iterator[RunningService]:
    """A service with the version `tiny`, looking at its alias every 50 ms."""
    with run_fake_service(tmp_path, engines) as running:
        yield running


def publish(service: RunningService, directory: Path, name: str) -> str:
    """Publishes a version and makes it stable."""
    digest = make_chat_bundle(directory / name, name)
    service.store.publish(directory / name)
    service.store.promote("stable", digest)
    return digest


def wait_for_version(service: RunningService, digest: str) -> None:
    """Waits until a version answers and no other is loaded."""
    wait_until(lambda: [digest[:8] in series for series in service.metric("rejoinder_model_info")] == [True])


def test_versions_change_under_load_without_a_failed_or_mixed_reply(service: RunningService, tmp_path: Path) -> None:
    """Eight clients talk through four changes: every reply is whole, of one version, the one that its header names."""
    digests = {"tiny": service.store.resolve("stable").digest}
    is_over = threading.Event()

    def talk(number: int) -> list[tuple[str, str]]:
        heard = []
        with service.http as client:
            while not is_over.is_set():
                if number % 2:
                    response = client.post("/v1/chat/completions", json=BODY)
                    text = response.json()["choices"][0]["message"]["content"]
                else:
                    with service.openai.chat.completions.with_streaming_response.create(
                        **BODY, stream=True
                    ) as response:
                        pieces = list(response.parse())
                    assert pieces[-1].choices[0].finish_reason == "stop"
                    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
                heard.append((text, response.headers["x-model-digest"]))
        return heard

    with ThreadPoolExecutor(8) as pool:
        talks = [pool.submit(talk, number) for number in range(8)]
        for number in range(4):
            name = f"version-{number}"
            digests[name] = publish(service, tmp_path, name)
            wait_for_version(service, digests[name])
        is_over.set()
        heard = [pair for done in talks for pair in done.result()]
    names = {text.split()[0] for text, _ in heard}
    assert len(names) >= 4, "too little was said to show anything"
    for text, digest in heard:
        words = text.split()
        assert len(words) == 12 and set(words) == {words[0]}
        assert digest == digests[words[0]]


def test_a_running_reply_ends_on_the_version_that_began_it(
    service: RunningService, engines: FakeEngines, tmp_path: Path
) -> None:
    """The old engine stays for its last completion, then closes."""
    old = engines.opened[0]
    old.hold.set()
    with service.openai.chat.completions.create(**BODY, stream=True) as stream:
        wait_until(lambda: old.num_running == 1)
        digest = publish(service, tmp_path, "newer")
        wait_until(lambda: any(digest[:8] in series for series in service.metric("rejoinder_alias_info")))
        fresh = service.http.post("/v1/chat/completions", json=BODY)
        assert fresh.headers["x-model-digest"] == digest
        assert not old.is_closed
        old.hold.clear()
        text = "".join(piece.choices[0].delta.content or "" for piece in stream)
    assert set(text.split()) == {"tiny"}
    wait_until(lambda: old.is_closed)
    wait_for_version(service, digest)


@pytest.mark.parametrize("damage", ["flipped bit", "missing file", "no tokenizer", "fails its trial"])
def test_a_bad_version_is_refused_by_name_and_the_running_one_goes_on(
    service: RunningService, tmp_path: Path, damage: str
) -> None:
    """Shown in /metrics, tried once and not again, until the alias moves on to a good one."""
    good = service.store.resolve("stable").digest
    name = "refused-one" if damage == "fails its trial" else "bad"
    directory = tmp_path / name
    make_chat_bundle(directory, name)
    if damage == "no tokenizer":
        (directory / "tokenizer.json").write_text("{}")
        write_bundle(directory, manifest_fields(name))
    bad = service.store.publish(directory)
    move = service.store.plan_promotion("stable", bad)
    # Between the check and the move: afterwards, the service might have taken the version up before it is damaged.
    spoil(Path(service.settings.model_store_location) / "versions" / bad, damage)
    service.store.apply("stable", move)
    wait_until(lambda: any(bad in series for series in service.metric("rejoinder_model_refused_info")))
    num_refusals = sum(service.metric("rejoinder_model_load_failures_total").values())
    response = service.http.post("/v1/chat/completions", json=BODY)
    assert (response.status_code, response.headers["x-model-digest"]) == (200, good)
    assert service.http.get("/readyz").status_code == 200
    threading.Event().wait(0.3)
    assert sum(service.metric("rejoinder_model_load_failures_total").values()) == num_refusals
    better = publish(service, tmp_path, "better")
    wait_for_version(service, better)
    assert service.metric("rejoinder_model_refused_info") == {}


def spoil(stored: Path, damage: str) -> None:
    """Damages a version in the store after it was checked."""
    stored.chmod(0o755)
    graph = stored / "model.onnx"
    if damage == "flipped bit":
        content = bytearray(graph.read_bytes())
        content[100] ^= 1
        graph.chmod(0o644)
        graph.write_bytes(content)
    elif damage == "missing file":
        graph.unlink()


def test_a_service_without_a_model_says_so_and_takes_one_up_when_it_comes(tmp_path: Path) -> None:
    """Not ready, 503 with a code; then ready, without a restart."""
    engines = FakeEngines(say_version)
    with run_fake_service(tmp_path, engines, default_bundle=tmp_path / "nowhere") as service:
        assert service.http.get("/livez").status_code == 200
        assert service.http.get("/readyz").status_code == 503
        refused = service.http.post("/v1/chat/completions", json=BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_unavailable")
        assert refused.headers["retry-after"]
        assert service.http.get("/v1/models").json()["data"] == []
        publish(service, tmp_path, "first")
        wait_until(lambda: service.http.get("/readyz").status_code == 200)
        assert service.http.post("/v1/chat/completions", json=BODY).status_code == 200


def test_an_engine_that_breaks_is_opened_again(service: RunningService, engines: FakeEngines) -> None:
    """The reply in the middle gets an error event; the next one is whole."""
    first = engines.opened[0]
    first.fails_at_step = first.num_steps + 3
    with service.http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as response:
        text = response.read().decode()
    assert "event: error" in text and '"code":"completion_failed"' in text and "[DONE]" not in text
    wait_until(lambda: len(engines.opened) == 2 and service.model_router.is_ready)
    assert first.is_closed
    assert service.http.post("/v1/chat/completions", json=BODY).status_code == 200
