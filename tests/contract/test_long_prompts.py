"""A long prompt is read alike in torch, by the exported graph piece by piece, and by the service's engine."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from model_store.contract.manifest import Architecture, Hashing, Manifest
from service.engine.engine import LONG_MODEL_NAME, MODEL_NAME, Engine
from service.engine.errors import ModelUnusableError
from service.engine.types import CompletionRequest, Delta, EngineOptions, SamplingParams
from tests.bundles import manifest_fields
from tests.unit.engine.tiny_reformer import (
    NGRAM_ROWS,
    VOCAB_SIZE,
    WEIGHT_FORMATS,
    architecture,
    chat_ids,
    random_ids,
)
from tests.unit.reformer.some_ngrams import teach_some_ngrams
from training.export.graph_session import GraphSession
from training.export.int8_linear.network import NetworkToServe, network_to_serve
from training.export.long_graph import LONG_GRAPH_NAME, build_long_graph
from training.export.long_session import LongGraphSession
from training.export.onnx_graph import build_graph
from training.reformer.model import ReformerPolicy, new_policy

HASHING = Hashing(hash_beyond=200, num_hashes=2, num_buckets=8, bucket_window=12)


def long_shape(hashing: Hashing = HASHING) -> Architecture:
    changes = {"hashing": hashing, "max_positions": 1024}
    return architecture(ngram_rows=NGRAM_ROWS, message_summary=True).model_copy(update=changes)


@cache
def long_policy(hashing: Hashing = HASHING) -> ReformerPolicy:
    """All that the shipped network has, and hashing; matrices scaled up so that the logits are not flat."""
    policy: ReformerPolicy = new_policy(long_shape(hashing), seed=7).eval()
    teach_some_ngrams(policy)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(3)
    return policy


def numbers_of(policy: ReformerPolicy) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.numpy() for name, tensor in policy.state_dict().items()}


@cache
def long_network(profile_name: str) -> NetworkToServe:
    texts = [random_ids(700, seed) for seed in (101, 102)]
    return network_to_serve(numbers_of(long_policy()), long_shape(), WEIGHT_FORMATS[profile_name], texts)


@cache
def long_graph(profile_name: str) -> onnx.ModelProto:
    network = long_network(profile_name)
    return build_long_graph(network.weights, long_shape(), network.profile)


@cache
def short_graph() -> onnx.ModelProto:
    network = long_network("int8")
    return build_graph(network.weights, long_shape(), network.profile)


def torch_logits(policy: ReformerPolicy, token_ids: tuple[int, ...]) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: NDArray[np.float32] = policy(torch.tensor([token_ids])).logits[0].numpy()
    return logits


@pytest.mark.parametrize("length", [201, 640, 1001])
@pytest.mark.parametrize("num_hashes", [1, 2, 3])
def test_pieces_of_a_long_prompt_equal_torch_at_every_position(length: int, num_hashes: int) -> None:
    """Tables of the latest tokens a bucket give what sorting the whole text gives."""
    hashing = HASHING.model_copy(update={"num_hashes": num_hashes})
    policy = long_policy(hashing)
    session = LongGraphSession(build_long_graph(numbers_of(policy), long_shape(hashing)), long_shape(hashing))
    text = chat_ids(length, seed=length)
    np.testing.assert_allclose(session.run(text).logits, torch_logits(policy, text), atol=1e-4)


def test_a_hashed_prompt_is_not_an_exact_one() -> None:
    """What the comparison above stands on: hashing leaves out enough to be seen."""
    text = chat_ids(1001, seed=1)
    exact = GraphSession(build_graph(numbers_of(long_policy()), long_shape()), long_shape()).run(text).logits
    hashed = LongGraphSession(long_graph("float32"), long_shape()).run(text).logits
    np.testing.assert_allclose(hashed[:128], exact[:128], atol=1e-4)
    assert np.abs(hashed[600:] - exact[600:]).max() > 1e-2


def test_eight_bit_tables_lose_little() -> None:
    """The int8 graph's most probable tokens on a long prompt are the float32 one's."""
    text = random_ids(900, seed=3)
    expected = LongGraphSession(long_graph("float32"), long_shape()).run(text).logits
    found = LongGraphSession(long_graph("int8"), long_shape()).run(text).logits
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.9
    assert found.shape == (900, VOCAB_SIZE)


def test_reading_a_piece_is_the_same_work_however_long_the_prompt() -> None:
    """No input or output of the graph grows with the positions before, but for those of the message being read."""
    sizes = {
        entry.name: [dim.dim_param for dim in entry.type.tensor_type.shape.dim]
        for entry in long_graph("int8").graph.input
    }
    growing = {name: {dim for dim in dims if dim} - {"batch", "length", "num_outputs"} for name, dims in sizes.items()}
    assert {name: dims for name, dims in growing.items() if dims} == {"previous_ids": {"context"}}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """An int8 bundle of the network above: directory and manifest."""
    directory = tmp_path_factory.mktemp("long")
    shape = long_shape()
    onnx.save(short_graph(), str(directory / MODEL_NAME))
    onnx.save(long_graph("int8"), str(directory / LONG_MODEL_NAME))
    quantization = {
        "weights": "int8_static",
        "kv_cache": "int8",
        "top1_agreement": 1.0,
        "perplexity_ratio": 1.0,
        "max_logit_difference": 0.0,
    }
    fields = manifest_fields("long", architecture=shape.model_dump(), quantization=quantization)
    return directory, Manifest.model_validate({**fields, "files": {}})


class EngineFactory:
    """Opens engines on the long bundle and closes them in the end."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._bundle = directory, manifest
        self.opened: list[Engine] = []

    def __call__(self, num_slots: int = 3, prefix_cache_bytes: int = 0) -> Engine:
        options = EngineOptions(num_slots=num_slots, prefix_cache_bytes=prefix_cache_bytes)
        self.opened.append(Engine.open(*self._bundle, options))
        return self.opened[-1]


