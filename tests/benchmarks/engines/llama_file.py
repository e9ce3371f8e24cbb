"""Writes a Llama with random weights as a GGUF file, and texts of a known number of its tokens."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.engines.contender import NotInstalledError
from tests.benchmarks.engines.shapes import LlamaShape

FORMATS = {"Q8_0": 7, "Q4_0": 2}
"""Ways to store weights, and llama.cpp's numbers for a file of them."""
MAX_POSITIONS = 2048
_CONTROL = [b"<unk>", b"<s>", b"</s>"]
_BYTES = [f"<0x{byte:02X}>".encode() for byte in range(256)]
_UNKNOWN, _NORMAL, _CONTROL_TYPE, _BYTE = 2, 1, 3, 6
_STD = 0.05
FIRST_WORD = len(_CONTROL) + len(_BYTES)
"""The first token that is neither control token nor byte: `t0`, then `t1` and so on.

The tokenizer joins neighbours as long as what comes out is a token, so every beginning of a word must be one from two
letters on: words count from 0.
"""


def llama_text(num_tokens: int, vocab_size: int, seed: int) -> str:
    """A text of `num_tokens` tokens, the one that begins every text not counted."""
    words = np.random.default_rng(seed).integers(0, vocab_size - FIRST_WORD, num_tokens)
    return "".join(f"t{word}" for word in words)


def write_llama(path: Path, shape: LlamaShape, weights: str) -> None:
    """Makes the file; `weights` is one of FORMATS. Raises NotInstalledError.

    The network hardly ever says what is no word, so that no completion ends early and every token is a piece of text.
    """
    try:
        import gguf
    except ImportError as error:
        raise NotInstalledError("gguf; the extra `bench` has it") from error
    writer = gguf.GGUFWriter(path, "llama")
    _write_settings(writer, shape, FORMATS[weights])
    kind = gguf.GGMLQuantizationType[weights]
    random = np.random.default_rng(0)

    def matrix(name: str, outputs: int, inputs: int, num_zero_rows: int = 0) -> None:
        values = (random.standard_normal((outputs, inputs)) * _STD).astype(np.float32)
        values[:num_zero_rows] = 0
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)

    hidden, inner = shape.hidden_size, shape.feed_forward_size
    matrix("token_embd", shape.vocab_size, hidden)
    matrix("output", shape.vocab_size, hidden, num_zero_rows=FIRST_WORD)
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    for layer in range(shape.num_layers):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(hidden, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"blk.{layer}.{name}", hidden, hidden)
        matrix(f"blk.{layer}.ffn_gate", inner, hidden)
        matrix(f"blk.{layer}.ffn_up", inner, hidden)
        matrix(f"blk.{layer}.ffn_down", hidden, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_settings(writer: Any, shape: LlamaShape, file_type: int) -> None:
    words = [f"t{word}".encode() for word in range(shape.vocab_size - FIRST_WORD)]
    writer.add_context_length(MAX_POSITIONS)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.num_layers)
    writer.add_feed_forward_length(shape.feed_forward_size)
    writer.add_head_count(shape.num_heads)
    writer.add_head_count_kv(shape.num_heads)
    writer.add_rope_dimension_count(shape.hidden_size // shape.num_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_file_type(file_type)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*_CONTROL, *_BYTES, *words])
    writer.add_token_scores([0.0] * shape.vocab_size)
    types = [_UNKNOWN, _CONTROL_TYPE, _CONTROL_TYPE, *[_BYTE] * len(_BYTES), *[_NORMAL] * len(words)]
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(False)
