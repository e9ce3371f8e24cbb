"""The transcript: how recorded completions add up to one conversation.

Every completion holds the prompt that its model saw, which is the conversation up to then or the end of it. Nothing
else is kept, so what was said is found by laying the prompts over each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from model_store.contract.conversation import Message, Role
from model_store.contract.placeholders import ARTICLE
from service.records.store import RecordedTurn


@dataclass(frozen=True, slots=True)
class TranscriptMessage:
    """A message, and the completion that it is, if it is one of this service's."""

    message: Message
    completion_id: str | None = None


def transcribe(turns: Sequence[RecordedTurn]) -> tuple[TranscriptMessage, ...]:
    """The messages of a conversation in order, masked; the latest system message first, help articles left out.

    A reply that was made again replaces the one before it. Two messages sent at the same time are both there, in the
    order of their requests.
    """
    system: tuple[TranscriptMessage, ...] = ()
    said: list[TranscriptMessage] = []
    for turn in turns:
        prompt = [message for message in turn.prompt_messages if not _is_article(message)]
        if prompt and prompt[0].role is Role.SYSTEM:
            system = (TranscriptMessage(prompt[0]),)
        new = [TranscriptMessage(message) for message in prompt if message.role is not Role.SYSTEM]
        reply = TranscriptMessage(Message(Role.ASSISTANT, turn.completion_text), turn.completion_id)
        _extend(said, new, reply)
    return (*system, *said)


def _extend(said: list[TranscriptMessage], prompt: list[TranscriptMessage], reply: TranscriptMessage) -> None:
    """Adds what a prompt and its reply say beyond what is there."""
    num_known = _num_known(said, prompt)
    if num_known == 0 and _asks_again(said, prompt):
        said[-1] = reply
        return
    num_old = num_known or _num_before_fork(said, prompt)
    said += [*prompt[num_old:], reply]


def _num_known(said: list[TranscriptMessage], prompt: list[TranscriptMessage]) -> int:
    """How many messages at the prompt's beginning are the end of what was said."""
    texts = _messages(said)
    lengths = range(min(len(said), len(prompt)), 0, -1)
    return next((length for length in lengths if texts[-length:] == _messages(prompt[:length])), 0)


def _asks_again(said: list[TranscriptMessage], prompt: list[TranscriptMessage]) -> bool:
    """Whether the prompt is what the last reply answered."""
    asked = _messages(said[:-1])
    return bool(prompt) and len(asked) >= len(prompt) and asked[-len(prompt) :] == _messages(prompt)


def _num_before_fork(said: list[TranscriptMessage], prompt: list[TranscriptMessage]) -> int:
    """How much of a prompt is history that was said, but not last: somebody else has gone on from there meanwhile."""
    last_reply = max((index for index, item in enumerate(prompt) if item.message.role is Role.ASSISTANT), default=-1)
    history, texts = _messages(prompt[: last_reply + 1]), _messages(said)
    starts = range(len(texts) - len(history) + 1)
    return len(history) if any(texts[start : start + len(history)] == history for start in starts) else 0


def _messages(items: Sequence[TranscriptMessage]) -> list[Message]:
    return [item.message for item in items]


def _is_article(message: Message) -> bool:
    return message.role is Role.SYSTEM and message.content.startswith(ARTICLE)
