"""Markdown help articles: read, cut, linked, and refused by name."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from model_store.contract.facts import FactSheet
from model_store.intents.intent_model import IntentModel
from model_store.knowledge.search import Passage
from service.app import DEFAULT_FACTS_FILE, DEFAULT_KNOWLEDGE_DIRECTORY
from service.chat.knowledge.help_articles import MAX_ARTICLES, MAX_BY_MEANING, HelpArticles, quoting
from service.chat.knowledge.markdown import MAX_FILE_BYTES, MAX_PASSAGE_CHARS, read_article
from service.errors import InvalidDataFileError

FACTS = FactSheet({"HELP_PAGE": {"en": "https://shop.example/help/", "zh": "帮助中心"}})


def read(tmp_path: Path, text: str, name: str = "repairs.md") -> list[Passage]:
    """The passages of a file with this text."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_article(tmp_path / name)


def test_an_article_is_its_title_and_what_stands_below(tmp_path: Path) -> None:
    """Markup goes, words and numbers stay; front matter gives link and keywords."""
    front_matter = "---\nurl: https://x.example/r\nkeywords: [mend, fix]\n---\n"
    (passage,) = read(tmp_path, front_matter + "# Repairs\n\nWe mend **zips** for [15 €](/p),\nall of them.\n")
    text = "We mend zips for 15 €, all of them."
    assert passage == Passage("repairs#1", "repairs", "Repairs", text, "en", "https://x.example/r", "mend fix")


def test_headings_make_passages_of_their_own(tmp_path: Path) -> None:
    """Each carries the article's title; paragraphs and list items under one heading stay together."""
    text = "# Repairs\n\nWe mend.\n\nBags too.\n\n## Prices\n\n- zips: 15 €\n- seams: 10 €\n\n1. Pay.\n2. Go.\n"
    found = [(passage.id, passage.title, passage.text) for passage in read(tmp_path, text)]
    assert found == [
        ("repairs#1", "Repairs", "We mend.\nBags too."),
        ("repairs#2", "Repairs – Prices", "– zips: 15 €\n– seams: 10 €\n1. Pay.\n2. Go."),
    ]


@pytest.mark.parametrize(("language", "sentence"), [("en", "We mend zips and bags. "), ("zh", "我们修拉链和包。")])
def test_a_long_text_is_cut_between_sentences(tmp_path: Path, language: str, sentence: str) -> None:
    """No passage is longer than people read in a chat, and none of the words is lost."""
    passages = read(tmp_path, f"# {sentence}\n\n{sentence * 60}\n")
    assert len(passages) > 1 and {passage.language for passage in passages} == {language}
    assert all(len(passage.text) <= MAX_PASSAGE_CHARS[language] for passage in passages)
    space = " " if language == "en" else ""
    assert "".join(passage.text + space for passage in passages) == sentence * 60


def test_the_language_is_the_texts_or_the_front_matters(tmp_path: Path) -> None:
    """An author may know better."""
    assert read(tmp_path, "# 维修\n\n我们修拉链。")[0].language == "zh"
    assert read(tmp_path, "---\nlanguage: zh\n---\n# OK\n\nOK, LED.")[0].language == "zh"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("We mend zips.", "title"),
        ("# " + "x" * 200 + "\n\nWe mend.", "title"),
        ("# Repairs\n", "nothing below"),
        ("---\nurl: javascript:alert(1)\n---\n# R\n\nx", "url"),
        ("---\nlink: https://x\n---\n# R\n\nx", "link: Extra inputs"),
        ("---\nlanguage: de\n---\n# R\n\nx", "language"),
        ("---\n[oops\n---\n# R\n\nx", "flow sequence"),
        ("# R\n\n<script>x</script>\n", "HTML, code or a table"),
        ("# R\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", "HTML, code or a table"),
        ("# R\n\nWe mend\x07.", "control characters"),
        ("# R\n\n" + "x" * 700, "a sentence is longer than 600"),
        ("# R\n\n" + "x. " * MAX_FILE_BYTES, "longer than 65536 bytes"),
    ],
)
def test_a_file_that_cannot_be_quoted_is_refused_by_name(tmp_path: Path, text: str, problem: str) -> None:
    """The message names the file and what to mend."""
    with pytest.raises(InvalidDataFileError, match=rf"repairs\.md cannot be used: .*{problem}"):
        read(tmp_path, text)


def test_a_file_in_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    """Nothing is guessed."""
    (tmp_path / "alt.md").write_bytes("# Café\n\nTür auf.".encode("latin-1"))
    with pytest.raises(InvalidDataFileError, match=r"alt\.md cannot be used: .*utf-8"):
        HelpArticles.load(tmp_path, FACTS)


