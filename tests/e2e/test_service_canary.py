"""A canary under a running service: a candidate answers its share of conversations, each of them to its end."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx2
import pytest

from service.chat.model_router import is_in_canary
from tests.contract.fake_engine import FakeEngines, make_chat_bundle
from tests.e2e.running_service import RunningService, run_fake_service, say_hello, wait_until

SHARE = 0.4
NAMES = [f"talk-{number}" for number in range(20)]


@pytest.fixture
def engines() -> FakeEngines:
    """Engines that say hello at once."""
    return FakeEngines(say_hello)


@pytest.fixture
def service(tmp_path: Path, engines: FakeEngines) -> Iterator[RunningService]:
    """A service that gives a candidate two conversations of five."""
    with run_fake_service(tmp_path, engines, canary_share=SHARE) as running:
        yield running


def publish(service: RunningService, directory: Path, name: str) -> str:
    """Puts a version on the shelf; no alias moves."""
    digest = make_chat_bundle(directory / name, name)
    service.store.publish(directory / name)
    return digest


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx2.Client]:
    """One client for all of a test's requests."""
    with service.http as client:
        yield client


def start_canary(service: RunningService, directory: Path, name: str = "newer") -> str:
    """Publishes a version as candidate and waits until it answers."""
    digest = publish(service, directory, name)
    service.store.promote("candidate", digest)
    wait_until(lambda: share_shown(service) == SHARE)
    return digest


def share_shown(service: RunningService) -> float:
    """The canary's share in /metrics."""
    return service.metric("rejoinder_canary_share")[""]


def ask(client: httpx2.Client, conversation_id: str, model: str = "rejoinder") -> httpx2.Response:
    """One answered request."""
    metadata = {"conversation_id": conversation_id}
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "metadata": metadata}
    return client.post("/v1/chat/completions", json=body).raise_for_status()


def digests_of(client: httpx2.Client, names: Iterable[str], model: str = "rejoinder") -> dict[str, str]:
    """Which version answers each of these conversations now."""
    return {name: ask(client, name, model).headers["x-model-digest"] for name in names}


def test_a_candidate_answers_its_share_and_each_conversation_stays_where_it_is(
    service: RunningService, client: httpx2.Client, tmp_path: Path
) -> None:
    """By a hash that anybody can compute; the header names the version at every turn."""
    stable = service.store.resolve("stable").digest
    candidate = start_canary(service, tmp_path)
    expected = {name: candidate if is_in_canary(name, candidate, SHARE) else stable for name in NAMES}
    for _ in range(2):
        assert digests_of(client, NAMES) == expected
    num_canary = sum(digest == candidate for digest in expected.values())
    assert 0 < num_canary < len(NAMES)
    assert service.metric("rejoinder_alias_completions_total") == {
        '{alias="candidate"}': 2 * num_canary,
        '{alias="stable"}': 2 * (len(NAMES) - num_canary),
    }


def test_the_hash_gives_a_share_and_a_larger_share_keeps_the_conversations_of_a_smaller_one() -> None:
    """Of 20,000 conversations within two points of the share; other candidates get other conversations."""
    keys = [str(number) for number in range(20_000)]
    tenth = {key for key in keys if is_in_canary(key, "a" * 64, 0.1)}
    third = {key for key in keys if is_in_canary(key, "a" * 64, 0.3)}
    other = {key for key in keys if is_in_canary(key, "b" * 64, 0.1)}
    assert abs(len(tenth) / len(keys) - 0.1) < 0.02 and abs(len(third) / len(keys) - 0.3) < 0.02
    assert tenth < third
    assert len(tenth & other) < len(tenth) / 2
    assert not any(is_in_canary(key, "a" * 64, 0.0) for key in keys)
    assert all(is_in_canary(key, "a" * 64, 1.0) for key in keys)


def test_a_conversation_without_an_id_is_known_by_its_first_message(
    service: RunningService, client: httpx2.Client, tmp_path: Path
) -> None:
    """A client that sends the conversation so far meets the same version at its second turn."""
    start_canary(service, tmp_path)
    seen = set()
    for number in range(10):
        first = {"role": "user", "content": f"Question {number}"}
        later = [first, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "And then?"}]
        bodies = [{"model": "rejoinder", "messages": messages} for messages in ([first], later)]
        digests = {client.post("/v1/chat/completions", json=body).headers["x-model-digest"] for body in bodies}
        assert len(digests) == 1
        seen |= digests
    assert len(seen) == 2


