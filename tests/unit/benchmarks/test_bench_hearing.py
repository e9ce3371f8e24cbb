"""The hearing benchmark: what it asks, what it reads back, and that it runs; not how fast anything is."""

import os
from pathlib import Path

import numpy as np
import pytest

from model_store.contract.tokenizer import read_backend
from model_store.intents.intent_model import DEFAULT_DIRECTORY
from tests.benchmarks.bench_hearing import draw_messages, main, read_whole
from tests.intent_models import tiny_encoder, tiny_head, write_intent_model
from training.data.domain_pack import load_pack


def test_messages_are_the_same_each_time_and_later_ones_have_the_turn_before() -> None:
    """So that figures of two runs can be held against each other."""
    pack, tokenizer = load_pack("shop"), read_backend(DEFAULT_DIRECTORY / "tokenizer.json")
    drawn = draw_messages(pack, tokenizer, "query: ", 6)
    assert drawn == draw_messages(pack, tokenizer, "query: ", 6)
    texts = {kind: [tokenizer.decode(message.token_ids) for message in heard] for kind, heard in drawn.items()}
    assert [len(heard) for heard in texts.values()] == [6, 6]
    assert all(text.count(" | ") == 2 for text in texts["later"]) and not any("|" in text for text in texts["first"])


def test_a_graph_gives_back_what_it_was_made_of(tmp_path: Path) -> None:
    """Its subwords too, as far as bytes say, and the sizes that no weight says."""
    encoder = tiny_encoder()
    weights, shape = read_whole(write_intent_model(tmp_path, encoder, None) / "model.onnx")
    config = encoder.network.config
    assert (shape.num_layers, shape.num_heads) == (config.num_hidden_layers, config.num_attention_heads)
    assert shape.layer_norm_eps == pytest.approx(config.layer_norm_eps)
    inner = "network.encoder.layer.1.intermediate.dense.weight"
    assert np.abs(weights[inner] - encoder.state_dict()[inner].numpy()).max() < 0.01
    rows = encoder.state_dict()["network.embeddings.word_embeddings.weight"].numpy()
    found = weights["network.embeddings.word_embeddings.weight"]
    assert np.abs(found[:4] - rows[:4]).max() < 0.02


def test_it_prints_a_row_for_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And tells how often they take a message for the same."""
    encoder = tiny_encoder()
    cores = os.sched_getaffinity(0)
    try:
        folder = write_intent_model(tmp_path, encoder, tiny_head(encoder))
        assert main(["--model", str(folder), "--messages", "3"]) == 0
    finally:
        os.sched_setaffinity(0, cores)
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("3 messages of each kind")
    assert [row.split("  ")[0] for row in rows[2:]] == [
        "blocks of 8-bit weights",
        "in integers",
        "the file, with all its heads",
    ]
    assert rows[2].split()[-1] == "100.0%"