def test_a_folder_must_be_one_and_hold_no_more_than_fits(tmp_path: Path) -> None:
    """Other files than Markdown are left alone; an empty folder is a shop without articles."""
    (tmp_path / "notes.txt").write_text("x")
    assert HelpArticles.load(tmp_path, FACTS).num_passages == 0
    with pytest.raises(InvalidDataFileError, match="not a folder"):
        HelpArticles.load(tmp_path / "notes.txt", FACTS)
    for number in range(MAX_ARTICLES + 1):
        (tmp_path / f"{number}.md").touch()
    with pytest.raises(InvalidDataFileError, match="more than"):
        HelpArticles.load(tmp_path, FACTS)


@pytest.mark.parametrize(
    ("name", "text", "question", "language", "link"),
    [
        ("my zips.md", "# Zips\n\nWe mend zips.", "zips?", "en", "https://shop.example/help/my%20zips"),
        (
            "zips.md",
            "---\nurl: https://x.example/z\n---\n# Zips\n\nWe mend zips.",
            "zips?",
            "en",
            "https://x.example/z",
        ),
        ("zips.md", "# 拉链\n\n我们修拉链。", "拉链", "zh", "帮助中心"),
    ],
)
def test_every_passage_says_where_it_stands(
    tmp_path: Path, name: str, text: str, question: str, language: str, link: str
) -> None:
    """The file's own link, or the shop's help page with the file's name behind it."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    passage = HelpArticles.load(tmp_path, FACTS).find(question, language)
    assert passage is not None and passage.link == link


def test_a_quote_is_filled_in_and_other_placeholders_are_left_to_others() -> None:
    """A placeholder that stands in the passage is the author's text, not filled again."""
    passage = Passage("a#1", "a", "Zips", "15 € for <EMAIL>.", "en", "https://x")
    resolve = quoting(lambda placeholder: placeholder.lower(), passage)
    assert resolve("<ARTICLE>") == "“15 € for <EMAIL>.” (Zips: https://x)" and resolve("<BRAND>") == "<brand>"


def test_the_articles_that_ship_are_whole() -> None:
    """Six in each language or more, all found by a plain question about them."""
    facts = FactSheet.load(DEFAULT_FACTS_FILE)
    articles = HelpArticles.load(DEFAULT_KNOWLEDGE_DIRECTORY, facts)
    files = [path.stem for path in DEFAULT_KNOWLEDGE_DIRECTORY.glob("*.md")]
    assert len(files) >= 12 and articles.num_passages >= len(files)
    for question, language, article in (
        ("my lamp flickers, can you fix it?", "en", "lamp-repair"),
        ("how hot can i wash linen", "en", "linen-care"),
        ("真丝枕套能机洗不", "zh", "zh-silk-care"),
        ("书房用什么灯", "zh", "zh-bulb-choice"),
    ):
        passage = articles.find(question, language)
        assert passage is not None and passage.article == article


class Embedder:
    """An intent model that embeds a text by the pets in it, or not at all."""

    def __init__(self, *, embeds: bool = True) -> None:
        self.embeds = embeds
        self.num_embedded = 0

    def embed_passage(self, text: str) -> np.ndarray:
        """Dogs lie in one direction, everything else in the other."""
        self.num_embedded += 1
        return np.array([1.0, 0.0] if "dog" in text else [0.0, 1.0], np.float32)


def passages(number: int) -> list[Passage]:
    """One about dogs among others."""
    others = [Passage(f"{n}#1", f"{n}", "Zips", "We mend zips of bags.", "en") for n in range(1, number)]
    return [*others, Passage("pets#1", "pets", "Bringing a dog", "A dog on a lead may come in, and bags too.", "en")]


def test_passages_are_embedded_once_and_found_by_meaning() -> None:
    """A question about puppies and bags, which the words alone take for one about bags."""
    embedder = Embedder()
    articles = HelpArticles(passages(3), cast(IntentModel, embedder))
    meaning = embedder.embed_passage("dog")
    found = articles.find("bags for a puppy on a lead", "en", meaning)
    assert articles.is_by_meaning and found is not None and found.id == "pets#1"
    articles.find("bags", "en", meaning)
    assert embedder.num_embedded == 4


@pytest.mark.parametrize(("number", "embeds"), [(3, False), (MAX_BY_MEANING + 1, True)])
def test_a_model_that_does_not_embed_or_a_huge_folder_leaves_the_words(number: int, embeds: bool) -> None:
    """Nothing is embedded, and whatever a question's meaning is makes no difference."""
    embedder = Embedder(embeds=embeds)
    articles = HelpArticles(passages(number), cast(IntentModel, embedder))
    meaning = np.array([0.0, 1.0], np.float32)
    assert not articles.is_by_meaning and embedder.num_embedded == 0
    assert articles.find("a dog on a lead", "en", meaning) == articles.find("a dog on a lead", "en")


def test_a_passage_is_known_by_its_id_as_long_as_the_shop_has_it() -> None:
    """What was quoted once can be put back into its reply."""
    articles = HelpArticles(passages(2))
    known = articles.passage("pets#1")
    assert known is not None and known.title == "Bringing a dog" and articles.passage("gone#1") is None
