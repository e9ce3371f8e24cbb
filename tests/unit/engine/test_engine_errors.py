"""What the engine refuses, each with its own error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store.contract.manifest import GoldenRun, Manifest
from service.engine.engine import Engine, golden_run
from service.engine.errors import (
    DuplicateRequestError,
    EngineClosedError,
    EngineError,
    EngineOverloadedError,
    GoldenRunMismatchError,
    InvalidPromptError,
    InvalidSamplingError,
    ModelUnusableError,
)
from service.engine.types import CompletionRequest, EngineOptions, SamplingParams
from tests.unit.engine.tiny_reformer import MAX_POSITIONS, VOCAB_SIZE, architecture, random_ids, write_bundle_files

OpenEngine = Callable[..., Engine]
FindBundle = Callable[[str, str], tuple[Path, Manifest]]
SAMPLING = SamplingParams(temperature=0, max_tokens=3)


def test_the_engine_takes_three_times_its_slots_and_refuses_the_next(open_engine: OpenEngine) -> None:
    """Two slots and four waiting places; a cancelled completion makes room again."""
    engine = open_engine(num_slots=2)
    for number in range(6):
        engine.submit(CompletionRequest(str(number), (260,), SAMPLING))
    with pytest.raises(EngineOverloadedError) as refusal:
        engine.submit(CompletionRequest("6", (260,), SAMPLING))
    assert refusal.value.code == "engine_overloaded"
    assert engine.num_running + engine.num_waiting == 6
    engine.cancel("0")
    engine.submit(CompletionRequest("6", (260,), SAMPLING))


@pytest.mark.parametrize(
    "prompt_ids",
    [(), random_ids(MAX_POSITIONS, seed=0), (260, VOCAB_SIZE), (-1,)],
    ids=["empty", "long", "above", "below"],
)
def test_a_prompt_that_can_never_be_served_is_refused(open_engine: OpenEngine, prompt_ids: tuple[int, ...]) -> None:
    """Nothing of it stays behind in the engine."""
    engine = open_engine()
    with pytest.raises(InvalidPromptError):
        engine.submit(CompletionRequest("r", prompt_ids, SAMPLING))
    assert not engine.has_work


def test_the_same_id_twice_at_the_same_time_is_refused(open_engine: OpenEngine) -> None:
    """After its completion has ended an id is free again."""
    engine = open_engine()
    engine.submit(CompletionRequest("r", (260,), SAMPLING))
    with pytest.raises(DuplicateRequestError):
        engine.submit(CompletionRequest("r", (260,), SAMPLING))
    while engine.has_work:
        engine.step()
    engine.submit(CompletionRequest("r", (260,), SAMPLING))


@pytest.mark.parametrize("banned", [frozenset(range(VOCAB_SIZE)), frozenset({VOCAB_SIZE}), frozenset({-1})])
def test_bans_must_leave_a_token_and_name_tokens(open_engine: OpenEngine, banned: frozenset[int]) -> None:
    """A set of bans that cannot be honoured is refused before it takes a place."""
    with pytest.raises(InvalidSamplingError):
        open_engine().submit(CompletionRequest("r", (260,), SamplingParams(banned_token_ids=banned)))


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": float("nan")},
        {"temperature": -0.1},
        {"temperature": float("inf")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": float("nan")},
        {"seed": 2**63},
        {"max_tokens": 0},
        {"num_top_logprobs": 21},
    ],
    ids=str,
)
def test_sampling_parameters_out_of_range_are_refused(values: dict[str, Any]) -> None:
    """The error names the parameter."""
    with pytest.raises(InvalidSamplingError, match=next(iter(values))):
        SamplingParams(**values)


def test_a_closed_engine_does_no_work_and_can_be_closed_again(open_engine: OpenEngine) -> None:
    """Closing forgets what was running."""
    engine = open_engine()
    engine.submit(CompletionRequest("r", (260,), SAMPLING))
    engine.close()
    engine.close()
    assert not engine.has_work
    with pytest.raises(EngineClosedError):
        engine.step()
    with pytest.raises(EngineClosedError):
        engine.submit(CompletionRequest("r", (260,), SAMPLING))


@pytest.mark.parametrize(
    "content", [None, b"", b"not a graph", b"\x08\x09" * 500], ids=["missing", "empty", "text", "noise"]
)
def test_a_file_that_is_no_graph_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    """The message names the file."""
    manifest = write_bundle_files(tmp_path, "float32")
    (tmp_path / "model.onnx").unlink()
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelUnusableError, match=r"model\.onnx"):
        Engine.open(tmp_path, manifest, EngineOptions())


def test_a_truncated_graph_is_refused(tmp_path: Path) -> None:
    """Half a file does not load."""
    manifest = write_bundle_files(tmp_path, "int8")
    path = tmp_path / "model.onnx"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelUnusableError):
        Engine.open(tmp_path, manifest, EngineOptions())


@pytest.mark.parametrize(
    "change",
    [
        {"attn_layers": ("local", "lsh")},
        {"attn_layers": ("lsh", "local", "lsh", "local")},
        {"max_positions": 256},
        {"local_chunk_length": 32},
        {"num_attention_heads": 4},
        {"vocab_size": 301},
    ],
    ids=str,
)
def test_a_graph_of_another_architecture_is_refused(find_bundle: FindBundle, change: dict[str, Any]) -> None:
    """The manifest's shape decides the caches; a graph that wants others would read foreign memory."""
    directory, manifest = find_bundle("float32", "plain")
    other = manifest.model_copy(update={"architecture": architecture().model_copy(update=change)})
    with pytest.raises(ModelUnusableError):
        Engine.open(directory, other, EngineOptions())


def test_a_graph_with_other_caches_than_the_manifest_says_is_refused(find_bundle: FindBundle) -> None:
    """float32 caches under a manifest that promises int8."""
    with pytest.raises(ModelUnusableError, match="caches are float32"):
        Engine.open(find_bundle("float32", "plain")[0], find_bundle("int8", "plain")[1], EngineOptions())


def test_the_golden_run_passes_when_reproduced_and_names_the_first_difference(open_engine: OpenEngine) -> None:
    """A recording made by one engine is repeated by another; one changed token is found."""
    prompt = random_ids(90, seed=8)
    maker = open_engine()
    maker.submit(CompletionRequest("r", prompt, SamplingParams(temperature=0, max_tokens=12)))
    made: list[int] = []
    while maker.has_work:
        made += [delta.token_id for delta in maker.step()]
    golden_run(open_engine(), GoldenRun(prompt_ids=prompt, completion_ids=tuple(made)))
    made[5] = 299 if made[5] != 299 else 298
    with pytest.raises(GoldenRunMismatchError) as mismatch:
        golden_run(open_engine(), GoldenRun(prompt_ids=prompt, completion_ids=tuple(made)))
    assert mismatch.value.context["position"] == 5


def test_every_error_says_what_happened_and_has_a_code_of_its_own() -> None:
    """Codes are what clients and dashboards hold on to."""

    def tree(error: type[EngineError]) -> list[type[EngineError]]:
        return [error, *(found for child in error.__subclasses__() for found in tree(child))]

    codes = [error.code for error in tree(EngineError)]
    assert len(codes) == len(set(codes)) == 10
