"""What the message summary is learned from: the n-grams that tell plans apart, and every authored ask."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from model_store.contract.control_tokens import ASSISTANT_ID, USER_ID
from model_store.contract.tokenizer import Tokenizer
from tests.unit.reformer.some_ngrams import NGRAM_ROWS
from tests.unit.reformer.tiny_policy import tiny_policy
from training.base_config import MessageSummaryConfig
from training.data.domain_pack import load_pack
from training.data.subwords import name_plans, train_subwords
from training.errors import UnfitCheckpointError
from training.reformer.model import save_policy, take_over
from training.stages.base_model.message_summary import Messages, _batches, authored_asks, telling_ngrams


def messages_of(*texts: tuple[list[int], int]) -> list[tuple[np.ndarray, int]]:
    return [(np.array(token_ids), plan) for token_ids, plan in texts]


def test_the_most_telling_ngrams_come_first() -> None:
    """What only one plan has tells more than what all have; what one message alone has is left out."""
    messages = messages_of(*[([7, 300, 301], 0)] * 6, *[([7, 302, 301], 1)] * 6, ([7, 303], 1))
    chosen = telling_ngrams(messages, 100)
    assert set(chosen[:4]) == {(300,), (7, 300), (300, 301), (7, 300, 301)}
    assert set(chosen[4:8]) == {(302,), (7, 302), (302, 301), (7, 302, 301)}
    assert chosen[8:] == [(301,), (7,)]
    assert telling_ngrams(messages, 3) == chosen[:3]


def test_an_epoch_reads_every_authored_ask_once_and_mixtures_beside_them() -> None:
    """Batches are of like lengths; a tenth of the asks is a tenth."""
    pack = load_pack("card_desk")
    texts = [ask for intent in pack.intents for ask in intent.asks]
    tokenizer = Tokenizer(name_plans(train_subwords(texts, 4000), pack.plans))
    examples = authored_asks(pack, tokenizer, random.Random(1))
    assert len(examples) == len(texts)  # none is too long for so large a vocabulary
    assert all(each.token_ids[0] == USER_ID and each.token_ids[-1] == ASSISTANT_ID for each in examples)
    few = authored_asks(pack, tokenizer, random.Random(1), share=0.1)
    assert 0.05 < len(few) / len(texts) < 0.15
    config = MessageSummaryConfig(num_epochs=1, batch_size=16, mixture_share=0.5, drawn_share=0.0)
    batches = list(_batches(Messages(pack, tokenizer, [], examples[:10]), config, random.Random(1)))
    assert sum(map(len, batches)) == 2 * len(texts)
    spans = [
        max(len(each.token_ids) for each in batch) - min(len(each.token_ids) for each in batch) for batch in batches
    ]
    assert np.median(spans) <= 2


def test_a_network_takes_over_anothers_layers_but_not_its_ngrams(tmp_path: Path) -> None:
    """Embeddings, layers and head are the other's; another shape is refused by name."""
    other, policy = (tiny_policy(seed, ngram_rows=NGRAM_ROWS, message_summary=True) for seed in (1, 2))
    save_policy(other, tmp_path)
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    take_over(policy, tmp_path)
    for name, tensor in policy.state_dict().items():
        source = before if name.startswith(("ngrams.", "summary.")) else other.state_dict()
        assert torch.equal(tensor, source[name]), name
    with pytest.raises(UnfitCheckpointError, match="cannot be taken over: it lacks .*word_embeddings"):
        take_over(tiny_policy(vocab_size=400), tmp_path)
    with pytest.raises(UnfitCheckpointError, match="there is no model.safetensors"):
        take_over(tiny_policy(), tmp_path / "nowhere")
