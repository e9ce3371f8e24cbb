"""The article rule: when an offered help article is quoted in fixed words although the model would not open with it.

A shop's plan rules hold it in their section `article`; how evidence is weighed was learned: `quoting.json`. The
service follows it and evaluation measures with it, so both decide here. Which passage is offered: `search`, `offer`.
"""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from model_store.contract.placeholders import ARTICLE, FACT_PLACEHOLDERS, LIKE_A_PLACEHOLDER
from model_store.knowledge.offer import HELP_PLAN

_Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
_SECTIONS = ("article", "fruitless", "offers")
"""Of plan rules, those of which a shop's file need only hold the entries that differ."""
WEIGHTS_FILE = Path(__file__).with_name("quoting.json")
_FLOOR = 1e-3
"""How near to 0 or 1 a probability is taken to be at most."""


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


class Evidence(BaseModel):
    """What is weighed, and the names of its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fit: float
    """Log-odds of `Passage.fit`, how well the passage fits the question."""
    quoting: float
    """ln of the probability that the network gives quoting."""
    no_answer: float
    """ln of the probability of the plans that are no answer."""
    other: float
    """Log-odds of the likeliest topic beside them."""


class QuotingWeights(BaseModel):
    """A logistic regression: from evidence to the log-odds that quoting is right.

    `python -m training.evaluation.authored.article_quoting` fits it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    made_of: str
    """The files that it was fitted with."""
    bias: float
    weights: Evidence
    quote_from: float
    """The least log-odds from which an article is quoted."""

    def log_odds(self, evidence: Evidence) -> float:
        """That quoting is right."""
        found: dict[str, float] = evidence.model_dump()
        weights: dict[str, float] = self.weights.model_dump()
        return self.bias + sum(weights[name] * value for name, value in found.items())


@cache
def shipped_weights() -> QuotingWeights:
    """What the project ships; read once."""
    return QuotingWeights.model_validate_json(WEIGHTS_FILE.read_bytes())


class ArticleRule(BaseModel):
    """One shop's rule. `plan_rules.yaml` says what the entries mean and where their values come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_on: bool
    eagerness: Annotated[float, Field(ge=0.01, le=100)]
    instead_of: tuple[str, ...]
    never_instead_of: tuple[str, ...]
    least_fit_beside_answer: Annotated[float, Field(ge=0, le=1)] = 0.0
    sure_of_answer: Annotated[float, Field(ge=0, le=1)] = 0.0
    wording: dict[Literal["en", "zh"], _Text]

    @field_validator("wording")
    @classmethod
    def _check_wording(cls, wording: dict[str, str]) -> dict[str, str]:
        for language in ("en", "zh"):
            shapes = LIKE_A_PLACEHOLDER.findall(wording.get(language, ""))
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

    def quotes(
        self,
        read: ReadPlan,
        fit: float,
        min_confidence: float,
        weights: QuotingWeights | None = None,
        *,
        has_answer: bool = False,
    ) -> bool:
        """Whether a passage that fits the question this well is quoted by the rule, and not what was planned is said.

        `has_answer`: a reply with that plan was written for what the customer says; then the passage has to fit well.

        Who is sure of quoting does so in its own words; below `min_confidence` the model is not. Where quoting is not
        even among the rivals nobody thought of an article. Evidence is weighed by `weights`; None: as shipped.
        """
        is_thought_of = any(plan == HELP_PLAN for plan, _ in read.rivals)
        if not (self.is_on and is_thought_of) or _topic_of(read.plan) in self.never_instead_of:
            return False
        if read.plan == HELP_PLAN:
            return read.confidence < min_confidence
        if has_answer and self.is_for_answer(fit, read.confidence):
            return False
        learned = weights or shipped_weights()
        return learned.log_odds(self.evidence(read, fit)) + math.log(self.eagerness) >= learned.quote_from

    def is_for_answer(self, fit: float, confidence: float) -> bool:
        """Whether an answer that was written for the question is said rather than a passage that fits it this well, its
        topic being so likely.
        """
        return fit < self.least_fit_beside_answer and confidence >= self.sure_of_answer

    def evidence(self, read: ReadPlan, fit: float) -> Evidence:
        """What speaks for quoting a passage that fits this well."""
        topics: dict[str, float] = {}
        for plan, probability in read.rivals:
            topics[_topic_of(plan)] = topics.get(_topic_of(plan), 0.0) + probability
        quoting = topics.pop(HELP_PLAN, 0.0)
        no_answer = sum(topics.pop(topic, 0.0) for topic in self.instead_of)
        return Evidence(
            fit=_log_odds(fit),
            quoting=math.log(quoting + _FLOOR),
            no_answer=math.log(no_answer + _FLOOR),
            other=_log_odds(max(topics.values(), default=0.0)),
        )


def _log_odds(probability: float) -> float:
    kept = min(max(_FLOOR, probability), 1 - _FLOOR)
    return math.log(kept / (1 - kept))


def _topic_of(plan: str) -> str:
    return plan.partition("/")[0]


def rules_over(shipped: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A shop's plan rules over those that ship: section by section, and some of them entry by entry."""
    rules = {**shipped, **own}
    for section in _SECTIONS:
        base, changes = shipped.get(section), own.get(section)
        if isinstance(base, dict) and isinstance(changes, dict):
            rules[section] = {**base, **changes}
    return rules
