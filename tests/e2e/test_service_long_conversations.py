"""A version that reads long conversations, behind HTTP: the whole conversation is its prompt, and is answered."""

from collections.abc import Iterator

import pytest

from model_store.contract.manifest import Hashing
from service.app import engine_opener
from service.settings import Settings
from tests.e2e.running_service import RunningService, run_service

NUM_EXCHANGES = 24


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose tiny network hashes what is longer than 200 tokens."""
    pytest.importorskip("torch", reason="no torch, to export the tiny model: pip install -e '.[training]'")
    from tests.e2e.tiny_model import make_real_bundle

    directory = tmp_path_factory.mktemp("long")
    rule = Hashing(hash_beyond=200, num_hashes=2, num_buckets=4, bucket_window=8)
    make_real_bundle(directory / "bundle", hashing=rule)
    changes = {"num_slots": 2, "min_plan_confidence": 0.0}
    with run_service(
        directory / "data", engine_opener(Settings(num_slots=2)), directory / "bundle", **changes
    ) as running:
        yield running


def long_talk() -> list[dict[str, str]]:
    talk = []
    for number in range(NUM_EXCHANGES):
        question = f"Where is the parcel that I ordered on a rainy day, question {'again ' * (number % 5)}please?"
        talk += [{"role": "user", "content": question}, {"role": "assistant", "content": "It is on its way to you."}]
    return [*talk, {"role": "user", "content": "And what do I do now?"}]


def test_a_long_conversation_is_read_whole_and_answered(service: RunningService) -> None:
    """The prompt holds every turn, not the last three, far beyond what is read exactly."""
    talk = long_talk()
    create = service.openai.chat.completions.create
    reply = create(model="rejoinder", messages=talk, max_completion_tokens=12, seed=1)  # type: ignore[call-overload]
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.prompt_tokens > 800
    short = create(model="rejoinder", messages=talk[-5:], max_completion_tokens=12, seed=1)
    assert reply.usage.prompt_tokens > 5 * short.usage.prompt_tokens


def test_the_next_turn_of_a_long_conversation_reads_only_what_is_new(service: RunningService) -> None:
    """Hashed beginnings are found again, and the reply is the one that is made without them."""
    talk = long_talk()
    with service.http as client:
        body = {"model": "rejoinder", "messages": talk, "max_completion_tokens": 12, "seed": 3}
        first = client.post("/v1/chat/completions", json=body).json()
        before = service.metric("rejoinder_prefix_cache_hits_total")
        again = client.post("/v1/chat/completions", json=body).json()
        after = service.metric("rejoinder_prefix_cache_hits_total")
    assert first["choices"][0]["message"]["content"] == again["choices"][0]["message"]["content"]
    assert sum(after.values()) - sum(before.values()) > 700
