"""A second version to compare with: the shipped model with a little noise in its weights, and a made-up gate report.

For pictures and trials only; nobody has trained it.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from model_store.bundle import Bundle, write_bundle
from model_store.contract.manifest import MANIFEST_NAME, GoldenRun, Manifest, parse_manifest
from service.engine.engine import MODEL_NAME, Engine
from service.engine.types import CompletionRequest, EngineOptions, SamplingParams


@dataclass(frozen=True)
class SampleVersion:
    """What to make: `noise` is the standard deviation of the factors on the weights' scales."""

    name: str
    created_at: str
    noise: float
    gate: dict[str, object]


def make_sample_version(parent: Bundle, directory: Path, wanted: SampleVersion) -> str:
    """Writes the bundle into `directory`, which must not exist; gives its digest."""
    shutil.copytree(parent.directory, directory)
    manifest = parse_manifest((directory / MANIFEST_NAME).read_bytes(), digest="")
    (directory / MANIFEST_NAME).unlink()
    _add_noise(directory / MODEL_NAME, wanted.noise)
    (directory / "gate.json").write_text(json.dumps(wanted.gate))
    fields = manifest.model_dump(mode="json", exclude={"files"})
    fields |= {"name": wanted.name, "created_at": wanted.created_at, "golden_run": _golden_run(directory, manifest)}
    fields["lineage"] |= {"parent": parent.digest, "stages": ["reward_model", "rloo"], "data_snapshot": "5a" * 32}
    fields["metrics"] = {}
    return write_bundle(directory, fields).digest


def _add_noise(path: Path, noise: float) -> None:
    model = onnx.load(str(path))
    generator = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".scales"):
            scales = numpy_helper.to_array(tensor)
            factors = 1 + noise * generator.standard_normal(scales.shape)
            tensor.CopyFrom(numpy_helper.from_array((scales * factors).astype(scales.dtype), tensor.name))
    onnx.save(model, str(path))


def _golden_run(directory: Path, manifest: Manifest) -> dict[str, object]:
    """What the noisy model says to the prompt that the shipped one was recorded with."""
    engine = Engine.open(directory, manifest, EngineOptions(num_slots=1))
    old = manifest.golden_run
    sampling = SamplingParams(temperature=0, max_tokens=len(old.completion_ids))
    engine.submit(CompletionRequest("golden-run", old.prompt_ids, sampling))
    token_ids: list[int] = []
    while engine.has_work:
        token_ids += [delta.token_id for delta in engine.step()]
    engine.close()
    return GoldenRun(prompt_ids=old.prompt_ids, completion_ids=tuple(token_ids)).model_dump(mode="json")
