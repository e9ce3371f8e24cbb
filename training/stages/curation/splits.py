"""Splits by conversation and by time: what is tested on came last, and nothing like it was learned from.

A conversation lies in one split as a whole, and with it every conversation that is nearly the same.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_store.contract.conversation import Message
from training.data.feedback_rows import Split
from training.stages.curation.likeness import alike, whole

_HASH_RANGE = 2**64
Conversation = tuple[str, str]
"""Tenant and id."""


@dataclass(frozen=True, slots=True)
class Said:
    """A reply with all that was said before it; `time` is when it was rated (None: it was not)."""

    conversation: Conversation
    messages: tuple[Message, ...]
    reply: str
    time: str | None


def assign_splits(
    said: Sequence[Said], *, validation_share: float, test_share: float, seed: int
) -> dict[Conversation, Split]:
    """The split of every conversation.

    The newest are for testing; which of the others validate is drawn by hash, so it stays the same as ratings come in.
    Conversations that nobody rated are for training, but for copies of the others.
    """
    groups = _groups(said)
    times: dict[Conversation, str] = {}
    for one in said:
        if one.time is not None:
            times[one.conversation] = min(one.time, times.get(one.conversation, one.time))
    rated = [[conversation for conversation in group if conversation in times] for group in groups]
    order = sorted(
        (number for number, members in enumerate(rated) if members),
        key=lambda number: (min(times[conversation] for conversation in rated[number]), rated[number]),
        reverse=True,
    )
    num_wanted = round(test_share * len(times))
    splits: dict[Conversation, Split] = {}
    for number in order:
        in_test = num_wanted > 0 and len(rated[number]) < 2 * num_wanted  # a crowd of copies tests nothing
        split: Split = "test" if in_test else _drawn(groups[number], validation_share / (1 - test_share), seed)
        num_wanted -= len(rated[number]) if in_test else 0
        splits |= dict.fromkeys(groups[number], split)
    return {one.conversation: splits.get(one.conversation, "train") for one in said}


def _groups(said: Sequence[Said]) -> list[list[Conversation]]:
    """Conversations that are nearly the same, judged by the longest part of each that is known."""
    longest: dict[Conversation, Said] = {}
    for one in said:
        known = longest.get(one.conversation)
        if known is None or len(one.messages) > len(known.messages):
            longest[one.conversation] = one
    conversations = list(longest)
    firsts = alike([whole(longest[name].messages, longest[name].reply) for name in conversations])
    groups: Mapping[int, list[Conversation]] = {first: [] for first in firsts}
    for name, first in zip(conversations, firsts, strict=True):
        groups[first].append(name)
    return [sorted(group) for group in groups.values()]


def _drawn(group: Sequence[Conversation], share: float, seed: int) -> Split:
    """By the hash of the group's first member."""
    tenant, conversation_id = group[0]
    digest = hashlib.sha256(f"{seed}\n{tenant}\n{conversation_id}".encode()).digest()
    return "validation" if int.from_bytes(digest[:8], "big") / _HASH_RANGE < share else "train"
