"""Finding the passage that answers a question: by words (BM25, Robertson and Zaragoza 2009), by meaning where passages
are embedded, and whether the best one fits.

Everything is held in memory; a shop's help pages are some hundred passages, an embedding has a kilobyte. Searching
takes well under a millisecond. Who embeds: `model_store.intents`.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import bm25s
import numpy as np
from numpy.typing import NDArray

from model_store.knowledge.fit import FitRule, FitSigns, shipped_fit_rule
from model_store.knowledge.words import topic_words

MIN_WORDS_LATER = {"en": 3, "zh": 5}
"""Topic words that a later message must have for a passage to be offered: what it is about was often said before.
Chinese counts pairs as well. Of second messages of the pack's flows (153 and 147) 47 % and 43 % would else be offered
something, so 10 % and 14 %; the right one still is for 61 % and 60 % of development questions, of 77 % and 67 %."""

MEANING_WEIGHT = 1.5
"""What meaning counts against words, each by how far the passages lie apart in it: `training/EXPERIMENTS.md`."""


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


Embedding = NDArray[np.float32]
"""[D], of unit length: texts about the same thing lie in the same direction."""


def passage_text(title: str, text: str, keywords: str = "") -> str:
    """What a passage is searched by."""
    return " ".join(filter(None, (f"{title}.", text, keywords)))


class PassageSearch:
    """Passages in all languages, ready to be searched. Immutable and safe to share between threads."""

    def __init__(
        self,
        passages: Sequence[Passage],
        embed: Callable[[str], Embedding] | None = None,
        fit_rule: FitRule | None = None,
    ) -> None:
        """`embed` says where a passage's text lies; without it questions are answered by their words alone.

        `fit_rule` says how well they fit; None: as shipped.
        """
        self._fit_rule = rule = fit_rule or shipped_fit_rule()
        self._by_language = {
            language: _Shelf([passage for passage in passages if passage.language == language], embed, rule)
            for language in {passage.language for passage in passages}
        }

    def find(self, question: str, language: str, limit: int = 3, meaning: Embedding | None = None) -> list[Passage]:
        """The best passage of each of the `limit` best articles, best first; by words alone none without one in common.

        `meaning` is where the question lies, by whoever embedded the passages.
        """
        shelf = self._by_language.get(language)
        ranking = shelf.ranking(topic_words(question), meaning) if shelf else []
        return [found.passage for found in ranking[:limit]]

    def fitting(
        self, question: str, language: str, meaning: Embedding | None = None, *, is_later: bool = False
    ) -> Passage | None:
        """The best passage with its fit, if it fits the question; a later message must say itself what it is about."""
        if not self.can_fit(question, language, is_later=is_later):
            return None
        best = self._by_language[language].best(topic_words(question), meaning)
        return best if best and best.fit >= self._fit_rule.offer_from else None

    def signs(self, question: str, language: str, meaning: Embedding | None = None) -> tuple[Passage, FitSigns] | None:
        """The best passage, and what its fit is made of; None without one that shares a word with the question."""
        shelf = self._by_language.get(language)
        found = shelf.best_with_signs(topic_words(question), meaning) if shelf else None
        return found if found and found[1].share else None

    def can_fit(self, question: str, language: str, *, is_later: bool = False) -> bool:
        """Whether any passage could be `fitting`, wherever the question lies; said before its meaning is asked for."""
        shelf, words = self._by_language.get(language), topic_words(question)
        if shelf is None or (is_later and len(words) < MIN_WORDS_LATER.get(language, 0)):
            return False
        return shelf.best_fit(words) >= self._fit_rule.offer_from


@dataclass(frozen=True, slots=True)
class _Found:
    passage: Passage
    by_words: float
    """BM25's score."""


class _Shelf:
    """The passages of one language."""

    def __init__(
        self, passages: Sequence[Passage], embed: Callable[[str], Embedding] | None, fit_rule: FitRule
    ) -> None:
        self._fit_rule = fit_rule
        texts = [passage_text(passage.title, passage.text, passage.keywords) for passage in passages]
        words = [topic_words(text) for text in texts]
        self._passages = list(passages)
        self._embeddings = np.stack([embed(text) for text in texts]) if embed else None
        self._words = {passage.id: frozenset(found) for passage, found in zip(passages, words, strict=True)}
        self._num_passages = Counter(word for found in words for word in set(found))
        self._index = bm25s.BM25()
        # A passage without a single word would leave an index without a vocabulary.
        self._index.index([found or [""] for found in words], show_progress=False)

    def ranking(self, words: Sequence[str], meaning: Embedding | None = None) -> list[_Found]:
        """The best passage of each article, best first."""
        by_words = self._by_words(words)
        if self._embeddings is None or meaning is None:
            places = [place for place in np.argsort(-by_words, kind="stable") if by_words[place] > 0]
        else:
            both = _spread(by_words) + MEANING_WEIGHT * _spread(self._embeddings @ meaning)
            places = list(np.argsort(-both, kind="stable"))
        best: dict[str, _Found] = {}
        for place in places:
            best.setdefault(self._passages[place].article, _Found(self._passages[place], float(by_words[place])))
        return list(best.values())

    def best(self, words: Sequence[str], meaning: Embedding | None = None) -> Passage | None:
        """The best passage and its fit."""
        found = self.best_with_signs(words, meaning)
        return replace(found[0], fit=self._fit_rule.fit(found[1])) if found else None

    def best_with_signs(
        self, words: Sequence[str], meaning: Embedding | None = None
    ) -> tuple[Passage, FitSigns] | None:
        """The best passage, and what its fit is made of."""
        ranking = self.ranking(words, meaning)
        if not ranking:
            return None
        found, *others = ranking
        rival = max((other.by_words for other in others), default=0.0)
        lead = max(0.0, 1 - rival / found.by_words) if found.by_words else 0.0
        return found.passage, self._signs(set(words), found.passage, lead)

    def best_fit(self, words: Sequence[str]) -> float:
        """The best that a passage could fit, had no other any of the question's words; no passage fits better."""
        asked = set(words)
        signs = (self._signs(asked, passage, 1.0) for passage in self._passages)
        return max((self._fit_rule.fit(each) for each in signs if each.share), default=0.0)

    def _signs(self, asked: AbstractSet[str], passage: Passage, lead: float) -> FitSigns:
        shared = asked & self._words[passage.id]
        share = self._cover(asked, passage) * (1 + lead) / 2
        return self._fit_rule.signs(share, shared, passage.language)

    def _cover(self, asked: AbstractSet[str], passage: Passage) -> float:
        """What share of the words a passage has, rare ones counting more."""
        covered = asked & self._words[passage.id]
        return self._rarity_of(covered) / self._rarity_of(asked) if covered else 0.0

    def _rarity_of(self, words: AbstractSet[str]) -> float:
        return sum(self._rarity(word) for word in words)

    def _by_words(self, words: Sequence[str]) -> NDArray[np.float32]:
        known = [word for word in words if word in self._num_passages]
        return self._index.get_scores(known) if known else np.zeros(len(self._passages), np.float32)

    def _rarity(self, word: str) -> float:
        # A word that no passage holds counts like one that a single passage holds: the scale is that of any collection.
        return math.log(1 + len(self._passages) / max(1, self._num_passages[word]))


def _spread(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores by how many standard deviations they lie above their mean."""
    deviation = scores.std()
    return (scores - scores.mean()) / deviation if deviation else np.zeros_like(scores)
