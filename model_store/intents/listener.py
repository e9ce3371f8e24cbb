"""From a rendered conversation to the intent model's opinion of what a reply should open with.

The network knows the conversation and has learned from thumbs, the intent model knows more words; they err about
different messages. Service and evaluation listen through the same class.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model_store.contract.chat_template import message_start
from model_store.contract.control_tokens import ASSISTANT_ID, USER_ID
from model_store.contract.placeholders import split_masked
from model_store.contract.tokenizer import Tokenizer
from model_store.contract.wording.corrections import what_is_meant
from model_store.intents.intent_model import Heard, IntentModel
from model_store.intents.sentiment import Sentiment
from model_store.intents.turns import turns_before
from model_store.sampling import Opinion

DEFAULT_WEIGHT = 2.0
"""How much the model's opinion counts against the network's, which hears worse; chosen on development asks."""
_FLOOR = 1e-4
"""What the intent model calls no less likely, so that it cannot overrule the network alone."""
_MIN_KNOWN = 0.5
"""Share of a network's topics that must be intents of the model; fewer are another business's, with names in common."""
_MIN_WORDS = 3
_MAX_WORDS_GOING_ON = 5
"""A later message of no more may go on about what the customer said before: "4471902", "and now?"."""
_SURE = 0.7
"""A longer one may, too, where nothing tells, if no intent is this likely: "i did that but no mail came"."""
_LEAST_HEARD = 0.02
"""What other words are taken to say of every intent, so that they make none more than fifty times as likely."""
_ODDS_AGAINST_GOING_ON = 4.0
"""How much the square of the odds that a message goes on must be worth."""
_HARDLY_GOES_ON = 0.02
"""Less likely than this, and nobody asks what the message might go on about."""
_WORD = re.compile(r"[a-z']+|[\u4e00-\u9fff]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hearing:
    """What a listener makes of a conversation's last message; None: nothing."""

    opinion: Opinion | None = None
    embedding: NDArray[np.float32] | None = None
    """[D], of unit length: `IntentModel.hear`."""
    sentiment: Sentiment | None = None
    """Of the message itself."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Of each intent, which safety rules look at; empty where nothing was heard."""


@dataclass(frozen=True, slots=True)
class _LastMessage:
    text: str
    """Without what he denies, in a later message."""
    corrects: bool
    """Whether there was any: it is not about what the bot took him for."""
    before: tuple[str, ...]
    by_model: Heard
    earlier: Sequence[int]
    """Token ids up to the customer's message before it; none for a first message."""


