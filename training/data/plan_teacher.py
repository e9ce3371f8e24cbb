"""A linear teacher of plans: it generalises from few examples where the network learns them by heart.

Trained on the same authored asks, a bag of n-grams hears unseen wordings better than a network of our size. So the
network also imitates its opinion of messages that nobody wrote: pieces of two asks in a row, of which there is no end
(knowledge distillation, Hinton et al. 2015, on mixed inputs).
"""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.svm import LinearSVC

from model_store.contract.placeholders import fold_case
from model_store.contract.tokenizer import Tokenizer
from training.data.domain_pack import DomainPack, fill_slots, plan_of
from training.data.typing_noise import add_typing_noise

_MAX_NGRAM = 3
_HELD_BACK = 0.1
_SHARPNESS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
"""Factors tried between the classifier's margins and logits."""
_BATCH = 20_000


class Mixture(NamedTuple):
    """A message that nobody wrote, and the teacher's opinion of its plan [num plans]."""

    text: str
    plan_probabilities: np.ndarray


class PlanTeacher:
    """Says how likely each plan is for a message in one language; asking for a detail is never its opinion."""

    def __init__(self, pack: DomainPack, language: str, tokenizer: Tokenizer, seed: int) -> None:
        """Learns the pack's asks, and from a held-back tenth how sharp its probabilities should be. Takes seconds."""
        generator = random.Random(seed)
        intents = [intent for intent in pack.intents if intent.language == language]
        asks = [
            (fill_slots(ask, pack.slots[language], generator), intent.name) for intent in intents for ask in intent.asks
        ]
        texts, names = [ask for ask, _ in asks], np.array([name for _, name in asks])
        self._tokenizer = tokenizer
        self._vectorizer = TfidfVectorizer(analyzer=self._ngrams, sublinear_tf=True)
        features = self._vectorizer.fit_transform(texts)
        known, held_back = train_test_split(np.arange(len(names)), test_size=_HELD_BACK, random_state=seed)
        trial = LinearSVC(C=0.5, random_state=seed).fit(features[known], names[known])
        self._sharpness = _best_sharpness(trial, features[held_back], names[held_back])
        self._classifier = LinearSVC(C=0.5, random_state=seed).fit(features, names)
        plans = {plan: index for index, plan in enumerate(pack.plans)}
        self._columns = [plans[plan_of(str(name))] for name in self._classifier.classes_]
        self._num_plans = len(plans)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """[n, num plans] float16, in the order of the pack's plans."""
        logits = self._sharpness * self._classifier.decision_function(self._vectorizer.transform(texts))
        found = np.zeros((len(texts), self._num_plans), np.float16)
        found[:, self._columns] = _softmax(logits)
        return found

    def _ngrams(self, text: str) -> list[tuple[int, ...]]:
        ids = self._tokenizer.encode(fold_case(text))
        sizes = range(1, _MAX_NGRAM + 1)
        return [tuple(ids[start : start + size]) for size in sizes for start in range(len(ids) - size + 1)]


def draw_mixtures(pack: DomainPack, tokenizer: Tokenizer, count: int, seed: int) -> list[Mixture]:
    """Mixed messages, as many in each of the pack's languages, with their teacher's opinions."""
    languages = sorted({intent.language for intent in pack.intents})
    mixtures: list[Mixture] = []
    for language in languages:
        teacher = PlanTeacher(pack, language, tokenizer, seed)
        mixer = _mix(pack, language, random.Random(seed))
        texts = [next(mixer) for _ in range(count // len(languages))]
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            mixtures += map(Mixture, batch, teacher.probabilities(batch))
    return mixtures


def _mix(pack: DomainPack, language: str, generator: random.Random) -> Iterator[str]:
    """Two pieces of the same concern, two of different ones, one piece, or a whole ask; typed like any other."""
    intents = [intent for intent in pack.intents if intent.language == language]
    space = "" if language == "zh" else " "
    while True:
        first, other = generator.choices(intents, k=2)
        second = first if generator.random() < 0.6 else other
        kind = generator.random()
        ask = generator.choice(first.asks)
        if kind < 0.7:
            text = _piece(ask, space, generator) + space + _piece(generator.choice(second.asks), space, generator)
        else:
            text = _piece(ask, space, generator) if kind < 0.85 else ask
        yield add_typing_noise(fill_slots(text, pack.slots[language], generator), language, generator)


def _piece(ask: str, space: str, generator: random.Random) -> str:
    """Three to eight tenths of an ask's words or characters, in a row; slots and placeholders stay whole."""
    words = ask.split(space) if space else _characters(ask)
    start = generator.randrange(len(words))
    length = max(1, round(len(words) * generator.uniform(0.3, 0.8)))
    return space.join(words[start : start + length])


def _characters(text: str) -> list[str]:
    """Characters, but `{slot}` and `<PLACEHOLDER>` as one each."""
    pieces: list[str] = []
    is_open = False
    for character in text:
        if is_open:
            pieces[-1] += character
        else:
            pieces.append(character)
        is_open = (is_open or character in "{<") and character not in "}>"
    return pieces


def _best_sharpness(classifier: LinearSVC, features: object, names: np.ndarray) -> float:
    """The factor under which the margins, as logits, make the held-back asks most likely."""
    margins = classifier.decision_function(features)
    columns = np.searchsorted(classifier.classes_, names)

    def loss(factor: float) -> float:
        probabilities = _softmax(factor * margins)[np.arange(len(names)), columns]
        return float(-np.log(probabilities + 1e-12).mean())

    return min(_SHARPNESS, key=loss)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
