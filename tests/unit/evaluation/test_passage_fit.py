"""How the fit of passages is learned: counts of the pack's asks, signs by hand, thresholds that keep what is right."""

import re

import numpy as np
import pytest

from model_store.knowledge.fit import MIN_COUNT, FitRule, FitSigns
from training.data.domain_pack import load_pack
from training.evaluation.authored.help_articles import Shelves
from training.evaluation.authored.passage_fit import (
    KEPT,
    Sample,
    bare_asks,
    collect,
    count_words,
    development_asks,
    fit_rule,
    fits_out_of_fold,
    offer_from,
)

PACK = load_pack("shop")
WORDS = count_words(PACK)


def sample(rarest: float, *, article: str | None = None, is_right: bool = False) -> Sample:
    """Half of the words are shared, the rarest of which tells this much."""
    signs = FitSigns(share=0.5, rarest=rarest, told=rarest)
    return Sample("question" if article else "ask", "en", signs, is_right, article)


def test_words_of_the_packs_asks_are_counted_by_language() -> None:
    """Rare ones are left out."""
    assert set(WORDS) == {"en", "zh"}
    english = WORDS["en"]
    assert english.num_asks > 50_000 and english.num_with["refund"] > 500
    assert min(english.num_with.values()) >= MIN_COUNT and "退款" in WORDS["zh"].num_with


def test_bare_asks_are_of_hardly_a_word_and_always_the_same() -> None:
    """Of both languages, with their slots filled; development asks come in an order that is always the same, too."""
    for language in ("en", "zh"):
        asks = bare_asks(PACK, language)
        assert asks == bare_asks(PACK, language) and len(asks) > 1000
        assert not any(re.search(r"\{\w+\}", ask) for _, ask in asks)
        assert development_asks(PACK, language) == development_asks(PACK, language)


def test_questions_are_put_to_collections_with_and_without_their_article() -> None:
    """Right is what finds the article that a question is of; asks are nobody's."""
    samples = collect(PACK, Shelves(fit_rule=FitRule.unfitted(WORDS, "by hand")), num_asks=20)
    assert {each.kind for each in samples} == {"question", "without", "ask", "bare"}
    assert sum(each.is_right for each in samples) > 60
    assert all(each.kind == "question" for each in samples if each.is_right)
    assert all(each.article is None for each in samples if each.kind in ("ask", "bare"))


def test_the_rule_follows_what_tells_right_from_wrong() -> None:
    """Here the rarest word does; what is always alike counts nothing, and an article is judged by others' questions."""
    samples = [sample(7 + n / 10, article=f"article {n}", is_right=True) for n in range(14)]
    samples += [sample(3 + n / 10) for n in range(14)]
    rule = fit_rule(samples, WORDS, "by hand")
    assert rule.weights.rarest > 0 and rule.weights.share == pytest.approx(0)
    fits = fits_out_of_fold(samples, rule)
    assert fits[:14].min() > 0.5 > fits[14:].max()
    whole = np.array([rule.fit(each.signs) for each in samples])
    assert not np.allclose(fits[:14], whole[:14]) and np.allclose(fits[14:], whole[14:])


def test_the_threshold_keeps_most_of_what_is_right() -> None:
    """Rounded down, so that no more is lost."""
    samples = [sample(5, article=str(n), is_right=True) for n in range(100)] + [sample(5)] * 5
    fits = np.concatenate([np.linspace(0.01, 1, 100), np.zeros(5)])
    assert np.mean(fits[:100] >= offer_from(samples, fits)) == pytest.approx(KEPT, abs=0.02)
