"""Says which intent a reply answers: a linear classifier over character n-grams of what was authored.

Nearest neighbours were tried first and lost (54 % against 74 % of unseen replies). No language model judges another
here: the judge is the same on every machine, and `ceiling` says how often it is right itself.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.sparse import vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from model_store.contract.conversation import detect_language
from model_store.contract.placeholders import split_masked
from training.data.domain_pack import DomainPack, load_pack

_NGRAMS = (1, 4)
_NUM_FOLDS = 5
_MAX_ASKS = 40
"""Of each intent and language: replies are what is judged, and hundreds of asks would drown them."""


class IntentJudge:
    """Judges masked replies. Immutable; the same for every policy that is measured."""

    def __init__(self, pack: DomainPack) -> None:
        """Learns a pack's good replies, and its asks because their words tell intents apart. Takes seconds."""
        replies = sorted({(reply, intent.name) for intent in pack.intents for reply in intent.every_reply})
        asks = [(ask, intent.name) for intent in pack.intents for ask in intent.asks[:_MAX_ASKS]]
        self._vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=_NGRAMS, min_df=2, sublinear_tf=True)
        self._replies = self._vectorizer.fit_transform([_prepared(reply) for reply, _ in replies])
        self._asks = self._vectorizer.transform([_prepared(ask) for ask, _ in asks])
        self._reply_intents = np.array([name for _, name in replies])
        self._ask_intents = np.array([name for _, name in asks])
        self._classifier = self._fit(np.arange(len(replies)))

    def intents_of(self, replies: Sequence[str]) -> list[str]:
        """The intent that each masked reply answers best."""
        if not replies:
            return []
        return [str(name) for name in self._classifier.predict(self._vectorizer.transform(map(_prepared, replies)))]

    def fits(self, intents: Sequence[str], replies: Sequence[str]) -> list[bool]:
        """Whether each masked reply answers the intent it was asked for."""
        return [found == wanted for found, wanted in zip(self.intents_of(replies), intents, strict=True)]

    @cache  # noqa: B019 - judges live as long as the program
    def ceiling(self) -> float:
        """The share of authored replies judged right when a fifth at a time is left out. Takes seconds.

        A floor of the judge's accuracy on replies in new words; replies that repeat an authored one it knows.
        """
        folds = StratifiedKFold(_NUM_FOLDS, shuffle=True, random_state=0)
        num_right = 0
        for known, unseen in folds.split(self._replies, self._reply_intents):
            found = self._fit(known).predict(self._replies[unseen])
            num_right += int((found == self._reply_intents[unseen]).sum())
        return num_right / len(self._reply_intents)

    def _fit(self, known_replies: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> LinearSVC:
        features = vstack([self._replies[known_replies], self._asks])
        intents = np.concatenate([self._reply_intents[known_replies], self._ask_intents])
        return LinearSVC(C=1.0, random_state=0).fit(features, intents)


@cache
def pack_judge(pack_name: str) -> IntentJudge:
    """The judge of an authored pack, made once in a process. Raises as `load_pack` does."""
    return IntentJudge(load_pack(pack_name))


def language_of(masked_text: str) -> str:
    """The language of a masked text's own words; the names of placeholders are no words."""
    return detect_language(own_words(masked_text))


def has_own_digit(masked_text: str) -> bool:
    """Whether a masked text makes up a number: true ones stand in placeholders."""
    return any(character.isdigit() for character in own_words(masked_text))


def own_words(masked_text: str) -> str:
    """A masked text with a space for every placeholder."""
    return "".join(" " if piece.is_placeholder else piece.text for piece in split_masked(masked_text))


def _prepared(masked_text: str) -> str:
    """Lower case, with every placeholder as a word of its own."""
    pieces = (f" {text.strip('<>')} " if is_placeholder else text for text, is_placeholder in split_masked(masked_text))
    return "".join(pieces).lower()
