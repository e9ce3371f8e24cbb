"""The service with the real engine: a real graph in onnxruntime behind HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_store.bundle import write_bundle
from model_store.contract.control_tokens import (
    EOS_ID,
    FIRST_PLAN_ID,
    NEVER_GENERATED_IDS,
    NUM_CONTROL_TOKENS,
    PLACEHOLDER_IDS,
)
from model_store.contract.placeholders import ARTICLE, ENTITY_PLACEHOLDERS
from service.app import engine_opener
from service.settings import Settings
from tests.e2e.running_service import RunningService, run_service, wait_until

BODY: dict[str, Any] = {
    "model": "rejoinder",
    "messages": [{"role": "user", "content": "Where is my order A1B2-77345?"}],
    "max_completion_tokens": 24,
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with two slots and a Reformer that babbles."""
    pytest.importorskip("torch", reason="no torch, to export the tiny model: pip install -e '.[training]'")
    from tests.e2e.tiny_model import make_real_bundle

    directory = tmp_path_factory.mktemp("real")
    make_real_bundle(directory / "bundle")
    settings = Settings(num_slots=2)
    # Random weights are never sure what is meant; with a threshold the service would ask back in its own words.
    changes = {"num_slots": 2, "min_plan_confidence": 0.0}
    with run_service(directory / "data", engine_opener(settings), directory / "bundle", **changes) as running:
        yield running


def test_the_same_seed_gives_the_same_completion_and_another_seed_another(service: RunningService) -> None:
    """Streamed or not, alone or beside a neighbour."""
    create = service.openai.chat.completions.create
    first = create(**BODY, seed=5).choices[0].message.content
    pieces = list(create(**BODY, seed=5, stream=True))
    streamed = "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices)
    both = create(**BODY, seed=5, n=2).choices
    assert first == streamed == both[0].message.content != both[1].message.content


def test_no_structural_or_unknown_placeholder_is_ever_sampled(service: RunningService) -> None:
    """Forty hot completions of random weights: a plan, then only subwords, facts, the customer's one order, the end."""
    allowed = {EOS_ID} | {
        token_id
        for name, token_id in PLACEHOLDER_IDS.items()
        if name not in (*ENTITY_PLACEHOLDERS, ARTICLE) and token_id not in NEVER_GENERATED_IDS
    }
    allowed.add(PLACEHOLDER_IDS["<ORDER_ID>"])
    from tests.e2e.tiny_model import PLANS

    seen: set[int] = set()
    plans: set[object] = set()
    for seed in range(0, 40, 4):
        completion = service.openai.chat.completions.create(**BODY, seed=seed, n=4, temperature=2.0, top_p=1.0)
        with service.records() as records:
            for choice in completion.choices:
                record = records.get_completion((choice.model_extra or {})["completion_id"])
                seen.update(record.completion_token_ids[1:])
                plans.add(record.sampling["plan"])
                assert record.completion_token_ids[0] == FIRST_PLAN_ID + PLANS.index(record.sampling["plan"])
    control = {token_id for token_id in seen if token_id < NUM_CONTROL_TOKENS}
    assert control and control <= allowed and len(plans) > 1


def test_logprobs_are_the_models_own(service: RunningService) -> None:
    """Greedy: the sampled token is the most probable one, and probabilities are at most one."""
    completion = service.openai.chat.completions.create(**BODY, temperature=0, logprobs=True, top_logprobs=3)
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None and logprobs.content
    for token in logprobs.content:
        ranked = [rival.logprob for rival in token.top_logprobs]
        assert len(ranked) == 3 and ranked == sorted(ranked, reverse=True)
        assert all(value <= 0 for value in (*ranked, token.logprob))


