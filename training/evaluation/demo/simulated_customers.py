"""Simulated customers: what they ask, in real words and numbers, and what they like to read.

Their taste is hidden from the model and known to nobody but `taste.yaml`; a tenth of their thumbs is noise. They stand
in for people in `demo` and in tests, and prove nothing about real ones: their taste is simpler and does not change.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from model_store.contract.facts import FactSheet
from model_store.contract.placeholders import FACT_PLACEHOLDERS, entity_type_of, split_masked
from training.data.domain_pack import DomainPack, fill_slots
from training.evaluation.held_out import outside_prompts
from training.evaluation.judge import IntentJudge, language_of

_TASTE_FILE = Path(__file__).with_name("taste.yaml")
_NAMES = {"en": ("Emma Fischer", "Noah Baker", "Olivia Stone"), "zh": ("王芳", "李伟", "张敏")}


@dataclass(frozen=True, slots=True)
class Ask:
    """A message as a customer types it, and what it is about."""

    intent: str
    language: str
    text: str


class Customers:
    """Asks by authored people. The same seed gives the same asks."""

    def __init__(self, pack: DomainPack, *, seed: int) -> None:
        self._pack = pack
        self._random = random.Random(seed)

    def draw(self, num_asks: int) -> list[Ask]:
        """Asks of the kind that training knows, every intent in every language equally often."""
        asks = self._masked(num_asks)
        return [replace(ask, text=fill_entities(ask.text, ask.language, self._random)) for ask in asks]

    def draw_masked(self, num_asks: int) -> list[Ask]:
        """The same kind of asks as the model gets to see them, with placeholders for what is personal."""
        return list(self._masked(num_asks))

    def _masked(self, num_asks: int) -> Iterator[Ask]:
        intents = list(self._pack.intents)
        for number in range(num_asks):
            if number % len(intents) == 0:
                self._random.shuffle(intents)
            intent = intents[number % len(intents)]
            ask = self._random.choice(_sayable(intent.asks))
            yield Ask(intent.name, intent.language, fill_slots(ask, self._pack.slots[intent.language], self._random))

    def held_out(self, num_asks: int) -> list[Ask]:
        """Asks that neither training nor the gate ever sees."""
        return [
            Ask(
                prompt.intent,
                prompt.language,
                fill_entities(prompt.messages[-1].content, prompt.language, self._random),
            )
            for prompt in outside_prompts(self._pack, num_asks)
        ]


def _sayable(asks: Sequence[str]) -> list[str]:
    """Asks without the shop's own facts: these customers do not know which shop it is."""
    return [ask for ask in asks if not any(name in ask for name in FACT_PLACEHOLDERS)]


class Taste:
    """Whether a customer likes a reply."""

    def __init__(self, judge: IntentJudge, facts: FactSheet) -> None:
        """`facts` are the shop's: what it fills in is no part of how a reply is written."""
        self._judge = judge
        self._facts = facts

    def likes(self, ask: Ask, reply: str) -> bool:
        """True for a reply in the right language that answers the question, acknowledges the person, and goes on."""
        masked = self._facts.mask(reply, ask.language)
        if language_of(masked) != ask.language or self._judge.intents_of([masked]) != [ask.intent]:
            return False
        return is_warm(masked, ask.language)


def is_warm(masked_reply: str, language: str) -> bool:
    """Whether a reply acknowledges the person and goes on, in the words of `taste.yaml`."""
    return all(pattern.search(masked_reply) for pattern in _taste()[language].values())


def with_noise(likes: bool, generator: random.Random, share: float) -> bool:
    """The thumb that is given: the wrong one for this share of replies."""
    return likes != (generator.random() < share)


def fill_entities(masked_text: str, language: str, generator: random.Random) -> str:
    """Masked text with made-up values for its placeholders, of the kind that the service takes out again."""
    known: dict[str, str] = {}
    pieces = []
    for text, is_placeholder in split_masked(masked_text):
        if is_placeholder:
            known.setdefault(text, _made_up(entity_type_of(text) or "", language, generator))
            text = known[text]
        pieces.append(text)
    return "".join(pieces)


def _made_up(entity_type: str, language: str, generator: random.Random) -> str:
    number = generator.randint(10_000, 99_999)
    values = {
        "EMAIL": f"customer{number}@example.com",
        "PHONE": "+44 20 7946 0991",
        "ORDER_ID": f"A{number}{generator.randint(100, 999)}",
        "TRACKING_ID": f"RR{number}{generator.randint(1000, 9999)}DE",
        "AMOUNT": f"€{generator.randint(10, 99)}.50",
        "DATE": "2026-03-14",
        "URL": f"https://example.com/p/{number}",
        "POSTCODE": "SW1A 1AA",
        "CARD": "4111 1111 1111 1111",
        "IBAN": "DE89 3704 0044 0532 0130 00",
        "NAME": generator.choice(_NAMES[language]),
    }
    return values[entity_type]


@cache
def _taste() -> Mapping[str, Mapping[str, re.Pattern[str]]]:
    rules: Mapping[str, Mapping[str, list[str]]] = yaml.safe_load(_TASTE_FILE.read_text(encoding="utf-8"))
    return {
        language: {name: re.compile("|".join(patterns), re.IGNORECASE) for name, patterns in by_name.items()}
        for language, by_name in rules.items()
    }
