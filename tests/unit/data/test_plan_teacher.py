"""The linear teacher of plans, and the messages that nobody wrote."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from model_store.contract.placeholders import ALL_PLACEHOLDERS
from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from training.data.domain_pack import DomainPack, Intent, load_pack
from training.data.plan_teacher.linear import LinearTeacher
from training.data.plan_teacher.unlabelled import JointTeacher, draw_mixtures


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The vocabulary that ships."""
    return Tokenizer.load(Path(DEFAULT_BUNDLE) / "tokenizer.json")


@pytest.fixture(scope="module")
def pack() -> DomainPack:
    """Four intents of the shop, with their first asks."""
    names = ("reset_password", "gift_card", "store_hours", "thanks")
    shop = load_pack("shop")
    intents = tuple(few_asks(intent) for intent in shop.intents if intent.name in names)
    return DomainPack("few", intents, (), shop.slots, {})


def few_asks(intent: Intent) -> Intent:
    """The same intent with sixty asks."""
    return Intent(**{**vars(intent), "asks": intent.asks[:60]})


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_teacher_hears_asks_that_it_never_saw(pack: DomainPack, tokenizer: Tokenizer, language: str) -> None:
    """Far better than one in four on the held-out asks, and its opinions are probabilities of plans."""
    teacher = LinearTeacher(pack, language, tokenizer, seed=1)
    asks = [
        (ask, intent.name) for intent in pack.intents if intent.language == language for ask in intent.held_out_asks
    ]
    opinions = teacher.probabilities([ask for ask, _ in asks])
    assert opinions.shape == (len(asks), len(pack.plans))
    assert np.allclose(opinions.astype(np.float64).sum(axis=1), 1, atol=0.01)
    right = [pack.plans[int(row.argmax())] == name for row, (_, name) in zip(opinions, asks, strict=True)]
    assert sum(right) / len(right) > 0.6


def test_the_teacher_is_less_sure_of_half_and_half_than_of_a_whole_ask(pack: DomainPack, tokenizer: Tokenizer) -> None:
    """Two concerns in one message are two plans' business."""
    teacher = LinearTeacher(pack, "en", tokenizer, seed=1)
    whole, half = teacher.probabilities(["I forgot my password", "I forgot my password do you open on sundays"])
    assert whole.max() > half.max()


def test_mixtures_are_drawn_evenly_and_alike_for_one_seed(pack: DomainPack, tokenizer: Tokenizer) -> None:
    """Half of them in each language; slots are filled and placeholders whole."""
    teachers = {language: LinearTeacher(pack, language, tokenizer, seed=1) for language in ("en", "zh")}
    first, again = (draw_mixtures(pack, teachers, 200, seed=4) for _ in range(2))
    assert [mixture.text for mixture in first] == [mixture.text for mixture in again]
    assert len(first) == 200 and all(mixture.text for mixture in first)
    assert sum(any("\u4e00" <= character <= "\u9fff" for character in mixture.text) for mixture in first) > 80
    assert len({mixture.text for mixture in first}) > 150
    for mixture in random.Random(0).sample(first, 100):
        assert "{" not in mixture.text
        rest = mixture.text
        for placeholder in ALL_PLACEHOLDERS:
            rest = rest.replace(placeholder, "")
        assert "<" not in rest and ">" not in rest


class Sure:
    """A teacher of two plans that always says the same."""

    def __init__(self, *probabilities: float) -> None:
        self._row = probabilities

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        return np.tile(np.array(self._row, np.float16), (len(texts), 1))


def test_teachers_are_averaged_geometrically() -> None:
    """(0.9, 0.1) and (0.5, 0.5) give (3 : 1), and nobody's certainty overrules the other for good."""
    joint = JointTeacher((Sure(0.9, 0.1), Sure(0.5, 0.5))).probabilities(["a", "b"])
    assert np.allclose(joint, [[0.75, 0.25]] * 2, atol=0.002)
    veto = JointTeacher((Sure(0.0, 1.0), Sure(1.0, 0.0))).probabilities(["a"])
    assert np.allclose(veto, [[0.5, 0.5]], atol=0.002)