def test_a_long_conversation_drops_its_oldest_turns(service: RunningService) -> None:
    """What is recorded is what the model saw: the end, beginning with a user message, within the context."""
    turn = [{"role": "user", "content": "I forgot my password " * 6}, {"role": "assistant", "content": "Please wait."}]
    messages = [{"role": "system", "content": "Be kind."}, *turn * 8, {"role": "user", "content": "Hello?"}]
    completion = service.openai.chat.completions.create(**{**BODY, "messages": messages})
    with service.records() as records:
        record = records.get_completion(completion.id)
    roles = [message.role.value for message in record.prompt_messages]
    assert record.prompt_messages[-1].content == "Hello?"
    assert 3 < len(roles) < len(messages) and roles[:2] == ["system", "user"]
    assert record.num_prompt_tokens + 24 <= 256


def test_a_version_whose_golden_run_differs_is_refused(service: RunningService, tmp_path: Path) -> None:
    """The graph is intact and loads, yet says something else than its manifest: it never serves."""
    from tests.e2e.tiny_model import make_real_bundle

    directory = tmp_path / "other"
    make_real_bundle(directory, "other")
    fields = json.loads((directory / "manifest.json").read_bytes())
    fields.pop("files")
    fields["golden_run"]["completion_ids"][0] ^= 1
    write_bundle(directory, fields)
    good = service.store.resolve("stable").digest
    bad = service.store.publish(directory)
    service.store.promote("stable", bad)
    wait_until(lambda: any(bad in series for series in service.metric("rejoinder_model_refused_info")))
    assert '{code="golden_run_mismatch"}' in service.metric("rejoinder_model_load_failures_total")
    response = service.http.post("/v1/chat/completions", json=BODY)
    assert response.headers["x-model-digest"] == good
    service.store.promote("stable", good)


def test_a_new_version_is_taken_up_by_the_real_engine(service: RunningService, tmp_path: Path) -> None:
    """Published and promoted: the next replies carry its digest."""
    from tests.e2e.tiny_model import make_real_bundle

    digest = make_real_bundle(tmp_path / "next", "next", seed=8)
    service.store.publish(tmp_path / "next")
    service.store.promote("stable", digest)
    wait_until(lambda: any(digest in series for series in service.metric("rejoinder_model_info")))
    response = service.http.post("/v1/chat/completions", json=BODY)
    assert (response.status_code, response.headers["x-model-digest"]) == (200, digest)


def test_a_further_turn_reads_only_what_is_new_and_the_metrics_tell(service: RunningService) -> None:
    """The same words, whether their beginning is known or not; hits are counted in tokens, in whole chunks of 64."""
    create = service.openai.chat.completions.create
    turns = [{"role": "user", "content": f"Where is my order? {'It should have been here on Monday. ' * 6}"}]
    turns += [{"role": "assistant", "content": "It is on its way."}, {"role": "user", "content": "And when?"}]
    before = prefix_cache_metrics(service)
    first = create(**{**BODY, "messages": turns[:1]}, seed=3)
    after_first = prefix_cache_metrics(service)
    again = create(**{**BODY, "messages": turns[:1]}, seed=3)
    further = create(**{**BODY, "messages": turns}, seed=3)
    after_all = prefix_cache_metrics(service)
    assert first.usage and again.usage and further.usage
    assert first.choices[0].message.content == again.choices[0].message.content
    num_known = (first.usage.prompt_tokens - 1) // 64 * 64
    assert num_known >= 64
    assert after_first["hits_total"] == before["hits_total"]
    assert after_all["hits_total"] - after_first["hits_total"] == 2 * num_known
    num_asked = first.usage.prompt_tokens + again.usage.prompt_tokens + further.usage.prompt_tokens
    assert after_all["queries_total"] - before["queries_total"] == num_asked
    assert after_all["bytes"] >= after_first["bytes"] > 0


def prefix_cache_metrics(service: RunningService) -> dict[str, float]:
    """What `/metrics` says of the prefix cache, by the name's end."""
    ends = ("queries_total", "hits_total", "bytes")
    return {end: sum(service.metric(f"rejoinder_prefix_cache_{end}").values()) for end in ends}
