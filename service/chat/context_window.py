"""The context window: which part of a conversation the model sees.

No more turns than the network can follow (one that was trained on long conversations follows all), and of these the
oldest go first and whole where they do not fit. The system message and the last message always stay, and so does an
article that is offered for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from model_store.contract.chat_template import recent_start, render
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from service.errors import ContextLengthExceededError


@dataclass(frozen=True, slots=True)
class Prompt:
    """The messages that the model sees and their token ids, with an assistant turn opened at the end."""

    messages: tuple[Message, ...]
    token_ids: tuple[int, ...]


def fit_prompt(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    max_tokens: int,
    max_context: int,
    sees_everything: bool = False,
) -> Prompt:
    """The part of a conversation from `recent_start` on, as much of it as leaves room for `max_tokens` more.

    `sees_everything`: the network was trained on long conversations, and sees all that there is room for.

    Raises:
        ContextLengthExceededError: the system message and the last message alone do not fit.
    """
    num_system = 1 if messages[0].role is Role.SYSTEM else 0
    system, rest = tuple(messages[:num_system]), tuple(messages[num_system:])
    start = 0 if sees_everything else recent_start(rest)
    prompt = _prompt((*system, *rest[start:]), tokenizer)
    if len(prompt.token_ids) <= max_context - max_tokens:
        return prompt
    lengths = [_num_tokens(message, tokenizer) for message in rest]
    num_free = max_context - max_tokens - len(_prompt(system, tokenizer).token_ids)
    while start < len(rest) and sum(lengths[start:]) > num_free:
        start = _next_turn(rest, start)
    if start == len(rest):
        raise ContextLengthExceededError(
            param="messages", num_tokens=lengths[-1], max_tokens=max_tokens, max_context=max_context, num_free=num_free
        )
    return _prompt((*system, *rest[start:]), tokenizer)


def _prompt(messages: tuple[Message, ...], tokenizer: Tokenizer) -> Prompt:
    return Prompt(messages, render(messages, tokenizer, for_completion=True).token_ids)


def _num_tokens(message: Message, tokenizer: Tokenizer) -> int:
    return len(render([message], tokenizer, for_completion=False).token_ids) - 1


def _next_turn(messages: Sequence[Message], start: int) -> int:
    """Where the next turn after `start` begins; a window never opens with a reply to words it does not show.

    A user message begins a turn, or the article before it.
    """
    later = range(start + 1, len(messages))
    begins = (index for index in later if messages[index].role is not Role.ASSISTANT)
    return next((index for index in begins if messages[index - 1].role is not Role.SYSTEM), len(messages))
