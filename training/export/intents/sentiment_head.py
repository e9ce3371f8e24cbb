"""The sentiment of a message, told from the tuned encoder's states: a multinomial logistic regression over their means.

Means are of the message's own tokens, up to the turns before it: a customer who has been helped is glad even where the
message before was angry. Left out: tuning the encoder for it, which would cost intents; a thousand messages say too
little to spare.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from model_store.intents.intent_model import SENTIMENT_OUTPUT
from model_store.intents.sentiment import SENTIMENTS, Sentiment
from training.export.graph_writer import GraphWriter

_STRENGTH = 1.0
"""Inverse of the ridge penalty on standardised states; chosen by cross-validation (`training/EXPERIMENTS.md`)."""
_MAX_ITERATIONS = 2000


@dataclass(frozen=True, slots=True)
class SentimentHead:
    """A linear map of mean states to logits of `SENTIMENTS`."""

    layers: tuple[int, ...]
    """The layers whose mean states are taken; 0 are the embeddings."""
    weight: NDArray[np.float32]
    """[num layers * H, 3]"""
    bias: NDArray[np.float32]
    """[3]"""

    def logits(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, 3] of mean states [n, num layers, H]."""
        return np.asarray(states.reshape(len(states), -1) @ self.weight + self.bias, np.float32)


def fit_sentiment_head(
    layers: tuple[int, ...],
    states: NDArray[np.float32],
    sentiments: Sequence[Sentiment],
    *,
    strength: float = _STRENGTH,
) -> SentimentHead:
    """From the mean states [n, num layers, H] of messages; every sentiment must be among theirs."""
    rows = states.reshape(len(states), -1).astype(np.float64)
    centre, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    columns = [SENTIMENTS.index(sentiment) for sentiment in sentiments]
    # The penalty is on the sum over the features, of which there are many: it is scaled to their number.
    model = LogisticRegression(C=strength / rows.shape[1], class_weight="balanced", max_iter=_MAX_ITERATIONS)
    model.fit((rows - centre) / spread, columns)
    weight = (model.coef_ / spread).T
    bias = model.intercept_ - centre @ weight
    return SentimentHead(layers, weight.astype(np.float32), bias.astype(np.float32))


def write_sentiment(write: GraphWriter, head: SentimentHead, is_own: str, states: Sequence[str]) -> None:
    """Adds the output `sentiment` [1, 3], log-probabilities, to a graph.

    `is_own` [1, S] is 1 for the message's own tokens; `states` [1, S, H] are those of every layer, 0 the embeddings.
    """
    message_axis = write.constant("sentiment.message_axis", [1], np.int64)
    num_own = write.node("ReduceSum", [is_own, message_axis], keepdims=1)
    as_row = write.node("Unsqueeze", [is_own, message_axis])
    means = [
        write.node("Squeeze", [write.node("MatMul", [as_row, states[layer]]), message_axis]) for layer in head.layers
    ]
    joined = write.node("Concat", means, axis=-1) if len(means) > 1 else means[0]
    rows = write.node("Div", [joined, num_own])
    product = write.node("MatMul", [rows, write.constant("sentiment.weight", head.weight, np.float32)])
    logits = write.node("Add", [product, write.constant("sentiment.bias", head.bias, np.float32)])
    write.node("LogSoftmax", [logits], name=SENTIMENT_OUTPUT, axis=-1)
