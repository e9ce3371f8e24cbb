"""A real bundle of a tiny Reformer with random weights: real tokenizer, real graph, real golden run.

It has what the shipped one has: n-gram tables, a message summary, plans.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch

from model_store.bundle import open_bundle, write_bundle
from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, FIRST_PLAN_ID, USER_ID
from model_store.contract.manifest import Architecture, Hashing
from service.engine.engine import Engine
from service.engine.types import CompletionRequest, EngineOptions, SamplingParams
from tests.bundles import manifest_fields
from tests.contract.fake_engine import train_tokenizer
from tests.unit.reformer.some_ngrams import NGRAM_ROWS, teach_some_ngrams
from training.data.subwords import name_plans
from training.export.long_graph import LONG_GRAPH_NAME, build_long_graph
from training.export.onnx_graph import build_graph
from training.export.quantize import FLOAT32
from training.reformer.model import ReformerPolicy, new_policy

PLANS = ("answer", "answer/ask_order_id", "goodbye")


def make_real_bundle(
    directory: Path, name: str = "tiny", seed: int = 7, plans: Sequence[str] = PLANS, hashing: Hashing | None = None
) -> str:
    """Writes a bundle that the real engine serves; gives its digest. Takes about a second.

    With `hashing` it reads eight times as far.
    """
    directory.mkdir(parents=True)
    tokenizer = train_tokenizer(directory / "tokenizer.json")
    name_plans(tokenizer.backend, plans).save(str(directory / "tokenizer.json"))
    vocab_size = tokenizer.vocab_size
    shape = Architecture(
        hidden_size=32,
        attn_layers=("local", "lsh"),
        num_attention_heads=2,
        attention_head_size=16,
        feed_forward_size=64,
        vocab_size=vocab_size,
        max_positions=256 if hashing is None else 2048,
        local_chunk_length=64,
        ngram_rows=NGRAM_ROWS,
        message_summary=True,
        hashing=hashing,
    )
    weights = {key: tensor.numpy() for key, tensor in _random_model(shape, seed).state_dict().items()}
    onnx.save(build_graph(weights, shape, FLOAT32), str(directory / "model.onnx"))
    if hashing is not None:
        onnx.save(build_long_graph(weights, shape), str(directory / LONG_GRAPH_NAME))
    quantization = {
        "weights": "float32",
        "kv_cache": "float32",
        "top1_agreement": 1.0,
        "perplexity_ratio": 1.0,
        "max_logit_difference": 0.0,
    }
    fields = manifest_fields(name, architecture=shape.model_dump(), quantization=quantization)
    write_bundle(directory, fields)
    prompt_ids = (BOS_ID, USER_ID, 400, 401, ASSISTANT_ID)
    golden = {"prompt_ids": prompt_ids, "completion_ids": _complete(directory, prompt_ids)}
    return write_bundle(directory, {**fields, "golden_run": golden}).digest


def _complete(directory: Path, prompt_ids: tuple[int, ...]) -> list[int]:
    engine = Engine.open(directory, open_bundle(directory).manifest, EngineOptions(num_slots=1))
    engine.submit(CompletionRequest("golden", prompt_ids, SamplingParams(temperature=0, max_tokens=12)))
    token_ids = []
    while engine.has_work:
        token_ids += [delta.token_id for delta in engine.step()]
    engine.close()
    return token_ids


def _random_model(shape: Architecture, seed: int) -> ReformerPolicy:
    model: ReformerPolicy = new_policy(shape, seed=seed).eval()
    teach_some_ngrams(model, seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(3)
        # Plans are about equally likely, whatever the seed and the size of the vocabulary make of the rest.
        model.lm_head.decoder.weight[FIRST_PLAN_ID : FIRST_PLAN_ID + len(PLANS)] *= 0.05
    return model
