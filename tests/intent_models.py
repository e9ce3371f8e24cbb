"""An intent model of a few thousand random weights that tells awful from lovely, as the files that a service opens."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel

from model_store.contract.manifest import FileEntry
from model_store.digest import digest_bytes
from model_store.intents.intent_model import IntentModelDescription
from model_store.intents.sentiment import Sentiment
from model_store.intents.turns import SEPARATOR
from training.data.plan_teacher.encoder import IntentEncoder
from training.data.plan_teacher.pretrained_encoder import PREFIX, EncoderTokenizer, end_ids
from training.export.intents.intent_graph import (
    EncoderHeads,
    EncoderShape,
    build_intent_graph,
    pieces_in_use,
    prune_tokenizer,
)
from training.export.intents.sentiment_head import SentimentHead, fit_sentiment_head

PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    *"▁abcdefghijklmnopqrstuvwxyz:",
    "▁query",
    "▁|",
    "▁awful",
    "▁lovely",
    "▁where",
]
MESSAGES: tuple[tuple[str, Sentiment], ...] = (
    ("awful", "negative"),
    ("where", "neutral"),
    ("lovely", "positive"),
    ("awful awful", "negative"),
    ("where is it", "neutral"),
    ("lovely thing", "positive"),
)
LAYERS = (1, 2)


def random_encoder(intents: Sequence[str], pieces: Sequence[str], *, word_spread: float | None = None) -> IntentEncoder:
    """A small network of the same random weights each time, over a vocabulary of these pieces.

    `word_spread` is the standard deviation of the words' weights; None: as the network begins.
    """
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=40,
        attn_implementation="eager",
    )
    backend = Tokenizer(models.Unigram([(piece, -float(number)) for number, piece in enumerate(pieces)], unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    network = BertModel(config, add_pooling_layer=False)
    if word_spread is not None:
        torch.nn.init.normal_(network.embeddings.word_embeddings.weight, std=word_spread)
    return IntentEncoder(tuple(intents), network, EncoderTokenizer(backend, {})).eval()


def tiny_encoder() -> IntentEncoder:
    """One whose words are far enough apart to be told awful or lovely."""
    return random_encoder(("greeting", "refund"), PIECES, word_spread=1.0)


def tiny_head(encoder: IntentEncoder) -> SentimentHead:
    """Fitted to a handful of messages."""
    states = encoder.own_states([text for text, _ in MESSAGES], LAYERS)
    return fit_sentiment_head(LAYERS, states, [sentiment for _, sentiment in MESSAGES], strength=100.0)


class PrunedEncoder(NamedTuple):
    """What a graph is built of, with no more subwords than some texts need."""

    weights: dict[str, NDArray[np.float32]]
    sizes: EncoderShape
    tokenizer: Tokenizer


def prune_encoder(encoder: IntentEncoder, texts: Sequence[str]) -> PrunedEncoder:
    """The weights and the tokenizer that these texts take."""
    backend = encoder.tokenizer.backend
    kept = pieces_in_use(backend, texts)
    weights = {name: tensor.detach().numpy() for name, tensor in encoder.state_dict().items()}
    words = "network.embeddings.word_embeddings.weight"
    weights[words] = weights[words][kept]
    config = encoder.network.config
    sizes = EncoderShape(config.num_hidden_layers, config.num_attention_heads, config.layer_norm_eps)
    return PrunedEncoder(weights, sizes, prune_tokenizer(backend, kept))


def write_files(folder: Path, graph: onnx.ModelProto, tokenizer: Tokenizer, **fields: object) -> Path:
    """A graph and its tokenizer as a service opens them, in an existing folder; `fields` are the description's own."""
    contents = {"model.onnx": graph.SerializeToString(), "tokenizer.json": tokenizer.to_str().encode()}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    files = {name: FileEntry(sha256=digest_bytes(data), num_bytes=len(data)) for name, data in contents.items()}
    told: dict[str, object] = {"prefix": PREFIX, "max_tokens": 32, "made_of": "noise", "licence": "MIT"}
    description = IntentModelDescription.model_validate({**told, "files": files, **fields})
    (folder / "intents.json").write_text(description.model_dump_json())
    return folder


def write_intent_model(folder: Path, encoder: IntentEncoder, head: SentimentHead | None) -> Path:
    """The encoder as files in an existing folder; with a head it tells the sentiment."""
    pruned = prune_encoder(encoder, [" ".join(PIECES[4:]).replace("▁", " ")])
    heads = EncoderHeads(sentiment=head, end_ids=end_ids(pruned.tokenizer))
    graph = build_intent_graph(pruned.weights, pruned.sizes, heads)
    return write_files(folder, graph, pruned.tokenizer, intents=encoder.intents, separator=SEPARATOR)
