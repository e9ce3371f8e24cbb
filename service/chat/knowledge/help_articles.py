"""The shop's help articles while the service runs: which passage to offer for a question, and how it is quoted.

The model decides whether an offered passage answers; it never writes one. How they are found: `model_store.knowledge`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from model_store.contract.facts import FactSheet, fallback_phrases
from model_store.contract.placeholders import ARTICLE
from model_store.contract.unmasking import Resolver
from model_store.intents.intent_model import IntentModel
from model_store.knowledge.offer import quote_article
from model_store.knowledge.search import Embedding, Passage, PassageSearch
from service.chat.knowledge.markdown import read_article
from service.errors import InvalidDataFileError

MAX_ARTICLES = 2000
MAX_BY_MEANING = 2000
"""Passages that are embedded at start, some ten milliseconds each; more are searched by their words alone."""
_HELP_PAGE = "HELP_PAGE"


class HelpArticles:
    """One shop's articles. Immutable and safe to share between threads."""

    def __init__(self, passages: Sequence[Passage] = (), intents: IntentModel | None = None) -> None:
        """With an intent model that embeds, passages are found by their meaning as well; this takes seconds then."""
        self.num_passages = len(passages)
        self.is_by_meaning = intents is not None and intents.embeds and 0 < len(passages) <= MAX_BY_MEANING
        self._by_id = {passage.id: passage for passage in passages}
        self._search = PassageSearch(passages, intents.embed_passage if intents and self.is_by_meaning else None)

    @classmethod
    def load(cls, folder: Path, facts: FactSheet, intents: IntentModel | None = None) -> "HelpArticles":
        """Reads every `*.md` file of a folder. Raises InvalidDataFileError naming the one that cannot be used."""
        if not folder.is_dir():
            raise InvalidDataFileError(path=folder, problem="it is not a folder")
        paths = sorted(folder.glob("*.md"))
        if len(paths) > MAX_ARTICLES:
            raise InvalidDataFileError(path=folder, problem=f"it holds more than {MAX_ARTICLES} articles")
        passages = [passage for path in paths for passage in read_article(path)]
        linked = [replace(passage, link=passage.link or _default_link(passage, facts)) for passage in passages]
        return cls(linked, intents)

    def find(
        self, question: str, language: str, meaning: Embedding | None = None, *, is_later: bool = False
    ) -> Passage | None:
        """The passage that may answer a question, or None; `meaning` is where the question lies: `IntentModel.hear`.

        Not for a later message that says too little itself.
        """
        return self._search.fitting(question, language, meaning, is_later=is_later)

    def can_find(self, question: str, language: str, *, is_later: bool = False) -> bool:
        """Whether `find` could find anything, wherever the question lies: most questions are about no article."""
        return self._search.can_fit(question, language, is_later=is_later)

    def passage(self, passage_id: str) -> Passage | None:
        """The passage that was offered under this id, if the shop still has it."""
        return self._by_id.get(passage_id)


def quoting(resolve: Resolver, passage: Passage) -> Resolver:
    """A resolver that also knows what `<ARTICLE>` reads as: the passage itself and where it stands."""
    text = quote_article(passage.title, passage.text, passage.link, passage.language)
    return lambda placeholder: text if placeholder == ARTICLE else resolve(placeholder)


def _default_link(passage: Passage, facts: FactSheet) -> str:
    """The help page with the file's name behind it, where the shop's help page is a link."""
    page = facts.value(_HELP_PAGE, passage.language) or fallback_phrases()[_HELP_PAGE][passage.language]
    return f"{page.rstrip('/')}/{quote(passage.article)}" if "://" in page else page
