"""Opposite pairs: two messages that look alike and want different things. The messages: `opposite_pairs.yaml`.

One forward pass a message; a pair is told apart when both sides get a plan of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from model_store.contract.entities import EntityMasker, EntityVault
from training.data.domain_pack import user_message
from training.evaluation.figures import Figure, grouped, share
from training.evaluation.held_out import HeldOutPrompt
from training.evaluation.plan_choice import ChosenPlan, choose_plans
from training.evaluation.subject import Outcomes, Subject

DEFAULT_PAIRS_FILE = Path(__file__).with_name("opposite_pairs.yaml")


@dataclass(frozen=True, slots=True)
class Side:
    """A raw message and the topics of plans that are right for it."""

    says: str
    plans: frozenset[str]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sides of a name."""

    name: str
    language: str
    sides: tuple[Side, Side]

    @property
    def topics(self) -> frozenset[str]:
        """Everything that its sides name."""
        return self.sides[0].plans | self.sides[1].plans


@dataclass(frozen=True, slots=True)
class AnsweredPair:
    """A pair and the topics that its sides got."""

    pair: Pair
    topics: tuple[str, str]

    @property
    def right(self) -> tuple[bool, bool]:
        """Which sides got a plan of their own."""
        first, second = (topic in side.plans for topic, side in zip(self.topics, self.pair.sides, strict=True))
        return first, second


class ConfusedPair(BaseModel):
    """A pair that was not told apart."""

    model_config = ConfigDict(frozen=True)

    pair: str
    topics: tuple[str, str]


class PairFigures(BaseModel):
    """One language's pairs, with 95 % intervals."""

    model_config = ConfigDict(frozen=True)

    num_pairs: int
    told_apart: Figure
    """Pairs of which both sides are right."""
    sides_right: Figure
    same_plan: Figure
    """Pairs with nothing in common whose sides got the same plan all the same."""
    confused: tuple[ConfusedPair, ...]


@cache
def load_pairs(path: Path = DEFAULT_PAIRS_FILE) -> tuple[Pair, ...]:
    """Every pair, languages in the file's order. Raises OSError, yaml.YAMLError, KeyError or ValueError."""
    languages: Mapping[str, Sequence[Mapping[str, Any]]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(_pair(language, entry) for language, entries in languages.items() for entry in entries)


def _pair(language: str, entry: Mapping[str, Any]) -> Pair:
    first, second = (Side(str(side["says"]), frozenset(side["plans"])) for side in entry["sides"])
    return Pair(str(entry["pair"]), language, (first, second))


def answer_pairs(subject: Subject, pairs: Sequence[Pair]) -> list[AnsweredPair]:
    """The plan of each side, masked as the service masks."""
    masker = EntityMasker()
    prompts = [
        HeldOutPrompt("", "", pair.language, (user_message(masker.mask(side.says, EntityVault())),), ())
        for pair in pairs
        for side in pair.sides
    ]
    chosen: list[ChosenPlan] = choose_plans(subject.policy, subject.tokenizer, prompts)
    topics = [plan.intent for plan in chosen]
    return [
        AnsweredPair(pair, (first, second))
        for pair, first, second in zip(pairs, topics[::2], topics[1::2], strict=True)
    ]


def pair_figures(answered: Sequence[AnsweredPair]) -> dict[str, PairFigures]:
    """Figures by language."""
    return {language: _figures(items) for language, items in _by_language(answered).items()}


def pair_outcomes(answered: Sequence[AnsweredPair]) -> Outcomes:
    """By language, 1 for each pair that was told apart."""
    return {language: [float(all(pair.right)) for pair in items] for language, items in _by_language(answered).items()}


def pair_table(figures: Mapping[str, PairFigures]) -> str:
    """The figures for people."""
    return "\n".join(
        f"{language}: {each.num_pairs} opposite pairs, told apart {each.told_apart}, single sides right"
        f" {each.sides_right}, both sides the same plan {each.same_plan}"
        for language, each in figures.items()
    )


def _figures(answered: Sequence[AnsweredPair]) -> PairFigures:
    disjoint = [each for each in answered if not each.pair.sides[0].plans & each.pair.sides[1].plans]
    return PairFigures(
        num_pairs=len(answered),
        told_apart=share([all(each.right) for each in answered]),
        sides_right=share([is_right for each in answered for is_right in each.right]),
        same_plan=share([each.topics[0] == each.topics[1] for each in disjoint]),
        confused=tuple(
            ConfusedPair(pair=each.pair.name, topics=each.topics) for each in answered if not all(each.right)
        ),
    )


def _by_language(answered: Sequence[AnsweredPair]) -> dict[str, list[AnsweredPair]]:
    return grouped(answered, lambda each: each.pair.language)
