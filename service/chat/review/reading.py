"""How a conversation reads to a reviewer: every reply that was given, also one that a later reply has replaced.

The transcript leaves those out, as the model never sees them again; but a reply that somebody disliked so much as to
ask again is what a reviewer looks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from model_store.contract.conversation import Message, Role
from service.chat.conversations.transcript import transcribe
from service.records.review.dossier import Dossier, RecordedReply


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A message, the recorded reply that it is, if it is one, and whether a later reply has taken its place."""

    message: Message
    reply: RecordedReply | None = None
    is_replaced: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """A conversation in the order in which it was said. `is_cut`: there is more of it."""

    conversation_id: str
    created_at: datetime
    messages: tuple[ReadMessage, ...]
    is_cut: bool
    tags: tuple[str, ...]


def read(dossier: Dossier) -> Reading:
    """Lays the replies out; replaced ones stand before what replaced them."""
    replies = {reply.turn.completion_id: reply for reply in dossier.replies}
    items = transcribe([reply.turn for reply in dossier.replies])
    shown = {item.completion_id for item in items}
    replaced: dict[str | None, list[ReadMessage]] = {}
    for index, reply in enumerate(dossier.replies):
        if reply.turn.completion_id not in shown:
            successor = _successor(reply, dossier.replies[index + 1 :], shown)
            message = Message(Role.ASSISTANT, reply.turn.completion_text)
            replaced.setdefault(successor, []).append(ReadMessage(message, reply, is_replaced=True))
    messages: list[ReadMessage] = []
    for item in items:
        if item.completion_id is not None:
            messages += replaced.pop(item.completion_id, [])
        messages.append(ReadMessage(item.message, replies.get(item.completion_id or "")))
    return Reading(dossier.conversation_id, dossier.created_at, tuple(messages), dossier.is_cut, dossier.tags)


def _successor(reply: RecordedReply, later: Sequence[RecordedReply], shown: set[str | None]) -> str | None:
    """The reply that took this one's place: the next that still stands and answers the same words."""
    ids = (
        other.turn.completion_id
        for other in later
        if other.turn.completion_id in shown and other.turn.prompt_messages[-1:] == reply.turn.prompt_messages[-1:]
    )
    return next(ids, None)
