"""A linear teacher of plans: it generalises from few examples where the network learns them by heart.

Trained on the same authored asks, a bag of n-grams hears unseen wordings better than a network of our size that has
nothing else to learn from. It is also what the shipped bot's choice of plans is measured against.
"""

import random
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.svm import LinearSVC

from model_store.contract.placeholders import fold_case
from model_store.contract.tokenizer import Tokenizer
from training.data.domain_pack import DomainPack, fill_slots, plan_of

_MAX_NGRAM = 3
_HELD_BACK = 0.1
_SHARPNESS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
"""Factors tried between the classifier's margins and logits."""


class LinearTeacher:
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
