"""Contrasts: an authored ask with a good and a bad reply to it, as the reward model learns them.

Drawn from a pack's training asks, seeded; held-out asks never enter. A fifth of all asks and replies, by hash, is kept
back (`unseen`), so that what was learned can be told from what was remembered. How contrasts are weighed against
people's thumbs is the business of `stages.reward_model`.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from model_store.contract.chat_template import render
from model_store.contract.control_tokens import EOS_ID
from model_store.contract.tokenizer import Tokenizer
from training.data.domain_pack import DomainPack, Intent, entities_in, fill_slots, plan_of, user_message
from training.data.typing_noise import add_typing_noise

ANOTHER_INTENT = "another_intent"
"""The reason of a bad reply that is a good one, under its own plan, to something else."""
_ANOTHER_INTENT_SHARE = 0.25
_UNSEEN_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class PlannedReply:
    """A reply and the plan that it opens with."""

    plan: str
    text: str


@dataclass(frozen=True, slots=True)
class Contrast:
    """A masked ask, a reply that fits it, one that does not, and why it does not."""

    ask: str
    good: PlannedReply
    bad: PlannedReply
    reason: str


@dataclass(frozen=True, slots=True)
class ContrastTokens:
    """A contrast as the reward model reads it: prompt, plan, reply and `<|eos|>`, once good and once bad."""

    good: list[int]
    bad: list[int]
    reason: str


class Contrasts:
    """The contrasts of a pack. What is learned from and what is kept back share neither ask nor reply."""

    def __init__(self, pack: DomainPack) -> None:
        self._slots = pack.slots
        self._seen = [part for intent in pack.intents if (part := _part_of(intent, is_unseen=False))]
        self._unseen = [part for intent in pack.intents if (part := _part_of(intent, is_unseen=True))]

    def draw(self, count: int, seed: str) -> list[Contrast]:
        """`count` contrasts to learn from, every intent as often as any other; none from a pack without any."""
        drawer = _Drawer(self._seen, self._slots, seed)
        parts = [part for part in self._seen if part.bad or drawer.others(part)]
        return [drawer.draw(drawer.random.choice(parts)) for _ in range(count)] if parts else []

    def unseen(self, seed: str) -> list[Contrast]:
        """One contrast for each bad reply that was kept back, and one with another intent's reply for each intent."""
        drawer = _Drawer(self._unseen, self._slots, seed)
        authored = [drawer.against(part, text, reason) for part in self._unseen for text, reason in part.bad]
        return authored + [drawer.against_another(part) for part in self._unseen if drawer.others(part)]


@dataclass(frozen=True, slots=True)
class _Part:
    """What an intent brings to one side of the split; `replies` holds one at least that names no entity."""

    intent: Intent
    asks: Sequence[str]
    replies: frozenset[str]
    bad: Sequence[tuple[str, str]]


def tokens_of(contrasts: Sequence[Contrast], tokenizer: Tokenizer, *, max_positions: int) -> list[ContrastTokens]:
    """Contrasts rendered as the service renders a completion; those longer than `max_positions` are left out."""
    rendered = [
        ContrastTokens(_tokens(c.ask, c.good, tokenizer), _tokens(c.ask, c.bad, tokenizer), c.reason) for c in contrasts
    ]
    return [tokens for tokens in rendered if max(len(tokens.good), len(tokens.bad)) <= max_positions]


class _Drawer:
    """Draws from one side of the split."""

    def __init__(self, parts: Sequence[_Part], slots: Mapping[str, Mapping[str, Sequence[str]]], seed: str) -> None:
        self.random = random.Random(seed)
        self._parts = parts
        self._slots = slots

    def draw(self, part: _Part) -> Contrast:
        """A contrast of an intent that has a bad reply or a stranger."""
        if self.others(part) and (not part.bad or self.random.random() < _ANOTHER_INTENT_SHARE):
            return self.against_another(part)
        return self.against(part, *self.random.choice(part.bad))

    def against(self, part: _Part, text: str, reason: str) -> Contrast:
        """A good reply against an authored bad one under the same plan: the words alone make the difference."""
        ask = self._draw_ask(part)
        good = self._draw_reply(part, ask)
        return Contrast(ask, good, PlannedReply(good.plan, text), reason)

    def against_another(self, part: _Part) -> Contrast:
        """A good reply against another intent's under that intent's plan: the ask alone makes the difference."""
        ask = self._draw_ask(part)
        other = self.random.choice(self.others(part))
        return Contrast(ask, self._draw_reply(part, ask), self._draw_reply(other, ask), ANOTHER_INTENT)

    def others(self, part: _Part) -> list[_Part]:
        """Intents of the same language and another topic.

        Within a topic one intent's reply often answers the next one's ask too; which does not is for authors to say,
        and they do (`wrong_intent`).
        """
        ours = part.intent
        return [p for p in self._parts if p.intent.language == ours.language and p.intent.topic != ours.topic]

    def _draw_ask(self, part: _Part) -> str:
        language = part.intent.language
        ask = fill_slots(self.random.choice(part.asks), self._slots[language], self.random)
        return add_typing_noise(ask, language, self.random)

    def _draw_reply(self, part: _Part, ask: str) -> PlannedReply:
        given = entities_in(ask)
        fitting = [reply for reply in _fitting_replies(part.intent, given) if reply.text in part.replies]
        return self.random.choice(fitting)


def _fitting_replies(intent: Intent, given: frozenset[str]) -> list[PlannedReply]:
    """Good replies to a customer who gave these entities: none names another, none asks for one of them."""
    answer = plan_of(intent.name)
    replies = [PlannedReply(answer, text) for texts in intent.replies_by_tone.values() for text in texts]
    for entity, texts in intent.replies_given.items():
        replies += [PlannedReply(answer, text) for text in texts if entity in given]
    for entity, texts in intent.replies_missing.items():
        replies += [PlannedReply(plan_of(intent.name, entity), text) for text in texts if entity not in given]
    return [reply for reply in replies if entities_in(reply.text) <= given]


def _part_of(intent: Intent, *, is_unseen: bool) -> _Part | None:
    """An intent's part of one side; None where no ask is left, or no reply that fits every ask."""
    asks = [ask for ask in intent.asks if _is_unseen(ask) == is_unseen]
    replies = frozenset(text for text in intent.replies if _is_unseen(text) == is_unseen)
    fit_every_ask = [text for texts in intent.replies_by_tone.values() for text in texts if not entities_in(text)]
    if not asks or replies.isdisjoint(fit_every_ask):
        return None
    # A bad reply that names what the customer did not give could be told by that alone, and is never sampled.
    bad = [bad for bad in intent.bad_replies if _is_unseen(bad[0]) == is_unseen and not entities_in(bad[0])]
    return _Part(intent, asks, replies, bad)


@cache  # a pack's asks, a hundred thousand and more, are gone through twice by each stage that draws contrasts
def _is_unseen(text: str) -> bool:
    """Whether a text is kept back: by hash, so that it stays so as the pack grows."""
    return hashlib.sha256(text.encode()).digest()[0] < 256 * _UNSEEN_SHARE


def _tokens(ask: str, reply: PlannedReply, tokenizer: Tokenizer) -> list[int]:
    opened = render([user_message(ask)], tokenizer, for_completion=True, plan=reply.plan).token_ids
    return [*opened, *tokenizer.encode(reply.text), EOS_ID]
