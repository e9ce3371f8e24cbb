"""Later messages with the turn before them, and what they are about, for whoever learns to hear them.

Most are drawn from the pack's conversations. Some are made: a customer goes on about what he came for (`going_on`),
with a bare number or "and now?", or with what only fits his matter ("do i pay postage for that"), though the bot has
asked for no number, or has taken him for another: they stay with his topic. Or he comes to another matter, which is his
message's own.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from model_store.contract.conversation import Role
from model_store.intents.turns import SEPARATOR, turns_before
from training.data.domain_pack import DomainPack, Intent, fill_slots, intent_of
from training.data.generator import ConversationGenerator
from training.data.plan_teacher.going_on import GIVING, OF_ITS_OWN, GoingOn, go_on, matters_of, taught_wordings
from training.data.typing_noise import add_typing_noise

_FLOW_SHARE = 0.5
"""Of the conversations that are drawn: in flows messages depend most on what came before."""
_GOING_ON_SHARE = 0.4
"""Of all later messages."""
_CHANGING_SHARE = 0.25
"""Of all later messages, those that come to another matter."""
_MISHEARD_SHARE = 0.4
"""Of those that go on, where the bot has answered another question."""
_OWN_SHARE = 0.5
"""Of those that go on, which say what only fits their topic, where the pack has such follow-ups."""
_GIVING_SHARE = 0.4
"""Of the others, which give a detail, where the topic takes one."""
_GONE_ON_SHARE = 0.25
"""Of what is gone on about, where the customer has done so before."""
_TWO_EXCHANGES = 4

LaterMessage = tuple[str, str, str]
"""The message and the turn before it, as they are heard; its language; its intent."""


def draw_later_messages(pack: DomainPack, intents: Sequence[str], seed: int) -> Iterator[LaterMessage]:
    """Messages without end, each with the turn before it and its intent, one of `intents`."""
    generator = random.Random(seed)
    drawn, made = _drawn(pack, intents, seed), _made(pack, intents, generator)
    changing = _changing(pack, intents, generator)
    while True:
        place = generator.random()
        is_changing = _GOING_ON_SHARE <= place < _GOING_ON_SHARE + _CHANGING_SHARE
        source = made if place < _GOING_ON_SHARE else changing if is_changing else drawn
        message = next(source, None) or next(drawn, None)
        if message is None:
            return
        yield message


class TalkMessage(NamedTuple):
    """A later message as it is heard, with the turn before it."""

    text: str
    goes_on: bool
    """Whether it is about the matter before it."""
    wording: str
    """What the customer meant to type."""


def draw_turns_of_talk(pack: DomainPack, intents: Sequence[str], seed: int) -> Iterator[TalkMessage]:
    """Later messages without end, half of which go on about the matter before them.

    The others ask what belongs to another intent. What the message goes on about may have been gone on about before.
    None in a pack that has nothing to go on about.
    """
    generator = random.Random(seed)
    matters = matters_of(pack, intents)
    others = _asked_for(pack, intents)
    while matters:
        matter, goes_on = generator.choice(matters), generator.random() < 0.5
        earlier, reply = _exchange(matter, matters, pack, generator)
        if generator.random() < _GONE_ON_SHARE:
            earlier = _going_on(matter, pack, generator).text
        if goes_on:
            message = _going_on(matter, pack, generator).text
        else:
            message = fill_slots(
                generator.choice(_other_matter(matter, others, generator).asks), pack.slots[matter.language], generator
            )
        typed = add_typing_noise(message, matter.language, generator)
        yield TalkMessage(_heard(typed, reply, earlier), goes_on, message)


def _drawn(pack: DomainPack, intents: Sequence[str], seed: int) -> Iterator[LaterMessage]:
    for conversation in ConversationGenerator(pack, seed, flow_share=_FLOW_SHARE):
        turns = [message.content for message in conversation.messages if message.role is not Role.SYSTEM]
        intent = intent_of(conversation.plan or "")
        if len(turns) >= _TWO_EXCHANGES and intent in intents:
            earlier, reply, message, _ = turns[-_TWO_EXCHANGES:]
            yield _heard(message, reply, earlier), conversation.language, intent


def _made(pack: DomainPack, intents: Sequence[str], generator: random.Random) -> Iterator[LaterMessage]:
    """Of what customers go on about; none in a pack without that, or in a language without ways to go on."""
    matters = matters_of(pack, intents)
    while matters:
        topic = generator.choice(matters)
        is_giving = bool(topic.replies_given) and generator.random() < _GIVING_SHARE
        message = _going_on(topic, pack, generator, kind=GIVING if is_giving else None)
        if generator.random() < _GONE_ON_SHARE:
            # Only the bot's reply still says what it is about.
            earlier, reply = _going_on(topic, pack, generator).text, generator.choice(topic.every_reply)
        else:
            earlier, reply = _exchange(topic, matters, pack, generator)
        typed = add_typing_noise(message.text, topic.language, generator)
        yield _heard(typed, reply, earlier), topic.language, topic.name


def _going_on(matter: Intent, pack: DomainPack, generator: random.Random, *, kind: str | None = None) -> GoingOn:
    """One of the matter's own follow-ups, or a wording of this or any kind that fits every matter."""
    if not matter.follow_ups or generator.random() >= _OWN_SHARE:
        return go_on(matter, taught_wordings(), generator, kind=kind)
    text = fill_slots(generator.choice(matter.follow_ups), pack.slots[matter.language], generator)
    return GoingOn(text, OF_ITS_OWN)


def _changing(pack: DomainPack, intents: Sequence[str], generator: random.Random) -> Iterator[LaterMessage]:
    """Of what customers ask after an exchange about something else; none in a pack of one matter, or of none."""
    others = _asked_for(pack, intents)
    num_asked = Counter(other.language for other in others)
    matters = [matter for matter in matters_of(pack, intents) if num_asked[matter.language] > 1]
    while matters:
        matter = generator.choice(matters)
        other = _other_matter(matter, others, generator)
        message = fill_slots(generator.choice(other.asks), pack.slots[matter.language], generator)
        earlier, reply = _exchange(matter, matters, pack, generator)
        yield _heard(add_typing_noise(message, matter.language, generator), reply, earlier), matter.language, other.name


def _asked_for(pack: DomainPack, intents: Sequence[str]) -> list[Intent]:
    return [intent for intent in pack.intents if intent.asks and intent.name in intents]


def _other_matter(matter: Intent, others: Sequence[Intent], generator: random.Random) -> Intent:
    return generator.choice(
        [other for other in others if other.language == matter.language and other.name != matter.name]
    )


def _exchange(matter: Intent, matters: Sequence[Intent], pack: DomainPack, generator: random.Random) -> tuple[str, str]:
    """What a customer came with, and what the bot replied, which may have been about another matter."""
    earlier = fill_slots(generator.choice(matter.asks), pack.slots[matter.language], generator)
    answered = matter
    if generator.random() < _MISHEARD_SHARE:
        answered = generator.choice([other for other in matters if other.language == matter.language])
    return earlier, generator.choice(answered.every_reply)


def _heard(message: str, reply: str, earlier: str) -> str:
    return SEPARATOR.join((message, *turns_before(reply, earlier)))
