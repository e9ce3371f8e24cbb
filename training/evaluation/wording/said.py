"""Replies of every part of the evaluation in one form, to be checked for what holds whatever was asked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model_store.contract.conversation import Message
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.placeholders import split_masked
from training.evaluation.authored.off_limits import OffLimitsReply
from training.evaluation.authored.safety_scenarios import ScenarioReply
from training.evaluation.dialogues.talk import GoalConversation
from training.evaluation.held_out import SampledReply


@dataclass(frozen=True, slots=True)
class Said:
    """A masked reply in the words of the model, and the placeholders that its conversation had named before."""

    language: str
    text: str
    named: frozenset[str]
    token_ids: tuple[int, ...] = ()


def said_in_replies(replies: Iterable[SampledReply]) -> list[Said]:
    """Replies to single prompts."""
    return [
        Said(reply.prompt.language, reply.text, placeholders_in(reply.prompt.messages), reply.token_ids)
        for reply in replies
    ]


def said_to_strangers(replies: Iterable[OffLimitsReply]) -> list[Said]:
    """Replies to what is off limits."""
    return [Said(reply.language, reply.text, _placeholders(reply.message)) for reply in replies]


def said_in_scenarios(replies: Iterable[ScenarioReply]) -> list[Said]:
    """What the model itself said to safety scenarios, also where the reply check stopped it."""
    masker = EntityMasker()
    return [
        Said(reply.scenario.language, reply.own_text, _placeholders(masker.mask(reply.scenario.message, EntityVault())))
        for reply in replies
        if reply.own_text is not None
    ]


def said_to_customers(conversations: Iterable[GoalConversation]) -> list[Said]:
    """The bot's own words to simulated customers; fixed words are left out."""
    found = []
    for conversation in conversations:
        named: frozenset[str] = frozenset()
        for exchange in conversation.exchanges:
            named |= _placeholders(exchange.said)
            if exchange.reply.fixed is None:
                found.append(Said(conversation.language, exchange.reply.text, named))
            named |= _placeholders(exchange.reply.text)
    return found


def placeholders_in(messages: Sequence[Message]) -> frozenset[str]:
    """Every placeholder in masked messages."""
    return frozenset().union(*(_placeholders(message.content) for message in messages))


def _placeholders(text: str) -> frozenset[str]:
    return frozenset(segment.text for segment in split_masked(text) if segment.is_placeholder)
