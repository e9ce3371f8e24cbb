"""The sentiment output: what is served is what was fitted, the turns before do not count, and older files serve on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model_store.errors import IntentModelUnusableError
from model_store.intents.intent_model import IntentModel
from model_store.intents.sentiment import SENTIMENTS, likeliest_sentiment
from model_store.intents.turns import SEPARATOR
from tests.intent_models import LAYERS, MESSAGES, PIECES, tiny_encoder, tiny_head, write_intent_model
from training.data.plan_teacher.encoder import IntentEncoder
from training.export.intents.sentiment_head import SentimentHead


@pytest.fixture(scope="module")
def encoder() -> IntentEncoder:
    """A small network with random weights."""
    return tiny_encoder()


@pytest.fixture(scope="module")
def head(encoder: IntentEncoder) -> SentimentHead:
    """Fitted to a handful of messages."""
    return tiny_head(encoder)


def test_served_files_tell_the_sentiment_that_was_fitted(
    tmp_path: Path, encoder: IntentEncoder, head: SentimentHead
) -> None:
    """Through eight-bit weights and the pruned vocabulary, beside the same opinion of intents."""
    model = IntentModel.load(write_intent_model(tmp_path, encoder, head))
    assert model.tells_sentiment and not model.embeds
    for text, sentiment in MESSAGES:
        heard = model.hear(text)
        assert heard.sentiment == sentiment
        assert np.abs(heard.probabilities - encoder.probabilities([text])[0]).max() < 0.02


def test_only_the_messages_own_tokens_are_counted(encoder: IntentEncoder) -> None:
    """By hand: the mean of the hidden states of `<s> query : awful`, whatever stands behind the separator."""
    text = SEPARATOR.join(("awful", "lovely lovely", "lovely"))
    ids = torch.tensor([encoder.encode(text)])
    num_own = ids[0].tolist().index(PIECES.index("▁|"))
    with torch.no_grad():
        states = encoder.network(input_ids=ids, output_hidden_states=True).hidden_states
    expected = torch.stack([states[layer][0, :num_own].mean(0) for layer in LAYERS]).numpy()
    assert num_own == len(encoder.encode("awful")) - 1
    found = encoder.own_states([text, "where"], LAYERS)[0]
    assert np.abs(found - expected).max() < 0.01 < 0.1 < np.abs(encoder.mean_states([text], LAYERS)[0] - expected).max()


def test_the_graph_counts_the_same_tokens_before_a_turn(
    tmp_path: Path, encoder: IntentEncoder, head: SentimentHead
) -> None:
    """A head that was fitted to messages with turns behind them says of served ones what it says of the encoder's."""
    model = IntentModel.load(write_intent_model(tmp_path, encoder, head))
    for text, _ in MESSAGES:
        for before in (("lovely lovely", "lovely"), ("awful", "awful awful")):
            states = encoder.own_states([SEPARATOR.join((text, *before))], LAYERS)
            expected = SENTIMENTS[int(head.logits(states).argmax())]
            assert model.hear(text, before).sentiment == expected


def test_files_without_the_output_tell_no_sentiment(tmp_path: Path, encoder: IntentEncoder) -> None:
    """Those from before, and those of a pack without such messages."""
    model = IntentModel.load(write_intent_model(tmp_path, encoder, None))
    assert not model.tells_sentiment and model.hear("awful").sentiment is None


def test_a_head_of_another_number_of_sentiments_is_not_served(
    tmp_path: Path, encoder: IntentEncoder, head: SentimentHead
) -> None:
    """Whatever its columns would mean."""
    odd = replace(head, weight=head.weight[:, :2], bias=head.bias[:2])
    with pytest.raises(IntentModelUnusableError, match=r"model\.onnx"):
        IntentModel.load(write_intent_model(tmp_path, encoder, odd))


def test_the_likeliest_sentiment_is_named() -> None:
    """The columns' order is the contract."""
    assert likeliest_sentiment(np.log(np.array([0.2, 0.3, 0.5], np.float32))) == "positive"
    assert likeliest_sentiment(np.log(np.array([0.4, 0.3, 0.3], np.float32))) == "negative"
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        likeliest_sentiment(np.zeros(2, np.float32))
