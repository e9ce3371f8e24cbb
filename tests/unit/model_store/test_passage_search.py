"""Searching help articles: which passage is found, and when the best one counts as fitting."""

import numpy as np
import pytest

from model_store.knowledge.fit import FitRule, FitSigns, WordCounts
from model_store.knowledge.search import Passage, PassageSearch
from model_store.knowledge.words import topic_words

PASSAGES = [
    Passage("zips#1", "zips", "Repairs", "Our workshop mends zips, seams and handles of bags.", "en"),
    Passage("zips#2", "zips", "Repairs – Prices", "A new handle costs 15 euros, a seam costs 10 euros.", "en"),
    Passage("dogs#1", "dogs", "Visiting with a dog", "Dogs on a lead are welcome on the ground floor.", "en"),
    Passage("wool#1", "wool", "Caring for wool", "Wash wool at 30 degrees.", "en", keywords="jumper cardigan"),
    Passage("xizao#1", "xizao", "羽绒服怎么洗", "羽绒服请用中性洗衣液轻柔机洗。", "zh"),
    Passage("gou#1", "gou", "宠物", "小型犬可以进一楼。", "zh"),
]
BY_SHARE = FitRule(
    made_of="by hand",
    bias=-0.2,
    weights=FitSigns(share=1, rarest=0, told=0),
    offer_from=0.5,
    words={"en": WordCounts(num_asks=1, num_with={})},
)
"""Whatever its words tell, a passage is offered that has a fifth of the question's."""
SEARCH = PassageSearch(PASSAGES, fit_rule=BY_SHARE)


def embed(text: str) -> np.ndarray:
    """Where a text lies, told by a word of its title."""
    signs = ("Repairs", "dog", "wool", "")
    topic = next(number for number, sign in enumerate(signs) if sign in text)
    vector = np.zeros(len(signs), np.float32)
    vector[topic] = 1
    return vector


BY_MEANING = PassageSearch(PASSAGES, embed, BY_SHARE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Can you mend my zips?", ["mend", "zip"]),
        ("I'd need to know what's washable", ["washabl"]),
        ("where is my order", []),
        ("羽绒服怎么洗", ["羽绒", "绒服", "羽", "绒", "服", "洗"]),
        ("LED灯", ["led", "灯"]),
    ],
)
def test_words_are_stems_and_characters_that_say_what_a_text_is_about(text: str, words: list[str]) -> None:
    """Who asks, and how, does not count."""
    assert topic_words(text) == words


@pytest.mark.parametrize(
    ("question", "language", "found"),
    [
        ("my zip is broken, can you mend it", "en", "zips#1"),
        ("what does a new handle cost", "en", "zips#2"),
        ("are dogs allowed", "en", "dogs#1"),
        ("my cardigan is dirty", "en", "wool#1"),
        ("羽绒服能机洗吗", "zh", "xizao#1"),
    ],
)
def test_the_passage_that_shares_most_is_found(question: str, language: str, found: str) -> None:
    """Of an article's passages the better one; words that only customers use may be given along."""
    best = SEARCH.fitting(question, language)
    assert best is not None and best.id == found


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("where is my order", "en"),
        ("", "en"),
        ("zzz qqq", "en"),
        ("羽绒服", "en"),
        ("are dogs allowed", "zh"),
        ("?", "fr"),
    ],
)
def test_nothing_is_found_without_a_word_in_common(question: str, language: str) -> None:
    """Other languages' articles do not count."""
    assert SEARCH.find(question, language) == [] and SEARCH.fitting(question, language) is None


def test_one_word_of_many_is_not_enough() -> None:
    """It is found, yet it does not fit."""
    question = "my neighbour plays the trumpet every single evening, dog barking, ceiling shaking, lamp swinging"
    assert [passage.id for passage in SEARCH.find(question, "en")] == ["dogs#1"]
    assert SEARCH.fitting(question, "en") is None


def test_a_later_message_must_say_itself_what_it_is_about() -> None:
    """ "Where do I send it?" is about what was said before, whatever article has the word."""
    for short, whole in (
        ("are dogs allowed", "dogs on a lead, on which floor"),
        ("可以机洗吗", "羽绒服能用洗衣机洗吗"),
    ):
        language = "en" if short.isascii() else "zh"
        assert SEARCH.fitting(short, language) and SEARCH.fitting(short, language, is_later=True) is None
        assert SEARCH.fitting(whole, language, is_later=True) == SEARCH.fitting(whole, language) is not None


