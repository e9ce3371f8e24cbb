"""The chat template: how a conversation becomes the prompt that the model sees.

`<|bos|> [<|system|> text] <|user|> text <|assistant|> text <|eos|> <|user|> … <|assistant|> [<|plan:…|>]`

A help article that may answer the last message is one more system message, right before it (`model_store.knowledge`).
Customers' words are rendered in lower case. Only the reply that is being made has a plan: what clients send back as
history is text.

Serving and training call the same `render`; the loss mask of training is read off the roles that it returns, so the
two cannot drift apart. Cutting a conversation to the model's length is `service.chat.context_window`'s business; both
begin no earlier than `recent_start`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID, EOS_ID, SYSTEM_ID, USER_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.placeholders import fold_case
from model_store.contract.tokenizer import Tokenizer

_ROLE_IDS = {Role.SYSTEM: SYSTEM_ID, Role.USER: USER_ID, Role.ASSISTANT: ASSISTANT_ID}


EXCHANGES_BEFORE = 2
"""Messages of the customer, with their replies, that the network sees before the last. More helps it no further:
`training/EXPERIMENTS.md`."""


def recent_start(messages: Sequence[Message]) -> int:
    """Where that part of a conversation begins which the network should see; an article stays before its question."""
    asked = [index for index, message in enumerate(messages) if message.role is Role.USER]
    if len(asked) <= EXCHANGES_BEFORE + 1:
        return 0
    start = asked[-EXCHANGES_BEFORE - 1]
    return start - 1 if messages[start - 1].role is Role.SYSTEM else start


def message_start(token_ids: Sequence[int]) -> int:
    """Where the customer's last turn begins in a rendered conversation; 0 when there is none."""
    return next((index for index in range(len(token_ids) - 1, -1, -1) if token_ids[index] == USER_ID), 0)


@dataclass(frozen=True, slots=True)
class RenderedConversation:
    """Token ids, and for each the role whose words it belongs to (None: structure that no one says).

    An assistant message's closing `<|eos|>` belongs to the assistant: ending well is part of what it learns.
    """

    token_ids: tuple[int, ...]
    speakers: tuple[Role | None, ...]

    @property
    def target_mask(self) -> tuple[bool, ...]:
        """True where the loss of supervised tuning counts: the assistant's tokens."""
        return tuple(speaker is Role.ASSISTANT for speaker in self.speakers)


def render(
    messages: Sequence[Message], tokenizer: Tokenizer, *, for_completion: bool, plan: str | None = None
) -> RenderedConversation:
    """Renders messages; `for_completion` opens an assistant turn at the end for the model to fill.

    `plan` names what the reply at the end opens with; one that the tokenizer does not have is left out.
    """
    plan_id = tokenizer.plans.get(plan or "")
    token_ids: list[int] = [BOS_ID]
    speakers: list[Role | None] = [None]
    for number, message in enumerate(messages, 1):
        # Capitals say little about what a customer wants, and every spelling less is one more that training has seen.
        text = fold_case(message.content) if message.role is Role.USER else message.content
        content = tokenizer.encode(text)
        if plan_id is not None and number == len(messages) and not for_completion:
            content.insert(0, plan_id)
        if message.role is Role.ASSISTANT:
            content.append(EOS_ID)
        token_ids += [_ROLE_IDS[message.role], *content]
        speakers += [None, *[message.role] * len(content)]
    if for_completion:
        token_ids.append(ASSISTANT_ID)
        speakers.append(None)
        if plan_id is not None:
            token_ids.append(plan_id)
            speakers.append(Role.ASSISTANT)
    return RenderedConversation(tuple(token_ids), tuple(speakers))