@pytest.fixture
def open_engine(bundle: tuple[Path, Manifest]) -> Iterator[EngineFactory]:
    factory = EngineFactory(*bundle)
    yield factory
    for engine in factory.opened:
        engine.close()


def request(name: str, prompt_ids: tuple[int, ...], max_tokens: int = 8) -> CompletionRequest:
    return CompletionRequest(name, prompt_ids, SamplingParams(temperature=0, max_tokens=max_tokens))


def run_to_the_end(engine: Engine) -> dict[str, list[Delta]]:
    found: dict[str, list[Delta]] = {}
    while engine.has_work:
        for delta in engine.step():
            found.setdefault(delta.request_id, []).append(delta)
    return found


def said(deltas: list[Delta]) -> list[tuple[int, float]]:
    """Tokens and log-probabilities: equal only if every bit of the logits that count was."""
    return [(delta.token_id, delta.logprob) for delta in deltas]


def test_both_programs_name_the_graph_alike() -> None:
    """The file that training writes is the one that the engine opens."""
    assert LONG_MODEL_NAME == LONG_GRAPH_NAME


@pytest.mark.parametrize("length", [150, 200, 201, 700])
def test_the_engine_says_first_what_the_graph_for_that_length_says(open_engine: EngineFactory, length: int) -> None:
    """Up to `hash_beyond` tokens the exact graph reads, beyond it the one with hashing; both to the same bits."""
    text = random_ids(length, seed=length)
    if length > HASHING.hash_beyond:
        session: GraphSession = LongGraphSession(long_graph("int8"), long_shape())
    else:
        session = GraphSession(short_graph(), long_shape())
    logits = session.run(text).logits[-1].astype(np.float64)
    engine = open_engine()
    engine.submit(request("first", text, max_tokens=1))
    (delta,) = run_to_the_end(engine)["first"]
    assert delta.token_id == int(logits.argmax())
    assert delta.logprob == pytest.approx(logits.max() - np.log(np.exp(logits).sum()), abs=1e-5)


