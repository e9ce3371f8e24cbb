"""What people meant who gave no thumb: they asked again, said the same again, or asked for a person.

Weak signals, each with a weight of its own. A reply that was asked for again was disliked and the one that was kept was
preferred (as two unpaired examples; with one customer they are the pair). Left out: silence, which says nothing, and
thanks, which people also say to be rid of a bot.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_store.contract.conversation import Message, Role
from training.data.feedback_rows import ANONYMOUS_RATER, Source, Turn
from training.stages.curation.likeness import plain

_SAME_VISIT = timedelta(minutes=30)
_DERIVED_ID_PREFIX = "conv_derived_"
"""Begins ids that the service made of a rater and the first words: nameless people may share one."""

Messages = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Signal:
    """What somebody who did not rate a reply seems to think of it."""

    turn: Turn
    source: Source
    is_up: bool


def implicit_signals(turns: Iterable[Turn]) -> list[Signal]:
    """At most one signal a reply, by conversation; replies of fixed rules get none."""
    conversations: dict[tuple[str, str], list[Turn]] = defaultdict(list)
    for turn in turns:
        if turn.rater != ANONYMOUS_RATER or not turn.conversation_id.startswith(_DERIVED_ID_PREFIX):
            conversations[turn.tenant, turn.conversation_id].append(turn)
    found: dict[str, Signal] = {}
    for said in conversations.values():
        said.sort(key=lambda turn: (turn.created_at, turn.completion_id))
        for signal in (*_regenerations(said), *_reactions(said)):
            if not signal.turn.is_rule_reply and signal.turn.completion_token_ids:
                found.setdefault(signal.turn.completion_id, signal)
    return list(found.values())


def _regenerations(said: Sequence[Turn]) -> Iterator[Signal]:
    attempts: dict[Messages, list[Turn]] = defaultdict(list)
    for turn in said:
        attempts[turn.messages].append(turn)
    for tries in attempts.values():
        times = [datetime.fromisoformat(turn.created_at) for turn in tries]
        # Several choices of one request have one time; the same words on another day are another visit.
        if len(set(times)) < len(times) or len(tries) < 2 or max(times) - min(times) > _SAME_VISIT:
            continue
        kept = _kept(tries, said)
        yield from (Signal(turn, "regeneration", is_up=turn is kept) for turn in tries)


def _kept(tries: Sequence[Turn], said: Sequence[Turn]) -> Turn:
    """The reply with which the conversation went on; where it did not, the last one."""
    for turn in tries:
        if any(_answers(later.messages, turn) for later in said):
            return turn
    return tries[-1]


def _reactions(said: Sequence[Turn]) -> Iterator[Signal]:
    """What the customer did after a reply that the conversation went on with."""
    by_history: Mapping[tuple[Messages, str], Turn] = {(turn.messages, turn.completion_text): turn for turn in said}
    for later in said:
        if len(later.messages) < 3 or later.messages[-2].role is not Role.ASSISTANT:
            continue
        before = by_history.get((later.messages[:-2], later.messages[-2].content))
        if before is None:
            continue
        if later.is_hand_over and not before.is_hand_over:
            yield Signal(before, "hand_over", is_up=False)
        elif _last_words(before) == _last_words(later):
            yield Signal(before, "repeat", is_up=False)


def _answers(messages: Messages, turn: Turn) -> bool:
    size = len(turn.messages)
    return messages[:size] == turn.messages and messages[size : size + 1] == (
        Message(Role.ASSISTANT, turn.completion_text),
    )


def _last_words(turn: Turn) -> str:
    return plain(turn.messages[-1].content)
