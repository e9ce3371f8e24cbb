"""Every reply that a pack's authors wrote, and which of them follow others.

An intent's replies and a flow's first ones fit wherever their plan does. What a flow says later was written to follow
what it said before, and an intent's later replies follow any of its plan; those of handing over follow anything, for
who takes up an offer has said before what it is about.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Role
from model_store.contract.tokenizer import Tokenizer
from model_store.replies import AFTER_ANY, AFTER_ITS_PLAN, PERSON_PLAN
from training.data.domain_pack import DomainPack, plan_of
from training.data.flows.flow import Flow, FlowTurn

_Reply = tuple[str, str]
"""A plan and a text."""


@dataclass(frozen=True, slots=True)
class AuthoredReplies:
    """Replies from plan to end of sequence, and `model_store.replies.Order` by their numbers."""

    token_ids: tuple[tuple[int, ...], ...]
    order: tuple[tuple[int, int], ...]


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
    return AuthoredReplies(tuple(_encoded(reply, tokenizer) for reply in replies), tuple(sorted(order)))


def _said_anywhere(pack: DomainPack) -> Iterator[_Reply]:
    for intent in (*pack.intents, *pack.help_intents):
        for reply in intent.replies:
            yield plan_of(intent.name), reply
    for flow in pack.flows:
        for path in flow.paths:
            yield from _replies_of(_answers(path)[0])


def _said_later(pack: DomainPack) -> Iterator[_Reply]:
    for intent in pack.intents:
        for reply in intent.later_replies:
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
