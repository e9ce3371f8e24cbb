"""Whether a later message goes on: the output is fitted to what is served and added to it, and nothing else moves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from model_store.graphs import ort
from model_store.intents.intent_model import IntentModel
from tests.intent_models import tiny_encoder, tiny_head, write_intent_model
from training.data.domain_pack import DomainPack, load_pack
from training.export.intents.going_on_head import (
    GoingOnHead,
    add_going_on,
    entropies_of,
    fit_going_on_head,
    own_means,
)
from training.stages.base_model.going_on import add_ear_for_going_on

TEXTS = ("where is my refund", "awful", "lovely")


@pytest.fixture(scope="module")
def pack() -> DomainPack:
    """The shop's, with the two intents of the tiny model."""
    shop, names = load_pack("shop"), {"refund_status": "refund", "greeting": "greeting"}
    chosen = (replace(intent, name=names[intent.name]) for intent in shop.intents if intent.name in names)
    return replace(shop, intents=tuple(chosen))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model that hears turns and tells the sentiment."""
    encoder = tiny_encoder()
    return write_intent_model(tmp_path, encoder, tiny_head(encoder))


def test_what_is_fitted_tells_both_kinds_apart() -> None:
    """By a state that says it, among noise; and by the entropy, where no state does."""
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(400, 6)).astype(np.float32)
    torn = generator.uniform(0, 3, 400).astype(np.float32)
    for goes_on in (rows[:, 2] > 0, torn > 1.5):
        head = fit_going_on_head(rows, torn, goes_on.tolist(), range(400))
        assert ((head.log_odds(rows, torn) > 0) == goes_on).mean() > 0.95


def test_entropy_is_that_of_the_probabilities() -> None:
    """By hand: ln 2 of two equal intents, 0 of one alone, whatever is added to all logits."""
    logits = np.array([[5.0, 5.0, -1e4], [1e4, 0.0, 0.0]], np.float32)
    assert entropies_of(logits) == pytest.approx([np.log(2), 0.0], abs=1e-6)


def test_a_model_with_the_ear_says_of_everything_else_what_it_said(folder: Path, pack: DomainPack) -> None:
    """Bit for bit; the ear itself says a probability, which fitting anew replaces."""
    before = IntentModel.load(folder)
    assert before.hear("awful").going_on is None
    for number in range(2):
        assert add_ear_for_going_on(folder, pack, seed=number)
        after = IntentModel.load(folder)
        for text in TEXTS:
            old, new = before.hear(text, ("lovely", "awful")), after.hear(text, ("lovely", "awful"))
            assert np.array_equal(old.probabilities, new.probabilities) and old.sentiment == new.sentiment
            assert new.going_on is not None and 0 <= new.going_on <= 1
    graph = onnx.load(str(folder / "model.onnx")).graph
    assert [output.name for output in graph.output].count("going_on") == 1


def test_the_ear_reads_what_the_head_was_fitted_to(folder: Path) -> None:
    """A head that minds no state tells of its bias and of the entropy."""
    graph = onnx.load(str(folder / "model.onnx"))
    size = next(tensor.dims[0] for tensor in graph.graph.initializer if tensor.name == "sentiment.weight")
    deaf = add_going_on(graph, GoingOnHead(np.zeros(size, np.float32), 0.5, 2.0))
    assert own_means(deaf) == own_means(graph)
    session = ort.InferenceSession(deaf.SerializeToString(), providers=["CPUExecutionProvider"])
    logits, going_on = session.run(["logits", "going_on"], {"token_ids": np.array([[0, 5, 2]])})
    assert going_on.item() == pytest.approx(1 / (1 + np.exp(-2 - 0.5 * entropies_of(logits)[0])))


def test_a_graph_without_means_and_a_pack_without_matters_have_no_ear(
    tmp_path: Path, folder: Path, pack: DomainPack
) -> None:
    """An error for the first, which could not hear; nothing for the second, which has nothing to hear."""
    bare = tmp_path / "bare"
    bare.mkdir()
    write_intent_model(bare, tiny_encoder(), None)
    with pytest.raises(ValueError, match="tells no sentiment"):
        add_ear_for_going_on(bare, pack, seed=1)
    assert not add_ear_for_going_on(folder, load_pack("card_desk"), seed=1)