def test_two_equally_good_articles_halve_the_fit() -> None:
    """With no lead over the next article, twice the share of words is needed."""
    twins = [Passage(str(n), str(n), "Dogs", "Dogs are welcome here.", "en") for n in range(2)]
    question = "dogs swim, climb, bark"
    alone, rivalled = (PassageSearch([*passages, *PASSAGES[:2]], fit_rule=BY_SHARE) for passages in (twins[:1], twins))
    assert alone.fitting(question, "en") is not None and rivalled.fitting(question, "en") is None


def test_articles_come_once_best_first() -> None:
    """`find` gives the best passage of each article, at most as many as asked for."""
    found = SEARCH.find("handle seam wool dog", "en", limit=2)
    assert len({passage.article for passage in found}) == len(found) == 2


def test_a_collection_may_be_empty_or_wordless() -> None:
    """A service without articles finds nothing and breaks nowhere."""
    assert PassageSearch([]).fitting("dogs", "en") is None
    assert PassageSearch([Passage("a", "a", "…", "!!", "en")]).fitting("dogs", "en") is None


def test_meaning_finds_what_no_word_of_the_question_is_in() -> None:
    """A puppy is a dog: nothing is found by words, and by meaning the right article comes first."""
    question, meaning = "may my puppy come along", embed("dog")
    assert SEARCH.find(question, "en") == []
    assert BY_MEANING.find(question, "en", meaning=meaning)[0].id == "dogs#1"


def test_words_and_meaning_together_choose_the_passage() -> None:
    """A word in passing loses against the meaning, and decides between two passages of one meaning."""
    assert BY_MEANING.find("the lead of my bag came off", "en", meaning=embed("Repairs"))[0].id == "zips#1"
    assert BY_MEANING.find("costs of a handle", "en", meaning=embed("Repairs"))[0].id == "zips#2"


def test_where_a_meaning_is_missing_the_words_decide() -> None:
    """A question that nobody embedded, or a collection."""
    question = "are dogs allowed"
    assert (
        BY_MEANING.fitting(question, "en")
        == SEARCH.fitting(question, "en")
        == SEARCH.fitting(question, "en", embed("wool"))
    )


def test_what_is_found_against_the_words_fits_less() -> None:
    """Without a word in common it is found and does not fit; with words the lead over the rival is gone."""
    assert BY_MEANING.fitting("may my puppy come along", "en", embed("dog")) is None
    agreed = BY_MEANING.fitting("mend a zip", "en", embed("Repairs"))
    by_words = SEARCH.fitting("mend a zip", "en")
    assert agreed is not None and by_words is not None and agreed.fit == pytest.approx(by_words.fit)


@pytest.mark.parametrize(
    "question", ["mend a zip", "may my puppy come along", "the dog ate a zip", "dogs", "hello", ""]
)
def test_what_no_passage_can_fit_is_known_before_its_meaning(question: str) -> None:
    """Nothing fits then, wherever the question lies; and what can fit does, for one meaning at least."""
    meanings = [embed(sign) for sign in ("Repairs", "dog", "wool", "")]
    can_fit = BY_MEANING.can_fit(question, "en")
    assert can_fit is any(BY_MEANING.fitting(question, "en", meaning) for meaning in meanings)
    assert not BY_MEANING.can_fit(question, "fr")


def test_a_later_message_of_few_words_can_fit_nothing() -> None:
    """As a first one it can."""
    assert BY_MEANING.can_fit("dogs", "en") and not BY_MEANING.can_fit("dogs", "en", is_later=True)


def test_a_word_that_everybody_says_does_not_make_a_passage_fit() -> None:
    """However much of the question it is: in a shop where all talk of dogs, "dogs" finds the passage and is offered
    nothing; zips, of which nobody talks, are.
    """
    often = {"en": WordCounts(num_asks=1000, num_with={"dog": 500})}
    rule = FitRule(made_of="by hand", bias=-4, weights=FitSigns(share=1, rarest=1, told=0), offer_from=0.5, words=often)
    search = PassageSearch(PASSAGES, fit_rule=rule)
    assert search.find("dogs", "en") and search.fitting("dogs", "en") is None and not search.can_fit("dogs", "en")
    found = search.fitting("zips", "en")
    assert found is not None and found.id == "zips#1" and search.can_fit("zips", "en")
