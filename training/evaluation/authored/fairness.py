"""Counterfactual fairness: the same concern from different people must get the same plan. The people: `fairness.yaml`.

How often the plan differs between groups is held against the noise: how often it differs between two neutral wordings
of the same group. Intervals are drawn over concerns. One forward pass a message.
What is the same in two languages and from nobody in particular: `translations.yaml`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.facts import LANGUAGES
from training.data.domain_pack import user_message
from training.evaluation.figures import Figure, grouped, mean
from training.evaluation.held_out import HeldOutPrompt
from training.evaluation.plan_choice import choose_plans
from training.evaluation.subject import Outcomes, Subject

DEFAULT_PEOPLE_FILE = Path(__file__).with_name("fairness.yaml")
DEFAULT_TRANSLATIONS_FILE = Path(__file__).with_name("translations.yaml")
DIALECT = "dialect"


@dataclass(frozen=True, slots=True)
class Concern:
    """One concern that every group of an attribute has, by group in two wordings, and the topics that are right."""

    language: str
    attribute: str
    plans: frozenset[str]
    wordings: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Translation:
    """A concern of nobody in particular, by language, and the topics that are right."""

    plans: frozenset[str]
    says: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HeardConcern:
    """A concern and the topics that the groups' wordings got."""

    concern: Concern
    topics: Mapping[str, tuple[str, str]]

    def differs(self, group: str) -> float:
        """The share of the other groups whose first wording got another topic than this group's."""
        others = [topics[0] for name, topics in self.topics.items() if name != group]
        return sum(topic != self.topics[group][0] for topic in others) / len(others)

    @property
    def flip_rate(self) -> float:
        """The share of pairs of groups whose first wordings got different topics."""
        pairs = list(combinations((topics[0] for topics in self.topics.values()), 2))
        return sum(first != second for first, second in pairs) / len(pairs)

    @property
    def noise(self) -> float:
        """The share of groups whose two wordings got different topics."""
        return sum(first != second for first, second in self.topics.values()) / len(self.topics)

    def right(self, group: str) -> float:
        """The share of a group's wordings that got a right topic."""
        return sum(topic in self.concern.plans for topic in self.topics[group]) / len(self.topics[group])


class AttributeFigures(BaseModel):
    """One attribute in one language, with 95 % intervals."""

    model_config = ConfigDict(frozen=True)

    num_concerns: int
    num_groups: int
    flip_rate: Figure
    noise: Figure
    excess: Figure
    """Flip rate minus noise, concern by concern; an interval above 0 says that it matters who asks."""
    worst_group: str
    """The group that differs most from the others."""
    worst_group_flip_rate: Figure
    worst_served: str
    """The group with the fewest right plans."""
    right_by_group: dict[str, float]


@cache
def load_concerns(path: Path = DEFAULT_PEOPLE_FILE) -> tuple[Concern, ...]:
    """Every concern. Raises OSError, yaml.YAMLError, KeyError or ValueError for a broken file."""
    languages: Mapping[str, Mapping[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(
        concern
        for language, entries in languages.items()
        for concern in (*_by_mention(language, entries), *_by_dialect(language, entries["dialects"]))
    )


@cache
def load_translations(path: Path = DEFAULT_TRANSLATIONS_FILE) -> tuple[Translation, ...]:
    """Every concern that stands in each language. Raises OSError, yaml.YAMLError or KeyError for a broken file."""
    entries: Sequence[Mapping[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(
        Translation(frozenset(entry["plans"]), {language: str(entry[language]) for language in LANGUAGES})
        for entry in entries
    )


def _by_mention(language: str, entries: Mapping[str, Any]) -> list[Concern]:
    return [
        Concern(
            language,
            attribute,
            frozenset(message["plans"]),
            {group: _two(message["says"].replace("{mention}", way) for way in ways) for group, ways in groups.items()},
        )
        for attribute, groups in entries["mentions"].items()
        for message in entries["messages"]
    ]


def _by_dialect(language: str, entries: Sequence[Mapping[str, Any]]) -> list[Concern]:
    return [
        Concern(
            language,
            DIALECT,
            frozenset(entry["plans"]),
            {group: _two(wordings) for group, wordings in entry.items() if group != "plans"},
        )
        for entry in entries
    ]


def _two(wordings: Any) -> tuple[str, str]:
    first, second = wordings
    return str(first), str(second)


def hear_concerns(subject: Subject, concerns: Sequence[Concern]) -> list[HeardConcern]:
    """The plan of every wording, masked as the service masks."""
    texts = [text for concern in concerns for wordings in concern.wordings.values() for text in wordings]
    topics = _topics(subject, texts)
    return [
        HeardConcern(concern, {group: (next(topics), next(topics)) for group in concern.wordings})
        for concern in concerns
    ]


def _topics(subject: Subject, texts: Sequence[str]) -> Iterator[str]:
    masker = EntityMasker()
    prompts = [HeldOutPrompt("", "", "", (user_message(masker.mask(text, EntityVault())),), ()) for text in texts]
    return iter([plan.intent for plan in choose_plans(subject.policy, subject.tokenizer, prompts)])


def fairness_figures(heard: Sequence[HeardConcern]) -> dict[str, dict[str, AttributeFigures]]:
    """Figures by language and attribute."""
    return {
        language: {
            attribute: _figures(concerns)
            for attribute, concerns in grouped(spoken, lambda each: each.concern.attribute).items()
        }
        for language, spoken in grouped(heard, lambda each: each.concern.language).items()
    }


def fairness_outcomes(heard: Sequence[HeardConcern]) -> Outcomes:
    """By language, for each concern the share of pairs of groups that got the same plan."""
    spoken = grouped(heard, lambda each: each.concern.language)
    return {language: [1 - each.flip_rate for each in concerns] for language, concerns in spoken.items()}


def fairness_table(figures: Mapping[str, Mapping[str, AttributeFigures]]) -> str:
    """The figures for people: a row an attribute."""
    lines = [f"{'who asks':16}{'plans differ':>24}{'noise':>24}{'beyond noise':>26}  differs most, least often right"]
    for language, by_attribute in figures.items():
        lines += [
            f"{f'{language} {attribute}':16}{each.flip_rate!s:>24}{each.noise!s:>24}{each.excess!s:>26}"
            f"  {each.worst_group} {each.worst_group_flip_rate}, {each.worst_served}"
            f" {each.right_by_group[each.worst_served]:.3f}"
            for attribute, each in by_attribute.items()
        ]
    return "\n".join(lines)


def _figures(heard: Sequence[HeardConcern]) -> AttributeFigures:
    groups = list(heard[0].topics)
    by_group = {group: [each.differs(group) for each in heard] for group in groups}
    worst = max(groups, key=lambda group: sum(by_group[group]))
    right = {group: sum(each.right(group) for each in heard) / len(heard) for group in groups}
    return AttributeFigures(
        num_concerns=len(heard),
        num_groups=len(groups),
        flip_rate=mean([each.flip_rate for each in heard]),
        noise=mean([each.noise for each in heard]),
        excess=mean([each.flip_rate - each.noise for each in heard]),
        worst_group=worst,
        worst_group_flip_rate=mean(by_group[worst]),
        worst_served=min(groups, key=lambda group: right[group]),
        right_by_group=right,
    )
