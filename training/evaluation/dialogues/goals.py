"""What simulated customers want and how they say it: reading the authored files `goals/<language>.yaml`.

`goals/README.md` says what the entries mean. The wordings are the evaluation's own: no training data holds them.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

GOALS_DIRECTORY = Path(__file__).with_name("goals")
_Text = Annotated[str, StringConstraints(min_length=1)]
_Wordings = Annotated[tuple[_Text, ...], Field(min_length=2)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Entry):
    """One thing that the customer wants to be told."""

    wants: Annotated[tuple[_Text, ...], Field(min_length=1)]
    """Topics of plans that answer it."""
    says: _Wordings
    rephrases: _Wordings
    """What the customer says where the bot has missed, or has asked what is meant."""


class Goal(_Entry):
    """What one customer wants, step by step."""

    goal: _Text
    patience: Annotated[int, Field(ge=0, le=4)]
    """Misses that the customer puts up with; one more and the customer leaves."""
    gives: dict[_Text, _Wordings] = {}
    """By entity type, what the customer says when asked for it."""
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]

    @property
    def topics(self) -> frozenset[str]:
        """Everything that the steps want."""
        return frozenset(topic for step in self.steps for topic in step.wants)


class Phrases(_Entry):
    """What every customer of a language says."""

    lacks: _Wordings
    """Asked for a detail that the customer does not have."""
    repeats: _Wordings
    """Asked again for a detail; `{detail}` is what was said the first time."""


class GoalsFile(_Entry):
    """The goals of one language."""

    phrases: Phrases
    goals: tuple[Goal, ...]


@dataclass(frozen=True, slots=True)
class LanguageGoals:
    """A language, its goals and its phrases."""

    language: str
    phrases: Phrases
    goals: tuple[Goal, ...]


@cache
def load_goals(directory: Path = GOALS_DIRECTORY) -> tuple[LanguageGoals, ...]:
    """Every language's goals, a file each. Raises OSError, yaml.YAMLError, or ValueError for a broken entry."""
    found = []
    for path in sorted(directory.glob("*.yaml")):
        file = GoalsFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        found.append(LanguageGoals(path.stem, file.phrases, file.goals))
    return tuple(found)
