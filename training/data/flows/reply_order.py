"""Every reply that a pack's authors wrote, which of them follow others, and for whom they were written.

An intent's replies and a flow's first ones fit wherever their plan does. What a flow says later was written to follow
what it said before, and an intent's later replies follow any of its plan; those of handing over follow anything, for
who takes up an offer has said before what it is about.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Role
from model_store.contract.tokenizer import Tokenizer
from model_store.replies import AFTER_ANY, AFTER_ITS_PLAN, PERSON_PLAN
from training.data.domain_pack import DomainPack, Intent, intent_of, plan_of
from training.data.flows.flow import Flow, FlowTurn

_Reply = tuple[str, str]
"""A plan and a text."""


@dataclass(frozen=True, slots=True)
class AuthoredReplies:
    """Replies from plan to end of sequence; `model_store.replies.Order` and `Conditions` by their numbers."""

    token_ids: tuple[tuple[int, ...], ...]
    order: tuple[tuple[int, int], ...]
    conditions: Mapping[int, tuple[str, ...]]


def authored_replies(pack: DomainPack, tokenizer: Tokenizer) -> AuthoredReplies:
    """Every good reply of the pack's intents and flows, behind its plan where the tokenizer has one, each once."""
    anywhere, later = list(_said_anywhere(pack)), list(_said_later(pack))
    follows = _followed_in_flows(pack)
    replies = list(dict.fromkeys((*anywhere, *follows, *later)))
    number_of = {reply: number for number, reply in enumerate(replies)}
    restricted = frozenset(replies) - frozenset(anywhere)
    order = [
        (number_of[reply], number_of[before])
        for reply, all_before in follows.items()
        for before in all_before
        if reply in restricted
    ]
    order += [
        (number_of[reply], AFTER_ANY if reply[0] == PERSON_PLAN else AFTER_ITS_PLAN)
        for reply in later
        if reply in restricted
    ]
    token_ids = tuple(_encoded(reply, tokenizer) for reply in replies)
    return AuthoredReplies(token_ids, tuple(sorted(order)), dict(_conditions(pack, replies)))


def unknown_assumptions(pack: DomainPack) -> list[tuple[Intent, str]]:
    """Replies that conditions are written for and that nobody says."""
    known = {(intent_of(plan), text) for plan, text in (*_said_anywhere(pack), *_said_later(pack))}
    return [(each, text) for each in pack.intents for text in each.fitting.assumed if (each.name, text) not in known]


def _conditions(pack: DomainPack, replies: Sequence[_Reply]) -> Iterator[tuple[int, tuple[str, ...]]]:
    of_text = {(each.name, text): when for each in pack.intents for text, when in each.fitting.conditions()}
    for number, (plan, text) in enumerate(replies):
        if (when := of_text.get((intent_of(plan), text))) is not None:
            yield number, when


def _said_anywhere(pack: DomainPack) -> Iterator[_Reply]:
    for intent in (*pack.intents, *pack.help_intents):
        first = (each.text for each in intent.fitting.said if not each.is_later)
        for reply in (*intent.replies, *first):
            yield plan_of(intent.name), reply
    for flow in pack.flows:
        for path in flow.paths:
            yield from _replies_of(_answers(path)[0])


def _said_later(pack: DomainPack) -> Iterator[_Reply]:
    for intent in pack.intents:
        later = (each.text for each in intent.fitting.said if each.is_later)
        for reply in (*intent.later_replies, *later):
            yield plan_of(intent.name), reply


def _followed_in_flows(pack: DomainPack) -> dict[_Reply, dict[_Reply, None]]:
    """What flows say after their first reply, each with what may stand before it, in the order they are written in."""
    follows: dict[_Reply, dict[_Reply, None]] = defaultdict(dict)
    for flow in pack.flows:
        for before, turn in _neighbours(flow):
            for reply in _replies_of(turn):
                follows[reply].update(dict.fromkeys(_replies_of(before)))
    return follows


def _neighbours(flow: Flow) -> Iterator[tuple[FlowTurn, FlowTurn]]:
    for path in flow.paths:
        answers = _answers(path)
        yield from zip(answers, answers[1:], strict=False)


def _answers(path: tuple[FlowTurn, ...]) -> list[FlowTurn]:
    return [turn for turn in path if turn.role is Role.ASSISTANT]


def _replies_of(turn: FlowTurn) -> Iterator[_Reply]:
    for wording in turn.wordings:
        yield turn.plan or "", wording


def _encoded(reply: _Reply, tokenizer: Tokenizer) -> tuple[int, ...]:
    plan, text = reply
    opening = (tokenizer.plans[plan],) if plan in tokenizer.plans else ()
    return (*opening, *tokenizer.encode(text), EOS_ID)
