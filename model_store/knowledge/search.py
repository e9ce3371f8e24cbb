"""Finding the passage that answers a question: BM25 (Robertson and Zaragoza 2009), and whether the best one fits.

Everything is held in memory; a shop's help pages are some hundred passages. Searching takes well under a millisecond.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import bm25s
import numpy as np

from model_store.knowledge.words import topic_words

MIN_FIT = 0.18
"""The least fit of a passage that is offered. Measured on the pack's training articles, 63 English and 62 Chinese: it
keeps 82 % and 88 % of the passages that were rightly found first, and offers one for 33 % and 20 % of the asks that no
article is about, which is for the model to see. In collections of eight articles: 88 % and 87 %, 20 % and 13 %."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a help article that can be quoted. Plain text; one article's passages share `article`."""

    id: str
    article: str
    title: str
    text: str
    language: str
    link: str = ""
    keywords: str = ""
    """Words that customers use and the text does not: searched, never quoted."""
    fit: float = 0.0
    """How well it fits the question that it was found for, 0 to 1; before a search 0."""


class PassageSearch:
    """Passages in all languages, ready to be searched. Immutable and safe to share between threads."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        languages = {passage.language for passage in passages}
        self._by_language = {
            language: _Shelf([passage for passage in passages if passage.language == language])
            for language in languages
        }

    def find(self, question: str, language: str, limit: int = 3) -> list[Passage]:
        """The best passage of each of the `limit` best articles, best first; none without a word in common."""
        shelf = self._by_language.get(language)
        return [passage for passage, _ in shelf.ranking(topic_words(question))[:limit]] if shelf else []

    def fitting(self, question: str, language: str) -> Passage | None:
        """The best passage with its fit, if it fits the question."""
        shelf = self._by_language.get(language)
        best = shelf.best(topic_words(question)) if shelf else None
        return replace(best[0], fit=best[1]) if best and best[1] >= MIN_FIT else None


class _Shelf:
    """The passages of one language."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        words = [topic_words(f"{passage.title} {passage.text} {passage.keywords}") for passage in passages]
        self._passages = list(passages)
        self._words = {passage.id: frozenset(found) for passage, found in zip(passages, words, strict=True)}
        self._num_passages = Counter(word for found in words for word in set(found))
        self._index = bm25s.BM25()
        # A passage without a single word would leave an index without a vocabulary.
        self._index.index([found or [""] for found in words], show_progress=False)

    def ranking(self, words: Sequence[str]) -> list[tuple[Passage, float]]:
        """The best passage of each article with its score, best first."""
        known = [word for word in words if word in self._num_passages]
        if not known:
            return []
        scores = self._index.get_scores(known)
        best: dict[str, tuple[Passage, float]] = {}
        for place in np.argsort(-scores, kind="stable"):
            if scores[place] > 0:
                best.setdefault(self._passages[place].article, (self._passages[place], float(scores[place])))
        return list(best.values())

    def best(self, words: Sequence[str]) -> tuple[Passage, float] | None:
        """The best passage and its fit: what share of the question's words it covers, rare ones counting more, halved
        where the next best article is as good.
        """
        ranking = self.ranking(words)
        if not ranking:
            return None
        (passage, score), *others = ranking
        lead = 1 - (others[0][1] / score if others else 0.0)
        asked = set(words)
        covered = sum(self._rarity(word) for word in asked & self._words[passage.id])
        return passage, covered / sum(self._rarity(word) for word in asked) * (1 + lead) / 2

    def _rarity(self, word: str) -> float:
        # A word that no passage holds counts like one that a single passage holds: the scale is that of any collection.
        return math.log(1 + len(self._passages) / max(1, self._num_passages[word]))
