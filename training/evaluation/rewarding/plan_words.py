"""Whether a reply's words are those of the plan that it opened with.

Thumbs like warm words, and a policy that is moved towards thumbs alone buys warmth with wordings that answer nothing.
The gate's judge (`evaluation.judge`) must not be what a policy is trained against, or it would measure its own shadow:
this one reads words instead of characters, one half of the authored replies instead of all, and the flows' replies.
"""

import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from model_store.contract.conversation import Role
from training.data.domain_pack import DomainPack, intent_of, load_pack

_WORDS = r"(?u)<[A-Z_0-9]+>|[\u4e00-\u9fff]|[^\W\d_][\w'’]*"
"""Placeholders, Chinese characters one by one, and words."""
_NUM_LIKELY = 3
"""Intents that a wording may belong to: for authored replies that were not read the first guess is right in 75 %, one
of three in 91 %."""
_NUM_ASKS = 40
"""Of each intent and language, because their words tell intents apart."""


class PlanWords:
    """Knows the words of a pack's intents. Immutable."""

    def __init__(self, pack: DomainPack) -> None:
        """Learns from every second authored reply, the flows' replies and some asks. Takes seconds."""
        texts = sorted(_taught(pack))
        self._vectorizer = TfidfVectorizer(token_pattern=_WORDS, ngram_range=(1, 2), sublinear_tf=True)
        features = self._vectorizer.fit_transform([text for text, _ in texts])
        self._classifier = LinearSVC(C=1.0, random_state=0).fit(features, [intent for _, intent in texts])
        self._columns = {str(name): column for column, name in enumerate(self._classifier.classes_)}

    def fit(self, plans: Sequence[str | None], texts: Sequence[str]) -> list[bool]:
        """Whether each masked text may say its plan; True where there is no plan, or none whose words are known."""
        if not texts:
            return []
        scores = self._classifier.decision_function(self._vectorizer.transform(texts))
        likely = np.argsort(-scores, axis=1)[:, :_NUM_LIKELY]
        columns = [self._columns.get(intent_of(plan)) if plan else None for plan in plans]
        return [column is None or column in row for column, row in zip(columns, likely, strict=True)]


def is_taught(reply: str) -> bool:
    """Whether an authored reply is of the half that is learned from."""
    return zlib.crc32(reply.encode()) % 2 == 0


def _taught(pack: DomainPack) -> set[tuple[str, str]]:
    """Texts with their intents."""
    replies = {(reply, intent.name) for intent in pack.intents for reply in filter(is_taught, intent.replies)}
    asks = {(ask, intent.name) for intent in pack.intents for ask in intent.asks[:_NUM_ASKS]}
    turns = [turn for flow in pack.flows for turn in flow.turns if turn.role is Role.ASSISTANT and turn.plan]
    return replies | asks | {(text, intent_of(turn.plan)) for turn in turns if turn.plan for text in turn.wordings}


@cache
def pack_plan_words(pack_name: str) -> PlanWords:
    """The words of an authored pack, learned once in a process. Raises as `load_pack` does."""
    return PlanWords(load_pack(pack_name))
