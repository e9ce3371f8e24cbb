"""A tiny stock Reformer with random weights, exported for real: what the tests of the engine run."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from transformers import ReformerConfig, ReformerModelWithLMHead

from model_store.contract.control_tokens import ASSISTANT_ID, USER_ID
from model_store.contract.manifest import Architecture, Manifest, WeightFormat
from tests.bundles import manifest_fields
from tests.unit.reformer.some_ngrams import NGRAM_ROWS, teach_some_ngrams
from training.export.int8_linear.network import NetworkToServe, network_to_serve
from training.export.onnx_graph import build_graph
from training.reformer.model import ReformerPolicy, new_policy

WEIGHT_FORMATS: dict[str, WeightFormat] = {
    "float32": "float32",
    "int8": "int8_static",
    "blocks": "int8_block64",
}
"""By the names that tests give profiles."""
VOCAB_SIZE = 300
MAX_POSITIONS = 512


@cache
def architecture(local_chunk_length: int = 64, ngram_rows: int = 0, message_summary: bool = False) -> Architecture:
    """Two local and two LSH layers in turn."""
    return Architecture(
        hidden_size=64,
        attn_layers=("local", "lsh", "local", "lsh"),
        num_attention_heads=2,
        attention_head_size=32,
        feed_forward_size=128,
        vocab_size=VOCAB_SIZE,
        max_positions=MAX_POSITIONS,
        local_chunk_length=local_chunk_length,
        ngram_rows=ngram_rows,
        message_summary=message_summary,
    )


@cache
def ngram_model(*, message_summary: bool = False) -> ReformerPolicy:
    """Our own class with known n-grams, matrices scaled up like the stock one's."""
    shape = architecture(ngram_rows=NGRAM_ROWS, message_summary=message_summary)
    policy: ReformerPolicy = new_policy(shape, seed=7).eval()
    teach_some_ngrams(policy)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(3)
    return policy


@cache
def ngram_graph(profile_name: str, *, message_summary: bool = False) -> onnx.ModelProto:
    """Its exported graph, like `graph`."""
    policy = ngram_model(message_summary=message_summary)
    weights = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    shape = architecture(ngram_rows=NGRAM_ROWS, message_summary=message_summary)
    network = network_to_serve(weights, shape, WEIGHT_FORMATS[profile_name], calibration_ids())
    return build_graph(network.weights, shape, network.profile)


@cache
def stock_model(*, is_axial: bool = False, local_chunk_length: int = 64) -> ReformerModelWithLMHead:
    """Hugging Face's own class on its exact path, matrices scaled up so that the logits are not flat."""
    shape = architecture(local_chunk_length)
    config = ReformerConfig(
        hidden_size=shape.hidden_size,
        attn_layers=list(shape.attn_layers),
        num_attention_heads=shape.num_attention_heads,
        attention_head_size=shape.attention_head_size,
        feed_forward_size=shape.feed_forward_size,
        vocab_size=shape.vocab_size,
        max_position_embeddings=shape.max_positions,
        local_attn_chunk_length=shape.local_chunk_length,
        lsh_attn_chunk_length=shape.max_positions,
        axial_pos_embds=is_axial,
        hidden_act="relu",
        layer_norm_eps=1e-12,
        num_buckets=16,
        num_hashes=1,
        is_decoder=True,
        hidden_dropout_prob=0.0,
        local_attention_probs_dropout_prob=0.0,
        lsh_attention_probs_dropout_prob=0.0,
        axial_pos_shape=[16, MAX_POSITIONS // 16],
        axial_pos_embds_dim=[16, 48],
    )
    torch.manual_seed(7)
    model = ReformerModelWithLMHead(config)
    model.train(False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(3)
    return model


def random_ids(length: int, seed: int) -> tuple[int, ...]:
    """Token ids that are no control tokens."""
    return tuple(int(token_id) for token_id in np.random.default_rng(seed).integers(256, VOCAB_SIZE, length))


def chat_ids(length: int, seed: int) -> tuple[int, ...]:
    """A rendered conversation of random words: turns of 1 to 40 tokens, cut to its last `length`, a reply opening."""
    generator = np.random.default_rng(seed)
    token_ids: list[int] = []
    while len(token_ids) < length:
        for speaker in (USER_ID, ASSISTANT_ID):
            words = generator.integers(256, VOCAB_SIZE, generator.integers(1, 41))
            token_ids += [speaker, *(int(word) for word in words)]
    return (*token_ids[len(token_ids) - length + 1 :], ASSISTANT_ID)


def torch_logits(model: ReformerModelWithLMHead, token_ids: tuple[int, ...]) -> NDArray[np.float32]:
    """[S, V], every position in one full forward pass."""
    with torch.no_grad():
        logits: NDArray[np.float32] = model(torch.tensor([token_ids]), use_cache=False).logits[0].numpy()
    return logits


@cache
def graph(profile_name: str, *, is_axial: bool = False, local_chunk_length: int = 64) -> onnx.ModelProto:
    """The exported graph: "float32"; "int8", integers calibrated on random ids; or "blocks", of 8-bit weights."""
    network = stock_network(profile_name, is_axial=is_axial, local_chunk_length=local_chunk_length)
    return build_graph(network.weights, architecture(local_chunk_length), network.profile)


@cache
def stock_network(profile_name: str, *, is_axial: bool = False, local_chunk_length: int = 64) -> NetworkToServe:
    """The numbers of that graph."""
    model = stock_model(is_axial=is_axial, local_chunk_length=local_chunk_length)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shape = architecture(local_chunk_length)
    return network_to_serve(weights, shape, WEIGHT_FORMATS[profile_name], calibration_ids())


def calibration_ids() -> list[tuple[int, ...]]:
    """Three sequences of random ids."""
    return [random_ids(300, seed) for seed in (101, 102, 103)]


def write_bundle_files(directory: Path, profile_name: str, network: str = "plain", **changes: object) -> Manifest:
    """Writes `model.onnx` and gives the manifest that describes it; `changes` are manifest fields.

    The network is "plain", or "summary" with all that the shipped one has: n-gram tables and a message summary.
    """
    is_summary = network == "summary"
    model = ngram_graph(profile_name, message_summary=True) if is_summary else graph(profile_name)
    shape = architecture(ngram_rows=NGRAM_ROWS, message_summary=True) if is_summary else architecture()
    onnx.save(model, str(directory / "model.onnx"))
    quantization = {
        "weights": WEIGHT_FORMATS[profile_name],
        "kv_cache": "float32" if profile_name == "float32" else "int8",
        "top1_agreement": 1.0,
        "perplexity_ratio": 1.0,
        "max_logit_difference": 0.0,
    }
    fields = manifest_fields("tiny", architecture=shape.model_dump(), quantization=quantization)
    return Manifest.model_validate({**fields, "files": {}, **changes})
