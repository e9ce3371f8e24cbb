"""Exchanges about help articles: when the model should quote one, and when it should leave it.

Three cases of four teach restraint: an article that does not answer is offered as often as one that does, since the
service's search is sometimes wrong as well.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from model_store.contract.conversation import Message, Role
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.placeholders import ARTICLE
from model_store.knowledge.offer import offer_article, quote_article
from training.data.knowledge.articles import HelpArticle

_HISTORY_LINK = "<HELP_PAGE>"
_NUM_LOOKALIKES = 3
_SIMILAR_SHARE = 0.6
_MASKER = EntityMasker()


class Case(Enum):
    """What an exchange about an article teaches."""

    FITTING = auto()
    """The article answers: quote it."""
    OTHER_CONCERN = auto()
    """The customer wants what the bot knows anyway: leave the article."""
    UNRELATED = auto()
    """Another article is offered for a question that only its own answers: leave it."""
    NOTHING = auto()
    """No article is offered for such a question."""


_WEIGHTS = {Case.FITTING: 0.4, Case.OTHER_CONCERN: 0.3, Case.UNRELATED: 0.17, Case.NOTHING: 0.13}
"""A search by words offers something for every fourth concern that no article is about, so that case weighs much."""


@dataclass(frozen=True)
class Exchange:
    """Messages of one concern with their intent and plan, and the article that is offered for the last question."""

    messages: tuple[Message, ...]
    intent: str
    plan: str
    offered: HelpArticle | None = None

    @property
    def prompted(self) -> tuple[Message, ...]:
        """What the model sees while it is the current one."""
        if self.offered is None:
            return self.messages
        return offer_article(self.messages, self.offered.title, self.offered.passage, self.offered.language)

    @property
    def past(self) -> tuple[Message, ...]:
        """What the model sees of it later: the offer is gone, what was quoted is text."""
        if self.offered is None:
            return self.messages
        quote = quote_article(self.offered.title, self.offered.passage, _HISTORY_LINK, self.offered.language)
        said = _MASKER.mask_keeping_placeholders(quote, EntityVault())
        return tuple(replace(message, content=message.content.replace(ARTICLE, said)) for message in self.messages)

    @property
    def ask(self) -> "Exchange":
        """The customer's opening alone."""
        return replace(self, messages=self.messages[:1])


class ArticleShelf:
    """A pack's training articles by language, to be drawn from."""

    def __init__(self, articles: Sequence[HelpArticle], generator: random.Random) -> None:
        self._random = generator
        self._articles: dict[str, list[HelpArticle]] = {}
        for article in articles:
            self._articles.setdefault(article.language, []).append(article)
        self._words = {article: _words(f"{article.title} {article.passage}") for article in articles}
        self._num_articles = Counter(word for words in self._words.values() for word in words)

    @property
    def languages(self) -> frozenset[str]:
        """The languages that have articles."""
        return frozenset(self._articles)

    def draw_case(self) -> Case:
        """What the next exchange teaches."""
        (case,) = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        return case

    def draw(self, language: str) -> tuple[HelpArticle, str]:
        """An article and a question that it answers."""
        article = self._random.choice(self._articles[language])
        return article, self._random.choice(article.questions)

    def draw_unfitting(self, question: str, language: str, fitting: HelpArticle | None = None) -> HelpArticle:
        """An article for a question that it does not answer: often one that shares rare words with it."""
        others = [article for article in self._articles[language] if article is not fitting]
        if self._random.random() < _SIMILAR_SHARE:
            words = _words(question)
            others.sort(key=lambda article: -sum(1 / self._num_articles[w] for w in words & self._words[article]))
            others = others[:_NUM_LOOKALIKES]
        return self._random.choice(others or self._articles[language])


def question_and_reply(question: str, reply: str) -> tuple[Message, ...]:
    """A customer's message and its reply."""
    return Message(Role.USER, question), Message(Role.ASSISTANT, reply)


def _words(text: str) -> frozenset[str]:
    """Latin words of four letters or more, and pairs of Han characters."""
    latin = re.findall(r"[a-z]{4,}", text.lower())
    runs = re.findall(r"[\u4e00-\u9fff]{2,}", text)
    return frozenset((*latin, *(run[start : start + 2] for run in runs for start in range(len(run) - 1))))
