"""Conditions of replies: whether they are written for replies that there are, and leave enough for everybody else."""

from collections.abc import Iterator

import numpy as np

from model_store.contract.conversation import Role
from model_store.reply_fit import BOT, ReplyFit, parse_alternative
from training.data.domain_pack import DomainPack, Intent
from training.data.flows.reply_order import unknown_assumptions
from training.pack_lint.problem import Problem

MIN_FIRST, MIN_LATER = 4, 2
"""Replies that suit whoever has this intent; fewer, and customers soon hear the same again."""


def fitting_problems(pack: DomainPack) -> Iterator[Problem]:
    """What an author has to mend."""
    for intent, text in unknown_assumptions(pack):
        yield Problem(intent.language, f"{intent.topic}/{intent.name}", f"has no reply {text!r} to suppose anything")
    for intent in pack.intents:
        if intent.fitting.assumed or intent.fitting.said:
            for what in _shortages(intent):
                yield Problem(intent.language, f"{intent.topic}/{intent.name}", what)
    for language in sorted({intent.language for intent in pack.intents}):
        yield from _unheard(pack, language)


def _shortages(intent: Intent) -> Iterator[str]:
    said = [reply for reply in intent.fitting.said if not reply.when]
    for name, replies, is_later, needed in (
        ("replies", intent.replies, False, MIN_FIRST),
        ("later replies", intent.later_replies, True, MIN_LATER if intent.later_replies else 0),
    ):
        general = {text for text in replies if text not in intent.fitting.assumed}
        general |= {reply.text for reply in said if reply.is_later == is_later}
        if len(general) < needed:
            yield f"{len(general)} {name} that suppose nothing, {needed} are needed"


def _unheard(pack: DomainPack, language: str) -> Iterator[Problem]:
    """Terms that the bot's last reply has to hold and no reply does: slips, or replies that were reworded since."""
    intents = [intent for intent in pack.intents if intent.language == language]
    wanted: dict[str, Intent] = {}
    for intent in intents:
        for alternative in (parse_alternative(text) for reply in intent.fitting.said for text in reply.when):
            bots = (term for choice in alternative.needed for term in choice if term.startswith(BOT))
            wanted |= {term.removeprefix(BOT): intent for term in bots}
    terms = list(wanted)
    conditions = {number: (term,) for number, term in enumerate(terms)}
    fit = ReplyFit(conditions, np.full(len(terms), language == "zh"), lambda _: "")
    replies = {text for intent in intents for text in intent.every_reply}
    flows = (flow for flow in pack.flows if flow.language == language)
    replies |= {text for flow in flows for turn in flow.turns if turn.role is Role.ASSISTANT for text in turn.wordings}
    heard = np.zeros(len(terms), np.bool_)
    for reply in replies if terms else ():
        heard |= fit.of_said([reply]).speaks
    for number in np.flatnonzero(~heard):
        intent = wanted[terms[number]]
        yield Problem(language, f"{intent.topic}/{intent.name}", f"no reply holds {terms[number]!r}, to be answered")


def share_spoken_to(pack: DomainPack, language: str) -> float:
    """Of the development asks, how many hear a reply that was written for what they say."""
    intents = [intent for intent in pack.intents if intent.language == language]
    said = [(intent.name, reply) for intent in intents for reply in intent.fitting.said]
    conditions = {number: reply.when for number, (_, reply) in enumerate(said) if reply.when}
    fit = ReplyFit(conditions, np.full(len(said), language == "zh"), lambda _: "")
    asks = [(intent.name, ask) for intent in intents for ask in intent.development_asks]
    spoken = [
        any(said[number][0] == name for number in np.flatnonzero(fit.of_said([ask]).speaks)) for name, ask in asks
    ]
    return float(np.mean(spoken)) if spoken else 0.0