class Listener:
    """An intent model's opinions in one tokenizer's plans."""

    def __init__(self, model: IntentModel, tokenizer: Tokenizer, weight: float = DEFAULT_WEIGHT) -> None:
        """`weight` is how much an opinion counts against the network's own, which counts 1."""
        self._model = model
        self._tokenizer = tokenizer
        self._weight = weight
        columns = {intent: column for column, intent in enumerate(model.intents)}
        topics = {token_id: plan.partition("/")[0] for plan, token_id in tokenizer.plans.items()}
        known = {token_id: columns[topic] for token_id, topic in topics.items() if topic in columns}
        is_its_business = len(known) >= max(2.0, _MIN_KNOWN * len(topics))
        self._known = known if is_its_business else {}

    def opinion_of(self, prompt_ids: Sequence[int]) -> Opinion | None:
        """Of what the customer says last in a rendered conversation, heard with the turn before.

        None where the plans are not its intents, and from a model that hears single messages for a later one of hardly
        a word: an order number, a yes or a no is about what was said before, which the network alone knows.
        """
        return self._opinion(self._heard(prompt_ids))

    def hear(self, prompt_ids: Sequence[int], *, is_searched: bool = True) -> Hearing:
        """The opinion, the sentiment, and where the message lies by its meaning. A first message takes one pass.

        What came before moves an embedding to where nothing is searched, so a later message is embedded by itself;
        unless nothing `is_searched` by meaning.
        """
        heard = self._heard(prompt_ids)
        if heard is None:
            return Hearing()
        is_moved = bool(heard.before) and self._model.hears_turns and self._model.embeds
        embedding = (self._model.hear(heard.text) if is_moved and is_searched else heard.by_model).embedding
        probabilities = dict(zip(self._model.intents, map(float, heard.by_model.probabilities), strict=True))
        return Hearing(
            self._opinion(heard), embedding if is_searched else None, heard.by_model.sentiment, probabilities
        )

    def _heard(self, prompt_ids: Sequence[int]) -> _LastMessage | None:
        return self._hear_last(prompt_ids) if self._known else None

    def _hear_last(self, prompt_ids: Sequence[int]) -> _LastMessage:
        """The last of a conversation that ends with a customer's message."""
        start = message_start(prompt_ids)
        text, (earlier, reply) = self._tokenizer.decode(prompt_ids[start:]), _before_reply(prompt_ids[:start])
        before: tuple[str, ...] = ()
        if USER_ID in earlier:
            said = self._tokenizer.decode(earlier[message_start(earlier) :])
            before = turns_before(self._tokenizer.decode(reply), said)
        meant = what_is_meant(text) if before else text
        return _LastMessage(meant, meant != text, before, self._model.hear(meant, before), earlier)

    def _opinion(self, message: _LastMessage | None) -> Opinion | None:
        if message is None:
            return None
        if message.before and not self._model.hears_turns and _num_words(message.text) < _MIN_WORDS:
            return None
        probabilities = self._in_its_conversation(message)[[*self._known.values()]]
        logprobs = self._weight * np.log(probabilities + _FLOOR)
        return Opinion(tuple(self._known), tuple(map(float, logprobs)), self._model.digest)

    def _in_its_conversation(self, message: _LastMessage) -> NDArray[np.float32]:
        """[num intents]: what the message is about, given what the customer said before it, message by message.

        A message that goes on is about what the one before was about, unless it corrects that. What was before is heard
        in its conversation, too, so "and then?" may come twice. Messages of earlier replies are remembered.
        """
        own = message.by_model.probabilities
        if not (message.before and self._model.hears_turns):
            return own
        if message.corrects:  # "the shoes" alone says little of the matter, "a gift card" all of it
            return _weighed(own, self._model.hear(message.text).probabilities)
        if _may_go_on(message):
            own = _weighed(own, self._model.hear(message.before[-1]).probabilities)
        share = _going_on_share(message.by_model.going_on or 0.0)
        if share < _HARDLY_GOES_ON:
            return own
        earlier = self._in_its_conversation(self._hear_last(message.earlier))
        return np.asarray((1 - share) * own + share * earlier, np.float32)


def _before_reply(token_ids: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """A conversation up to the customer's last message, and the reply behind that."""
    start = message_start(token_ids)
    reply_at = next((at for at in range(start, len(token_ids)) if token_ids[at] == ASSISTANT_ID), len(token_ids))
    return token_ids[:reply_at], token_ids[reply_at:]


def _going_on_share(probability: float) -> float:
    """Of its matter before, in what a message is about that goes on with this probability, told at even odds."""
    goes_on, changes = probability**2, (1 - probability) ** 2
    return goes_on / (goes_on + _ODDS_AGAINST_GOING_ON * changes)


def _may_go_on(message: _LastMessage) -> bool:
    """By its length, or from a model without an ear for it because nothing else is heard."""
    is_short = _num_words(message.text) <= _MAX_WORDS_GOING_ON
    is_unheard = message.by_model.going_on is None and message.by_model.probabilities.max() < _SURE
    return is_short or bool(is_unheard)


def _weighed(message: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """[num intents]: the opinion of a few words, weighed by that of the customer's message before them, or of what is
    left of them alone.
    """
    weighed = message * (other + _LEAST_HEARD)
    return np.asarray(weighed / weighed.sum(), np.float32)


def _num_words(text: str) -> int:
    """English words and Chinese characters, without placeholders."""
    return sum(len(_WORD.findall(part.text)) for part in split_masked(text) if not part.is_placeholder)
