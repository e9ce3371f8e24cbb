"""This project's engine, as the service drives it: requests in, greedy tokens out, log-probabilities included."""

from pathlib import Path

import onnx

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.manifest import MANIFEST_NAME, Manifest
from service.engine.engine import MODEL_NAME, Engine
from service.engine.kv_cache import PIECE_LENGTH
from service.engine.types import CompletionRequest, EngineOptions, SamplingParams
from tests.benchmarks.engines.contender import Contender, Timing, now, since
from tests.benchmarks.engines.shapes import Shape
from tests.bundles import manifest_fields
from training.export.int8_linear.network import network_to_serve
from training.export.onnx_graph import build_graph

MAX_STREAMS = 64
NAME = "this engine"
_CALIBRATION_SEEDS = (101, 102, 103)


class EngineRunner:
    """An engine whose streams never end by themselves."""

    def __init__(self, shape: Shape, folder: Path) -> None:
        self._shape = shape
        self._engine = Engine.open(*bundle_of(shape, folder), EngineOptions(num_slots=MAX_STREAMS))
        self._running: list[str] = []

    def start(self, num_streams: int, context: int) -> None:
        """Reads prompts so long that every stream has about `context` tokens when the last prompt is read."""
        self._stop()
        for stream, length in enumerate(staggered_lengths(num_streams, context)):
            self._submit(f"stream-{stream}", self._shape.prompt(length, seed=stream))
        reading = set(self._running)
        while reading:
            reading -= {delta.request_id for delta in self._engine.step()}

    def decode(self, num_steps: int) -> Timing:
        """As many engine steps; whatever tokens they bring are counted."""
        started = now()
        num_tokens = sum(len(self._engine.step()) for _ in range(num_steps))
        return since(started, num_tokens)

    def prefill(self, length: int, seed: int) -> Timing:
        """One request, up to its first token."""
        self._stop()
        prompt = self._shape.prompt(length, seed)
        started = now()
        self._submit("prefill", prompt)
        while not self._engine.step():
            pass
        return since(started, length)

    def close(self) -> None:
        """Closes the engine."""
        self._engine.close()

    def _submit(self, request_id: str, prompt: tuple[int, ...]) -> None:
        room = self._engine.max_context - len(prompt)
        sampling = SamplingParams(temperature=0, max_tokens=room, banned_token_ids=frozenset({EOS_ID}))
        # Places are for three times the slots, so all streams can queue at once.
        self._engine.submit(CompletionRequest(request_id, prompt, sampling))
        self._running.append(request_id)

    def _stop(self) -> None:
        for request_id in self._running:
            self._engine.cancel(request_id)
        self._running.clear()


def staggered_lengths(num_streams: int, context: int) -> list[int]:
    """Prompt lengths that make all streams equally long: who is read first decodes while the others are read.

    One piece of at most 64 tokens is read a step.
    """
    lengths: list[int] = []
    num_steps_after = 0
    for _ in range(num_streams):
        length = max(1, context - num_steps_after)
        num_steps_after += -(-length // PIECE_LENGTH)
        lengths.append(length)
    return lengths[::-1]


def bundle_of(shape: Shape, folder: Path) -> tuple[Path, Manifest]:
    """The shape's bundle as it ships, or its random weights exported the same way into `folder`."""
    if shape.bundle is not None:
        return shape.bundle, Manifest.model_validate_json((shape.bundle / MANIFEST_NAME).read_bytes())
    directory = folder / shape.name
    directory.mkdir(exist_ok=True)
    weights = {name: tensor.numpy() for name, tensor in shape.policy.state_dict().items()}
    texts = [shape.prompt(300, seed) for seed in _CALIBRATION_SEEDS]
    network = network_to_serve(weights, shape.architecture, "int8_static", texts)
    graph = build_graph(network.weights, shape.architecture, network.profile)
    onnx.save(graph, str(directory / MODEL_NAME))
    fields = manifest_fields(shape.name, architecture=shape.architecture.model_dump())
    return directory, Manifest.model_validate({**fields, "files": {}})


CONTENDER = Contender(NAME, "the shipped profile: integer products by fixed scales, int8 caches, greedy", EngineRunner)
