"""The network that long prompts are read with: the shipped one with more positions and hashing, for speed untrained."""

from pathlib import Path

import onnx

from model_store.contract.manifest import MANIFEST_NAME, Hashing, Manifest
from service.engine.engine import LONG_MODEL_NAME, MODEL_NAME
from tests.benchmarks.engines.shapes import SHAPES
from tests.bundles import manifest_fields
from training.export.int8_linear.network import network_to_serve
from training.export.long_graph import build_long_graph
from training.export.onnx_graph import build_graph
from training.reformer.config import architecture_of
from training.reformer.hashing.lengthening import lengthen
from training.reformer.model import save_policy

_CALIBRATION_SEEDS = (101, 102, 103)
_CALIBRATION_TOKENS = 200


def write_network(shape_name: str, folder: Path, max_positions: int, hashing: Hashing) -> None:
    """Writes both graphs, their manifest and the checkpoint; of no fewer positions than the shape has."""
    shape = SHAPES[shape_name]()
    max_positions = max(max_positions, shape.architecture.max_positions)
    known = min(256, shape.architecture.max_positions)
    policy = lengthen(shape.policy, max_positions=max_positions, num_known=known, hashing=hashing).eval()
    weights = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    texts = [shape.prompt(_CALIBRATION_TOKENS, seed) for seed in _CALIBRATION_SEEDS]
    architecture = architecture_of(policy.config)
    network = network_to_serve(weights, architecture, "int8_static", texts)
    onnx.save(build_graph(network.weights, architecture, network.profile), str(folder / MODEL_NAME))
    onnx.save(build_long_graph(network.weights, architecture, network.profile), str(folder / LONG_MODEL_NAME))
    save_policy(policy, folder)
    quantization = {
        "weights": "int8_static",
        "kv_cache": "int8",
        "top1_agreement": 1.0,
        "perplexity_ratio": 1.0,
        "max_logit_difference": 0.0,
    }
    fields = manifest_fields("long", architecture=architecture.model_dump(), quantization=quantization)
    manifest = Manifest.model_validate({**fields, "files": {}})
    (folder / MANIFEST_NAME).write_bytes(manifest.canonical_bytes())
