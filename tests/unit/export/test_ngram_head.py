"""The n-gram head: what it counts, what it learns, and that a graph says what it says."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from training.export.graph_writer import CONTRIB, CONTRIB_OPSET, IR_VERSION, OPSET, GraphWriter
from training.export.intents import ngram_head
from training.export.intents.ngram_head import (
    SHARPNESS,
    NgramHead,
    feature_keys,
    fit_ngram_head,
    write_ngrams,
)
from training.export.quantize import FLOAT32

OPENING, CLOSING, BEHIND = 0, 2, 9
ENDS = (CLOSING, BEHIND)


def made_messages(num_intents: int, seed: int = 0) -> tuple[list[list[int]], list[int]]:
    """Of each intent those that hold its own word among words of all."""
    generator = np.random.default_rng(seed)
    messages, columns = [], []
    for number in range(200):
        words = generator.integers(20, 60, size=6).tolist()
        words[int(generator.integers(6))] = 100 + number % num_intents
        messages.append([OPENING, *words, CLOSING])
        columns.append(number % num_intents)
    return messages, columns


def in_a_graph(head: NgramHead, messages: list[list[int]]) -> NDArray[np.float32]:
    """[n, num intents], message by message."""
    write = GraphWriter({}, FLOAT32)
    own = helper.make_tensor_value_info("is_own", TensorProto.FLOAT, [1, "length"])
    ids = helper.make_tensor_value_info("token_ids", TensorProto.INT64, [1, "length"])
    name = write_ngrams(write, head, "token_ids", "is_own")
    logits = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, len(head.bias)])
    graph = helper.make_graph(write.nodes, "ngrams", [ids, own], [logits], write.initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, CONTRIB_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = []
    for message in messages:
        is_own = (np.cumsum(np.isin(message, head.end_ids)) == 0).astype(np.float32)
        feed = {"token_ids": np.array([message], np.int64), "is_own": is_own[None]}
        rows.append(session.run(None, feed)[0][0])
    return np.stack(rows)


def test_features_are_ngrams_up_to_three_and_pairs_with_a_gap() -> None:
    """Of a message's own tokens and its end: 4 single ones, 3 pairs, 2 triples, 2 pairs with a gap."""
    assert len(feature_keys([OPENING, 7, 8, CLOSING], ENDS)) == 4 + 3 + 2 + 2


def test_what_stands_behind_a_message_is_not_counted() -> None:
    """A later message has the features that it would have as a first one."""
    assert feature_keys([OPENING, 7, 8, BEHIND, 30, 31, CLOSING], ENDS) == feature_keys([OPENING, 7, 8, CLOSING], ENDS)


def test_an_order_of_words_is_a_feature_of_its_own() -> None:
    """Keys tell 7 8 from 8 7, and a pair from a pair with a gap."""
    assert feature_keys([7, 8, CLOSING], ENDS) != feature_keys([8, 7, CLOSING], ENDS)
    assert len(feature_keys([7, 7, 7, 7, CLOSING], ENDS)) == 2 + 2 + 2 + 2


@pytest.mark.parametrize("num_intents", [2, 5])
def test_unseen_messages_are_heard_by_their_words(num_intents: int) -> None:
    """Two intents too, of which the classifier keeps one column."""
    head = fit_ngram_head(*made_messages(num_intents), ENDS, min_messages=2)
    unseen, columns = made_messages(num_intents, seed=1)
    assert (head.logits(unseen).argmax(axis=1) == columns).mean() > 0.95


def test_a_graph_says_what_the_head_says() -> None:
    """Weights of a byte move a logit by less than a tenth; repeated words and unknown ones are among the messages."""
    head = fit_ngram_head(*made_messages(5), ENDS, min_messages=2)
    unseen, _ = made_messages(5, seed=1)
    messages = [*unseen[:20], [OPENING, 101, 101, 101, CLOSING], [OPENING, 9_999, CLOSING], [OPENING, CLOSING]]
    messages += [[*message[:-1], BEHIND, 103, 103, CLOSING] for message in unseen[:5]]
    assert np.abs(in_a_graph(head, messages) - head.logits(messages)).max() < 0.1


def test_a_message_of_unknown_words_leaves_the_bias_alone() -> None:
    """An n-gram that was not kept falls on no row of another, though it may fall into its slot."""
    head = fit_ngram_head(*made_messages(3), ENDS, min_messages=2)
    stranger = int(head.keys[1]) + ngram_head._NUM_SLOTS  # the same slot
    alone = replace(head, keys=np.array([-1, stranger]), rarity=head.rarity[:2], weight=head.weight[:2])
    words = [token for token in range(20, 60) if token in feature_keys([token], ENDS)]
    messages = [[OPENING, word, CLOSING] for word in words]
    assert np.allclose(in_a_graph(alone, messages), SHARPNESS * head.bias, atol=1e-5)


def test_as_many_features_are_kept_as_there_is_room_for_and_the_telling_ones_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The words that tell intents apart stay."""
    monkeypatch.setattr(ngram_head, "MAX_FEATURES", 30)
    head = fit_ngram_head(*made_messages(3), ENDS, min_messages=2)
    assert len(head.keys) == 31
    assert {100, 101, 102} <= set(head.keys.tolist())
