"""Which authored intents conversations begin with, by the linear teacher of plans: an opinion, not a label.

Messages are drawn evenly from all of them, so that a long file costs no more than a short one.
"""

import random
from collections.abc import Mapping
from dataclasses import replace

from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from model_store.contract.tokenizer import Tokenizer
from training.data.domain_pack import DomainPack
from training.data.plan_teacher.linear import LinearTeacher

_MAX_MESSAGES = 5_000
_MAX_ASKS = 150
"""Of each intent, drawn evenly: thousands would make the opinion a little better and the report a minute slower."""
_MIN_PROBABILITY = 0.3
_MAX_NAMED = 15
_SEED = 0


class NearestIntents(BaseModel):
    """The intents nearest to one language's first messages."""

    model_config = ConfigDict(frozen=True)

    num_messages: int
    shares: Mapping[str, float]
    """Intent → share of messages that it is nearest to, the greatest fifteen; unsure ones count for none."""
    unsure_share: float
    """Messages of which no intent is thought likelier than 0.3: probably nothing the pack knows."""


class MessageSample:
    """Up to 5,000 messages a language, each of the seen ones as likely as any other (reservoir sampling)."""

    def __init__(self) -> None:
        self._generator = random.Random(_SEED)
        self._num_seen: dict[str, int] = {}
        self.messages: dict[str, list[str]] = {}

    def add(self, language: str, masked: str) -> None:
        """Offers one message."""
        self._num_seen[language] = self._num_seen.get(language, 0) + 1
        kept = self.messages.setdefault(language, [])
        if len(kept) < _MAX_MESSAGES:
            kept.append(masked)
        elif (place := self._generator.randrange(self._num_seen[language])) < _MAX_MESSAGES:
            kept[place] = masked


def nearest_intents(sample: MessageSample, pack: DomainPack, tokenizer: Tokenizer) -> dict[str, NearestIntents]:
    """By language, of the languages that the pack has. Training a teacher takes seconds."""
    known = {intent.language for intent in pack.intents}
    languages = sorted(language for language, messages in sample.messages.items() if language in known and messages)
    progress = tqdm(languages, desc="nearest intents", unit="language", delay=1)
    return {language: _nearest(sample.messages[language], pack, language, tokenizer) for language in progress}


def _thinned(pack: DomainPack) -> DomainPack:
    intents = (replace(intent, asks=_spread(intent.asks)) for intent in pack.intents)
    return replace(pack, intents=tuple(intents))


def _spread(asks: tuple[str, ...]) -> tuple[str, ...]:
    """At most `_MAX_ASKS`, from all over the list: neighbours are often worded alike."""
    return asks if len(asks) <= _MAX_ASKS else tuple(asks[len(asks) * at // _MAX_ASKS] for at in range(_MAX_ASKS))


def _nearest(messages: list[str], pack: DomainPack, language: str, tokenizer: Tokenizer) -> NearestIntents:
    opinions = LinearTeacher(_thinned(pack), language, tokenizer, _SEED).probabilities(messages)
    is_sure = opinions.max(axis=1) >= _MIN_PROBABILITY
    counts = {
        plan: int(((opinions.argmax(axis=1) == column) & is_sure).sum()) for column, plan in enumerate(pack.plans)
    }
    greatest = sorted((plan for plan in counts if counts[plan]), key=lambda plan: (-counts[plan], plan))[:_MAX_NAMED]
    return NearestIntents(
        num_messages=len(messages),
        shares={plan: round(counts[plan] / len(messages), 4) for plan in greatest},
        unsure_share=round(1 - float(is_sure.mean()), 4),
    )
