"""`python -m tests.benchmarks.long_prompts.reading`: reads one length one way and prints what that took, as JSON.

A process of its own for each, because the most memory that a process ever held never falls again.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from model_store.contract.manifest import MANIFEST_NAME, Architecture, Manifest

EXACT, HASHED, HUGGING_FACE = WAYS = ("exact pieces", "hashed pieces", "Hugging Face forward")
_MEGABYTE = 1e6
_HASH_CHUNK = 64


def main() -> int:
    """Reads, and prints CPU and wall time in seconds (medians), and the peak of memory before and after in MB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    make_reader = _hugging_face if options.way == HUGGING_FACE else _engine
    manifest = Manifest.model_validate_json((options.folder / MANIFEST_NAME).read_bytes())
    read = make_reader(options.folder, manifest, options.way)
    texts = [_text(manifest.architecture, options.length, seed) for seed in range(options.rounds)]
    read(texts[0][:100])
    before = _peak()
    cpu, wall = [], []
    for text in texts:
        cpu_started, wall_started = time.thread_time(), time.perf_counter()
        read(text)
        cpu.append(time.thread_time() - cpu_started)
        wall.append(time.perf_counter() - wall_started)
    figures = {"cpu_seconds": statistics.median(cpu), "wall_seconds": statistics.median(wall)}
    print(json.dumps({**figures, "peak_megabytes": _peak(), "peak_megabytes_before": before}))
    return 0


def _engine(folder: Path, manifest: Manifest, way: str) -> Callable[[tuple[int, ...]], None]:
    """The service's engine, up to a prompt's first token."""
    from service.engine.engine import Engine
    from service.engine.types import CompletionRequest, EngineOptions, SamplingParams

    hashing = manifest.architecture.hashing
    assert hashing is not None
    beyond = 1 if way == HASHED else manifest.architecture.max_positions
    architecture = manifest.architecture.model_copy(
        update={"hashing": hashing.model_copy(update={"hash_beyond": beyond})}
    )
    engine = Engine.open(folder, manifest.model_copy(update={"architecture": architecture}), EngineOptions(num_slots=1))

    def read(token_ids: tuple[int, ...]) -> None:
        engine.submit(CompletionRequest("prompt", token_ids, SamplingParams(temperature=0, max_tokens=1)))
        while engine.has_work:
            engine.step()

    return read


def _hugging_face(folder: Path, manifest: Manifest, way: str) -> Callable[[tuple[int, ...]], None]:
    """The stock model in one go: hashes beyond 64 tokens, chooses its number of buckets by the length, float32."""
    import torch
    import transformers
    from transformers import ReformerConfig, ReformerModelWithLMHead
    from transformers.models.reformer import modeling_reformer

    transformers.logging.set_verbosity_error()
    modeling_reformer.print = lambda *_: None
    torch.set_num_threads(1)
    hashing = manifest.architecture.hashing
    assert hashing is not None
    config = ReformerConfig.from_pretrained(folder)
    config.lsh_attn_chunk_length, config.num_hashes = _HASH_CHUNK, hashing.num_hashes
    model = ReformerModelWithLMHead.from_pretrained(folder, config=config, dtype=torch.float32).eval()

    def read(token_ids: tuple[int, ...]) -> None:
        for layer in model.reformer.encoder.layers:
            if hasattr(layer.attention.self_attention, "num_buckets"):
                layer.attention.self_attention.num_buckets = None  # it keeps what it chose for the first text
        with torch.no_grad():
            model(torch.tensor([token_ids]), use_cache=False)

    return read


def _peak() -> float:
    """Most memory that this process ever held, in MB; the kernel's count for `getrusage` begins with the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024 / _MEGABYTE


def _text(architecture: Architecture, length: int, seed: int) -> tuple[int, ...]:
    """Random words in turns of 40 tokens, so that the last message is as long as people's are."""
    from model_store.contract.control_tokens import ASSISTANT_ID, NUM_CONTROL_TOKENS, USER_ID

    token_ids = np.random.default_rng(seed).integers(NUM_CONTROL_TOKENS, architecture.vocab_size, length)
    token_ids[::40] = np.where(np.arange(len(token_ids[::40])) % 2, ASSISTANT_ID, USER_ID)
    return tuple(int(token_id) for token_id in token_ids)


if __name__ == "__main__":
    sys.exit(main())
