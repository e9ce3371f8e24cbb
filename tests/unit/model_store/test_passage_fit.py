"""How well a passage fits a question: the share of its words, and what these words tell."""

import math

import pytest

from model_store.knowledge.fit import MIN_COUNT, MIN_SHARE, FitRule, FitSigns, WordCounts, shipped_fit_rule

RULE = FitRule(
    made_of="by hand",
    bias=-4,
    weights=FitSigns(share=2, rarest=1, told=0.5),
    offer_from=0.5,
    words={
        "en": WordCounts(num_asks=1000, num_with={"return": 100}),
        "zh": WordCounts(num_asks=1000, num_with={"退货": 50, "退": 200, "货": 200}),
    },
)


def test_a_word_tells_the_less_the_more_asks_hold_it() -> None:
    """In nats; words that hardly anybody says tell alike."""
    assert RULE.words["en"].nats("return") == pytest.approx(math.log(10))
    assert RULE.words["en"].nats("linen") == pytest.approx(math.log(1000 / (MIN_COUNT / 2)))


def test_the_signs_are_of_the_shared_words() -> None:
    """A Chinese pair tells once: the characters that it is made of are left out of the sum."""
    english = RULE.signs(0.5, ("return", "linen"), "en")
    assert (english.share, english.rarest) == (0.5, pytest.approx(math.log(100)))
    assert english.told == pytest.approx(math.log(10) + math.log(100))
    chinese = RULE.signs(1.0, ("退货", "退", "货"), "zh")
    assert chinese.rarest == chinese.told == pytest.approx(math.log(20))
    nothing = RULE.signs(0.0, (), "en")
    assert nothing.rarest == nothing.told == 0


def test_the_fit_is_a_probability_and_none_where_too_little_is_shared() -> None:
    """-4 + 2 × 0.5 + 1 × 3 + 0.5 × 2 is 1."""
    assert RULE.fit(FitSigns(share=0.5, rarest=3, told=2)) == pytest.approx(1 / (1 + math.exp(-1)))
    assert RULE.fit(FitSigns(share=MIN_SHARE - 0.01, rarest=9, told=99)) == 0


def test_what_ships_tells_an_articles_words_from_everybodys() -> None:
    """Whoever asks to return something is not offered an article for the one word."""
    rule = shipped_fit_rule()
    assert rule.weights.share > 0 and rule.weights.rarest > 0 and rule.weights.told > 0
    for language, ordinary, telling in (("en", "return", "linen"), ("zh", "退货", "窗帘")):
        fits = [rule.fit(rule.signs(1.0, (word,), language)) for word in (ordinary, telling)]
        assert fits[0] < rule.offer_from < fits[1]