def test_a_candidate_can_be_asked_by_its_digest_whatever_the_conversation(
    service: RunningService, client: httpx2.Client, tmp_path: Path
) -> None:
    """Both versions are in /v1/models; the alias there is the stable one's."""
    stable = service.store.resolve("stable").digest
    candidate = start_canary(service, tmp_path)
    for digest in (stable, candidate):
        assert set(digests_of(client, NAMES[:5], model=digest[:8]).values()) == {digest}
    listed = {entry["id"]: entry["digest"] for entry in client.get("/v1/models").json()["data"]}
    assert listed == {"rejoinder": stable, "tiny": stable, stable: stable, "newer": candidate, candidate: candidate}
    assert client.get("/v1/models/newer").json()["digest"] == candidate


def test_thumbs_are_counted_by_who_made_the_reply(
    service: RunningService, client: httpx2.Client, tmp_path: Path
) -> None:
    """`stable` and `candidate` while the canary is on; the label is an alias, so there are few series."""
    candidate = start_canary(service, tmp_path)
    expected: Counter[str] = Counter()
    for number, name in enumerate(NAMES):
        completion = ask(client, name).json()
        rating = "up" if number % 2 else "down"
        rated = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"]}
        client.post("/v1/feedback", json={**rated, "rating": rating}).raise_for_status()
        alias = "candidate" if is_in_canary(name, candidate, SHARE) else "stable"
        expected[f'{{alias="{alias}",rating="{rating}"}}'] += 1
    assert service.metric("rejoinder_alias_feedback_total") == expected


def test_a_promoted_candidate_goes_on_without_being_opened_again(
    service: RunningService, client: httpx2.Client, engines: FakeEngines, tmp_path: Path
) -> None:
    """Everybody gets it, the old one closes, and no canary is left."""
    candidate = start_canary(service, tmp_path)
    service.store.promote("stable", "candidate")
    wait_until(lambda: engines.opened[0].is_closed)
    assert set(digests_of(client, NAMES).values()) == {candidate}
    assert len(engines.opened) == 2 and not engines.opened[1].is_closed
    assert share_shown(service) == 0


@pytest.mark.parametrize("end", ["dropped", "overtaken"])
def test_a_canary_ends_when_its_alias_joins_stable_or_stable_moves(
    service: RunningService, client: httpx2.Client, engines: FakeEngines, tmp_path: Path, end: str
) -> None:
    """Dropped by pointing it at `stable`; overtaken by another stable version, against which it was not gated."""
    start_canary(service, tmp_path)
    if end == "dropped":
        service.store.promote("candidate", "stable")
    else:
        service.store.promote("stable", publish(service, tmp_path, "third"))
    wait_until(lambda: engines.opened[1].is_closed)
    assert set(digests_of(client, NAMES).values()) == {service.store.resolve("stable").digest}
    assert share_shown(service) == 0


def test_a_bad_candidate_is_refused_and_all_conversations_stay_with_the_stable_version(
    service: RunningService, client: httpx2.Client, tmp_path: Path
) -> None:
    """Tried once; a good candidate after it is taken up."""
    stable = service.store.resolve("stable").digest
    bad = publish(service, tmp_path, "refused-one")
    service.store.promote("candidate", bad)
    wait_until(lambda: any(bad in series for series in service.metric("rejoinder_model_refused_info")))
    assert set(digests_of(client, NAMES).values()) == {stable}
    assert share_shown(service) == 0
    start_canary(service, tmp_path)


def test_a_candidate_whose_engine_breaks_hands_its_conversations_to_the_stable_version(
    service: RunningService, client: httpx2.Client, engines: FakeEngines, tmp_path: Path
) -> None:
    """The reply in the middle fails; the next one is whole, and the candidate is opened again."""
    candidate = start_canary(service, tmp_path)
    broken = engines.opened[1]
    broken.fails_at_step = broken.num_steps + 2
    name = next(name for name in NAMES if is_in_canary(name, candidate, SHARE))
    with pytest.raises(httpx2.HTTPStatusError, match="500"):
        ask(client, name)
    ask(client, name)
    wait_until(lambda: ask(client, name).headers["x-model-digest"] == candidate)
    assert broken.is_closed and len(engines.opened) == 3


def test_a_share_of_nothing_never_opens_the_candidate(tmp_path: Path, engines: FakeEngines) -> None:
    """No second engine takes memory where no canary is wanted."""
    with run_fake_service(tmp_path, engines, canary_share=0.0) as service, service.http as client:
        first = service.store.resolve("stable").digest
        service.store.promote("candidate", publish(service, tmp_path, "newer"))
        threading.Event().wait(0.3)  # several looks at the aliases
        assert set(digests_of(client, NAMES).values()) == {first}
        assert len(engines.opened) == 1
