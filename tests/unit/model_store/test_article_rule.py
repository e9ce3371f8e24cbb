"""The article rule: when an offered passage is quoted although the model would say something else."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from pydantic import ValidationError

from model_store.knowledge.article_rule import ArticleRule, rules_over

ENTRIES: dict[str, Any] = {
    "is_on": True,
    "min_probability": 0.1,
    "sure_from": 0.6,
    "min_fit": 0.25,
    "instead_of": ["out_of_scope"],
    "never_instead_of": ["self_harm"],
    "wording": {"en": "We say: <ARTICLE>", "zh": "说明：<ARTICLE>"},
}
RULE = ArticleRule.model_validate(ENTRIES)
MIN_CONFIDENCE = 0.35


@dataclass(frozen=True)
class Read:
    """A plan, how sure the model is of it, and how probable it calls quoting."""

    plan: str
    confidence: float
    quoting: float = 0.01

    @property
    def rivals(self) -> tuple[tuple[str, float], ...]:
        """As far as the rule looks at them."""
        return (("help_article", self.quoting),) if self.quoting else ()


@pytest.mark.parametrize(
    ("read", "fit", "is_quoted"),
    [
        (Read("size_advice", 0.5, 0.2), 0.19, True),  # it may well answer, and the model is not sure of another plan
        (Read("size_advice", 0.7, 0.2), 0.9, False),  # it is
        (Read("size_advice", 0.5, 0.05), 0.9, False),  # quoting is hardly thought of
        (Read("size_advice", 0.2), 0.3, True),  # the bot would ask back
        (Read("size_advice", 0.2), 0.2, False),  # and does, where the passage fits badly
        (Read("size_advice", 0.2, 0), 0.9, False),  # or where the model does not think of quoting at all
        (Read("out_of_scope", 0.9), 0.3, True),
        (Read("out_of_scope/ask_order_id", 0.9), 0.3, True),
        (Read("out_of_scope", 0.9), 0.2, False),
        (Read("self_harm", 0.2, 0.4), 0.9, False),
        (Read("help_article", 0.2, 0.2), 0.19, True),
        (Read("help_article", 0.8, 0.8), 0.9, False),  # in its own words
    ],
)
def test_an_article_is_quoted_where_nothing_better_is_at_hand(read: Read, fit: float, is_quoted: bool) -> None:
    """By what the model gives quoting, by how sure it is, by the passage's fit, and by what it would say instead."""
    assert RULE.quotes(read, fit, MIN_CONFIDENCE) is is_quoted


def test_a_rule_that_is_off_leaves_it_to_the_model() -> None:
    """Whatever the other entries say."""
    off = ArticleRule.model_validate({**ENTRIES, "is_on": False})
    assert not off.quotes(Read("out_of_scope", 0.1, 0.5), 1.0, MIN_CONFIDENCE)


def test_a_bot_that_never_asks_back_is_never_unsure() -> None:
    """With the threshold at 0 only quoting's own probability and the plans to replace count."""
    read = Read("size_advice", 0.01)
    assert not RULE.quotes(read, 1.0, 0.0)
    assert RULE.quotes(replace(read, quoting=0.1), 0.0, 0.0)


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
