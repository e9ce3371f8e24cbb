"""The article rule: when an offered help article is quoted in fixed words although the model would not open with it.

A shop's plan rules hold it in their section `article`. The service follows it and evaluation measures with it, so both
decide here. Which passage is offered: `search` and `offer`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from model_store.contract.placeholders import ARTICLE, FACT_PLACEHOLDERS
from model_store.knowledge.offer import HELP_PLAN

_Share = Annotated[float, Field(ge=0, le=1)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
_PLACEHOLDER_SHAPE = re.compile(r"<[A-Z][A-Z_0-9]*>")
_SECTION = "article"


class ReadPlan(Protocol):
    """What the model set out to do when it saw the offer."""

    @property
    def plan(self) -> str:
        """The plan that would open the reply."""

    @property
    def rivals(self) -> tuple[tuple[str, float], ...]:
        """The most probable plans with their probabilities."""

    @property
    def confidence(self) -> float:
        """Probability of the plan's topic."""


class ArticleRule(BaseModel):
    """One shop's rule. `plan_rules.yaml` says what the entries mean and where their values come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_on: bool
    min_probability: _Share
    sure_from: _Share
    min_fit: _Share
    instead_of: tuple[str, ...]
    never_instead_of: tuple[str, ...]
    wording: dict[Literal["en", "zh"], _Text]

    @field_validator("wording")
    @classmethod
    def _check_wording(cls, wording: dict[str, str]) -> dict[str, str]:
        for language in ("en", "zh"):
            shapes = _PLACEHOLDER_SHAPE.findall(wording.get(language, ""))
            if shapes.count(ARTICLE) != 1 or not {*shapes} <= {ARTICLE, *FACT_PLACEHOLDERS}:
                raise ValueError(f"its text in {language!r} must hold {ARTICLE} once, and of others only facts")
        return wording

    def wording_in(self, language: str) -> str:
        """The masked reply that holds the article."""
        return self.wording["zh" if language == "zh" else "en"]

    @property
    def plans(self) -> frozenset[str]:
        """Every plan that the rule names."""
        return frozenset((*self.instead_of, *self.never_instead_of))

    def quotes(self, read: ReadPlan, fit: float, min_confidence: float) -> bool:
        """Whether a passage that fits the question this well is quoted by the rule, and not what was planned is said.

        Below `min_confidence` the model counts as unsure. Who is sure of quoting does so in its own words, and where
        quoting is not even among the rivals nobody thought of an article.
        """
        topic, probability = read.plan.partition("/")[0], dict(read.rivals).get(HELP_PLAN, 0.0)
        if not self.is_on or topic in self.never_instead_of or probability == 0:
            return False
        is_unsure = read.confidence < min_confidence
        if read.plan == HELP_PLAN:
            return is_unsure
        if probability >= self.min_probability and read.confidence < self.sure_from:
            return True
        return fit >= self.min_fit and (is_unsure or topic in self.instead_of)


def rules_over(shipped: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A shop's plan rules over those that ship: section by section, and the article rule entry by entry."""
    rules = {**shipped, **own}
    base, changes = shipped.get(_SECTION), own.get(_SECTION)
    if isinstance(base, dict) and isinstance(changes, dict):
        rules[_SECTION] = {**base, **changes}
    return rules