def test_a_long_prompt_found_again_keeps_every_bit(open_engine: EngineFactory) -> None:
    """Tables that are filled from the prefix cache are those that reading fills, and a longer prompt uses them."""
    text = random_ids(900, seed=5)
    alone = open_engine()
    alone.submit(request("alone", text))
    expected = run_to_the_end(alone)["alone"]
    engine = open_engine(prefix_cache_bytes=64 << 20)
    for number, beginning in enumerate((text[:700], text, text)):
        engine.submit(request(str(number), beginning))
        found = run_to_the_end(engine)[str(number)]
    assert found[0].num_reused == 896
    assert said(found) == said(expected)


def test_what_a_short_prompt_left_is_no_beginning_of_a_long_one(open_engine: EngineFactory) -> None:
    """Keys that were read exactly are others than keys that were read with hashing, though the tokens are the same."""
    text = random_ids(900, seed=6)
    alone = open_engine()
    alone.submit(request("alone", text))
    expected = run_to_the_end(alone)["alone"]
    engine = open_engine(prefix_cache_bytes=64 << 20)
    for name, prompt in (("short", text[:200]), ("long", text), ("short again", text[:200])):
        engine.submit(request(name, prompt))
        found = run_to_the_end(engine)[name]
        assert found[0].num_reused == (192 if name == "short again" else 0)
        if name == "long":
            assert said(found) == said(expected)


def test_running_replies_go_on_while_a_long_prompt_is_read(open_engine: EngineFactory) -> None:
    """Each step of reading gives every running reply a token; who leaves moves slots, and nobody's bits."""
    long, short, brief = random_ids(900, seed=7), random_ids(90, seed=8), random_ids(70, seed=9)
    expected = {}
    for name, prompt, length in (("long", long, 8), ("short", short, 40), ("brief", brief, 5)):
        alone = open_engine()
        alone.submit(request(name, prompt, length))
        expected[name] = run_to_the_end(alone)[name]
    engine = open_engine()
    engine.submit(request("brief", brief, 5))
    engine.submit(request("short", short, 40))
    found: dict[str, list[Delta]] = {"brief": [], "short": [], "long": []}
    while not found["short"]:
        for delta in engine.step():
            found[delta.request_id].append(delta)
    engine.submit(request("long", long, 8))
    while not found["long"]:
        deltas = engine.step()
        assert "short" in {delta.request_id for delta in deltas}
        for delta in deltas:
            found[delta.request_id].append(delta)
    for name, deltas in run_to_the_end(engine).items():
        found[name] += deltas
    assert {name: said(deltas) for name, deltas in found.items()} == {n: said(d) for n, d in expected.items()}


def test_two_long_prompts_one_after_the_other_share_nothing(open_engine: EngineFactory) -> None:
    """The tables forget a prompt that was cancelled in its middle."""
    first, second = random_ids(900, seed=10), random_ids(800, seed=11)
    alone = open_engine()
    alone.submit(request("alone", second))
    expected = run_to_the_end(alone)["alone"]
    engine = open_engine()
    engine.submit(request("first", first))
    for _ in range(6):
        engine.step()
    assert engine.cancel("first")
    engine.submit(request("second", second))
    assert said(run_to_the_end(engine)["second"]) == said(expected)


def test_a_graph_with_other_tables_than_the_manifest_says_is_refused(
    bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    """Neither a missing graph for long prompts nor one of another window is served."""
    directory, manifest = bundle
    (tmp_path / MODEL_NAME).write_bytes((directory / MODEL_NAME).read_bytes())
    with pytest.raises(ModelUnusableError):
        Engine.open(tmp_path, manifest, EngineOptions(num_slots=1))
    other = HASHING.model_copy(update={"bucket_window": 13})
    network = long_network("int8")
    graph = build_long_graph(network.weights, long_shape(other), network.profile)
    onnx.save(graph, str(tmp_path / LONG_MODEL_NAME))
    with pytest.raises(ModelUnusableError, match="tables"):
        Engine.open(tmp_path, manifest, EngineOptions(num_slots=1))
