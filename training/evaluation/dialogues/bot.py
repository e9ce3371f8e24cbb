"""The bot that simulated customers talk to: a policy behind the service's window and rules for being unsure, greedy.

Safety rules do not run here: no goal holds a message that sets one off, which a contract test checks. Help articles are
not offered either (`help_articles` measures those). All conversations are answered together, turn by turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from model_store.contract.chat_template import recent_start, render
from model_store.contract.conversation import Message, Role, language_of
from model_store.contract.tokenizer import Tokenizer
from model_store.knowledge.offer import plans_for
from training.data.prompts import banned_ids, render_prompt
from training.evaluation.dialogues.asking_back import AskingBack, FixedWords, PlanReading
from training.evaluation.plan_choice import first_token_probabilities
from training.evaluation.subject import Subject
from training.reformer.decoder import sample_completions

SERVING_MAX_TOKENS = 160
"""The service's default length of a completion."""


@dataclass(frozen=True, slots=True)
class BotReply:
    """A masked reply: the model's, or fixed words where it was not sure of its plan."""

    text: str
    plan: str
    confidence: float = 1.0
    fixed: FixedWords | None = None


class Bot(Protocol):
    """Answers conversations of masked messages, the last of each the customer's."""

    def answer(self, conversations: Sequence[Sequence[Message]]) -> list[BotReply]:
        """One reply to each, in order."""


class PolicyBot:
    """A policy as the service would serve it."""

    def __init__(self, subject: Subject, asking_back: AskingBack) -> None:
        self._subject = subject
        self._asking_back = asking_back

    def answer(self, conversations: Sequence[Sequence[Message]]) -> list[BotReply]:
        """See `Bot.answer`. What was named outside the window may still be named in a reply, as in the service."""
        tokenizer = self._subject.tokenizer
        max_positions = int(self._subject.policy.config.max_position_embeddings)
        room = max_positions - min(SERVING_MAX_TOKENS, max_positions // 2)
        windows = [fit_window(messages, tokenizer, room) for messages in conversations]
        first = first_token_probabilities(self._subject.policy, tokenizer, windows)
        known, offers = self._subject.known_replies, self._asking_back.offers
        settled = [offers.settled_plan(messages, known) for messages in windows]
        settled = [plan if plan in tokenizer.plans else None for plan in settled]
        readings = [
            PlanReading(plan, ((plan, 1.0),)) if plan else PlanReading.of(row, tokenizer)
            for plan, row in zip(settled, first, strict=True)
        ]
        fixed = [
            None if plan else self._asking_back.instead_of(reading, messages, language_of(messages), known)
            for plan, reading, messages in zip(settled, readings, conversations, strict=True)
        ]
        own = [index for index, words in enumerate(fixed) if words is None]
        texts = iter(self._own_words([(windows[index], conversations[index], settled[index]) for index in own]))
        return [
            BotReply(words.text if words else next(texts), reading.plan, reading.confidence, words)
            for reading, words in zip(readings, fixed, strict=True)
        ]

    def _own_words(self, asked: Sequence[tuple[Sequence[Message], Sequence[Message], str | None]]) -> list[str]:
        """The model's reply to each: what it is shown, the whole conversation, and the plan if that is settled."""
        tokenizer = self._subject.tokenizer
        any_plan = frozenset(plans_for(tokenizer.plans, has_offer=False).values())
        samples = sample_completions(
            self._subject.policy,
            [render_prompt(window, tokenizer) for window, _, _ in asked],
            banned_ids=[banned_ids(messages, tokenizer) for _, messages, _ in asked],
            temperature=0.0,
            max_new_tokens=SERVING_MAX_TOKENS,
            seed=0,
            opening_ids=[frozenset({tokenizer.plans[plan]}) if plan else any_plan for _, _, plan in asked],
        )
        return [tokenizer.decode(sample.token_ids) for sample in samples]


def fit_window(messages: Sequence[Message], tokenizer: Tokenizer, num_tokens: int) -> tuple[Message, ...]:
    """The recent part of a conversation, as long as it renders to at most `num_tokens`; it opens with the customer.

    Raises ValueError for a last message that alone is too long.
    """
    recent = recent_start(messages)
    starts = [index for index, message in enumerate(messages) if message.role is Role.USER and index >= recent]
    for start in starts:
        window = tuple(messages[start:])
        if len(render(window, tokenizer, for_completion=True).token_ids) <= num_tokens:
            return window
    raise ValueError(f"the last message does not fit into {num_tokens} tokens")
