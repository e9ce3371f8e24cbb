"""What the chat layer relies on in an engine: the real one and the fake must both do it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.bundle import open_bundle
from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, EOS_ID, USER_ID
from service.engine.engine import Engine
from service.engine.errors import EngineClosedError, EngineOverloadedError, InvalidPromptError
from service.engine.running.engine_loop import CompletionEngine
from service.engine.types import CompletionRequest, Delta, EngineOptions, SamplingParams
from tests.contract.fake_engine import FakeEngine

PROMPT = (BOS_ID, USER_ID, 400, 401, ASSISTANT_ID)
OPTIONS = EngineOptions(num_slots=2)
OpenEngine = Callable[[], CompletionEngine]


@pytest.fixture(scope="module", params=["fake", "real"])
def open_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenEngine:
    """Opens an engine with two slots that does not end completions by itself before 40 tokens."""
    if request.param == "fake":
        return lambda: FakeEngine(lambda completion: [300] * 40, OPTIONS, max_context=256)
    pytest.importorskip("torch", reason="no torch, to export the tiny model: pip install -e '.[training]'")
    from tests.e2e.tiny_model import make_real_bundle

    directory: Path = tmp_path_factory.mktemp("real") / "bundle"
    make_real_bundle(directory)
    return lambda: Engine.open(directory, open_bundle(directory).manifest, OPTIONS)


def ask(request_id: str, **sampling: object) -> CompletionRequest:
    """A greedy request that cannot end before its length."""
    params = {"temperature": 0.0, "max_tokens": 6, "banned_token_ids": frozenset({EOS_ID}), **sampling}
    return CompletionRequest(request_id, PROMPT, SamplingParams(**params))  # type: ignore[arg-type]


def run(engine: CompletionEngine) -> list[Delta]:
    """All deltas until there is no work."""
    deltas = []
    while engine.has_work:
        deltas += engine.step()
    return deltas


def test_a_completion_comes_one_token_a_step_and_ends_with_length(open_engine: OpenEngine) -> None:
    """Six deltas, the last one with the reason; nothing is left behind."""
    engine = open_engine()
    engine.submit(ask("a", num_top_logprobs=3))
    deltas = run(engine)
    assert [delta.finish_reason for delta in deltas] == [None] * 5 + ["length"]
    assert {delta.request_id for delta in deltas} == {"a"}
    assert all(len(delta.top_logprobs) == 3 and delta.logprob <= 0 for delta in deltas)
    assert (engine.num_running, engine.num_waiting, engine.has_work) == (0, 0, False)


def test_two_run_four_wait_and_a_seventh_is_refused(open_engine: OpenEngine) -> None:
    """Places are slots plus twice as many that wait."""
    engine = open_engine()
    for number in range(6):
        engine.submit(ask(str(number)))
    with pytest.raises(EngineOverloadedError):
        engine.submit(ask("6"))
    engine.step()
    engine.step()
    assert (engine.num_running, engine.num_waiting) == (2, 4)
    deltas = run(engine)
    assert sorted(delta.request_id for delta in deltas if delta.finish_reason) == list("012345")


def test_cancelling_frees_the_place_at_once_and_no_delta_follows(open_engine: OpenEngine) -> None:
    """Running or waiting; cancelling what is not there does nothing."""
    engine = open_engine()
    for name in "abc":
        engine.submit(ask(name))
    engine.step()
    engine.cancel("a")
    engine.cancel("c")
    engine.cancel("nobody")
    assert engine.num_running + engine.num_waiting == 1
    assert {delta.request_id for delta in run(engine)} == {"b"}


def test_a_prompt_that_fills_the_context_is_refused(open_engine: OpenEngine) -> None:
    """No room for a single token of completion."""
    engine = open_engine()
    with pytest.raises(InvalidPromptError):
        engine.submit(CompletionRequest("a", (BOS_ID,) * engine.max_context, SamplingParams()))


def test_a_closed_engine_takes_nothing(open_engine: OpenEngine) -> None:
    """It forgets its work and refuses more."""
    engine = open_engine()
    engine.submit(ask("a"))
    engine.close()
    assert not engine.has_work
    with pytest.raises(EngineClosedError):
        engine.submit(ask("b"))
