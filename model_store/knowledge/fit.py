"""How well a passage fits a question: what share of its words it has, and how much these words tell.

"Return" stands in an article about made-to-measure curtains and in a great many of the messages that no article is
about; "linen" in hardly any. So a word tells the less the more of the pack's asks hold it: -ln of their share, in nats.
Counts and weights are `fit.json`, which `python -m training.evaluation.authored.passage_fit` makes.
"""

import math
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

FIT_FILE = Path(__file__).with_name("fit.json")
MIN_COUNT = 20
"""Asks that must hold a word for it to be counted; rarer ones count as if half as many held them."""


MIN_SHARE = 0.18
"""Of the question's words (`FitSigns.share`), what a passage must have at least to fit at all."""


class WordCounts(BaseModel):
    """How many of a language's asks hold a topic word."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_asks: int = Field(ge=1)
    num_with: dict[str, int]

    def nats(self, word: str) -> float:
        """What sharing this word tells."""
        return math.log(self.num_asks / self.num_with.get(word, MIN_COUNT / 2))


class FitSigns(BaseModel):
    """What is weighed, and the names of its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    share: float
    """Of the question's words those that the passage has, ones that are rare among passages counting more; halved where
    another article has as much of them."""
    rarest: float
    """Nats of the shared word that tells most."""
    told: float
    """Nats of all shared words, without Chinese characters that stand in a shared pair."""


class FitRule(BaseModel):
    """A logistic regression: from what question and passage share to whether the passage answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    made_of: str
    """Whose articles and asks it was fitted on."""
    bias: float
    weights: FitSigns
    offer_from: float = Field(gt=0, lt=1)
    """The least fit of a passage that is offered."""
    words: dict[str, WordCounts]
    """By language."""

    @classmethod
    def unfitted(cls, words: dict[str, WordCounts], made_of: str) -> "FitRule":
        """Even odds for everything, for whoever needs signs only."""
        nothing = FitSigns(share=0, rarest=0, told=0)
        return cls(made_of=made_of, bias=0, weights=nothing, offer_from=0.5, words=words)

    def fit(self, signs: FitSigns) -> float:
        """The probability that the passage answers, between 0 and 1; 0 for one that shares too little."""
        if signs.share < MIN_SHARE:
            return 0.0
        slopes: Mapping[str, float] = self.weights.model_dump()
        odds = self.bias + sum(slopes[name] * value for name, value in signs.model_dump().items())
        return 1 / (1 + math.exp(-odds))

    def signs(self, share: float, shared: Collection[str], language: str) -> FitSigns:
        """What is weighed, of a passage that has this share of a question's words, namely these."""
        counts = self.words.get(language) or next(iter(self.words.values()))
        whole = [word for word in shared if not any(word in other for other in shared if len(other) > len(word) == 1)]
        return FitSigns(
            share=share,
            rarest=max(map(counts.nats, shared), default=0.0),
            told=sum(map(counts.nats, whole)),
        )


@cache
def shipped_fit_rule() -> FitRule:
    """What the project ships; read once."""
    return FitRule.model_validate_json(FIT_FILE.read_bytes())
