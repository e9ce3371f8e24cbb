"""Contradictions in a conversation, found by plans and patterns: `contradictions.yaml` says which.

Few and precise: what is found is a contradiction; what a reader would find besides may be missed. Fixed words of a bot
that is not sure contradict nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from training.data.domain_pack import entities_in
from training.evaluation.dialogues.asking_back import topic_of
from training.evaluation.dialogues.talk import Exchange

DEFAULT_RULES_FILE = Path(__file__).with_name("contradictions.yaml")
KINDS = ("asks_for_given", "yes_and_no", "opposite_plans", "two_facts")
_FACT = r"(?P<fact><[A-Z_]+?>|\d[\d.,:]*(?: ?(?:%|[€$£]|\w+))?)"


class Contradiction(BaseModel):
    """Two things in one conversation that cannot both stand."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """One of `KINDS`."""
    first: str
    """What was said, stated or planned first: the customer's words for `asks_for_given`, else a reply's."""
    second: str


@dataclass(frozen=True)
class ContradictionRules:
    """The patterns, ready to use."""

    opposites: frozenset[frozenset[str]]
    stances: Mapping[str, re.Pattern[str]]
    facts: Mapping[str, re.Pattern[str]]
    """By subject; a match's one group that is set is the fact."""
    asks_for: Mapping[str, re.Pattern[str]]

    def stance(self, text: str) -> str | None:
        """Whether a reply begins with `yes` or `no`, if it does with either."""
        return next((name for name, pattern in self.stances.items() if pattern.match(text)), None)

    def stated(self, text: str) -> dict[str, set[str]]:
        """The facts that a masked text states, by subject."""
        found: dict[str, set[str]] = {}
        for subject, pattern in self.facts.items():
            for match in pattern.finditer(text):
                found.setdefault(subject, set()).update(filter(None, match.groups()))
        return found


@cache
def load_rules(path: Path = DEFAULT_RULES_FILE) -> ContradictionRules:
    """Reads the rules. Raises OSError, KeyError, yaml.YAMLError or re.error for a broken file."""
    rules: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return ContradictionRules(
        opposites=frozenset(frozenset(pair) for pair in rules["opposite_plans"]),
        stances={name: _any_of(texts.values()) for name, texts in rules["stances"].items()},
        facts={subject: _any_of(_all_texts(by_language)) for subject, by_language in rules["facts"].items()},
        asks_for={entity: _any_of(_all_texts(by_language)) for entity, by_language in rules["asks_for"].items()},
    )


def contradictions(exchanges: Sequence[Exchange], rules: ContradictionRules | None = None) -> list[Contradiction]:
    """Everything in a conversation that contradicts something earlier in it, kind by kind."""
    rules = rules or load_rules()
    own = [exchange for exchange in exchanges if exchange.reply.fixed is None]
    return [*_asks_for_given(exchanges, rules), *_in_one_question(own, rules), *_two_facts(own, rules)]


def _asks_for_given(exchanges: Sequence[Exchange], rules: ContradictionRules) -> Iterator[Contradiction]:
    given: dict[str, str] = {}
    for exchange in exchanges:
        given |= {entity: exchange.said for entity in entities_in(exchange.said) - given.keys()}
        if exchange.reply.fixed is None:
            for entity in sorted(_asked_for(exchange, rules) & given.keys()):
                yield Contradiction(kind="asks_for_given", first=given[entity], second=exchange.reply.text)


def _asked_for(exchange: Exchange, rules: ContradictionRules) -> set[str]:
    _, _, planned = exchange.reply.plan.partition("/ask_")
    worded = {entity for entity, pattern in rules.asks_for.items() if pattern.search(exchange.reply.text)}
    return worded | ({planned.upper()} if planned else set())


def _in_one_question(exchanges: Sequence[Exchange], rules: ContradictionRules) -> Iterator[Contradiction]:
    """Opposite answers to the same step of a goal: the customer only said it again, or gave a detail."""
    for earlier, later in combinations(exchanges, 2):
        if earlier.step != later.step:
            continue
        plans = topic_of(earlier.reply.plan), topic_of(later.reply.plan)
        if frozenset(plans) in rules.opposites:
            yield Contradiction(kind="opposite_plans", first=plans[0], second=plans[1])
        stances = {rules.stance(earlier.reply.text), rules.stance(later.reply.text)}
        if stances == {"yes", "no"}:
            yield Contradiction(kind="yes_and_no", first=earlier.reply.text, second=later.reply.text)


def _two_facts(exchanges: Sequence[Exchange], rules: ContradictionRules) -> Iterator[Contradiction]:
    known: dict[str, str] = {}
    for exchange in exchanges:
        for subject, facts in rules.stated(exchange.reply.text).items():
            for fact in sorted(facts):
                if known.setdefault(subject, fact) != fact:
                    yield Contradiction(kind="two_facts", first=f"{subject}: {known[subject]}", second=fact)


def _all_texts(by_language: Mapping[str, Sequence[str]]) -> list[str]:
    return [text for texts in by_language.values() for text in texts]


def _any_of(patterns: Any) -> re.Pattern[str]:
    """One expression for any of these; every `{fact}` becomes a group of its own."""
    fact = _FACT.replace("?P<fact>", "")
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns).replace("{fact}", fact), re.IGNORECASE)
