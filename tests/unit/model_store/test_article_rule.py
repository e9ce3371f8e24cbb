"""The article rule: when an offered passage is quoted although the model would say something else."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from model_store.knowledge.article_rule import ArticleRule, QuotingWeights, rules_over, shipped_weights

ENTRIES: dict[str, Any] = {
    "is_on": True,
    "eagerness": 1,
    "instead_of": ["out_of_scope"],
    "never_instead_of": ["self_harm"],
    "wording": {"en": "We say: <ARTICLE>", "zh": "说明：<ARTICLE>"},
}
RULE = ArticleRule.model_validate(ENTRIES)
MIN_CONFIDENCE = 0.35


WEIGHTS = QuotingWeights.model_validate(
    {
        "made_of": "by hand",
        "bias": 8.0,
        "weights": {"fit": 2.0, "quoting": 1.5, "no_answer": 1.0, "other": -0.5},
        "quote_from": 0.0,
    }
)


@dataclass(frozen=True)
class Read:
    """A plan, how sure the model is of it, and how probable it calls quoting."""

    plan: str
    confidence: float
    quoting: float = 0.01

    @property
    def rivals(self) -> tuple[tuple[str, float], ...]:
        """As far as the rule looks at them."""
        return ((self.plan, self.confidence), *((("help_article", self.quoting),) if self.quoting else ()))


def quotes(read: Read, fit: float, rule: ArticleRule = RULE) -> bool:
    """By weights that were set by hand, of a passage whose fit has these log-odds."""
    return rule.quotes(read, 1 / (1 + math.exp(-fit)), MIN_CONFIDENCE, WEIGHTS)


@pytest.mark.parametrize(
    ("read", "fit", "is_quoted"),
    [
        (Read("size_advice", 0.5, 0.2), 0.8, True),  # 8 + 1.6 - 2.41 - 6.91 - 0 = 0.28
        (Read("size_advice", 0.5, 0.2), 0.5, False),  # 0.6 less
        (Read("size_advice", 0.5, 0.1), 0.8, False),  # 1.03 less
        (Read("size_advice", 0.8, 0.2), 0.8, False),  # 0.69 less
        (Read("size_advice/ask_order_id", 0.8, 0.2), 0.8, False),
        (Read("out_of_scope", 0.5, 0.05), 0.25, True),  # 8 + 0.5 - 4.46 - 0.69 + 3.45
        (Read("out_of_scope/ask_order_id", 0.5, 0.05), 0.25, True),
        (Read("out_of_scope", 0.9, 0), 1.0, False),  # nobody thought of an article
        (Read("self_harm", 0.2, 0.4), 1.0, False),
        (Read("help_article", 0.2, 0.2), 0.0, True),
        (Read("help_article", 0.8, 0.8), 1.0, False),  # in its own words
    ],
)
def test_an_article_is_quoted_where_the_evidence_speaks_for_it(read: Read, fit: float, is_quoted: bool) -> None:
    """By the passage's fit, by what the model gives quoting and plans that are no answer, and how sure it is."""
    assert quotes(read, fit) is is_quoted


def test_eagerness_multiplies_the_odds() -> None:
    """At log-odds of 0.28 it takes 0.75 to keep silent, at -0.32 it takes 1.4 to speak."""
    read, rules = (
        Read("size_advice", 0.5, 0.2),
        {e: RULE.model_copy(update={"eagerness": e}) for e in (0.75, 0.8, 1.3, 1.4)},
    )
    assert not quotes(read, 0.8, rules[0.75]) and quotes(read, 0.8, rules[0.8])
    assert not quotes(read, 0.5, rules[1.3]) and quotes(read, 0.5, rules[1.4])


def test_what_ships_weighs_for_quoting_what_should_be() -> None:
    """A passage that fits better, a network that thinks of quoting, and plans that are no answer all speak for it."""
    weights = shipped_weights().weights
    assert weights.fit > 0 and weights.quoting > 0 and weights.no_answer > 0


def test_a_rule_that_is_off_leaves_it_to_the_model() -> None:
    """Whatever the other entries say."""
    off = ArticleRule.model_validate({**ENTRIES, "is_on": False})
    assert not quotes(Read("out_of_scope", 0.1, 0.5), 1.0, off) and quotes(Read("out_of_scope", 0.1, 0.5), 1.0)


def test_certainties_stay_finite() -> None:
    """Probabilities of 0 and 1 are weighed as a thousandth off, a fit too; rivals need not name quoting."""
    assert RULE.evidence(Read("size_advice", 0.5, 0.0), 0.0).fit == pytest.approx(-6.907, abs=1e-3)
    assert RULE.evidence(Read("size_advice", 1.0, 0.0), 0.5).other == pytest.approx(6.907, abs=1e-3)
    assert RULE.evidence(Read("help_article", 1.0, 0.0), 0.5).other == pytest.approx(-6.907, abs=1e-3)


@pytest.mark.parametrize("text", ["Nothing.", "<ARTICLE> <ARTICLE>", "<ARTICLE> for <EMAIL>", "<ARTICLE> at <NOWHERE>"])
def test_the_wording_holds_the_article_once_and_otherwise_only_facts(text: str) -> None:
    """A customer's data could not be filled in, and a reply without the article would answer nothing."""
    for language in ("en", "zh"):
        with pytest.raises(ValidationError, match="wording"):
            ArticleRule.model_validate({**ENTRIES, "wording": {**ENTRIES["wording"], language: text}})
    with pytest.raises(ValidationError, match="'zh'"):
        ArticleRule.model_validate({**ENTRIES, "wording": {"en": "See <HELP_PAGE>: <ARTICLE>"}})


def test_a_shops_own_file_changes_single_entries_of_the_rule_and_whole_sections_of_others() -> None:
    """Turning it off takes one line; what is no mapping is left for the reader to refuse."""
    shipped = {"article": ENTRIES, "unsure": {"again": 1}}
    rules = rules_over(shipped, {"article": {"is_on": False}, "unsure": {}})
    assert rules == {"article": {**ENTRIES, "is_on": False}, "unsure": {}}
    assert rules_over(shipped, {}) == shipped and rules_over(shipped, {"article": 5})["article"] == 5


def test_beside_a_reply_that_was_written_for_the_question_a_passage_must_fit_well() -> None:
    """As well as the rule says; without such a reply the evidence alone decides."""
    rule = ArticleRule.model_validate({**ENTRIES, "least_fit_beside_answer": 0.6})
    read = Read("invoice", 0.5, 0.4)
    eager = rule.model_copy(update={"eagerness": 100.0})
    for fit, has_answer, expected in ((0.5, True, False), (0.5, False, True), (0.7, True, True)):
        assert eager.quotes(read, fit, MIN_CONFIDENCE, WEIGHTS, has_answer=has_answer) is expected


def test_a_reply_whose_topic_is_unsure_leaves_room_for_a_passage() -> None:
    """It was written for words, and they may be about something else."""
    rule = ArticleRule.model_validate({**ENTRIES, "least_fit_beside_answer": 0.6, "sure_of_answer": 0.9})
    assert [rule.is_for_answer(0.5, likelihood) for likelihood in (0.89, 0.9)] == [False, True]
    assert not rule.is_for_answer(0.6, 1.0)
    eager = rule.model_copy(update={"eagerness": 100.0})
    assert eager.quotes(Read("invoice", 0.5, 0.4), 0.5, MIN_CONFIDENCE, WEIGHTS, has_answer=True)
