"""An intent model of a few thousand random weights that tells awful from lovely, as the files that a service opens."""

from pathlib import Path

import torch
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


def tiny_encoder() -> IntentEncoder:
    """A small network with random weights."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=40,
        attn_implementation="eager",
    )
    backend = Tokenizer(models.Unigram([(piece, -float(number)) for number, piece in enumerate(PIECES)], unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    network = BertModel(config, add_pooling_layer=False)
    torch.nn.init.normal_(network.embeddings.word_embeddings.weight, std=1.0)
    return IntentEncoder(("greeting", "refund"), network, EncoderTokenizer(backend, {})).eval()


def tiny_head(encoder: IntentEncoder) -> SentimentHead:
    """Fitted to a handful of messages."""
    states = encoder.own_states([text for text, _ in MESSAGES], LAYERS)
    return fit_sentiment_head(LAYERS, states, [sentiment for _, sentiment in MESSAGES], strength=100.0)


def write_intent_model(folder: Path, encoder: IntentEncoder, head: SentimentHead | None) -> Path:
    """The encoder as files in an existing folder; with a head it tells the sentiment."""
    backend = encoder.tokenizer.backend
    pruned = prune_tokenizer(backend, pieces_in_use(backend, [" ".join(PIECES[4:]).replace("▁", " ")]))
    kept = [backend.token_to_id(pruned.id_to_token(number)) for number in range(pruned.get_vocab_size())]
    weights = {name: tensor.detach().numpy() for name, tensor in encoder.state_dict().items()}
    words = "network.embeddings.word_embeddings.weight"
    weights[words] = weights[words][kept]
    shape = encoder.network.config
    sizes = EncoderShape(shape.num_hidden_layers, shape.num_attention_heads, shape.layer_norm_eps)
    graph = build_intent_graph(
        weights, sizes, EncoderHeads(sentiment=head, end_ids=end_ids(pruned))
    ).SerializeToString()
    contents = {"model.onnx": graph, "tokenizer.json": pruned.to_str().encode()}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    description = IntentModelDescription(
        intents=encoder.intents,
        prefix=PREFIX,
        separator=SEPARATOR,
        max_tokens=32,
        made_of="noise",
        licence="MIT",
        files={name: FileEntry(sha256=digest_bytes(data), num_bytes=len(data)) for name, data in contents.items()},
    )
    (folder / "intents.json").write_text(description.model_dump_json())
    return folder
