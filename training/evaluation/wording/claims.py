"""Claims: replies that say something was done, promise it, or name a status, an amount or a date that nothing backs.

The patterns are those that no completion may hold (`model_store.contract.wording.unsafe`), here counted by kind.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from model_store.contract.wording.unsafe import unsafe_rules
from training.evaluation.figures import Figure, grouped, share
from training.evaluation.wording.said import Said

CLAIM_RULES = ("false_claim", "false_promise", "false_status", "false_amount", "false_date")
_NUM_EXAMPLES = 10


class Claim(BaseModel):
    """A reply that claims something, and the rules that it breaks."""

    model_config = ConfigDict(frozen=True)

    text: str
    rules: tuple[str, ...]


class ClaimFigures(BaseModel):
    """One language's replies."""

    model_config = ConfigDict(frozen=True)

    num_replies: int
    claiming: Figure
    num_by_rule: dict[str, int]
    examples: tuple[Claim, ...]


def claims(text: str) -> tuple[str, ...]:
    """The claim rules that a masked text breaks."""
    return tuple(rule for rule in unsafe_rules(text) if rule in CLAIM_RULES)


def claim_figures(replies: Sequence[Said]) -> dict[str, ClaimFigures]:
    """Figures by language."""
    return {language: _figures(items) for language, items in grouped(replies, lambda said: said.language).items()}


def claim_table(figures: Mapping[str, Mapping[str, ClaimFigures]]) -> str:
    """The figures for people, by the way in which replies were drawn."""
    return "\n".join(
        f"{language} {drawn}: claims that nothing backs in {each.claiming} of {each.num_replies} replies"
        + "".join(f", {rule.replace('_', ' ')} {count}" for rule, count in each.num_by_rule.items() if count)
        for drawn, by_language in figures.items()
        for language, each in by_language.items()
    )


def _figures(replies: Sequence[Said]) -> ClaimFigures:
    found = [claims(said.text) for said in replies]
    counts = Counter(rule for rules in found for rule in rules)
    wrong = {said.text: Claim(text=said.text, rules=rules) for said, rules in zip(replies, found, strict=True) if rules}
    return ClaimFigures(
        num_replies=len(replies),
        claiming=share([bool(rules) for rules in found]),
        num_by_rule={rule: counts[rule] for rule in CLAIM_RULES},
        examples=tuple(wrong.values())[:_NUM_EXAMPLES],
    )
