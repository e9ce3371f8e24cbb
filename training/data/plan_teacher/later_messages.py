"""Later messages with the turn before them, and what they are about, for whoever learns to hear them.

Most are drawn from the pack's conversations. Some are made: a customer goes on about what he came for, with a bare
number or "and now?", though the bot has asked for no number, or has taken him for another. They stay with his topic.
"""

import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import yaml

from model_store.contract.conversation import Role
from model_store.intents.turns import SEPARATOR, turns_before
from training.data.domain_pack import DomainPack, Intent, fill_slots, intent_of
from training.data.generator import ConversationGenerator

_FLOW_SHARE = 0.5
"""Of the conversations that are drawn: in flows messages depend most on what came before."""
_GOING_ON_SHARE = 0.35
"""Of all later messages."""
_MISHEARD_SHARE = 0.4
"""Of those, where the bot has answered another question."""
_GIVING_SHARE = 0.6
"""Of those, which give a detail; the others ask what comes next."""
_TWO_EXCHANGES = 4
_FILE = Path(__file__).with_name("going_on.yaml")

LaterMessage = tuple[str, str, str]
"""The message and the turn before it, as they are heard; its language; its intent."""


def draw_later_messages(pack: DomainPack, intents: Sequence[str], seed: int) -> Iterator[LaterMessage]:
    """Messages without end, each with the turn before it and its intent, one of `intents`."""
    generator = random.Random(seed)
    drawn, made = _drawn(pack, intents, seed), _made(pack, intents, generator)
    while True:
        source = made if generator.random() < _GOING_ON_SHARE else drawn
        message = next(source, None) or next(drawn, None)
        if message is None:
            return
        yield message


def _drawn(pack: DomainPack, intents: Sequence[str], seed: int) -> Iterator[LaterMessage]:
    for conversation in ConversationGenerator(pack, seed, flow_share=_FLOW_SHARE):
        turns = [message.content for message in conversation.messages if message.role is not Role.SYSTEM]
        intent = intent_of(conversation.plan or "")
        if len(turns) >= _TWO_EXCHANGES and intent in intents:
            earlier, reply, message, _ = turns[-_TWO_EXCHANGES:]
            yield _heard(message, reply, earlier), conversation.language, intent


def _made(pack: DomainPack, intents: Sequence[str], generator: random.Random) -> Iterator[LaterMessage]:
    """Of intents that take a detail; none in a pack without them, or in a language without ways to go on."""
    phrases = _phrases()
    topics = [
        intent
        for intent in pack.intents
        if intent.asks and intent.replies_given and intent.name in intents and intent.language in phrases
    ]
    while topics:
        topic = generator.choice(topics)
        message = _going_on(topic, phrases[topic.language], generator)
        earlier = fill_slots(generator.choice(topic.asks), pack.slots[topic.language], generator)
        answered = topic
        if generator.random() < _MISHEARD_SHARE:
            answered = generator.choice([other for other in topics if other.language == topic.language])
        yield _heard(message, generator.choice(answered.replies), earlier), topic.language, topic.name


def _going_on(topic: Intent, phrases: dict[str, list[str]], generator: random.Random) -> str:
    if generator.random() >= _GIVING_SHARE:
        return generator.choice(phrases["asking"])
    detail = generator.choice(sorted(topic.replies_given))
    return generator.choice(phrases["giving"]).format(detail=f"<{detail}>")


def _heard(message: str, reply: str, earlier: str) -> str:
    return SEPARATOR.join((message, *turns_before(reply, earlier)))


@lru_cache
def _phrases() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return found
