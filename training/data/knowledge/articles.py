"""A pack's help articles: what they are and which rules they keep. Files are read by `domain_pack`.

Held-out articles are apart from the others from the moment they are read; only evaluation asks for them.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model_store.contract.conversation import detect_language
from model_store.contract.placeholders import escape_lookalikes

MIN_QUESTIONS = 5
_MAX_PASSAGE_CHARS = 600


@dataclass(frozen=True)
class HelpArticle:
    """One article and questions that it answers. Title and passage are plain text, as a shop would write them."""

    title: str
    passage: str
    language: str
    questions: tuple[str, ...]
    overlaps: str | None = None
    """The intent whose reply is the next best where the article is not there; None: nothing else answers."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All that was written for it."""
        return (self.title, self.passage, *self.questions)


def parse_article(entry: Mapping[str, Any], language: str) -> HelpArticle:
    """Reads one entry. Raises KeyError, TypeError or AttributeError for another form."""
    unknown = entry.keys() - {"title", "passage", "questions", "overlaps"}
    if unknown:
        raise KeyError(f"unknown {sorted(unknown)}")
    questions = tuple(map(str, entry["questions"]))
    return HelpArticle(
        str(entry["title"]), " ".join(entry["passage"].split()), language, questions, entry.get("overlaps")
    )


def article_problems(articles: Sequence[HelpArticle], intents: Collection[tuple[str, str]]) -> Iterator[str]:
    """What is wrong with a pack's articles; `intents` are the pack's, as (name, language)."""
    titles = Counter((article.title, article.language) for article in articles)
    for article in articles:
        where = f"{article.language} article {article.title!r}"
        if titles[article.title, article.language] > 1:
            yield f"{where} is there twice"
        if article.overlaps and (article.overlaps, article.language) not in intents:
            yield f"{where} overlaps the unknown intent {article.overlaps!r}"
        yield from (f"{where} {problem}" for problem in _text_problems(article))


def _text_problems(article: HelpArticle) -> Iterator[str]:
    if len(set(article.questions)) < MIN_QUESTIONS:
        yield f"has fewer than {MIN_QUESTIONS} questions"
    if not 0 < len(article.passage) <= _MAX_PASSAGE_CHARS:
        yield f"has a passage that is empty or longer than {_MAX_PASSAGE_CHARS} characters"
    if detect_language(article.passage) != article.language:
        yield "is not written in its language"
    for text in article.texts:
        if "{" in text or escape_lookalikes(text) != text:
            yield f"holds a slot or a placeholder: {text!r}"
