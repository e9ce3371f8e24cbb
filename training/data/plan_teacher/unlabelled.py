"""Messages that nobody labelled, and a teacher's opinion of them: of such there is no end.

Pieces of two asks in a row, asks with words replaced by their neighbours, whole asks, and what people wrote in public
data. The network imitates the teacher on them (knowledge distillation, Hinton et al. 2015, on mixed inputs).
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from training.data.domain_pack import DomainPack, fill_slots
from training.data.plan_teacher.neighbours import WordNeighbours
from training.data.typing_noise import add_typing_noise

_BATCH = 20_000
_FLOOR = 1e-4
"""What no teacher calls less likely, so that one cannot overrule the others."""
_SAME_INTENT_SHARE = 0.6
_MIN_REPLACED, _MAX_REPLACED = 0.15, 0.5


class Mixture(NamedTuple):
    """A message that nobody labelled, and the teacher's opinion of its plan [num plans]."""

    text: str
    plan_probabilities: np.ndarray


class Teacher(Protocol):
    """Says how likely each plan is for a message."""

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """[n, num plans] float16, in the order of the pack's plans."""


class JointTeacher:
    """The geometric mean of several teachers' opinions: they err about different messages."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        self._teachers = teachers

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """[n, num plans] float16."""
        opinions = [teacher.probabilities(texts).astype(np.float64) for teacher in self._teachers]
        joint = np.exp(np.mean([np.log(opinion + _FLOOR) for opinion in opinions], axis=0)) - _FLOOR
        return np.asarray(joint / joint.sum(axis=1, keepdims=True), np.float16)


@dataclass(frozen=True)
class MessageSources:
    """What messages are made of, beside the pack's asks."""

    neighbours: WordNeighbours | None = None
    public: Mapping[str, Sequence[str]] | None = None
    """Masked messages of real people, by language."""


def draw_mixtures(
    pack: DomainPack, teachers: Mapping[str, Teacher], count: int, seed: int, sources: MessageSources | None = None
) -> list[Mixture]:
    """Messages, as many in each of the pack's languages, with their teacher's opinions; `teachers` by language."""
    mixtures: list[Mixture] = []
    for language, teacher in sorted(teachers.items()):
        messages = draw_messages(pack, language, random.Random(seed), sources or MessageSources())
        texts = [next(messages) for _ in range(count // len(teachers))]
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            mixtures += map(Mixture, batch, teacher.probabilities(batch))
    return mixtures


def draw_messages(pack: DomainPack, language: str, generator: random.Random, sources: MessageSources) -> Iterator[str]:
    """Messages without end, typed like any other, slots filled."""
    asks = [intent.asks for intent in pack.intents if intent.language == language]
    public = (sources.public or {}).get(language, ())
    space = "" if language == "zh" else " "
    while True:
        kind = generator.random()
        if kind < 0.4:
            text = _mix(asks, space, generator)
        elif kind < 0.5:
            text = _piece(generator.choice(generator.choice(asks)), space, generator)
        elif public and kind < 0.6:
            text = generator.choice(public)
        else:
            text = generator.choice(generator.choice(asks))
        if sources.neighbours is not None and (kind > 0.65 or generator.random() < 0.25):
            share = generator.uniform(_MIN_REPLACED, _MAX_REPLACED)
            text = sources.neighbours.replace_words(text, share, generator)
        yield add_typing_noise(fill_slots(text, pack.slots[language], generator), language, generator)


def _mix(asks: Sequence[Sequence[str]], space: str, generator: random.Random) -> str:
    """Pieces of two asks, most often of the same concern."""
    first, other = generator.choices(asks, k=2)
    second = first if generator.random() < _SAME_INTENT_SHARE else other
    return space.join(_piece(generator.choice(intent), space, generator) for intent in (first, second))


def _piece(ask: str, space: str, generator: random.Random) -> str:
    """Three to eight tenths of an ask's words or characters, in a row; slots and placeholders stay whole."""
    words = ask.split(space) if space else _characters(ask)
    start = generator.randrange(len(words))
    length = max(1, round(len(words) * generator.uniform(0.3, 0.8)))
    return space.join(words[start : start + length])


def _characters(text: str) -> list[str]:
    """Characters, but `{slot}` and `<PLACEHOLDER>` as one each."""
    pieces: list[str] = []
    is_open = False
    for character in text:
        if is_open:
            pieces[-1] += character
        else:
            pieces.append(character)
        is_open = (is_open or character in "{<") and character not in "}>"
    return pieces
