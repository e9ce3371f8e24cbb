"""Whether a later message goes on about the matter before it, told from the served encoder's states of its own words,
and from how torn the model is between intents: who names a matter is heard more clearly.

Two logistic regressions. The first reads the means of the states, which the sentiment is told from as well; the second
weighs what it makes of wordings that it has not seen against the entropy of the intents. Both are fitted to the graph
that is served, rounding and all, and added to it; nothing else of the graph changes. Left out: tuning the encoder for
it, which would cost intents.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_store.intents.intent_model import GOING_ON_OUTPUT, LOGITS_OUTPUT

_MEANS_READER = "sentiment.weight"
"""What the own words' mean states are multiplied with, in a graph that tells the sentiment."""
_STRENGTH = 10.0
"""Inverse of the ridge penalty on standardised states, summed over the features; by cross-validation over wordings."""
_MAX_ITERATIONS = 2000
_NUM_FOLDS = 5


@dataclass(frozen=True, slots=True)
class GoingOnHead:
    """A linear map of mean states [F] and of the entropy of intents to log-odds."""

    weight: NDArray[np.float32]
    """[F]"""
    entropy_weight: float
    """Of nats."""
    bias: float

    def log_odds(self, means: NDArray[np.float32], entropies: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n] of mean states [n, F] and entropies [n]."""
        return np.asarray(means @ self.weight + self.entropy_weight * entropies + self.bias, np.float32)


def own_means(graph: onnx.ModelProto) -> str:
    """The tensor [1, F] of the own words' mean states. Raises ValueError for a graph that tells no sentiment."""
    readers = [node for node in graph.graph.node if _MEANS_READER in node.input]
    if len(readers) != 1:
        raise ValueError("the graph tells no sentiment, so it has no mean states of a message's own words")
    return str(next(name for name in readers[0].input if name != _MEANS_READER))


def entropies_of(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n] in nats, of logits [n, num intents]."""
    logs = logits - logits.max(axis=1, keepdims=True)
    logs = logs - np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return np.asarray(-(np.exp(logs) * logs).sum(axis=1), np.float32)


def fit_going_on_head(
    means: NDArray[np.float32], entropies: NDArray[np.float32], goes_on: Sequence[bool], wordings: Sequence[int]
) -> GoingOnHead:
    """From mean states [n, F] and entropies [n] of messages that go on and others, as many of each.

    Messages with the same number in `wordings` say the same; at least five of them must differ.
    """
    flags = list(goes_on)
    reader = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH / means.shape[1], max_iter=_MAX_ITERATIONS))
    folds = GroupKFold(_NUM_FOLDS)
    unseen = cross_val_predict(reader, means, flags, groups=wordings, cv=folds, method="decision_function")
    weighing = LogisticRegression().fit(np.stack([unseen, entropies], axis=1), flags)
    scale, entropy_weight = weighing.coef_[0]
    scaler, regression = reader.fit(means, flags)
    weight = scale * regression.coef_[0] / scaler.scale_
    bias = scale * regression.intercept_[0] - weight @ scaler.mean_ + weighing.intercept_[0]
    return GoingOnHead(weight.astype(np.float32), float(entropy_weight), float(bias))


def add_going_on(graph: onnx.ModelProto, head: GoingOnHead) -> onnx.ModelProto:
    """The graph with the output `going_on` [1, 1], a probability, in place of the one that it may have had."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    body = changed.graph
    for old in (body.node, body.initializer, body.output):
        kept = [item for item in old if not item.name.startswith(GOING_ON_OUTPUT)]
        del old[:]
        old.extend(kept)
    arrays = {
        "weight": head.weight[:, None],
        "minus_entropy_weight": np.array([-head.entropy_weight], np.float32),
        "bias": np.array([head.bias], np.float32),
        "intents_axis": np.array([1], np.int64),
    }
    body.initializer.extend(numpy_helper.from_array(array, _named(name)) for name, array in arrays.items())
    steps = (
        ("MatMul", [own_means(changed), _named("weight")], _named("of_states")),
        ("LogSoftmax", [LOGITS_OUTPUT], _named("logs")),
        ("Exp", [_named("logs")], _named("probabilities")),
        ("Mul", [_named("logs"), _named("probabilities")], _named("terms")),
        ("ReduceSum", [_named("terms"), _named("intents_axis")], _named("minus_entropy")),
        ("Mul", [_named("minus_entropy"), _named("minus_entropy_weight")], _named("of_entropy")),
        ("Add", [_named("of_states"), _named("of_entropy")], _named("sum")),
        ("Add", [_named("sum"), _named("bias")], _named("log_odds")),
        ("Sigmoid", [_named("log_odds")], GOING_ON_OUTPUT),
    )
    body.node.extend(helper.make_node(kind, inputs, [output], name=output) for kind, inputs, output in steps)
    body.output.append(helper.make_tensor_value_info(GOING_ON_OUTPUT, TensorProto.FLOAT, [1, 1]))
    return changed


def _named(part: str) -> str:
    return f"{GOING_ON_OUTPUT}.{part}"
