"""Markdown help articles: one file, one article, cut into passages that can be quoted.

What a passage says is what its author wrote, without the markup. A file that cannot be quoted stops the start, named.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from model_store.contract.conversation import detect_language
from model_store.errors import problems_of
from model_store.knowledge.search import Passage
from service.chat.decoding import UNSAFE_CHARACTERS
from service.errors import InvalidDataFileError

MAX_FILE_BYTES = 65_536
MAX_PASSAGE_CHARS = {"en": 600, "zh": 250}
"""A passage is quoted whole: more than this nobody reads in a chat."""
_MAX_TITLE_CHARS = 120
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?P<fields>.*?\n)??---[ \t]*(?:\n|\Z)", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_UNQUOTABLE = frozenset({"html_block", "fence", "code_block", "table_open"})


class _FrontMatter(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=500)] | None = None
    language: Literal["en", "zh"] | None = None
    keywords: list[Annotated[str, StringConstraints(max_length=100)]] = Field(default=[], max_length=100)


def read_article(path: Path) -> list[Passage]:
    """The passages of a file; their link is empty where the file names no `url`. Raises InvalidDataFileError."""
    try:
        fields, body = _split(_read(path))
        title, sections = _sections(MarkdownIt("commonmark").enable("table").parse(body))
        language = fields.language or detect_language(body)
        texts = [(heading, text) for heading, blocks in sections for text in _pack(blocks, MAX_PASSAGE_CHARS[language])]
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidDataFileError(path=path, problem=_problem(error)) from error
    return [
        Passage(
            id=f"{path.stem}#{number}",
            article=path.stem,
            title=f"{title} – {heading}" if heading else title,
            text=text,
            language=language,
            link=fields.url or "",
            keywords=" ".join(fields.keywords),
        )
        for number, (heading, text) in enumerate(texts, 1)
    ]


def _read(path: Path) -> str:
    data = path.read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"it is longer than {MAX_FILE_BYTES} bytes")
    text = data.decode("utf-8-sig").replace("\r\n", "\n")
    if UNSAFE_CHARACTERS.search(text):
        raise ValueError("it holds control characters")
    return text


def _split(text: str) -> tuple[_FrontMatter, str]:
    match = _FRONT_MATTER.match(text)
    if match is None:
        return _FrontMatter(), text
    return _FrontMatter.model_validate(yaml.safe_load(match["fields"] or "") or {}), text[match.end() :]


def _sections(tokens: list[Token]) -> tuple[str, list[tuple[str, list[str]]]]:
    """The title, and for each heading below it ("" before the first) its blocks of text. Raises ValueError."""
    title = ""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for number, token in enumerate(tokens):
        if token.type in _UNQUOTABLE:
            raise ValueError(
                f"line {(token.map or [0])[0] + 1} of its text starts HTML, code or a table: use sentences"
            )
        if token.type != "inline":
            continue
        text, opening = _plain(token), tokens[number - 1]
        if opening.type != "heading_open":
            sections[-1][1].append(f"{_bullet(tokens, number)}{text}")
        elif not title and opening.tag == "h1":
            title = text
        else:
            sections.append((text, []))
    if not 0 < len(title) <= _MAX_TITLE_CHARS:
        raise ValueError(f"it needs a title of at most {_MAX_TITLE_CHARS} characters: a line that starts with '# '")
    if not any(blocks for _, blocks in sections):
        raise ValueError("it says nothing below its title")
    return title, sections


def _plain(inline: Token) -> str:
    """The words of a block; a link keeps its words, a picture its description."""
    pieces = [
        " " if child.type in ("softbreak", "hardbreak") else child.content
        for child in inline.children or ()
        if child.type in ("text", "code_inline", "softbreak", "hardbreak", "image")
    ]
    return " ".join("".join(pieces).split())


def _bullet(tokens: list[Token], number: int) -> str:
    """`– ` or `1. ` before the first paragraph of a list item."""
    before = tokens[number - 2] if number > 1 else None
    if before is None or before.type != "list_item_open":
        return ""
    return f"{before.info}. " if before.info else "– "


def _pack(blocks: list[str], max_chars: int) -> Iterator[str]:
    """Blocks joined to passages as long as possible; a block that is too long is cut between sentences."""
    passage = ""
    for piece, separator in _pieces(blocks, max_chars):
        if passage and len(passage) + len(separator) + len(piece) > max_chars:
            yield passage
            passage = ""
        passage = f"{passage}{separator}{piece}" if passage else piece
    if passage:
        yield passage


def _pieces(blocks: list[str], max_chars: int) -> Iterator[tuple[str, str]]:
    """Blocks, or their sentences, each with what stands between it and the one before. Raises ValueError."""
    for block in blocks:
        sentences = [block] if len(block) <= max_chars else [part for part in _SENTENCE_END.split(block) if part]
        for number, sentence in enumerate(sentences):
            if len(sentence) > max_chars:
                raise ValueError(f"a sentence is longer than {max_chars} characters: {sentence[:40]}…")
            inside = "" if block.endswith("。") or "。" in block else " "
            yield sentence, "\n" if number == 0 else inside


def _problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return problems_of(error)
    return str(error) or type(error).__name__
