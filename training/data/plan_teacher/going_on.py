"""How customers go on about the matter that they came for without naming it: authored wordings, by language and kind.

`going_on.yaml` is learned from; `going_on_held_out.yaml` holds a fifth of all, which evaluation measures with. They fit
any matter; what is said next about one alone stands in the pack, as its `follow_ups`.
"""

import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from training.data.domain_pack import DomainPack, Intent

_FILE = Path(__file__).with_name("going_on.yaml")
_HELD_OUT_FILE = Path(__file__).with_name("going_on_held_out.yaml")
GIVING = "giving"
OF_ITS_OWN = "of its own"
"""The kind of a matter's own follow-ups."""
_ANY_DETAIL = "ORDER_ID"
"""What customers give most often where a topic takes none."""

Wordings = Mapping[str, Mapping[str, Sequence[str]]]
"""By language, then by kind; those of the kind `giving` hold `{detail}`."""


class GoingOn(NamedTuple):
    """A masked message, and of which kind."""

    text: str
    kind: str


@cache
def taught_wordings() -> Wordings:
    """What is learned from."""
    return _read(_FILE)


@cache
def held_out_wordings() -> Wordings:
    """What is measured with."""
    return _read(_HELD_OUT_FILE)


def matters_of(pack: DomainPack, intents: Sequence[str]) -> list[Intent]:
    """The intents that customers go on about: those with replies or follow-ups for it. None in a language without
    wordings.
    """
    return [
        intent
        for intent in pack.intents
        if intent.asks
        and (intent.later_replies or intent.replies_given or intent.follow_ups)
        and intent.name in intents
        and intent.language in taught_wordings()
    ]


def go_on(matter: Intent, wordings: Wordings, generator: random.Random, *, kind: str | None = None) -> GoingOn:
    """One of a language's wordings, of any kind or of this one, a kind as often as it has wordings."""
    kinds = wordings[matter.language]
    chosen = kind or generator.choices(list(kinds), [len(texts) for texts in kinds.values()])[0]
    detail = generator.choice(sorted(matter.replies_given)) if matter.replies_given else _ANY_DETAIL
    text = generator.choice(kinds[chosen])
    return GoingOn(text.format(detail=f"<{detail}>") if chosen == GIVING else text, chosen)


def _read(path: Path) -> Wordings:
    found: Wordings = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found
